/* What a planner of memory must know of the host: how much is left, how much this process holds, and sizes as
 * people write them. Says what the system says; reserves and limits nothing. */
#ifndef PAREIDOLIA_MEMORY_H
#define PAREIDOLIA_MEMORY_H

#include <stddef.h>

/* Bytes that this process can still take without swapping: the least of what the machine has available, what every
 * cgroup above the process leaves (file cache that can be dropped counted as free), and what its limit of address
 * space leaves. SIZE_MAX where nothing of that can be read. Memory that was allocated and not yet touched still
 * counts as available. */
size_t memory_available(void);

/* That, less a sixteenth, which is left to everything else: what may be planned with. */
size_t memory_spare(void);

/* What memory_available says, from root/proc and root/sys instead of /proc and /sys; for tests. */
size_t memory_available_under(const char *root);

/* Bytes of this process in memory, now and at most so far; 0 where the system does not say. */
size_t memory_resident(void);
size_t memory_peak(void);

struct bytes_text {
    char text[32];
};

/* "24.31 GB", "512.3 MB"; these are powers of 1000. */
struct bytes_text bytes_text(size_t bytes);

/* Reads a size as GNU's tools do: "6G" and "6GiB" are 6 * 1024^3 bytes, "6GB" is 6 * 1000^3, "1000000000" is bytes;
 * so for K, M, G, T, in capitals or not, and with decimals ("1.5g"), rounded down to whole bytes. Returns 0, or -1
 * with an error that begins with "must be", for the caller to put the name and text before; *bytes is then as it
 * was. */
int bytes_parse(const char *text, size_t *bytes);

#endif
