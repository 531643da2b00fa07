/* spsc_bench.c - shmc_spsc against references and other libraries.
 *
 * Throughput: one producer and one consumer, on a core each, that write and
 * read every word.  `place` works in the slots, `copy` through push and pop.
 * inplace is Lamport's ring with cached indices and slots 128 bytes apart,
 * inplace_dense the same without gaps, lamport the same with a copy each way.
 * Latency: half a round trip; `bare_line` is one word on a line each way.
 * It is taken twice: without a pause of the CPU between two looks, and with
 * one (latency_pause), as that decides how often a line is taken away from
 * a writer that is not done with it.
 *
 * usage: spsc_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_ring.h"
#include "peers.h"

enum { BATCH = 16, SPSC_BYTES = 18 << 20 };

typedef struct spsc_subject {
    void (*produce)(bench_worker *w), (*consume)(bench_worker *w);
    void (*make)(const struct spsc_subject *s);
    uint32_t bytes, slots;
} spsc_subject;

static void *memory[2];
static bench_samples *samples;

static void
spsc_plain_make(const spsc_subject *s)
{
    (void)s;
    for (int i = 0; i < 2; i++) memset(memory[i], 0, 2 * SHMC_LINE);
}

#if BENCH_HAS_CK
static void
spsc_ck_make(const spsc_subject *s)
{
    ck_ring_init(memory[0], s->slots);
}
#endif

static void
spsc_make(const spsc_subject *s)
{
    const shmc_spsc_desc desc = { .slot_bytes = s->bytes,
                                  .slot_count = s->slots };

    for (int i = 0; i < 2; i++)
        if (shmc_spsc_format(memory[i], SPSC_BYTES, &desc) != SHMC_OK)
            bench_die(shmc_last_error());
}

static void
spsc_open(shmc_spsc *q, int which, uint32_t role)
{
    if (shmc_spsc_map(q, memory[which], SPSC_BYTES, role) != SHMC_OK)
        bench_die(shmc_last_error());
}

/* Between two looks of a latency case, where bench_idle may be more.      */
static inline void
spsc_pause(const bench_worker *w)
{
    if (w->pauses > 1) shmi_relax();
}

/* ---- one set of subjects for each size --------------------------------- */

#define BYTES 8
#define SLOTS 1024
#define ID(x) x##_8
#include "spsc_subjects.h"
#define BYTES 32
#define SLOTS 1024
#define ID(x) x##_32
#include "spsc_subjects.h"
#define BYTES 64
#define SLOTS 1024
#define ID(x) x##_64
#include "spsc_subjects.h"
#define BYTES 256
#define SLOTS 1024
#define ID(x) x##_256
#include "spsc_subjects.h"
#define BYTES 1024
#define SLOTS 1024
#define ID(x) x##_1024
#include "spsc_subjects.h"
#define BYTES 4096
#define SLOTS 1024
#define ID(x) x##_4096
#include "spsc_subjects.h"
#define BYTES 65536
#define SLOTS 64
#define ID(x) x##_65536
#include "spsc_subjects.h"
#define BYTES 4194304
#define SLOTS 4
#define ID(x) x##_4194304
#include "spsc_subjects.h"

/* ---- rounds ------------------------------------------------------------ */

static void
throughput(bench_round *r)
{
    const spsc_subject *const s = r->c->arg;
    const bench_group g = { s->produce, s->consume, 1, 1, NULL, s->bytes,
                            r->messages, 0 };

    s->make(s);
    bench_rate(r, r->messages, bench_group_run(&g));
}

static void
trip(bench_round *r)
{
    const spsc_subject *const s = r->c->arg;
    const bench_group g = { s->produce, s->consume, 1, 1, NULL, 0,
                            r->messages, 0 };

    s->make(s);
    (void)bench_group_run(&g);
    bench_latency(r, samples, 2);
}

