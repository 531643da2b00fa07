/* pushpull_bench.c - PUSH/PULL sockets against the queue that they stand on.
 *
 * Throughput of 64 bytes by copy, with one worker and with two: a queue whose
 * longest message has 64 bytes, one of 16384 (cells of 128 bytes), one that
 * wakes by membarrier, and one dealt by turns, against shmc_mpmc with and
 * without bells, and with its own waiting calls.  And of 1 MiB written and
 * read in place, against loan and borrow of shmc_mpmc.
 *
 * usage: pushpull_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"
#include "peers.h"

enum { LARGE = 1 << 20, LARGE_SLOTS = 4, MEMORY = (LARGE_SLOTS + 1) * LARGE };

typedef struct way {                /* one way to use a queue               */
    uint32_t max_bytes, wake, waitable, turns;
    void (*produce)(bench_worker *w), (*consume)(bench_worker *w);
} way;

static void *memory;
static char name[64];
static const way *the;

typedef struct message { uint64_t word[8]; } message;

static void
must(int r)
{
    if (r < 0) bench_die(shmc_last_error());
}

/* Messages a second, or of large ones what they hold.                       */
static void
tell(bench_round *r, double ns)
{
    if (r->c->bytes == LARGE)
        bench_report(r, "GB/s", (double)r->messages * LARGE / ns);
    else
        bench_rate(r, r->messages, ns);
}

/* ---- the queue -------------------------------------------------------------- */

static void
mpmc_map(shmc_mpmc *q, uint32_t role)
{
    must(shmc_mpmc_map(q, memory, MEMORY, role));
}

/* Try again and again, or wait as the sockets wait.                        */
static inline void
mpmc_produce(bench_worker *w, bool waits)
{
    shmc_mpmc q;

    mpmc_map(&q, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        bench_fill(m.word, sizeof m, w->first + i);
        if (waits) must(shmc_mpmc_push_wait(&q, &m, sizeof m, -1));
        else while (shmc_mpmc_push(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
    }
    bench_stop(w);
    shmc_mpmc_close(&q);
}

static inline void
mpmc_consume(bench_worker *w, bool waits)
{
    shmc_mpmc q;
    uint64_t sum = 0;

    mpmc_map(&q, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        if (waits) must(shmc_mpmc_pop_wait(&q, &m, sizeof m, -1));
        else while (shmc_mpmc_pop(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
        sum += bench_sum(m.word, sizeof m);
    }
    bench_stop(w);
    w->sum = sum;
    shmc_mpmc_close(&q);
}

static void mpmc_push(bench_worker *w) { mpmc_produce(w, false); }
static void mpmc_pop(bench_worker *w) { mpmc_consume(w, false); }
static void mpmc_push_wait(bench_worker *w) { mpmc_produce(w, true); }
static void mpmc_pop_wait(bench_worker *w) { mpmc_consume(w, true); }

static void
mpmc_commit(bench_worker *w)
{
    shmc_mpmc q;
    void *slot;

    mpmc_map(&q, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (shmc_mpmc_loan(&q, &slot) != SHMC_OK) bench_idle(w);
        bench_fill(slot, LARGE, w->first + i);
        shmc_mpmc_commit(&q);
    }
    bench_stop(w);
    shmc_mpmc_close(&q);
}

static void
mpmc_borrow(bench_worker *w)
{
    shmc_mpmc q;
    uint64_t sum = 0;
    const void *msg;

    mpmc_map(&q, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (shmc_mpmc_borrow(&q, &msg) != SHMC_OK) bench_idle(w);
        sum += bench_sum(msg, LARGE);
        shmc_mpmc_release(&q);
    }
    bench_stop(w);
    w->sum = sum;
    shmc_mpmc_close(&q);
}

static void
mpmc_round(bench_round *r)
{
    const way *y = the = r->c->arg;
    const shmc_mpmc_desc d = {
        .slot_bytes = y->max_bytes, .waitable = y->waitable,
        .slot_count = y->max_bytes == LARGE ? LARGE_SLOTS : BENCH_SLOTS };
    const bench_group g = { y->produce, y->consume, r->c->producers,
                            r->c->consumers, NULL, r->c->bytes, r->messages, 0 };

    must(shmc_mpmc_format(memory, MEMORY, &d));
    tell(r, bench_group_run(&g));
}

/* ---- the sockets -------------------------------------------------------------- */

static void
push_open(shmc_push *push)
{
    const shmc_push_desc d = {
        .max_bytes = the->max_bytes, .wake = the->wake,
        .round_robin = the->turns,
        .depth = the->max_bytes == LARGE ? LARGE_SLOTS : BENCH_SLOTS };

    must(shmc_push_open(push, name, &d));
}

/* Both sides begin when both are there.                                     */
static void
pull_open(shmc_pull *pull)
{
    int r;

    must(shmc_pull_open(pull, name, NULL));
    while ((r = shmc_pull_ready(pull)) == 0)
        shmi_sleep_until(shmi_now_ns() + SHMC_TOPIC_POLL_NS);
    must(r);
}

static void
socket_send(bench_worker *w)
{
    shmc_push push;

    push_open(&push);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        bench_fill(m.word, sizeof m, w->first + i);
        must(shmc_push_send(&push, &m, sizeof m, SHMC_FOREVER));
    }
    bench_stop(w);
    must(shmc_push_close(&push));
}

static void
socket_recv(bench_worker *w)
{
    shmc_pull pull;
    uint64_t sum = 0;

    pull_open(&pull);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        must(shmc_pull_recv(&pull, &m, sizeof m, SHMC_FOREVER));
        sum += bench_sum(m.word, sizeof m);
    }
    bench_stop(w);
    w->sum = sum;
    must(shmc_pull_close(&pull));
}

static void
socket_commit(bench_worker *w)
{
    shmc_push push;
    void *room;

    push_open(&push);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        must(shmc_push_loan(&push, LARGE, &room, SHMC_FOREVER));
        bench_fill(room, LARGE, w->first + i);
        must(shmc_push_commit(&push, LARGE));
    }
    bench_stop(w);
    must(shmc_push_close(&push));
}

static void
socket_borrow(bench_worker *w)
{
    shmc_pull pull;
    uint64_t sum = 0;
    const void *data;

    pull_open(&pull);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        must(shmc_pull_borrow(&pull, &data, SHMC_FOREVER));
        sum += bench_sum(data, LARGE);
        must(shmc_pull_release(&pull));
    }
    bench_stop(w);
    w->sum = sum;
    must(shmc_pull_close(&pull));
}

