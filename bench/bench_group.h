/* bench_group.h - groups of producer and consumer processes on their cores.
 *
 *     static void produce(bench_worker *w)
 *     {
 *         ... map the ring in w->ctx ...
 *         bench_start(w);                       // all start together
 *         for (uint64_t i = 0; i < w->messages; i++) {
 *             bench_fill(m, bytes, w->first + i);
 *             while (!push(m)) bench_idle(w);
 *         }
 *         bench_stop(w);                        // its part of the time ends
 *     }
 *     ... a consumer takes w->messages and adds bench_sum(m, bytes) to w->sum
 *     const bench_group g = { produce, consume, 1, 1, ring, bytes, n };
 *     const double ns = bench_group_run(&g);    // dies on a wrong sum
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_GROUP_H
#define SHMCOMM_BENCH_GROUP_H

#include "shmcomm_platform.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BENCH_MAX_WORKERS = 80, BENCH_LIMIT_S = 120, BENCH_SPINS = 16 };

/* One process of a group, in memory that all of them share.               */
typedef struct bench_worker {
    _Alignas(SHMC_LINE) void *ctx;  /* the group's                          */
    int index;                      /* 0.. on its side                      */
    int producer;                   /* else a consumer                      */
    int producers, consumers;
    uint64_t first, messages;       /* a producer's numbers; how many       */
    uint64_t sum;                   /* out: of all that a consumer took     */
    uint64_t start_ns, stop_ns;     /* by bench_start and bench_stop        */
    unsigned spins, crowded, pauses; /* of bench_idle                       */
} bench_worker;

typedef struct bench_group {
    void (*produce)(bench_worker *w), (*consume)(bench_worker *w);
    int producers, consumers;       /* 0: one                               */
    void *ctx;
    unsigned bytes;                 /* of a message; 0: sums are not checked */
    uint64_t messages;              /* of all producers together            */
    int everyone;                   /* each consumer takes all messages     */
} bench_group;

typedef struct bench_stage {        /* shared by a program and its groups   */
    uint32_t ready, members, failed;
    char message[200];              /* of the first to fail                 */
    bench_worker worker[BENCH_MAX_WORKERS];
} bench_stage;

static bench_stage *bench_the_stage;
static const bench_worker *bench_me;    /* in a worker                      */
static char bench_round_name[160];      /* of what runs, for messages       */
static unsigned bench_pauses = 1;       /* of bench_idle, in what runs      */

/* End the run, as a failure, from any of its processes.                   */
static inline void
bench_die(const char *what)
{
    bench_stage *const stage = bench_the_stage;

    if (bench_me == NULL || stage == NULL) {
        fflush(stdout);
        fprintf(stderr, "bench: %s%s%s\n", bench_round_name,
                bench_round_name[0] != '\0' ? ": " : "", what);
        exit(1);
    }
    if (shmi_faa_32(&stage->failed, 1) == 0)
        snprintf(stage->message, sizeof stage->message,
                 "%s %d: %.150s", bench_me->producer ? "producer" : "consumer",
                 bench_me->index, what);
    _exit(1);
}

/* ---- cores ------------------------------------------------------------- */

/* How many cores the program was started on; run on the nth of them.      */
static inline int
bench_pin(int nth)
{
    static cpu_set_t all;           /* as it was before the first pinning   */
    static int count;
    cpu_set_t one;
    int seen = 0;

    if (count == 0 && sched_getaffinity(0, sizeof all, &all) != 0)
        bench_die("no affinity");
    count = CPU_COUNT(&all);
    if (nth < 0) return count;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        if (seen++ != nth % count) continue;
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0)
            bench_die("cannot run on the chosen core");
        break;
    }
    return count;
}

static inline int
bench_cores(void)
{
    return bench_pin(-1);
}

/* Memory that forked children share, its pages mapped.                    */
static inline void *
bench_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) bench_die("no memory");
    return p;
}

/* ---- messages ---------------------------------------------------------- */

/* Every word of a message is written and read; `bytes` is a multiple of 8,
 * and best a constant.                                                    */
static inline void
bench_fill(void *message, size_t bytes, uint64_t number)
{
    uint64_t *const word = message;

    for (size_t w = 0; w < bytes / 8; w++) word[w] = number + w;
}

static inline uint64_t
bench_sum(const void *message, size_t bytes)
{
    const uint64_t *const word = message;
    uint64_t sum = 0;

    for (size_t w = 0; w < bytes / 8; w++) sum += word[w];
    return sum;
}

/* What bench_sum over messages 0..n-1 comes to.                           */
static inline uint64_t
bench_expected_sum(size_t bytes, uint64_t n)
{
    const uint64_t words = bytes / 8, pairs = words * (words - 1) / 2;
    const uint64_t numbers = n % 2 ? (n - 1) / 2 * n : n / 2 * (n - 1);

    return words * numbers + n * pairs;
}

/* ---- workers ----------------------------------------------------------- */

