/* spsc_subjects.h - the queues of spsc_bench.c, for messages of BYTES bytes.
 *
 * Included once for each size, with BYTES, SLOTS and ID(x) defined.  Each
 * pair of functions writes, and reads and sums, every word of every message.
 * What copies has its message in memory, as a program has that made it
 * elsewhere; what works in place has none.
 * SPDX-License-Identifier: MIT                                            */

#ifndef SHMCOMM_BENCH_SPSC_SUBJECTS_H
#define SHMCOMM_BENCH_SPSC_SUBJECTS_H

/* Lamport's ring, indices cached, nothing checked: the loops.             */
#define SPSC_PLAIN_IN(RING, USE)                                              \
    RING *const q = memory[0];                                                \
    uint64_t tail = 0, head = 0;                                              \
    bench_start(w);                                                           \
    for (uint64_t i = 0; i < w->messages; i++) {                              \
        while (tail - head == SLOTS) {                                        \
            head = atomic_load_explicit(&q->head, memory_order_acquire);      \
            if (tail - head == SLOTS) bench_idle(w);                          \
        }                                                                     \
        USE;                                                                  \
        atomic_store_explicit(&q->tail, ++tail, memory_order_release);        \
    }                                                                         \
    bench_stop(w)

#define SPSC_PLAIN_OUT(RING, USE)                                             \
    RING *const q = memory[0];                                                \
    uint64_t tail = 0, head = 0, sum = 0;                                     \
    bench_start(w);                                                           \
    for (uint64_t i = 0; i < w->messages; i++) {                              \
        while (tail == head) {                                                \
            tail = atomic_load_explicit(&q->tail, memory_order_acquire);      \
            if (tail == head) bench_idle(w);                                  \
        }                                                                     \
        USE;                                                                  \
        atomic_store_explicit(&q->head, ++head, memory_order_release);        \
    }                                                                         \
    bench_stop(w);                                                            \
    w->sum = sum

/* ck_ring's macros paste names; these expand them first.                  */
#define SPSC_CK_MAKE(name, type) CK_RING_PROTOTYPE(name, type)
#define SPSC_CK_PUT(name, r, b, m) SPSC_CK_PUT_(name, r, b, m)
#define SPSC_CK_PUT_(name, r, b, m) CK_RING_ENQUEUE_SPSC(name, r, b, m)
#define SPSC_CK_GET(name, r, b, m) SPSC_CK_GET_(name, r, b, m)
#define SPSC_CK_GET_(name, r, b, m) CK_RING_DEQUEUE_SPSC(name, r, b, m)
#endif

#define MESSAGE ID(message)

typedef struct ID(message) { uint64_t word[BYTES / 8]; } ID(message);

static inline void
ID(fill)(void *m, uint64_t number) { bench_fill(m, BYTES, number); }

static inline uint64_t
ID(sum)(const void *m) { return bench_sum(m, BYTES); }

/* ---- references: in place every 128 bytes at least, and dense; copying -- */

typedef struct ID(apart) {
    alignas(SHMC_LINE) _Atomic uint64_t tail;
    alignas(SHMC_LINE) _Atomic uint64_t head;
    struct { alignas(SHMC_LINE) MESSAGE m; } slot[SLOTS];
} ID(apart);

typedef struct ID(dense) {
    alignas(SHMC_LINE) _Atomic uint64_t tail;
    alignas(SHMC_LINE) _Atomic uint64_t head;
    alignas(SHMC_LINE) MESSAGE slot[SLOTS];
} ID(dense);

static void
ID(inplace_produce)(bench_worker *w)
{
    SPSC_PLAIN_IN(ID(apart), ID(fill)(&q->slot[tail % SLOTS].m, i));
}

static void
ID(inplace_consume)(bench_worker *w)
{
    SPSC_PLAIN_OUT(ID(apart), sum += ID(sum)(&q->slot[head % SLOTS].m));
}

static void
ID(inplace_dense_produce)(bench_worker *w)
{
    SPSC_PLAIN_IN(ID(dense), ID(fill)(&q->slot[tail % SLOTS], i));
}

static void
ID(inplace_dense_consume)(bench_worker *w)
{
    SPSC_PLAIN_OUT(ID(dense), sum += ID(sum)(&q->slot[head % SLOTS]));
}

