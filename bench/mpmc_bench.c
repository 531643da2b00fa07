/* mpmc_bench.c - shmc_mpmc against queues that no process may die in.
 *
 * Throughput of 8 and 64 bytes, one by one and in batches of 16, by 1 to 16
 * processes on each side, and latency (half of a round trip through two
 * queues): against the same ring without its intents (mpmc_no_intents:
 * generated from the header by BUILD), Vyukov's queue in its natural layout
 * and with cells of 128 bytes, ck_ring, Boost, and a bare line.
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

/* ---- there and back ---------------------------------------------------- */

static void *memory_back;
static bench_samples *samples;

/* This side's handles of the queues there and back: *out to push, *in to pop. */
static void
trip_map(shmc_mpmc *out, shmc_mpmc *in, void *to, void *from)
{
    if (shmc_mpmc_map(out, to, BENCH_RING_BYTES, SHMC_PRODUCER) != SHMC_OK ||
        shmc_mpmc_map(in, from, BENCH_RING_BYTES, SHMC_CONSUMER) != SHMC_OK)
        bench_die(shmc_last_error());
}

static void
trip_ping(bench_worker *w)
{
    shmc_mpmc out, in;
    trip_map(&out, &in, memory, memory_back);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        uint64_t got = 0;
        const uint64_t start = bench_ticks();
        while (shmc_mpmc_push(&out, &i, sizeof i) != SHMC_OK) { }
        while (shmc_mpmc_pop(&in, &got, sizeof got) != SHMC_OK) { }
        bench_trip_sample(w, samples, i, start);
        if (got != i) bench_die("another message came back");
    }
}

static void
trip_pong(bench_worker *w)
{
    shmc_mpmc out, in;
    trip_map(&out, &in, memory_back, memory);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        uint64_t got = 0;
        while (shmc_mpmc_pop(&in, &got, sizeof got) != SHMC_OK) { }
        while (shmc_mpmc_push(&out, &got, sizeof got) != SHMC_OK) { }
    }
}

static void
trip_round(bench_round *r)
{
    const bench_group g = { trip_ping, trip_pong, 1, 1, NULL, 0, r->messages, 0 };

    shmc_mpmc_8_format(memory);
    shmc_mpmc_8_format(memory_back);
    (void)bench_group_run(&g);
    bench_latency(r, samples, 2);
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
    BARE("throughput", 8, _n, 1, 1), BARE("throughput", 64, _n, 1, 1),
    { "latency", "shmc_mpmc", 8, trip_round, .ours = 1, .slower = 10 },
    { "latency", "ref_vyukov_8", 8, bench_peer_trip, .arg = &ref_vyukov_8,
      .slower = 10 },
    { "latency", "bare_line", 8, bench_peer_trip, .arg = &ref_line,
      .slower = 10 }
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 1000000 };

    bench_begin(&a, argc, argv);
    memory = bench_shared(BENCH_RING_BYTES);
    memory_back = bench_shared(BENCH_RING_BYTES);
    samples = bench_samples_new(1u << 20);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
