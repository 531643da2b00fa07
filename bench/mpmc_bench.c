/* mpmc_bench.c - shmc_mpmc against queues that no process may die in.
 *
 * Throughput of 8 and 64 bytes, one by one and in batches of 16, by 1 to 16
 * processes on each side: against the same ring without its intents
 * (mpmc_no_intents: generated from the header by BUILD), Vyukov's queue in
 * its natural layout and with cells of 128 bytes, ck_ring and Boost.
 *
 * usage: mpmc_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "bench/unsafe_mpmc.h"
#include "peers.h"

enum { BATCH = 16 };

typedef struct queue {              /* one way to use one of the two rings  */
    void (*format)(void *mem);
    void (*produce)(bench_worker *w), (*consume)(bench_worker *w);
} queue;

static void *memory;

/* Both sides of NAME, which is shmc_mpmc or unsafe_mpmc, one by one and in
 * batches, for messages of BYTES.                                         */
#define QUEUE(NAME, BYTES)                                                    \
    typedef struct NAME##_##BYTES##_message { uint64_t word[BYTES / 8]; }     \
        NAME##_##BYTES##_message;                                             \
    static void NAME##_##BYTES##_format(void *mem)                            \
    {                                                                         \
        const NAME##_desc d = { .slot_bytes = BYTES,                          \
                                .slot_count = BENCH_SLOTS };                  \
        if (NAME##_format(mem, BENCH_RING_BYTES, &d) != SHMC_OK)              \
            bench_die(shmc_last_error());                                     \
    }                                                                         \
    static void NAME##_##BYTES##_map(NAME *q, uint32_t role)                  \
    {                                                                         \
        if (NAME##_map(q, memory, BENCH_RING_BYTES, role) != SHMC_OK)         \
            bench_die(shmc_last_error());                                     \
    }                                                                         \
    static void NAME##_##BYTES##_push(bench_worker *w)                        \
    {                                                                         \
        NAME q;                                                               \
        NAME##_##BYTES##_map(&q, SHMC_PRODUCER);                              \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            NAME##_##BYTES##_message m;                                       \
            bench_fill(m.word, sizeof m, w->first + i);                       \
            while (NAME##_push(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);   \
        }                                                                     \
        bench_stop(w);                                                        \
        NAME##_close(&q);                                                     \
    }                                                                         \
    static void NAME##_##BYTES##_pop(bench_worker *w)                         \
    {                                                                         \
        NAME q;                                                               \
        uint64_t sum = 0;                                                     \
        NAME##_##BYTES##_map(&q, SHMC_CONSUMER);                              \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            NAME##_##BYTES##_message m;                                       \
            while (NAME##_pop(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);    \
            sum += bench_sum(m.word, sizeof m);                               \
        }                                                                     \
        bench_stop(w);                                                        \
        w->sum = sum;                                                         \
        NAME##_close(&q);                                                     \
    }                                                                         \
    static void NAME##_##BYTES##_push_n(bench_worker *w)                      \
    {                                                                         \
        NAME q;                                                               \
        NAME##_##BYTES##_message m[BATCH];                                    \
        NAME##_##BYTES##_map(&q, SHMC_PRODUCER);                              \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages;) {                              \
            const uint64_t left = w->messages - i;                            \
            const uint32_t n = left < BATCH ? (uint32_t)left : BATCH;         \
            for (uint32_t k = 0; k < n; k++)                                  \
                bench_fill(m[k].word, sizeof m[k], w->first + i + k);         \
            for (uint32_t k = 0; k < n;) {                                    \
                const int r = NAME##_push_n(&q, m + k, sizeof *m, n - k);     \
                if (r < 0) bench_idle(w);                                     \
                else k += (uint32_t)r;                                        \
            }                                                                 \
            i += n;                                                           \
        }                                                                     \
        bench_stop(w);                                                        \
        NAME##_close(&q);                                                     \
    }                                                                         \
    static void NAME##_##BYTES##_pop_n(bench_worker *w)                       \
    {                                                                         \
        NAME q;                                                               \
        NAME##_##BYTES##_message m[BATCH];                                    \
        uint64_t sum = 0;                                                     \
        NAME##_##BYTES##_map(&q, SHMC_CONSUMER);                              \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages;) {                              \
            const uint64_t left = w->messages - i;                            \
            const uint32_t n = left < BATCH ? (uint32_t)left : BATCH;         \
            const int r = NAME##_pop_n(&q, m, sizeof *m, n);                  \
            if (r < 0) bench_idle(w);                                         \
            for (int k = 0; k < r; k++) sum += bench_sum(m[k].word, sizeof *m);\
            if (r > 0) i += (uint64_t)r;                                      \
        }                                                                     \
        bench_stop(w);                                                        \
        w->sum = sum;                                                         \
        NAME##_close(&q);                                                     \
    }                                                                         \
    static const queue NAME##_##BYTES = { NAME##_##BYTES##_format,            \
        NAME##_##BYTES##_push, NAME##_##BYTES##_pop };                        \
    static const queue NAME##_##BYTES##_n = { NAME##_##BYTES##_format,        \
        NAME##_##BYTES##_push_n, NAME##_##BYTES##_pop_n }

