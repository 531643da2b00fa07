/* ref_rings.h - the simplest rings that could be faster, as references.
 *
 *   lamport   one producer, one consumer, copying: each index on a line of its
 *             own, the other side's index last seen kept in private memory
 *   inplace   the same, but the message is made and read in its slot
 *   vyukov    many of each: a sequence number in each cell; 8 bytes in dense
 *             16-byte cells, 64 bytes in cells of 72 and of 128 bytes
 *   line      no ring: a word on one line each way, or both on one line
 *
 * None checks what it reads, knows of death, or can be waited on.  Further
 * sizes: REF_LAMPORT(bytes), REF_INPLACE(bytes, stride), REF_VYUKOV(name,
 * bytes, align) in the program that wants them.
 *
 * Included by peers.h.
 * Source  Lamport 1983; D. Vyukov, "Bounded MPMC queue"; code of our own.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_REF_RINGS_H
#define SHMCOMM_BENCH_REF_RINGS_H

#include <stdalign.h>
#include <stdatomic.h>

typedef struct ref_indices {
    alignas(SHMC_LINE) _Atomic uint64_t tail;   /* W producer               */
    alignas(SHMC_LINE) _Atomic uint64_t head;   /* W consumer               */
    alignas(SHMC_LINE) char slots[];
} ref_indices;

typedef struct ref_local { uint64_t mine, seen; } ref_local;

static inline void
ref_zeroed_make(void *ring)
{
    (void)ring;
}

static inline bool
ref_can_push(ref_indices *q, ref_local *me)
{
    if (me->mine - me->seen < BENCH_SLOTS) return true;
    me->seen = atomic_load_explicit(&q->head, memory_order_acquire);
    return me->mine - me->seen < BENCH_SLOTS;
}

static inline bool
ref_can_pop(ref_indices *q, ref_local *me)
{
    if (me->mine != me->seen) return true;
    me->seen = atomic_load_explicit(&q->tail, memory_order_acquire);
    return me->mine != me->seen;
}

/* ---- lamport ----------------------------------------------------------- */

#define REF_LAMPORT(BYTES)                                                    \
    static inline bool                                                        \
    ref_lamport_##BYTES##_push(ref_indices *q, ref_local *me, uint64_t number)\
    {                                                                         \
        uint64_t m[(BYTES) / 8];                                              \
        if (!ref_can_push(q, me)) return false;                               \
        bench_fill(m, BYTES, number);                                         \
        memcpy(q->slots + me->mine % BENCH_SLOTS * (BYTES), m, BYTES);        \
        atomic_store_explicit(&q->tail, ++me->mine, memory_order_release);    \
        return true;                                                          \
    }                                                                         \
    static inline bool                                                        \
    ref_lamport_##BYTES##_pop(ref_indices *q, ref_local *me, uint64_t *sum)   \
    {                                                                         \
        uint64_t m[(BYTES) / 8];                                              \
        if (!ref_can_pop(q, me)) return false;                                \
        memcpy(m, q->slots + me->mine % BENCH_SLOTS * (BYTES), BYTES);        \
        atomic_store_explicit(&q->head, ++me->mine, memory_order_release);    \
        *sum += bench_sum(m, BYTES);                                          \
        return true;                                                          \
    }                                                                         \
    BENCH_PEER(ref_lamport_##BYTES, BYTES, ref_indices, ref_local,            \
               ref_zeroed_make)

REF_LAMPORT(8);
REF_LAMPORT(64);

/* ---- inplace ----------------------------------------------------------- */

#define REF_INPLACE(BYTES, STRIDE)                                            \
    static inline bool                                                        \
    ref_inplace_##BYTES##_push(ref_indices *q, ref_local *me, uint64_t number)\
    {                                                                         \
        if (!ref_can_push(q, me)) return false;                               \
        bench_fill(q->slots + me->mine % BENCH_SLOTS * (STRIDE), BYTES,       \
                   number);                                                   \
        atomic_store_explicit(&q->tail, ++me->mine, memory_order_release);    \
        return true;                                                          \
    }                                                                         \
    static inline bool                                                        \
    ref_inplace_##BYTES##_pop(ref_indices *q, ref_local *me, uint64_t *sum)   \
    {                                                                         \
        if (!ref_can_pop(q, me)) return false;                                \
        *sum += bench_sum(q->slots + me->mine % BENCH_SLOTS * (STRIDE), BYTES);\
        atomic_store_explicit(&q->head, ++me->mine, memory_order_release);    \
        return true;                                                          \
    }                                                                         \
    BENCH_PEER(ref_inplace_##BYTES, BYTES, ref_indices, ref_local,            \
               ref_zeroed_make)

