/* Files that appear whole or not at all: mode, links, long names, a full disk, and nothing left behind. */
#include "output.h"

#include "error.h"
#include "interrupt.h"
#include "tests/check.h"
#include "tests/unit/directory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void output_text(const char *path, const char *text)
{
    struct output out;

    CHECK(!output_open(&out, path), "%s", error_message());
    CHECK(fputs(text, out.file) >= 0 && !output_commit(&out), "%s", error_message());
}

static void expect_mode(const char *path, unsigned mode)
{
    struct stat status = {0};

    CHECK(!lstat(path, &status) && (status.st_mode & 0777) == mode, "%s: mode %o instead of %o", path,
          (unsigned)status.st_mode & 0777, mode);
}

static void test_mode(void)
{
    mode_t mask = umask(027);

    output_text(in_directory("a"), "new");
    expect_mode(in_directory("a"), 0640);
    chmod(in_directory("a"), 0604);
    output_text(in_directory("a"), "newer");
    expect_mode(in_directory("a"), 0604);
    umask(mask);
    output_text(in_directory("b"), "new");
    expect_mode(in_directory("b"), 0666 & ~mask);
    CHECK(directory_entries(true) == 2, "a temporary file was left");
}

static void test_link(void)
{
    size_t count;

    file_write(in_directory("target"), "old", 3);
    chmod(in_directory("target"), 0604);
    CHECK(!symlink("target", in_directory("link")), "%s", strerror(errno));
    output_text(in_directory("link"), "through the link");
    expect_mode(in_directory("link"), 0777); /* still a link */
    expect_mode(in_directory("target"), 0604);
    free(file_read(in_directory("target"), &count));
    CHECK(count == strlen("through the link"), "%zu bytes", count);
    CHECK(directory_entries(true) == 2, "a temporary file was left");
}

static void test_names(void)
{
    char name[256] = "", here[512];

    memset(name, 'n', 255);
    output_text(in_directory(name), "the longest name");
    CHECK(getcwd(here, sizeof here) && !chdir(directory), "%s", strerror(errno));
    output_text("relative", "no directory in the path");
    CHECK(!chdir(here), "%s", strerror(errno));
    CHECK(directory_entries(true) == 2, "a temporary file was left");
}

static void test_abandon(void)
{
    struct output out;

    file_write(in_directory("a"), "old", 3);
    CHECK(!output_open(&out, in_directory("a")), "%s", error_message());
    CHECK(directory_entries(false) == 2, "no temporary file beside the target");
    output_abandon(&out);
    output_abandon(&out);
    CHECK(directory_entries(true) == 1, "the temporary file was left");
}

/* In a child process: begins a file, and interrupts itself twice. */
static void interrupt_twice(void)
{
    struct output out;

    interrupt_catch();
    if (output_open(&out, in_directory("a")) || fputs("half", out.file) < 0 || directory_entries(false) != 2)
        _exit(1);
    raise(SIGTERM);
    if (!interrupt_requested() || directory_entries(false) != 2)
        _exit(2);
    raise(SIGINT);
    _exit(3);
}

/* The first signal leaves it to the program to tidy up; the second one ends it, and removes what it was writing. */
static void test_interrupted(void)
{
    struct output out, finished;
    int status = 0;

    file_write(in_directory("a"), "old", 3);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        interrupt_twice();
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "%s", strerror(errno));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "the child ended with %#x", (unsigned)status);
    CHECK(directory_entries(false) == 1, "the interrupted program left its temporary file");

    CHECK(!output_open(&out, in_directory("a")) && !output_open(&finished, in_directory("b")), "%s",
          error_message());
    CHECK(!output_commit(&finished), "%s", error_message());
    output_remove_all();
    CHECK(directory_entries(false) == 2, "only the file under way is removed");
    CHECK(output_commit(&out) == -1, "the file is gone");
    CHECK(directory_entries(true) == 2, "a temporary file was left");
}

/* What stdio still holds when the disk is full is written by output_commit, which has to notice. */
static void test_full_disk(void)
{
    struct output out;
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    CHECK(!output_open(&out, in_directory("late")), "%s", error_message());
    CHECK(fputs("late", out.file) >= 0, "%s", strerror(errno));
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, limit.rlim_max});
    int status = output_commit(&out);
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(status == -1 && strstr(error_message(), strerror(EFBIG)), "%s", error_message());
    CHECK(strstr(error_message(), in_directory("late:")), "%s", error_message());
    CHECK(!out.file && !out.path && !out.temporary, "the output is not zeroed");
    CHECK(directory_entries(true) == 0, "a temporary file was left");
}

static void test_refused(void)
{
    static const struct output none;
    const char *const paths[] = {directory, "/dev/full", "", in_directory("missing/a"), in_directory("b/")};
    struct output out;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        CHECK(output_open(&out, paths[i]) == -1, "'%s' was opened", paths[i]);
        CHECK(!strncmp(error_message(), paths[i], strlen(paths[i])), "%s", error_message());
        CHECK(!memcmp(&out, &none, sizeof none), "%s: the output is not zeroed", paths[i]);
    }
    CHECK(directory_entries(true) == 0, "a temporary file was left");
}

/* Begins a file in a process that ends without tidying up. */
static void leave_half(const char *path)
{
    pid_t child = fork();

    if (child == 0) {
        struct output out;
        _exit(output_open(&out, path) != 0);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child that leaves %s", path);
}

static int entries(void)
{
    DIR *list = opendir(directory);
    int count = -2; /* . and .. */

    while (list && readdir(list))
        count++;
    if (list)
        closedir(list);
    return count;
}

/* What a killed process has left of this file goes, and nothing else: not another file's, not a living process's.
 */
static void test_sweep(void)
{
    struct output out;

    leave_half(in_directory("state"));
    leave_half(in_directory("state"));
    leave_half(in_directory("state2"));
    CHECK(!output_open(&out, in_directory("state")), "%s", error_message());
    CHECK(entries() == 4, "%d files", entries());
    output_sweep(in_directory("state"));
    CHECK(entries() == 2, "%d files", entries());
    CHECK(!output_commit(&out), "%s", error_message());
    output_sweep(in_directory("state2"));
    output_sweep(in_directory("none"));
    output_sweep("/nonexistent/file");
    CHECK(entries() == 1, "%d files", entries());
    unlink(in_directory("state"));
}

int main(void)
{
    directory_make();
    test_mode();
    test_link();
    test_names();
    test_abandon();
    test_interrupted();
    test_sweep();
    test_full_disk();
    test_refused();
    directory_remove();
    return check_result();
}