/* A bare line each way, looked at as the queues are.                      */
static void
line_ping(bench_worker *w)
{
    _Atomic uint64_t *const there = memory[0], *const back = memory[1];

    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        const uint64_t start = bench_ticks();
        atomic_store_explicit(there, i, memory_order_release);
        while (atomic_load_explicit(back, memory_order_acquire) != i)
            spsc_pause(w);
        bench_trip_sample(w, samples, i - 1, start);
    }
}

static void
line_pong(bench_worker *w)
{
    _Atomic uint64_t *const there = memory[0], *const back = memory[1];

    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        while (atomic_load_explicit(there, memory_order_acquire) != i)
            spsc_pause(w);
        atomic_store_explicit(back, i, memory_order_release);
    }
}

static const spsc_subject line = { line_ping, line_pong, spsc_plain_make, 0, 0 };

/* ---- the table --------------------------------------------------------- */

#define CASE(WORK, NAME, BYTES, SUBJECT, OURS)                                \
    { WORK, NAME, BYTES, throughput, .arg = &SUBJECT##_##BYTES, .ours = OURS }

#if BENCH_HAS_CK
#define CK(BYTES) CASE("copy", "ck_ring", BYTES, ck_ring, 0),
#else
#define CK(BYTES)
#endif
#if BENCH_HAS_BOOST
#define BOOST(BYTES)                                                          \
    { "copy", "boost_spsc", BYTES, bench_peer_throughput,                     \
      .arg = &peer_boost_spsc_##BYTES, .ours = 0 },
#else
#define BOOST(BYTES)
#endif

#define PLACE(BYTES)                                                          \
    CASE("place", "inplace", BYTES, inplace, 0),                              \
    CASE("place", "inplace_dense", BYTES, inplace_dense, 0),                  \
    CASE("place", "shmc_loan", BYTES, loan, 1),
#define COPY(BYTES)                                                           \
    CASE("copy", "lamport", BYTES, lamport, 0),                               \
    CK(BYTES)                                                                 \
    CASE("copy", "shmc_push", BYTES, push, 1),
#define BATCHES(BYTES)                                                        \
    CASE("place", "shmc_loan_16", BYTES, loan_n, 1),                          \
    CASE("copy", "shmc_push_16", BYTES, push_n, 1),
#define TRIP(NAME, BYTES, SUBJECT, OURS)                                      \
    { "latency", NAME, BYTES, trip, .arg = &SUBJECT, .ours = OURS,            \
      .slower = 80, .pauses = 1 },                                            \
    { "latency_pause", NAME, BYTES, trip, .arg = &SUBJECT, .ours = OURS,      \
      .slower = 80, .pauses = 2 }

static const bench_case table[] = {
    PLACE(8) COPY(8) BATCHES(8) BOOST(8)
    PLACE(32) COPY(32) BATCHES(32)
    PLACE(64) COPY(64) BATCHES(64) BOOST(64)
    PLACE(256) COPY(256) BATCHES(256)
    PLACE(1024) COPY(1024) BATCHES(1024)
    PLACE(4096) COPY(4096)
    PLACE(65536) COPY(65536)
    PLACE(4194304)
    TRIP("bare_line", 8, line, 0),
    TRIP("bare_line", 32, line, 0),
    TRIP("bare_line", 64, line, 0),
    TRIP("bare_line", 256, line, 0),
    TRIP("bare_line", 1024, line, 0),
    TRIP("shmc_push", 8, trip_8, 1),
    TRIP("shmc_push", 32, trip_32, 1),
    TRIP("shmc_push", 64, trip_64, 1),
    TRIP("shmc_push", 256, trip_256, 1),
    TRIP("shmc_push", 1024, trip_1024, 1),
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 9, .messages = 4000000 };

    bench_begin(&a, argc, argv);
    for (int i = 0; i < 2; i++) memory[i] = bench_shared(SPSC_BYTES);
    samples = bench_samples_new(1u << 17);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