REF_INPLACE(8, 8);
REF_INPLACE(64, 128);

/* ---- vyukov ------------------------------------------------------------ */

#define REF_VYUKOV(NAME, BYTES, ALIGN)                                        \
    typedef struct NAME##_cell {                                              \
        alignas(ALIGN) _Atomic uint64_t turn;                                 \
        uint64_t word[(BYTES) / 8];                                           \
    } NAME##_cell;                                                            \
    static inline void NAME##_make(void *ring)                                \
    {                                                                         \
        NAME##_cell *const cell = (void *)((ref_indices *)ring)->slots;       \
        for (uint64_t i = 0; i < BENCH_SLOTS; i++)                            \
            atomic_store_explicit(&cell[i].turn, i, memory_order_release);    \
    }                                                                         \
    static inline bool                                                        \
    NAME##_push(ref_indices *q, ref_local *me, uint64_t number)               \
    {                                                                         \
        NAME##_cell *const cells = (void *)q->slots, *cell;                   \
        uint64_t at = atomic_load_explicit(&q->tail, memory_order_relaxed);   \
        (void)me;                                                             \
        for (;;) {                                                            \
            cell = &cells[at % BENCH_SLOTS];                                  \
            const int64_t ahead = (int64_t)(atomic_load_explicit(             \
                &cell->turn, memory_order_acquire) - at);                     \
            if (ahead < 0) return false;                                      \
            if (ahead > 0) at = atomic_load_explicit(&q->tail,                \
                                                     memory_order_relaxed);   \
            else if (atomic_compare_exchange_weak_explicit(&q->tail, &at,     \
                at + 1, memory_order_relaxed, memory_order_relaxed)) break;   \
        }                                                                     \
        bench_fill(cell->word, BYTES, number);                                \
        atomic_store_explicit(&cell->turn, at + 1, memory_order_release);     \
        return true;                                                          \
    }                                                                         \
    static inline bool                                                        \
    NAME##_pop(ref_indices *q, ref_local *me, uint64_t *sum)                  \
    {                                                                         \
        NAME##_cell *const cells = (void *)q->slots, *cell;                   \
        uint64_t at = atomic_load_explicit(&q->head, memory_order_relaxed);   \
        (void)me;                                                             \
        for (;;) {                                                            \
            cell = &cells[at % BENCH_SLOTS];                                  \
            const int64_t ahead = (int64_t)(atomic_load_explicit(             \
                &cell->turn, memory_order_acquire) - (at + 1));               \
            if (ahead < 0) return false;                                      \
            if (ahead > 0) at = atomic_load_explicit(&q->head,                \
                                                     memory_order_relaxed);   \
            else if (atomic_compare_exchange_weak_explicit(&q->head, &at,     \
                at + 1, memory_order_relaxed, memory_order_relaxed)) break;   \
        }                                                                     \
        *sum += bench_sum(cell->word, BYTES);                                 \
        atomic_store_explicit(&cell->turn, at + BENCH_SLOTS,                  \
                              memory_order_release);                          \
        return true;                                                          \
    }                                                                         \
    BENCH_PEER(NAME, BYTES, ref_indices, ref_local, NAME##_make)

REF_VYUKOV(ref_vyukov_8, 8, 8);
REF_VYUKOV(ref_vyukov_64, 64, 8);
REF_VYUKOV(ref_vyukov_padded_64, 64, 128);

/* ---- line -------------------------------------------------------------- */

/* A word handed over: push is a store, pop a look.  No queue, so only for
 * bench_peer_trip, where one message is on its way at a time.             */
typedef struct ref_word { _Atomic uint64_t number; } ref_word;

static inline bool
ref_line_push(ref_word *q, ref_local *me, uint64_t number)
{
    (void)number;
    atomic_store_explicit(&q->number, ++me->mine, memory_order_release);
    return true;
}

static inline bool
ref_line_pop(ref_word *q, ref_local *me, uint64_t *sum)
{
    const uint64_t number = atomic_load_explicit(&q->number,
                                                 memory_order_acquire);

    if (number == me->mine) return false;
    me->mine = number;
    *sum += number - 1;
    return true;
}

BENCH_PEER(ref_line, 8, ref_word, ref_local, ref_zeroed_make);

#endif /* SHMCOMM_BENCH_REF_RINGS_H */
