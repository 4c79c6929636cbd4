/* How stacks are changed: a few instructions on x86-64, where ucontext would make two system calls each time; ucontext
 * elsewhere. */
#include "fiber.h"

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 256 << 10, GUARD_BYTES = 4096 };


static void fiber_main(struct fiber *fiber);

#ifdef __x86_64__

struct place {
    void *stack;
};

/* Keeps the registers that a function must not change on the stack, and the stack's place in *from; goes on at to. */
void softgpu_switch(struct place *from, struct place *to);
void softgpu_begin(void);

__asm__(".text\n"
        ".globl softgpu_switch\n"
        ".type softgpu_switch, @function\n"
        "softgpu_switch:\n"
        "pushq %rbp\n"
        "pushq %rbx\n"
        "pushq %r12\n"
        "pushq %r13\n"
        "pushq %r14\n"
        "pushq %r15\n"
        "movq %rsp, (%rdi)\n"
        "movq (%rsi), %rsp\n"
        "popq %r15\n"
        "popq %r14\n"
        "popq %r13\n"
        "popq %r12\n"
        "popq %rbx\n"
        "popq %rbp\n"
        "ret\n"
        ".size softgpu_switch, .-softgpu_switch\n"
        ".globl softgpu_begin\n"
        ".type softgpu_begin, @function\n"
        "softgpu_begin:\n" /* where a new fiber goes on: r12 holds the argument, rbx the function */
        "movq %r12, %rdi\n"
        "callq *%rbx\n"
        "ud2\n"
        ".size softgpu_begin, .-softgpu_begin\n");

static void place_init(struct place *place, char *stack, struct fiber *fiber)
{
    /* What softgpu_switch pops, and where it returns to; above that the stack must be aligned to 16 bytes, and two
     * zeros end it for whoever walks up. */
    enum { R15, R14, R13, R12, RBX, RBP, RETURN, WORDS = 9 };
    void **words = (void **)(void *)(stack + STACK_BYTES) - WORDS;

    for (int i = 0; i < WORDS; i++)
        words[i] = NULL;
    words[R12] = fiber;
    words[RBX] = (void *)(uintptr_t)fiber_main;
    words[RETURN] = (void *)(uintptr_t)softgpu_begin;
    place->stack = words;
}

#else

#include <ucontext.h>

struct place {
    ucontext_t context;
};

static void softgpu_switch(struct place *from, struct place *to)
{
    swapcontext(&from->context, &to->context);
}

/* makecontext hands over only ints. */
static void begin(unsigned high, unsigned low)
{
    fiber_main((struct fiber *)((uintptr_t)high << 16 << 16 | low));
}

static void place_init(struct place *place, char *stack, struct fiber *fiber)
{
    getcontext(&place->context);
    place->context.uc_stack.ss_sp = stack;
    place->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&place->context, (void (*)(void))begin, 2, (unsigned)((uintptr_t)fiber >> 16 >> 16),
                (unsigned)(uintptr_t)fiber);
}

#endif

struct fiber {
    struct place inside, outside;
    char *stack;
    void (*body)(void *);
    void *argument;
#ifdef __SANITIZE_ADDRESS__
    void *frames_inside, *frames_outside; /* AddressSanitizer's */
    const void *outside_bottom;
    size_t outside_bytes;
#endif
};

static void fiber_main(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &fiber->outside_bottom, &fiber->outside_bytes);
#endif
    fiber->body(fiber->argument);
}

struct fiber *fiber_new(void (*body)(void *), void *argument)
{
    struct fiber *fiber = host_alloc(sizeof *fiber);
    char *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE)) {
        perror("softgpu: no memory for the stack of a kernel's thread");
        abort();
    }
    fiber->stack = memory + GUARD_BYTES;
    fiber->body = body;
    fiber->argument = argument;
    fiber_restart(fiber);
    return fiber;
}

void fiber_restart(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(fiber->stack, STACK_BYTES);
#endif
    place_init(&fiber->inside, fiber->stack, fiber);
}

void fiber_enter(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fiber->frames_outside, fiber->stack, STACK_BYTES);
#endif
    softgpu_switch(&fiber->outside, &fiber->inside);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber->frames_outside, NULL, NULL);
#endif
}

void fiber_leave(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fiber->frames_inside, fiber->outside_bottom, fiber->outside_bytes);
#endif
    softgpu_switch(&fiber->inside, &fiber->outside);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber->frames_inside, &fiber->outside_bottom, &fiber->outside_bytes);
#endif
}