static void
ID(lamport_produce)(bench_worker *w)
{
    static MESSAGE m;
    SPSC_PLAIN_IN(ID(dense), ID(fill)(&m, i); shmi_fence_compiler();
                  memcpy(&q->slot[tail % SLOTS], &m, sizeof m));
}

static void
ID(lamport_consume)(bench_worker *w)
{
    static MESSAGE m;
    SPSC_PLAIN_OUT(ID(dense), memcpy(&m, &q->slot[head % SLOTS], sizeof m);
                   shmi_fence_compiler(); sum += ID(sum)(&m));
}

static const spsc_subject ID(inplace) = { ID(inplace_produce),
    ID(inplace_consume), spsc_plain_make, BYTES, SLOTS };
static const spsc_subject ID(inplace_dense) = { ID(inplace_dense_produce),
    ID(inplace_dense_consume), spsc_plain_make, BYTES, SLOTS };
static const spsc_subject ID(lamport) = { ID(lamport_produce),
    ID(lamport_consume), spsc_plain_make, BYTES, SLOTS };

/* ---- ConcurrencyKit's ring; one of its slots stays free ---------------- */

#if BENCH_HAS_CK
SPSC_CK_MAKE(ID(ck), ID(message))

static void
ID(ck_produce)(bench_worker *w)
{
    static MESSAGE m;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        ID(fill)(&m, i);
        shmi_fence_compiler();
        while (!SPSC_CK_PUT(ID(ck), memory[0], PEER_CK_SLOTS(memory[0]), &m))
            bench_idle(w);
    }
    bench_stop(w);
}

static void
ID(ck_consume)(bench_worker *w)
{
    static MESSAGE m;
    uint64_t sum = 0;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (!SPSC_CK_GET(ID(ck), memory[0], PEER_CK_SLOTS(memory[0]), &m))
            bench_idle(w);
        shmi_fence_compiler();
        sum += ID(sum)(&m);
    }
    bench_stop(w);
    w->sum = sum;
}

static const spsc_subject ID(ck_ring) = { ID(ck_produce), ID(ck_consume),
    spsc_ck_make, BYTES, SLOTS };
#endif

/* ---- shmc_spsc --------------------------------------------------------- */

