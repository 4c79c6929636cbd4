/* What a timing must be read with: the machine and the libraries, as far as the system tells. */
#ifndef PAREIDOLIA_BENCH_MACHINE_H
#define PAREIDOLIA_BENCH_MACHINE_H

#include <stddef.h>

/* Texts are empty where nothing is known. */
struct bench_machine {
    char commit[64]; /* of the program's sources; "-dirty": and changes to them */
    char cpu[128];
    int cores;           /* that this process may run on */
    size_t memory_bytes; /* of the machine; 0: not known */
    char os[256];
    char gpu[256];   /* all that the driver lists; "emulated" where the program was built with one in software */
    char driver[64]; /* the GPU's */
    char libraries[512]; /* files that are loaded and that compute */
};

void bench_machine_read(struct bench_machine *machine);

#endif
