/* model_switch.h - coroutines: a stack for each modelled thread.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_SWITCH_H
#define SHMC_MODEL_SWITCH_H

enum { MODEL_STACK_BYTES = 1 << 17 };

#if defined(__x86_64__) || defined(__aarch64__)

typedef void *model_context;        /* its stack pointer                    */

/* Save the callee-saved registers and the stack in *from; go on in `to`.  */
void model_switch(model_context *from, model_context to);

#if defined(__x86_64__)
__asm__(".text\n"
        ".local model_switch\n"
        ".type model_switch, @function\n"
        "model_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size model_switch, . - model_switch\n");
enum { MODEL_FRAME_WORDS = 8, MODEL_FRAME_ENTRY = 6 };
#else
__asm__(".text\n"
        ".local model_switch\n"
        ".type model_switch, %function\n"
        "model_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n   stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n   stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n     stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n   ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n   ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n     ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size model_switch, . - model_switch\n");
enum { MODEL_FRAME_WORDS = 20, MODEL_FRAME_ENTRY = 11 };
#endif

/* Make a context that calls `entry`, which never returns.                 */
static void
model_context_make(model_context *c, void *stack, void (*entry)(void))
{
    uint64_t *top = (uint64_t *)(void *)((uint8_t *)stack + MODEL_STACK_BYTES);

    /* Two words above the frame keep the stack aligned as behind a call.  */
    top -= 2;
    top -= MODEL_FRAME_WORDS;
    for (int i = 0; i < MODEL_FRAME_WORDS; i++) top[i] = 0;
    top[MODEL_FRAME_ENTRY] = (uint64_t)(uintptr_t)entry;
    *c = top;
}

#else /* any other machine */

#include <ucontext.h>
typedef ucontext_t model_context;
#define model_switch(from, to) ((void)swapcontext(from, &(to)))

static void
model_context_make(model_context *c, void *stack, void (*entry)(void))
{
    (void)getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = MODEL_STACK_BYTES;
    c->uc_link = NULL;
    makecontext(c, entry, 0);
}

#endif

#endif /* SHMC_MODEL_SWITCH_H */