static void
ID(push_produce)(bench_worker *w)
{
    shmc_spsc q;
    static MESSAGE m;

    spsc_open(&q, 0, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        ID(fill)(&m, i);
        shmi_fence_compiler();
        while (shmc_spsc_push(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
    }
    bench_stop(w);
    shmc_spsc_close(&q);
}

static void
ID(pop_consume)(bench_worker *w)
{
    shmc_spsc q;
    static MESSAGE m;
    uint64_t sum = 0;

    spsc_open(&q, 0, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (shmc_spsc_pop(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
        shmi_fence_compiler();
        sum += ID(sum)(&m);
    }
    bench_stop(w);
    w->sum = sum;
    shmc_spsc_close(&q);
}

static void
ID(push_n_produce)(bench_worker *w)
{
    shmc_spsc q;
    static MESSAGE m[BATCH];

    spsc_open(&q, 0, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i += BATCH) {
        const uint64_t left = w->messages - i;
        const uint32_t all = left < BATCH ? (uint32_t)left : BATCH;
        for (uint32_t k = 0; k < all; k++) ID(fill)(&m[k], i + k);
        shmi_fence_compiler();
        for (uint32_t done = 0; done < all; ) {
            const int n = shmc_spsc_push_n(&q, m + done, sizeof m[0],
                                           all - done);
            if (n > 0) done += (uint32_t)n;
            else bench_idle(w);
        }
    }
    bench_stop(w);
    shmc_spsc_close(&q);
}

static void
ID(pop_n_consume)(bench_worker *w)
{
    shmc_spsc q;
    static MESSAGE m[BATCH];
    uint64_t sum = 0;

    spsc_open(&q, 0, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; ) {
        const int n = shmc_spsc_pop_n(&q, m, sizeof m[0], BATCH);
        if (n <= 0) { bench_idle(w); continue; }
        shmi_fence_compiler();
        for (int k = 0; k < n; k++) sum += ID(sum)(&m[k]);
        i += (uint64_t)n;
    }
    bench_stop(w);
    w->sum = sum;
    shmc_spsc_close(&q);
}

static void
ID(loan_produce)(bench_worker *w)
{
    shmc_spsc q;

    spsc_open(&q, 0, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        void *slot;
        while (shmc_spsc_loan(&q, &slot, 1) != 1) bench_idle(w);
        ID(fill)(slot, i);
        if (shmc_spsc_commit(&q, 1) != SHMC_OK) bench_die("commit");
    }
    bench_stop(w);
    shmc_spsc_close(&q);
}

static void
ID(borrow_consume)(bench_worker *w)
{
    shmc_spsc q;
    uint64_t sum = 0;

    spsc_open(&q, 0, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const void *slot;
        while (shmc_spsc_borrow(&q, &slot, 1) != 1) bench_idle(w);
        sum += ID(sum)(slot);
        if (shmc_spsc_release(&q, 1) != SHMC_OK) bench_die("release");
    }
    bench_stop(w);
    w->sum = sum;
    shmc_spsc_close(&q);
}

static void
ID(loan_n_produce)(bench_worker *w)
{
    shmc_spsc q;

    spsc_open(&q, 0, SHMC_PRODUCER);
    const size_t stride = BYTES;
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; ) {
        void *slots;
        const uint64_t left = w->messages - i;
        const int n = shmc_spsc_loan(&q, &slots,
                                     left < BATCH ? (uint32_t)left : BATCH);
        if (n <= 0) { bench_idle(w); continue; }
        for (int k = 0; k < n; k++)
            ID(fill)((char *)slots + (size_t)k * stride, i++);
        if (shmc_spsc_commit(&q, (uint32_t)n) != SHMC_OK) bench_die("commit");
    }
    bench_stop(w);
    shmc_spsc_close(&q);
}

static void
ID(borrow_n_consume)(bench_worker *w)
{
    shmc_spsc q;
    uint64_t sum = 0;

    spsc_open(&q, 0, SHMC_CONSUMER);
    const size_t stride = BYTES;
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; ) {
        const void *slots;
        const int n = shmc_spsc_borrow(&q, &slots, BATCH);
        if (n <= 0) { bench_idle(w); continue; }
        for (int k = 0; k < n; k++)
            sum += ID(sum)((const char *)slots + (size_t)k * stride);
        if (shmc_spsc_release(&q, (uint32_t)n) != SHMC_OK) bench_die("release");
        i += (uint64_t)n;
    }
    bench_stop(w);
    w->sum = sum;
    shmc_spsc_close(&q);
}

static const spsc_subject ID(push) = { ID(push_produce), ID(pop_consume),
    spsc_make, BYTES, SLOTS };
static const spsc_subject ID(push_n) = { ID(push_n_produce),
    ID(pop_n_consume), spsc_make, BYTES, SLOTS };
static const spsc_subject ID(loan) = { ID(loan_produce), ID(borrow_consume),
    spsc_make, BYTES, SLOTS };
static const spsc_subject ID(loan_n) = { ID(loan_n_produce),
    ID(borrow_n_consume), spsc_make, BYTES, SLOTS };

/* ---- there and back, through two queues -------------------------------- */

static void
ID(push_ping)(bench_worker *w)
{
    static MESSAGE m;
    shmc_spsc out, in;

    spsc_open(&out, 0, SHMC_PRODUCER);
    spsc_open(&in, 1, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        ID(fill)(&m, i);
        const uint64_t start = bench_ticks();
        while (shmc_spsc_push(&out, &m, sizeof m) != SHMC_OK) spsc_pause(w);
        while (shmc_spsc_pop(&in, &m, sizeof m) != SHMC_OK) spsc_pause(w);
        bench_trip_sample(w, samples, i, start);
        if (m.word[0] != i) bench_die("wrong message");
    }
}

static void
ID(push_pong)(bench_worker *w)
{
    static MESSAGE m;
    shmc_spsc out, in;

    spsc_open(&in, 0, SHMC_CONSUMER);
    spsc_open(&out, 1, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (shmc_spsc_pop(&in, &m, sizeof m) != SHMC_OK) spsc_pause(w);
        while (shmc_spsc_push(&out, &m, sizeof m) != SHMC_OK) spsc_pause(w);
    }
}

static const spsc_subject ID(trip) = { ID(push_ping), ID(push_pong),
    spsc_make, BYTES, SLOTS };

#undef MESSAGE
#undef BYTES
#undef SLOTS
#undef ID
