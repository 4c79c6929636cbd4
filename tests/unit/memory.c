/* Tests what is read of the host's memory (host/memory.c), from folders that look like /proc and /sys, and sizes as
 * people write them. */
#include "directory.h"

#include "host/device.h"
#include "host/error.h"
#include "host/memory.h"

#include <stdint.h>
#include <sys/stat.h>

enum { MB = 1 << 20 };

/* Writes text to a file of the test's root, whose folders are made. */
static void root_write(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    for (char *slash = path + sizeof directory; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        CHECK(!mkdir(path, 0777) || errno == EEXIST, "%s: %s", path, strerror(errno));
        *slash = '/';
    }
    file_write(path, text, strlen(text));
}

static void root_remove(const char *name)
{
    CHECK(!remove(in_directory(name)), "%s: %s", name, strerror(errno));
}

static void check_available(size_t wanted, const char *what)
{
    size_t available = memory_available_under(directory);

    CHECK(available == wanted, "%s: %zu, not %zu", what, available, wanted);
}

static void test_machine(void)
{
    check_available(SIZE_MAX, "nothing to read");
    root_write("proc/meminfo", "MemTotal: 9 kB\n");
    check_available(SIZE_MAX, "an old kernel's meminfo");
    root_write("proc/meminfo", "MemTotal:       24684084 kB\nMemFree:  7 kB\nMemAvailable:    4096000 kB\n");
    check_available((size_t)4000 * MB, "meminfo");
}

static void test_address_space(void)
{
    root_write("proc/self/status", "Name:\tx\nVmPeak:\t  999999 kB\nVmSize:\t  102400 kB\n");
    root_write("proc/self/limits",
               "Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max stack size            8388608              unlimited            bytes     \n"
               "Max address space         unlimited            unlimited            bytes     \n");
    check_available((size_t)4000 * MB, "no limit of address space");
    root_write("proc/self/limits",
               "Max address space         1153433600           unlimited            bytes     \n");
    check_available((size_t)1000 * MB, "1100 MB of address space, 100 taken");
    root_write("proc/self/limits", "Max address space         1048576              1048576              bytes\n");
    check_available(0, "more taken than allowed");
    root_remove("proc/self/limits");
}

static void test_groups_v2(void)
{
    root_write("proc/self/cgroup", "0::/a/b c\n");
    check_available((size_t)4000 * MB, "no files of groups");
    root_write("sys/fs/cgroup/a/b c/memory.max", "max\n");
    root_write("sys/fs/cgroup/a/b c/memory.current", "1048576\n");
    check_available((size_t)4000 * MB, "max");
    root_write("sys/fs/cgroup/a/b c/memory.max", "1048576000\n");
    check_available((size_t)999 * MB, "1000 MB, one of them taken");
    root_write("sys/fs/cgroup/a/memory.max", "524288000\n");
    root_write("sys/fs/cgroup/a/memory.current", "314572800\n");
    root_write("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_anon 5\ninactive_file 104857600\nactive_file 3\n");
    check_available((size_t)300 * MB, "the parent's 500 MB, 200 of them taken and 100 cache");
    root_write("sys/fs/cgroup/a/memory.high", "419430400\n");
    check_available((size_t)200 * MB, "the parent is slowed down above 400 MB");
    root_write("sys/fs/cgroup/memory.max", "104857600\n");
    root_write("sys/fs/cgroup/memory.current", "209715200\n");
    check_available(0, "the topmost is a container's own, and full");
    root_write("proc/self/cgroup", "0::/../a\n");
    root_write("sys/fs/cgroup/memory.max", "314572800\n");
    check_available((size_t)100 * MB, "a path outside the namespace: the topmost alone");
    root_write("proc/self/cgroup", "nonsense\n\n::\n");
    check_available((size_t)100 * MB, "lines that are none");
    root_remove("sys/fs/cgroup/memory.max");
}

static void test_groups_v1(void)
{
    root_write("proc/self/cgroup", "11:memoryless:/d\n4:cpu,memory:/d/e\n2:cpuset:/\n0::/\n");
    root_write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    root_write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    check_available((size_t)4000 * MB, "version 1's word for no limit");
    root_write("sys/fs/cgroup/memory/d/e/memory.limit_in_bytes", "314572800\n");
    root_write("sys/fs/cgroup/memory/d/e/memory.usage_in_bytes", "209715200\n");
    root_write("sys/fs/cgroup/memory/d/e/memory.stat", "inactive_file 1\ntotal_inactive_file 52428800\n");
    check_available((size_t)150 * MB, "300 MB, 200 taken, 50 of these cache");
    root_write("sys/fs/cgroup/memory/d/memory.limit_in_bytes", "104857600\n");
    check_available((size_t)100 * MB, "the parent's limit, its use unknown");
    root_write("proc/self/cgroup", "4:memory:/elsewhere/f\n");
    check_available((size_t)4000 * MB, "another group");
}

