/* What a trial's outputs must be, computed from its inputs by the textbook and without any device. Shares no
 * formula with the reference device: gradients are scattered where that gathers, bilinear weights are hat
 * functions. */
#ifndef PAREIDOLIA_TESTS_ORACLE_H
#define PAREIDOLIA_TESTS_ORACLE_H

#include "trial.h"

/* expected[slot] has room for the elements of each written operand; state for STEPS records. */
void oracle_fill(struct trial *trial, double *expected[SLOTS], struct ascent *state);

#endif
