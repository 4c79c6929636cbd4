/* Ctrl-C and its kin, for commands that have something to tidy up. */
#ifndef PAREIDOLIA_INTERRUPT_H
#define PAREIDOLIA_INTERRUPT_H

#include <stdbool.h>

/* From now on the first SIGINT, SIGTERM or SIGHUP is only noted; a second one ends the program at once, but
 * for the removal of files that are half written (output.h). Signals that the parent has chosen to ignore (nohup)
 * stay ignored. */
void interrupt_catch(void);

/* Whether one has come. */
bool interrupt_requested(void);

#endif