static void test_process(void)
{
    size_t resident = memory_resident(), available = memory_available();

    CHECK(available > 0, "this machine has nothing left");
    if (!resident) {
        printf("this system does not say what a process holds\n");
        return;
    }
    CHECK(resident >= MB / 8 && resident < SIZE_MAX / 2, "%zu bytes", resident);

    enum { TAKEN = 64 * MB };
    char *taken = malloc(TAKEN);
    CHECK(taken, "64 MB");
    if (!taken)
        return;
    for (size_t i = 0; i < TAKEN; i += 512)
        ((volatile char *)taken)[i] = 1;
    CHECK(memory_resident() >= resident + TAKEN / 2, "%zu, then %zu", resident, memory_resident());
    free(taken);
    CHECK(memory_peak() >= resident + TAKEN / 2, "%zu, at most %zu", resident, memory_peak());
}

/* A device in host memory has what the process has, give or take what others take meanwhile. */
static void test_devices(void)
{
    static const char *const names[] = {"cpu", "reference"};

    for (int i = 0; i < 2; i++) {
        struct device *device = device_open(names[i], &(struct device_options){.threads = 1});

        CHECK(device, "%s", error_message());
        if (!device)
            continue;
        size_t available = device_available(device), host = memory_spare();
        CHECK(device->in_host_memory, "%s", names[i]);
        CHECK((available == SIZE_MAX) == (host == SIZE_MAX) && available / 2 <= host, "%s: %zu of %zu", names[i],
              available, host);
        device_close(device);
    }
}

static void test_text(void)
{
    CHECK(!strcmp(bytes_text(512300000).text, "512.3 MB"), "%s", bytes_text(512300000).text);
    CHECK(!strcmp(bytes_text(24310000000).text, "24.31 GB"), "%s", bytes_text(24310000000).text);
    CHECK(!strcmp(bytes_text(0).text, "0.0 MB"), "%s", bytes_text(0).text);
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        size_t bytes;
    } right[] = {
        {"1000000000", 1000000000},
        {"6G", (size_t)6 << 30},
        {"6GiB", (size_t)6 << 30},
        {"6GB", 6000000000},
        {"512M", (size_t)512 << 20},
        {"1.5g", (size_t)3 << 29},
        {"2k", 2048},
        {"2kB", 2000},
        {".5kib", 512},
        {"1.T", (size_t)1 << 40},
        {"0.0015K", 1},
        {"18446744073709551615", SIZE_MAX},
    };
    static const char *const wrong[] = {"",    "0",    "0G",  "-1",  "-6G", "+6G", " 6G", "6G ",   "6 G",
                                        "6GG", "6X",   "6Bi", "6B",  "G",   ".",   ".G",  "1.2.3", "1,5G",
                                        "1e9", "0x10", "nan", "NaN", "inf", "0.5", "6GiX"};
    static const char *const large[] = {"18446744073709551616", "16777216T", "99999999999999999999999999G"};
    size_t bytes;

    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        bytes = 0;
        CHECK(!bytes_parse(right[i].text, &bytes), "%s: %s", right[i].text, error_message());
        CHECK(bytes == right[i].bytes, "%s: %zu, not %zu", right[i].text, bytes, right[i].bytes);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bytes = 7;
        CHECK(bytes_parse(wrong[i], &bytes) == -1 && bytes == 7, "\"%s\" is %zu", wrong[i], bytes);
        CHECK(strstr(error_message(), "must be a size above 0") == error_message(), "%s", error_message());
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        CHECK(bytes_parse(large[i], &bytes) == -1, "\"%s\" is %zu", large[i], bytes);
        CHECK(!strcmp(error_message(), "must be below 2^64 bytes"), "%s", error_message());
    }
}

int main(void)
{
    directory_make();
    test_machine();
    test_address_space();
    test_groups_v2();
    test_groups_v1();
    test_process();
    test_devices();
    test_text();
    test_parse();
    directory_remove_all();
    return check_result();
}