static void
socket_round(bench_round *r)
{
    const way *y = the = r->c->arg;
    const bench_group g = { y->produce, y->consume, r->c->producers,
                            r->c->consumers, NULL, r->c->bytes, r->messages, 0 };

    tell(r, bench_group_run(&g));
}

/* ---- the run -------------------------------------------------------------------- */

static const way plain = { 64, 0, 0, 0, mpmc_push, mpmc_pop };
static const way bells = { 64, 0, 1, 0, mpmc_push, mpmc_pop };
static const way waits = { 64, 0, 1, 0, mpmc_push_wait, mpmc_pop_wait };
static const way whole = { LARGE, 0, 1, 0, mpmc_commit, mpmc_borrow };
static const way exact = { 64, 0, 1, 0, socket_send, socket_recv };
static const way roomy = { 16384, 0, 1, 0, socket_send, socket_recv };
static const way quiet = { 64, SHMC_WAKE_ASYMMETRIC, 1, 0, socket_send,
                           socket_recv };
static const way dealt = { 64, 0, 1, 2, socket_send, socket_recv };
static const way large = { LARGE, 0, 1, 0, socket_commit, socket_borrow };

#define SOCKETS(NAME, WAY, P, C)                                              \
    { "throughput", NAME, 64, socket_round, .arg = &WAY, .producers = P,      \
      .consumers = C, .ours = 1 }
#define QUEUES(NAME, WAY, P, C)                                               \
    { "throughput", NAME, 64, mpmc_round, .arg = &WAY, .producers = P,        \
      .consumers = C }
#define ALL(P, C)                                                             \
    SOCKETS("push_pull", exact, P, C),                                        \
    SOCKETS("push_pull_16384", roomy, P, C),                                  \
    SOCKETS("push_pull_asymmetric", quiet, P, C),                             \
    SOCKETS("push_pull_by_turns", dealt, P, C),                               \
    QUEUES("shmc_mpmc_waits", waits, P, C),                                   \
    QUEUES("shmc_mpmc_bells", bells, P, C), QUEUES("shmc_mpmc", plain, P, C)

static const bench_case table[] = {
    ALL(1, 1), ALL(1, 2),
    { "in_place", "push_pull", LARGE, socket_round, .arg = &large,
      .producers = 1, .consumers = 1, .ours = 1, .slower = 4000 },
    { "in_place", "shmc_mpmc_bells", LARGE, mpmc_round, .arg = &whole,
      .producers = 1, .consumers = 1, .slower = 4000 }
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 1000000 };

    bench_begin(&a, argc, argv);
    snprintf(name, sizeof name, "bench/pushpull.%d", (int)getpid());
    memory = bench_shared(MEMORY);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
