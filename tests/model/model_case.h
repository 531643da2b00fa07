/* model_case.h - what a case of the model checker includes first, and how it
 * describes itself.
 *
 *     static const model_case cases[] = {
 *         { .name = "spsc_one", .state = &s, .state_bytes = sizeof s,
 *           .setup = setup, .thread = { producer, consumer },
 *           .check = check },
 *     };
 *     int main(int argc, char **argv) { return MODEL_MAIN(argc, argv, cases); }
 *
 * Manual: docs/model.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_CASE_H
#define SHMC_MODEL_CASE_H

#define SHMC_BACKEND_H "model/model.h"
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"

/* ---- limits ------------------------------------------------------------ */

enum {
    MODEL_THREADS = 8,
    MODEL_ARENA_BYTES = 1 << 16,    /* shared memory of a case              */
    MODEL_LOCATIONS = 256,          /* words of it that are ever used       */
    MODEL_STEPS = 8192,             /* of one execution                     */
    MODEL_STORES = 8192             /* of one execution                     */
};

/* What becomes of the victim, at each of its steps in turn.               */
enum { MODEL_NO_STOP = 0, MODEL_FREEZE = 1, MODEL_KILL = 2 };

/* ---- a case ------------------------------------------------------------ */

typedef struct model_case {
    const char *name;
    void  *state;                   /* private memory of all threads: zero  */
    size_t state_bytes;             /* before setup, and as setup left it   */
    void (*setup)(void *state);     /* before each execution; setup runs once */
    void (*thread[MODEL_THREADS])(void *state);
    void (*check)(void *state);     /* after each execution                 */
    uint32_t step_limit;            /* more is a failure [1000]             */
    uint32_t preemptions;           /* at most; 0 = any number              */
    uint32_t stop;                  /* MODEL_FREEZE or MODEL_KILL ...       */
    uint32_t victim;                /* ... this thread, at each step        */
    uint64_t executions;            /* then random ones [100000]; for each
                                       step at which the victim stops       */
    bool     timeouts;              /* waits with a deadline may time out   */
    bool     every_order;           /* without the reduction: much slower   */
    const char *fails_with;         /* a case that must fail: in its text   */
    uint64_t outcomes;              /* exactly these of model_outcome, bits */
} model_case;

/* Rows: cases of two, three and four threads on the state `s` of a file, and
 * what becomes of one of them.                                            */
#define MODEL_ROW(label, from, then, ...)                                     \
    .name = label, .state = &s, .state_bytes = sizeof s, .setup = from,       \
    .thread = { __VA_ARGS__ }, .check = then
#define PAIR(label, from, a, b, then) MODEL_ROW(label, from, then, a, b)
#define CASE(label, from, a, b, c, then) MODEL_ROW(label, from, then, a, b, c)
#define FOUR(label, from, a, b, c, d, then)                                   \
    MODEL_ROW(label, from, then, a, b, c, d)
#define FREEZES(who) .stop = MODEL_FREEZE, .victim = who
#define DIES(who) .stop = MODEL_KILL, .victim = who

#define MODEL_API static __attribute__((unused))

/* ---- what a case calls ------------------------------------------------- */

/* Shared memory, zero, 128-byte aligned; in setup only.                   */
MODEL_API void *model_alloc(size_t bytes);

/* Name a word for the schedules.  In setup only.                          */
#define model_name(word, name)                                                \
    model_name_word(word, (uint32_t)sizeof *(word), name)
MODEL_API void model_name_word(const void *word, uint32_t size,
                            const char *name);

/* Fail unless the condition holds.  In threads and checks.                */
#define model_require(cond)                                                   \
    do {                                                                      \
        if (!(cond)) model_fail("%s:%d: not so: %s", __FILE__, __LINE__,      \
                                #cond);                                       \
    } while (0)
__attribute__((format(printf, 1, 2)))
MODEL_API void model_fail(const char *format, ...);

/* Read and write shared bytes in place (loans, borrows): not atomic, checked
 * for data races.                                                         */
MODEL_API uint64_t model_read_64(const void *p);
MODEL_API void model_write_64(void *p, uint64_t v);

/* Which thread is running.                                                */
MODEL_API uint32_t model_self(void);

/* Wait until a thread ended; true if it was killed.  Everything that it did
 * happens before.  Not for a frozen one, which never ends.                */
MODEL_API bool model_await_end(uint32_t thread);

/* In check: did the thread come to its end, or was it stopped before?     */
MODEL_API bool model_ended(uint32_t thread);

/* Remember that 0..63 came out of this execution.                         */
MODEL_API void model_outcome(unsigned outcome);

/* A participant that is no thread of the case died before it began; else
 * those live.  In setup only.                                             */
MODEL_API void model_dead(uint32_t participant);

/* The kernel's answer to "does somebody else hold byte `offset`": is the
 * thread of that number alive.  Stands for shmi_lock_probe.               */
MODEL_API int model_lock_probe(int fd, uint64_t offset);

#define MODEL_MAIN(argc, argv, cases)                                         \
    model_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0]))
MODEL_API int model_main(int argc, char **argv, const model_case *cases,
                      size_t count);

#include "model_switch.h"
#include "model_memory.h"
#include "model_engine.h"
#include "model_shim.h"
#include "model_explore.h"
#include "model_main.h"

/* The headers that follow ask the model who is alive.                     */
#define shmi_lock_probe(fd, offset) model_lock_probe(fd, offset)

#endif /* SHMC_MODEL_CASE_H */
