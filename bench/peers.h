/* peers.h - other rings, as subjects: references written for the comparison
 * (ref_rings.h), ConcurrencyKit's ck_ring and Boost.Lockfree's queues.
 *
 *     { "throughput", "boost_queue", 64, bench_peer_throughput,
 *       .arg = &peer_boost_queue_64, .producers = 2, .consumers = 2 },
 *     { "latency", "bare_line", 64, bench_peer_trip, .arg = &ref_line,
 *       .slower = 40 },
 *
 * Each has BENCH_SLOTS slots and a loop of its own, inlined by its own
 * compiler, that writes and reads every word of every message.  The peers
 * from Debian's packages are there if BENCH_HAS_CK and BENCH_HAS_BOOST are 1;
 * `bench/run` installs both.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_PEERS_H
#define SHMCOMM_BENCH_PEERS_H

#include "bench.h"
#include "peer_boost.h"

enum { BENCH_SLOTS = PEER_BOOST_SLOTS, BENCH_RING_BYTES = 1 << 20 };

typedef struct bench_peer {         /* for one size of messages             */
    unsigned bytes;
    void (*make)(void *ring);       /* in zeroed memory                     */
    void (*produce)(bench_worker *w), (*consume)(bench_worker *w);
    void (*ping)(bench_worker *w), (*pong)(bench_worker *w);
} bench_peer;

typedef struct bench_peer_rings {   /* what w->ctx of these functions is    */
    void *there, *back;             /* back: only for ping and pong         */
    bench_samples *samples;         /* out of ping, in ticks                */
} bench_peer_rings;

/* ---- rounds ------------------------------------------------------------ */

static inline bench_peer_rings *
bench_peer_rings_get(const bench_peer *p)
{
    static bench_peer_rings rings;

    if (rings.there == NULL) {
        rings.there = bench_shared(BENCH_RING_BYTES);
        rings.back = bench_shared(BENCH_RING_BYTES);
        rings.samples = bench_samples_new(1u << 20);
    }
    memset(rings.there, 0, BENCH_RING_BYTES);
    memset(rings.back, 0, BENCH_RING_BYTES);
    p->make(rings.there);
    p->make(rings.back);
    return &rings;
}

/* One round of a case whose arg is a bench_peer: messages by the second.  */
static inline void
bench_peer_throughput(bench_round *r)
{
    const bench_peer *const p = r->c->arg;
    const bench_group g = { p->produce, p->consume, r->c->producers,
        r->c->consumers, bench_peer_rings_get(p), p->bytes, r->messages, 0 };

    bench_rate(r, r->messages, bench_group_run(&g));
}

/* One round of such a case: half of a round trip through two rings.       */
static inline void
bench_peer_trip(bench_round *r)
{
    const bench_peer *const p = r->c->arg;
    bench_peer_rings *const rings = bench_peer_rings_get(p);
    const bench_group g = { p->ping, p->pong, 1, 1, rings, 0, r->messages, 0 };

    (void)bench_group_run(&g);
    bench_latency(r, rings->samples, 2);
}

/* The first tenth of the round trips warms up.                            */
static inline void
bench_trip_sample(bench_worker *w, bench_samples *s, uint64_t i, uint64_t start)
{
    const uint64_t ticks = bench_ticks() - start;

    if (i >= w->messages / 10) bench_sample(s, ticks);
}

/* ---- loops ------------------------------------------------------------- */

/* Define the bench_peer ID from
 *   bool ID_push(RING *, LOCAL *, uint64_t number)   false: full
 *   bool ID_pop(RING *, LOCAL *, uint64_t *sum)      false: empty
 * where a LOCAL of each side begins as zeros.                             */