/* Between two tries: as many pauses of the CPU as the case says, or, where
 * processes are more than cores, the core for another after a few.  The same
 * for every subject of a work: who looks less often finds more at once, which
 * moves more messages, later.                                             */
static inline void
bench_idle(bench_worker *w)
{
    if (w->crowded && ++w->spins % BENCH_SPINS == 0) shmi_yield();
    else for (unsigned i = 0; i < w->pauses; i++) shmi_relax();
}

/* Wait until every worker is here, then begin to count the time.          */
static inline void
bench_start(bench_worker *w)
{
    bench_stage *const s = bench_the_stage;

    (void)shmi_faa_32(&s->ready, 1);
    while (shmi_load_acq_32(&s->ready) < s->members) shmi_yield();
    w->start_ns = shmi_now_ns();
}

static inline void
bench_stop(bench_worker *w)
{
    w->stop_ns = shmi_now_ns();
}

static inline void
bench_work(const bench_group *g, bench_worker *w, int core)
{
    bench_me = w;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(BENCH_LIMIT_S);           /* a hang is a failure                  */
    bench_pin(core);
    (w->producer ? g->produce : g->consume)(w);
    if (w->stop_ns == 0) bench_stop(w);
    _exit(0);
}

/* Reap the workers; if one fails, kill the others and say why.            */
static inline void
bench_reap(bench_stage *s, const pid_t *pid, int n)
{
    char text[256];
    int status = 0;

    for (int left = n; left > 0; left--) {
        const pid_t gone = waitpid(-1, &status, 0);

        if (gone < 0) bench_die("waitpid failed");
        if (status == 0) continue;
        for (int i = 0; i < n; i++)
            if (pid[i] != gone) kill(pid[i], SIGKILL);
        while (--left > 0) (void)waitpid(-1, NULL, 0);
        if (s->message[0] != '\0')
            bench_die(s->message);
        if (WIFSIGNALED(status))
            snprintf(text, sizeof text, "a process died of signal %d%s",
                     WTERMSIG(status),
                     WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
        else
            snprintf(text, sizeof text, "a process ended with status %d",
                     WEXITSTATUS(status));
        bench_die(text);
    }
}

static inline void
bench_group_check(const bench_group *g, const bench_stage *s, int producers,
                  int consumers)
{
    uint64_t sum = 0, want = bench_expected_sum(g->bytes, g->messages);

    for (int i = 0; i < producers + consumers; i++)
        if (!s->worker[i].producer) sum += s->worker[i].sum;
    if (g->everyone) want *= (uint64_t)consumers;
    if (g->bytes != 0 && sum != want)
        bench_die("wrong checksum: messages were lost, doubled or torn");
}

/* Run a group and return the time from the first start to the last stop.
 * The kth process, of producer 0, consumer 0, producer 1 ..., runs on core k
 * modulo the cores; each side has its share of the messages.              */
static inline double
bench_group_run(const bench_group *g)
{
    const int producers = g->producers > 0 ? g->producers : 1;
    const int consumers = g->consumers > 0 ? g->consumers : 1;
    const int n = producers + consumers;
    int next[2] = { 0, 0 };         /* consumer, producer                   */
    uint64_t start = UINT64_MAX, stop = 0;
    pid_t pid[BENCH_MAX_WORKERS];

    if (bench_the_stage == NULL)
        bench_the_stage = bench_shared(sizeof *bench_the_stage);
    bench_stage *const s = bench_the_stage;
    if (n > BENCH_MAX_WORKERS) bench_die("too many processes");
    memset(s, 0, sizeof *s);
    s->members = (uint32_t)n;
    fflush(NULL);
    for (int k = 0; k < n; k++) {
        const int producer = next[1] < producers &&
                             (next[1] <= next[0] || next[0] == consumers);
        const uint64_t side = (uint64_t)(producer ? producers : consumers);
        bench_worker *const w = &s->worker[k];

        w->ctx = g->ctx;
        w->producer = producer;
        w->index = next[producer]++;
        w->producers = producers;
        w->consumers = consumers;
        w->crowded = n > bench_cores();
        w->pauses = bench_pauses;
        const uint64_t at = (uint64_t)w->index;
        w->first = g->messages * at / side;
        w->messages = g->messages * (at + 1) / side - w->first;
        if (!producer && g->everyone) w->first = 0, w->messages = g->messages;
        pid[k] = fork();
        if (pid[k] < 0) bench_die("fork failed");
        if (pid[k] == 0) bench_work(g, w, k);
    }
    bench_reap(s, pid, n);
    for (int k = 0; k < n; k++) {
        if (s->worker[k].start_ns < start) start = s->worker[k].start_ns;
        if (s->worker[k].stop_ns > stop) stop = s->worker[k].stop_ns;
    }
    bench_group_check(g, s, producers, consumers);
    return (double)(stop - start);
}

#endif /* SHMCOMM_BENCH_GROUP_H */
