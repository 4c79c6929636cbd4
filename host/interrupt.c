/* Notes that the program is to end. What follows from it is the caller's, outside the handler; only who cannot wait
 * and asks again gets an end without one, but for files that are half written. */
#include "interrupt.h"

#include "output.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested;

static void note_request(int signal_number)
{
    if (requested) {
        output_remove_all();
        signal(signal_number, SIG_DFL);
        raise(signal_number); /* takes effect when this returns */
        return;
    }
    requested = 1;
}

void interrupt_catch(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_handler = note_request, .sa_flags = SA_RESTART};
        struct sigaction inherited;
        if (sigaction(signals[i], NULL, &inherited) || inherited.sa_handler == SIG_IGN)
            continue;
        sigemptyset(&action.sa_mask);
        for (size_t j = 0; j < sizeof signals / sizeof *signals; j++)
            sigaddset(&action.sa_mask, signals[j]); /* one after another, so that only one finds itself the first */
        sigaction(signals[i], &action, NULL);
    }
}

bool interrupt_requested(void)
{
    return requested;
}