#define BENCH_PEER(ID, BYTES, RING, LOCAL, MAKE)                              \
    static void ID##_produce(bench_worker *w)                                 \
    {                                                                         \
        RING *const q = ((bench_peer_rings *)w->ctx)->there;                  \
        LOCAL me;                                                             \
        memset(&me, 0, sizeof me);                                            \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++)                            \
            while (!ID##_push(q, &me, w->first + i)) bench_idle(w);           \
        bench_stop(w);                                                        \
    }                                                                         \
    static void ID##_consume(bench_worker *w)                                 \
    {                                                                         \
        RING *const q = ((bench_peer_rings *)w->ctx)->there;                  \
        uint64_t sum = 0;                                                     \
        LOCAL me;                                                             \
        memset(&me, 0, sizeof me);                                            \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++)                            \
            while (!ID##_pop(q, &me, &sum)) bench_idle(w);                    \
        bench_stop(w);                                                        \
        w->sum = sum;                                                         \
    }                                                                         \
    static void ID##_ping(bench_worker *w)                                    \
    {                                                                         \
        bench_peer_rings *const rings = w->ctx;                               \
        RING *const out = rings->there, *const in = rings->back;              \
        uint64_t sum = 0;                                                     \
        LOCAL me[2];                                                          \
        memset(me, 0, sizeof me);                                             \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            const uint64_t start = bench_ticks();                             \
            while (!ID##_push(out, &me[0], i)) { }                            \
            while (!ID##_pop(in, &me[1], &sum)) { }                           \
            bench_trip_sample(w, rings->samples, i, start);                   \
        }                                                                     \
        if (sum != bench_expected_sum(BYTES, w->messages))                    \
            bench_die("wrong checksum of the round trips");                   \
    }                                                                         \
    static void ID##_pong(bench_worker *w)                                    \
    {                                                                         \
        bench_peer_rings *const rings = w->ctx;                               \
        RING *const out = rings->back, *const in = rings->there;              \
        uint64_t sum = 0;                                                     \
        LOCAL me[2];                                                          \
        memset(me, 0, sizeof me);                                             \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            while (!ID##_pop(in, &me[1], &sum)) { }                           \
            while (!ID##_push(out, &me[0], i)) { }                            \
        }                                                                     \
        if (sum != bench_expected_sum(BYTES, w->messages))                    \
            bench_die("wrong checksum of the round trips");                   \
    }                                                                         \
    static const bench_peer ID __attribute__((unused)) = { BYTES, MAKE,       \
        ID##_produce, ID##_consume, ID##_ping, ID##_pong }

#include "ref_rings.h"

/* ---- ConcurrencyKit ---------------------------------------------------- */

#if defined(__has_include)
#if __has_include(<ck_ring.h>)
#define BENCH_HAS_CK 1
#endif
#endif
#if !defined(BENCH_HAS_CK) && BENCH_PEERS
#error "no <ck_ring.h>: install libck-dev"
#endif

#if BENCH_HAS_CK
#include <ck_ring.h>

typedef struct peer_ck_none { char none; } peer_ck_none;

static inline void
peer_ck_make(void *ring)
{
    ck_ring_init(ring, BENCH_SLOTS);
}

/* The indices, then, on lines of their own, the slots.                    */
#define PEER_CK_SLOTS(q) ((void *)((char *)(q) + 2 * SHMC_LINE))
_Static_assert(sizeof(ck_ring_t) <= 2 * SHMC_LINE, "ck_ring_t has room");

/* 8 bytes travel as ck_ring's own pointers, 64 as structs by value, by the
 * functions that CK_RING_PROTOTYPE makes.  KIND is spsc or mpmc.          */
#define PEER_CK_8(KIND)                                                       \
    static inline bool                                                        \
    peer_ck_##KIND##_8_push(ck_ring_t *q, peer_ck_none *me, uint64_t number)  \
    {                                                                         \
        (void)me;                                                             \
        return ck_ring_enqueue_##KIND(q, PEER_CK_SLOTS(q),                    \
                                      (void *)(uintptr_t)number);             \
    }                                                                         \
    static inline bool                                                        \
    peer_ck_##KIND##_8_pop(ck_ring_t *q, peer_ck_none *me, uint64_t *sum)     \
    {                                                                         \
        void *value = NULL;                                                   \
        (void)me;                                                             \
        if (!ck_ring_dequeue_##KIND(q, PEER_CK_SLOTS(q), &value)) return false;\
        *sum += (uintptr_t)value;                                             \
        return true;                                                          \
    }                                                                         \
    BENCH_PEER(peer_ck_##KIND##_8, 8, ck_ring_t, peer_ck_none, peer_ck_make)

struct peer_ck_message { uint64_t word[8]; };
CK_RING_PROTOTYPE(bench, peer_ck_message)

#define PEER_CK_64(KIND)                                                      \
    static inline bool                                                        \
    peer_ck_##KIND##_64_push(ck_ring_t *q, peer_ck_none *me, uint64_t number) \
    {                                                                         \
        struct peer_ck_message m;                                             \
        (void)me;                                                             \
        bench_fill(m.word, sizeof m.word, number);                            \
        return ck_ring_enqueue_##KIND##_bench(q, PEER_CK_SLOTS(q), &m);       \
    }                                                                         \
    static inline bool                                                        \
    peer_ck_##KIND##_64_pop(ck_ring_t *q, peer_ck_none *me, uint64_t *sum)    \
    {                                                                         \
        struct peer_ck_message m;                                             \
        (void)me;                                                             \
        if (!ck_ring_dequeue_##KIND##_bench(q, PEER_CK_SLOTS(q), &m))         \
            return false;                                                     \
        *sum += bench_sum(m.word, sizeof m.word);                             \
        return true;                                                          \
    }                                                                         \
    BENCH_PEER(peer_ck_##KIND##_64, 64, ck_ring_t, peer_ck_none, peer_ck_make)

PEER_CK_8(spsc);
PEER_CK_64(spsc);
PEER_CK_8(mpmc);
PEER_CK_64(mpmc);
#endif /* BENCH_HAS_CK */

/* ---- Boost.Lockfree ---------------------------------------------------- */

#if BENCH_HAS_BOOST
static void
peer_boost_idle(void *worker)
{
    bench_idle(worker);
}

/* The loops are in peer_boost.cc.                                         */
#define PEER_BOOST(KIND, BYTES)                                               \
    static void peer_boost_##KIND##_##BYTES##_produce(bench_worker *w)        \
    {                                                                         \
        bench_start(w);                                                       \
        boost_##KIND##_##BYTES##_produce(((bench_peer_rings *)w->ctx)->there, \
            w->first, w->messages, peer_boost_idle, w);                       \
        bench_stop(w);                                                        \
    }                                                                         \
    static void peer_boost_##KIND##_##BYTES##_consume(bench_worker *w)        \
    {                                                                         \
        bench_start(w);                                                       \
        w->sum = boost_##KIND##_##BYTES##_consume(                            \
            ((bench_peer_rings *)w->ctx)->there, w->messages,                 \
            peer_boost_idle, w);                                              \
        bench_stop(w);                                                        \
    }                                                                         \
    static void peer_boost_##KIND##_##BYTES##_ping(bench_worker *w)           \
    {                                                                         \
        bench_peer_rings *const rings = w->ctx;                               \
        uint64_t sum = 0;                                                     \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            const uint64_t start = bench_ticks();                             \
            boost_##KIND##_##BYTES##_produce(rings->there, i, 1, NULL, NULL); \
            sum += boost_##KIND##_##BYTES##_consume(rings->back, 1, NULL,     \
                                                    NULL);                    \
            bench_trip_sample(w, rings->samples, i, start);                   \
        }                                                                     \
        if (sum != bench_expected_sum(BYTES, w->messages))                    \
            bench_die("wrong checksum of the round trips");                   \
    }                                                                         \
    static void peer_boost_##KIND##_##BYTES##_pong(bench_worker *w)           \
    {                                                                         \
        bench_peer_rings *const rings = w->ctx;                               \
        bench_start(w);                                                       \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            (void)boost_##KIND##_##BYTES##_consume(rings->there, 1, NULL,     \
                                                   NULL);                     \
            boost_##KIND##_##BYTES##_produce(rings->back, i, 1, NULL, NULL);  \
        }                                                                     \
    }                                                                         \
    static void peer_boost_##KIND##_##BYTES##_make(void *ring)                \
    {                                                                         \
        if (boost_##KIND##_##BYTES##_make(ring) > BENCH_RING_BYTES)           \
            bench_die("boost: the queue is larger than its memory");          \
    }                                                                         \
    static const bench_peer peer_boost_##KIND##_##BYTES                       \
        __attribute__((unused)) = { BYTES, peer_boost_##KIND##_##BYTES##_make,\
        peer_boost_##KIND##_##BYTES##_produce,                                \
        peer_boost_##KIND##_##BYTES##_consume,                                \
        peer_boost_##KIND##_##BYTES##_ping, peer_boost_##KIND##_##BYTES##_pong }

PEER_BOOST(spsc, 8);
PEER_BOOST(spsc, 64);
PEER_BOOST(queue, 8);
PEER_BOOST(queue, 64);
#endif /* BENCH_HAS_BOOST */

#endif /* SHMCOMM_BENCH_PEERS_H */