QUEUE(shmc_mpmc, 8);
QUEUE(shmc_mpmc, 64);
QUEUE(unsafe_mpmc, 8);
QUEUE(unsafe_mpmc, 64);

static void
queue_round(bench_round *r)
{
    const queue *q = r->c->arg;
    const bench_group g = { q->produce, q->consume, r->c->producers,
                            r->c->consumers, NULL, r->c->bytes, r->messages, 0 };

    q->format(memory);
    bench_rate(r, r->messages, bench_group_run(&g));
}

/* ---- the run ----------------------------------------------------------- */

#define OURS(WORK, BYTES, NAME, P, C)                                         \
    { WORK, "shmc_mpmc" #NAME, BYTES, queue_round,                            \
      .arg = &shmc_mpmc_##BYTES##NAME, .producers = P, .consumers = C,        \
      .ours = 1 }
#define BARE(WORK, BYTES, NAME, P, C)                                         \
    { WORK, "mpmc_no_intents" #NAME, BYTES, queue_round,                      \
      .arg = &unsafe_mpmc_##BYTES##NAME, .producers = P, .consumers = C }
#define PEER(BYTES, NAME, P, C)                                               \
    { "throughput", #NAME, BYTES, bench_peer_throughput, .arg = &NAME,        \
      .producers = P, .consumers = C }
#if BENCH_HAS_CK
#define CK(BYTES, P, C) PEER(BYTES, peer_ck_mpmc_##BYTES, P, C),
#else
#define CK(BYTES, P, C)
#endif
#if BENCH_HAS_BOOST
#define BOOST(BYTES, P, C) PEER(BYTES, peer_boost_queue_##BYTES, P, C),
#else
#define BOOST(BYTES, P, C)
#endif
#define ALL_8(P, C)                                                           \
    OURS("throughput", 8, , P, C), BARE("throughput", 8, , P, C),             \
    OURS("throughput", 8, _n, P, C), CK(8, P, C) BOOST(8, P, C)               \
    PEER(8, ref_vyukov_8, P, C)
#define ALL_64(P, C)                                                          \
    OURS("throughput", 64, , P, C), BARE("throughput", 64, , P, C),           \
    OURS("throughput", 64, _n, P, C), CK(64, P, C) BOOST(64, P, C)            \
    PEER(64, ref_vyukov_64, P, C), PEER(64, ref_vyukov_padded_64, P, C)

static const bench_case table[] = {
    ALL_8(1, 1), ALL_8(2, 2), ALL_64(1, 1), ALL_64(2, 2),
    ALL_8(4, 4), ALL_8(1, 16), ALL_8(16, 1), ALL_8(16, 16),
    BARE("throughput", 8, _n, 1, 1), BARE("throughput", 64, _n, 1, 1)
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 1000000 };

    bench_begin(&a, argc, argv);
    memory = bench_shared(BENCH_RING_BYTES);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
