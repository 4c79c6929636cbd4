/* Draws the progress of a dream. The time that is left is the time that has passed, times the ratio of the work:
 * an octave's work is its pixels times its steps, and a silent one has none. */
#include "progress.h"

#include "clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 20, LINE_MAX_BYTES = 256 };

void progress_init(struct progress *progress, bool quiet, const char *layer, double max_loss)
{
    const char *terminal = getenv("TERM");

    *progress = (struct progress){
        .quiet = quiet,
        .bar = !quiet && isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0,
        .layer = layer,
        .max_loss = max_loss,
        .begin = clock_seconds(),
        .begun_work = -1,
    };
}

/* Width of the terminal in characters. */
static int terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

/* Work in the octaves before `octave` and in `steps` steps of it, where every octave takes all of its steps. */
static double work_until(const struct dream_log *log, int octave, int64_t steps)
{
    double work = 0;

    for (int i = 0; i <= octave && i < log->octaves; i++) {
        const struct octave_log *o = &log->octave[i];
        double step = o->silent ? 0 : (double)o->height * (double)o->width;
        work += step * (double)(i < octave ? log->iterations : steps);
    }
    return work;
}

struct duration_text duration_text(double seconds)
{
    struct duration_text duration;
    int64_t whole = (int64_t)ceil(seconds);

    if (whole < 3600)
        snprintf(duration.text, sizeof duration.text, "%d:%02d", (int)(whole / 60), (int)(whole % 60));
    else
        snprintf(duration.text, sizeof duration.text, "%" PRId64 ":%02d:%02d", whole / 3600, (int)(whole / 60 % 60),
                 (int)(whole % 60));
    return duration;
}

/* Draws the line for an octave after its newest record. */
static void draw(const struct progress *progress, const struct dream_log *log, int octave)
{
    const struct octave_log *o = &log->octave[octave];
    double all = work_until(log, log->octaves, 0);
    double done = work_until(log, octave, o->steps);
    double share = all > 0 ? done / all : 1;
    char bar[BAR_CELLS + 1], line[LINE_MAX_BYTES], loss[48] = "", left[48] = "";

    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < (int)(share * BAR_CELLS) ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    if (o->steps)
        snprintf(loss, sizeof loss, ", loss %.4g", o->records[o->steps - 1].loss);
    if (done > progress->begun_work)
        snprintf(
            left, sizeof left, ", %s left",
            duration_text((clock_seconds() - progress->begin) * (all - done) / (done - progress->begun_work)).text);
    snprintf(line, sizeof line, "[%s] octave %d/%d (%" PRId64 "x%" PRId64 "), step %" PRId64 "/%d%s%s", bar,
             octave + 1, log->octaves, o->width, o->height, o->steps, log->iterations, loss, left);
    fprintf(stderr, "\r%.*s\033[K", terminal_columns() - 1, line); /* a full line would wrap and stay */
    fflush(stderr);
}

void progress_octave_begin(struct progress *progress, const struct dream_log *log, int octave)
{
    if (progress->begun_work < 0) {
        progress->begun_work = work_until(log, octave, log->octave[octave].steps);
        progress->begin = clock_seconds();
    }
    if (progress->bar && !log->octave[octave].silent)
        draw(progress, log, octave);
}

void progress_steps(struct progress *progress, const struct dream_log *log, int octave)
{
    if (progress->bar)
        draw(progress, log, octave);
}

void progress_octave_end(struct progress *progress, const struct dream_log *log, int octave)
{
    const struct octave_log *o = &log->octave[octave];

    if (progress->quiet)
        return;
    progress_clear(progress);
    fprintf(stderr, "octave %d/%d (%" PRId64 "x%" PRId64 "): ", octave + 1, log->octaves, o->width, o->height);
    if (o->silent) {
        fprintf(stderr, "too small for %s to be stimulated; left as it is\n", progress->layer);
        return;
    }
    int64_t taken = o->steps - o->stopped; /* the step that found the loss too high is not */
    fprintf(stderr, "%" PRId64 " %s, ", taken, taken == 1 ? "step" : "steps");
    if (o->stopped)
        fprintf(stderr, "ended by loss %.4g (at most %.4g), ", o->records[o->steps - 1].loss, progress->max_loss);
    else if (o->steps)
        fprintf(stderr, "loss %.4g, ", o->records[o->steps - 1].loss);
    fprintf(stderr, "%.1f s\n", o->seconds);
}

void progress_clear(const struct progress *progress)
{
    if (progress->bar)
        fputs("\r\033[K", stderr);
}
