/* Fibers: stacks of their own that a thread of the operating system enters and that go back to it in the middle of a
 * function. A fiber belongs to the thread that made it. AddressSanitizer is told of every change of stacks. */
#ifndef SOFTGPU_FIBER_H
#define SOFTGPU_FIBER_H

struct fiber;

/* A fiber that will run body(argument), which never returns. */
struct fiber *fiber_new(void (*body)(void *), void *argument);

/* Lets it begin anew, whatever it was in the middle of. */
void fiber_restart(struct fiber *fiber);

/* From the thread's own stack: goes on where the fiber left; returns when it leaves again. */
void fiber_enter(struct fiber *fiber);

/* From within: back to who entered. */
void fiber_leave(struct fiber *fiber);

#endif
