/* Reads what Linux writes about itself, and what NVIDIA's driver adds to that. Asks no library: that would need one
 * in every build. */
#include "bench_machine.h"

#include "commit.h"
#include "device.h"

#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Libraries that compute, by how their files' names begin. */
static const char *const library_names[] = {"libdnnl.", "libcudnn.", "libcublasLt.", "libcudart.", "libgomp."};

enum { LIBRARIES = sizeof library_names / sizeof *library_names };

/* Copies text without what surrounds it: spaces, quotes, the line's end. */
static void text_set(char *to, size_t size, const char *text)
{
    size_t length;

    text += strspn(text, " \t\"");
    length = strlen(text);
    while (length > 0 && strchr(" \t\"\n", text[length - 1]))
        length--;
    snprintf(to, size, "%.*s", (int)length, text);
}

/* Appends text, behind a separator where there is something before. */
static void text_append(char *to, size_t size, const char *separator, const char *text)
{
    size_t length = strlen(to);

    snprintf(to + length, size - length, "%s%s", length ? separator : "", text);
}

/* The first line of the file at path that begins with key: what stands behind its separator. */
static void line_read(const char *path, const char *key, char separator, char *to, size_t size)
{
    char line[1024];
    FILE *file = fopen(path, "r");

    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, separator);
        if (!value || strncmp(line, key, strlen(key)) != 0)
            continue;
        text_set(to, size, value + 1);
        break;
    }
    if (file)
        fclose(file);
}

static void os_read(struct bench_machine *machine)
{
    struct utsname names;

    line_read("/etc/os-release", "PRETTY_NAME=", '=', machine->os, sizeof machine->os);
    if (uname(&names))
        return;
    text_append(machine->os, sizeof machine->os, ", ", names.sysname);
    text_append(machine->os, sizeof machine->os, " ", names.release);
    text_append(machine->os, sizeof machine->os, " ", names.machine);
}

static int cores_count(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
}

/* The files that are mapped into this process. */
static void libraries_read(struct bench_machine *machine)
{
    char line[4096], last[256] = "";
    FILE *file = fopen("/proc/self/maps", "r");

    while (file && fgets(line, sizeof line, file)) {
        const char *slash = strrchr(line, '/');
        char name[256];

        if (!slash)
            continue;
        text_set(name, sizeof name, slash + 1);
        for (int i = 0; i < LIBRARIES; i++)
            if (strncmp(name, library_names[i], strlen(library_names[i])) == 0 && strcmp(name, last) != 0) {
                text_append(machine->libraries, sizeof machine->libraries, " ", name);
                snprintf(last, sizeof last, "%s", name); /* a file is mapped in several parts, one after another */
            }
    }
    if (file)
        fclose(file);
}

static bool has_cuda(void)
{
    for (const char *const *name = device_names(); *name; name++)
        if (strcmp(*name, "cuda") == 0)
            return true;
    return false;
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.86.10  Wed ...": the first word with digits and points only.
 */
static void driver_read(struct bench_machine *machine)
{
    char line[256] = "";

    line_read("/proc/driver/nvidia/version", "NVRM version", ':', line, sizeof line);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        if (strspn(word, "0123456789.") == strlen(word) && strchr(word, '.')) {
            text_set(machine->driver, sizeof machine->driver, word);
            return;
        }
}

static void gpu_read(struct bench_machine *machine)
{
    glob_t found;

    if (has_cuda() && !strstr(machine->libraries, "libcudart.")) {
        text_set(machine->gpu, sizeof machine->gpu, "emulated");
        return;
    }
    driver_read(machine);
    if (glob("/proc/driver/nvidia/gpus/*/information", 0, NULL, &found))
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char model[128] = "";

        line_read(found.gl_pathv[i], "Model:", ':', model, sizeof model);
        text_append(machine->gpu, sizeof machine->gpu, "; ", model);
    }
    globfree(&found);
}

void bench_machine_read(struct bench_machine *machine)
{
    *machine = (struct bench_machine){.commit = PAREIDOLIA_COMMIT, .cores = cores_count()};
    machine->memory_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    line_read("/proc/cpuinfo", "model name", ':', machine->cpu, sizeof machine->cpu);
    os_read(machine);
    libraries_read(machine);
    gpu_read(machine);
}
