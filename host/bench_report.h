/* What has been measured, for people and for programs: a table, CSV, or JSON. */
#ifndef PAREIDOLIA_BENCH_REPORT_H
#define PAREIDOLIA_BENCH_REPORT_H

#include "bench.h"
#include "bench_machine.h"

enum bench_format {
    BENCH_TABLE,
    BENCH_CSV, /* a row a result, with the machine's columns behind the result's */
    BENCH_JSON /* {"machine", "results", "profile"} */
};

/* A report with its format, layer and machine set is ready for results. */
struct bench_report {
    enum bench_format format;
    const char *layer; /* as --layer has it; borrowed */
    struct bench_machine machine;
    int count, room;
    struct bench_result *result; /* owned */
};

/* Takes result, and prints its row at once, so that what is measured is not lost with what is not; JSON is printed
 * at the end only. Returns 0, or -1 with an error where memory is short; result is then freed. */
int bench_report_add(struct bench_report *report, struct bench_result *result);

/* Prints what is left to be printed. Returns 0 or -1 with an error. */
int bench_report_end(const struct bench_report *report);
void bench_report_free(struct bench_report *report);

#endif
