/* The queue of records: as the queue of slots, with records of any size, and
 * pads where one would wrap.                                              */
#include "model/model_case.h"
#include "shmcomm_recq.h"
#include "model/model_owner.h"

enum { RECORDS = 3, CAPACITY = 256, LARGEST = CAPACITY / 2 - 8 };
enum { FIRST = 10, SECOND = 50 };   /* each byte of record 0; and of the
                                       successor's                         */

enum { WAITABLE = 1, ASYMMETRIC = 2 };

typedef struct recq_state {
    shmc_recq producer, consumer, successor;
    shmc_segment segment[3];
    void    *mem;
    uint64_t bytes, start;
    uint32_t size[RECORDS];         /* of each record                       */
    uint8_t  got[8];
    uint32_t count, pushed;         /* pops and pushes that returned        */
    uint32_t from;                  /* first record of the successor        */
    bool     new_producer, new_consumer, told;
} recq_state;

static recq_state s;

/* ---- setup -------------------------------------------------------------- */

static int
bind(shmc_recq *q, uint32_t thread, uint32_t role)
{
    return shmi_recq_bind(q, &s.segment[thread], s.mem, s.bytes, role);
}

static void
begin(uint32_t a, uint32_t b, uint32_t c, uint32_t how, uint64_t start)
{
    const shmc_recq_desc d = { .capacity_bytes = CAPACITY,
                               .waitable = how & WAITABLE };
    const uint32_t size[RECORDS] = { a, b, c };

    s.bytes = (uint64_t)shmc_recq_size_for(&d);
    s.mem = model_alloc(s.bytes);
    s.start = start;
    for (int i = 0; i < RECORDS; i++) s.size[i] = size[i];
    model_require(shmc_recq_format(s.mem, s.bytes, &d) == SHMC_OK);
    shmi_lane_shm *shm = (shmi_lane_shm *)s.mem;
    shm->tail.index = shm->head.index = start;
    if (how & ASYMMETRIC) shm->ring.flags |= SHMI_RING_ASYMMETRIC;
    model_name(&shm->tail.index, "tail");
    model_name(&shm->head.index, "head");
    model_name(&shm->tail.owner, "producer");
    model_name(&shm->head.owner, "consumer");
    for (int i = 0; i < 3; i++) model_owner(&s.segment[i], (uint32_t)i, 3);
    model_require(bind(&s.producer, 0, SHMC_PRODUCER) == SHMC_OK);
    model_require(bind(&s.consumer, 1, SHMC_CONSUMER) == SHMC_OK);
}

#define SETUP(name, a, b, c, how, start)                                      \
    static void name(void *state) { (void)state; begin(a, b, c, how, start); }
SETUP(small, 8, 0, 20, 0, 0)
SETUP(empty, 0, 0, 0, 0, CAPACITY - 8)
SETUP(largest, LARGEST, LARGEST, LARGEST, 0, 0)
SETUP(pads, 40, 88, 60, 0, CAPACITY - 64)
SETUP(pad_of_a_word, 8, 96, 40, 0, CAPACITY - 24)
SETUP(pad_of_most, LARGEST, 0, LARGEST, 0, CAPACITY - LARGEST)
SETUP(pads_often, 88, 88, 88, 0, CAPACITY - 40)
SETUP(index_wraps, 40, 88, 60, 0, UINT64_MAX - 63)
SETUP(waitable, 88, 100, 0, WAITABLE, CAPACITY - 64)
SETUP(asymmetric, 88, 100, 0, WAITABLE | ASYMMETRIC, CAPACITY - 64)

/* ---- threads ------------------------------------------------------------ */

static const uint8_t *
record(uint8_t base)
{
    static uint8_t bytes[LARGEST];

    memset(bytes, (int)(base + s.pushed), sizeof bytes);
    return bytes;
}

static void
push_from(shmc_recq *q, uint8_t base, uint32_t tries)
{
    for (uint32_t i = 0; i < tries && s.pushed < RECORDS; i++) {
        const int r = shmc_recq_push(q, record(base), s.size[s.pushed]);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_OK) s.pushed++;
    }
}

/* A record as it came: of the right size, all bytes the same.             */
static void
deliver(const uint8_t *bytes, int n)
{
    model_require(s.count < RECORDS && n == (int)s.size[s.count]);
    for (int k = 1; k < n; k++) model_require(bytes[k] == bytes[0]);
    s.got[s.count++] = n != 0 ? bytes[0] : 0;
}

static void
pop_into(shmc_recq *q, uint32_t tries)
{
    uint8_t bytes[LARGEST];

    for (uint32_t i = 0; i < tries; i++) {
        const int n = shmc_recq_pop(q, bytes, sizeof bytes);
        model_require(n >= 0 || n == SHMC_EAGAIN);
        if (n >= 0) deliver(bytes, n);
    }
}

static void
push_n_from(shmc_recq *q, uint8_t base, uint32_t tries)
{
    uint8_t bytes[RECORDS][LARGEST];
    shmc_recq_item items[RECORDS];

    for (uint32_t i = 0; i < tries && s.pushed < RECORDS; i++) {
        const uint32_t left = RECORDS - s.pushed;
        for (uint32_t k = 0; k < left; k++) {
            memset(bytes[k], (int)(base + s.pushed + k), LARGEST);
            items[k].data = bytes[k];
            items[k].bytes = s.size[s.pushed + k];
        }
        const int n = shmc_recq_push_n(q, items, left);
        model_require(n > 0 || n == SHMC_EAGAIN);
        if (n > 0) s.pushed += (uint32_t)n;
    }
}

/* Write a loan in place, in whole words.                                  */
static void
fill(void *data, uint8_t byte, uint32_t bytes)
{
    for (uint32_t k = 0; k < bytes; k += 8)
        model_write_64((uint8_t *)data + k,
                       UINT64_C(0x0101010101010101) * byte);
}

/* The first loan is given back; the others were for the largest record.   */
static void
loan_from(shmc_recq *q, uint8_t base, uint32_t tries)
{
    void *data;

    for (uint32_t i = 0; i < tries && s.pushed < RECORDS; i++) {
        const uint32_t bytes = s.size[s.pushed];
        const int r = shmc_recq_loan(q, i == 0 ? 8 : bytes, &data);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        if (i == 0) {
            model_write_64(data, 999);
            model_require(shmc_recq_abort(q) == SHMC_OK);
        } else {
            fill(data, (uint8_t)(base + s.pushed), bytes);
            model_require(shmc_recq_commit(q, bytes) == SHMC_OK);
            s.pushed++;
        }
    }
}

/* More is borrowed than is committed.                                     */
static void
loan_large(shmc_recq *q, uint8_t base)
{
    void *data;

    for (int i = 0; i < RECORDS + 1 && s.pushed < RECORDS; i++) {
        const int r = shmc_recq_loan(q, 100, &data);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r != SHMC_OK) continue;
        fill(data, (uint8_t)(base + s.pushed), 100);
        model_require(shmc_recq_commit(q, s.size[s.pushed]) == SHMC_OK);
        s.pushed++;
    }
}

static void
producer(void *state)
{
    (void)state;
    push_from(&s.producer, FIRST, RECORDS + 1);
}

static void
consumer(void *state)
{
    (void)state;
    pop_into(&s.consumer, RECORDS + 1);
}

static void
producer_n(void *state)
{
    (void)state;
    push_n_from(&s.producer, FIRST, RECORDS);
}

static void
producer_loans(void *state)
{
    (void)state;
    loan_from(&s.producer, FIRST, RECORDS + 1);
}

static void
producer_loans_large(void *state)
{
    (void)state;
    loan_large(&s.producer, FIRST);
}

static void
producer_mixes(void *state)
{
    (void)state;
    push_from(&s.producer, FIRST, 1);
    loan_from(&s.producer, FIRST, 2);
    push_n_from(&s.producer, FIRST, 1);
    push_from(&s.producer, FIRST, 1);
}

static void
consumer_n(void *state)
{
    uint8_t bytes[2][LARGEST];
    shmc_recq_buffer b[2] = { { bytes[0], LARGEST, 0 },
                              { bytes[1], LARGEST, 0 } };

    (void)state;
    for (int i = 0; i < RECORDS; i++) {
        const int n = shmc_recq_pop_n(&s.consumer, b, 2);
        model_require(n > 0 || n == SHMC_EAGAIN);
        for (int k = 0; k < n; k++) deliver(bytes[k], (int)b[k].bytes);
    }
}

static void
borrow_some(shmc_recq *q, int tries)
{
    uint8_t bytes[LARGEST + 8];
    const void *data;

    for (int i = 0; i < tries; i++) {
        const int n = shmc_recq_borrow(q, &data);
        model_require(n >= 0 || n == SHMC_EAGAIN);
        if (n < 0) continue;
        memcpy(bytes, data, (size_t)n);
        model_require(shmc_recq_release(q) == SHMC_OK);
        deliver(bytes, n);
    }
}

static void
consumer_borrows(void *state)
{
    (void)state;
    borrow_some(&s.consumer, RECORDS);
}

/* It looks how large the next one is, and first comes with too little.    */
static void
consumer_mixes(void *state)
{
    uint8_t bytes[LARGEST];

    const int n = shmc_recq_next_bytes(&s.consumer);
    model_require(n == SHMC_EAGAIN || n == (int)s.size[0]);
    if (n > 0)
        model_require(shmc_recq_pop(&s.consumer, bytes, (uint32_t)n - 1) ==
                      SHMC_EMSGSIZE);
    borrow_some(&s.consumer, 1);
    consumer_n(state);
}

static void
producer_waits(void *state)
{
    (void)state;
    for (; s.pushed < 2; s.pushed++)
        model_require(shmc_recq_push_wait(&s.producer, record(FIRST),
                                          s.size[s.pushed], -1) == SHMC_OK);
}

static void
consumer_waits(void *state)
{
    uint8_t bytes[LARGEST];

    (void)state;
    while (s.count < 2) {
        const int n = shmc_recq_pop_wait(&s.consumer, bytes, LARGEST, -1);
        model_require(n >= 0);
        deliver(bytes, n);
    }
}

static void
consumer_waits_or_is_told(void *state)
{
    uint8_t bytes[LARGEST];

    (void)state;
    while (s.count < 2 && !s.told) {
        const int n = shmc_recq_pop_wait(&s.consumer, bytes, LARGEST, -1);
        model_require(n >= 0 || n == SHMC_EPEERDEAD);
        if (n >= 0) deliver(bytes, n);
        else s.told = true;
    }
}

/* ---- successors --------------------------------------------------------- */

/* How many records end at an index; none if it is inside of one.          */
static int
records_before(uint64_t index)
{
    uint64_t at = s.start;
    int n = 0;

    for (; at != index && n < RECORDS; n++) {
        const uint64_t piece = CAPACITY - at % CAPACITY;
        const uint64_t span = shmi_recq_span(s.size[n]);
        at += span > piece ? piece + span : span;
    }
    return at == index ? n : -1;
}

static void
next_producer(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    model_require(bind(&s.successor, 2, SHMC_PRODUCER) == SHMC_OK);
    s.new_producer = true;
    const int from = records_before(s.successor.lane.mine);
    model_require(from >= (int)s.pushed);
    s.from = s.pushed = (uint32_t)from;
    push_from(&s.successor, SECOND, RECORDS);
}

static void
next_consumer(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    model_require(bind(&s.successor, 2, SHMC_CONSUMER) == SHMC_OK);
    s.new_consumer = true;
    model_require(records_before(s.successor.lane.mine) == (int)s.count);
    pop_into(&s.successor, RECORDS);
}

/* ---- checks ------------------------------------------------------------- */

static void
in_order(void *state)
{
    (void)state;
    for (uint32_t i = 0; i < s.count; i++)
        if (s.size[i] != 0)
            model_require(s.got[i] == (s.new_producer && i >= s.from
                                       ? SECOND : FIRST) + i);
}

/* What was pushed and not popped is still there, and is what was pushed.  */
static void
nothing_lost(void *state)
{
    in_order(state);
    if (!model_ended(0) && !s.new_producer) return;
    if (!model_ended(1) && !s.new_consumer) return;
    pop_into(s.new_consumer ? &s.successor : &s.consumer, RECORDS + 1);
    model_require(s.count == s.pushed);
    in_order(state);
}

static void
all_arrived(void *state)
{
    in_order(state);
    model_require(s.count == s.pushed && s.count == 2);
}

/* Two of 88 bytes find room whatever the consumer does.                   */
static void
goes_on(void *state)
{
    nothing_lost(state);
    if (!model_ended(1)) model_require(s.pushed >= 2);
}

static void
handed_over(void *state)
{
    nothing_lost(state);
    model_require(model_ended(0) || s.pushed >= 2);
}

static void
told_or_done(void *state)
{
    const shmi_lane_shm *shm = (const shmi_lane_shm *)s.mem;

    in_order(state);
    if (s.told)
        model_require(!model_ended(0) &&
                      shmi_load_rlx_64(&shm->tail.index) ==
                      shmi_load_rlx_64(&shm->head.index));
    else model_require(s.count == 2);
}


static const model_case cases[] = {
    { PAIR("recq_small", small, producer, consumer, nothing_lost) },
    { PAIR("recq_empty", empty, producer, consumer, nothing_lost) },
    { PAIR("recq_largest", largest, producer, consumer, nothing_lost) },
    { PAIR("recq_pads", pads, producer, consumer, nothing_lost) },
    { PAIR("recq_pad_of_a_word", pad_of_a_word, producer, consumer,
           nothing_lost) },
    { PAIR("recq_pad_of_most", pad_of_most, producer, consumer,
           nothing_lost) },
    { PAIR("recq_pads_often", pads_often, producer, consumer,
           nothing_lost) },
    { PAIR("recq_index_wraps", index_wraps, producer, consumer,
           nothing_lost) },
    { PAIR("recq_n", pads, producer_n, consumer_n, nothing_lost) },
    { PAIR("recq_n_largest", largest, producer_n, consumer_n,
           nothing_lost) },
    { PAIR("recq_n_wraps", index_wraps, producer_n, consumer_n,
           nothing_lost) },
    { PAIR("recq_loan", pads, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("recq_loan_wraps", index_wraps, producer_loans, consumer_borrows,
           nothing_lost) },
    { PAIR("recq_loan_large", small, producer_loans_large, consumer_borrows,
           nothing_lost) },
    { PAIR("recq_loan_large_pads", pads, producer_loans_large, consumer,
           nothing_lost) },
    { PAIR("recq_push_borrow", pads_often, producer, consumer_borrows,
           nothing_lost) },
    { PAIR("recq_loan_pop", pads_often, producer_loans, consumer,
           nothing_lost) },
    { PAIR("recq_mixed", pads, producer_mixes, consumer_mixes,
           nothing_lost) },
    { PAIR("recq_wait", waitable, producer_waits, consumer_waits,
           all_arrived) },
    { PAIR("recq_wait_asymmetric", asymmetric, producer_waits,
           consumer_waits, all_arrived), .executions = 20000 },
    { PAIR("recq_producer_stops", pads_often, producer, consumer,
           nothing_lost), FREEZES(0) },
    { PAIR("recq_consumer_stops", small, producer, consumer, goes_on),
      FREEZES(1) },
    { PAIR("recq_loaner_stops", pads_often, producer_loans,
           consumer_borrows, nothing_lost), FREEZES(0) },
    { PAIR("recq_borrower_stops", pads_often, producer_loans,
           consumer_borrows, nothing_lost), FREEZES(1) },
    { PAIR("recq_next_producer", small, producer, consumer, handed_over),
      .thread[2] = next_producer, DIES(0) },
    { PAIR("recq_next_after_pad", pads, producer, consumer, nothing_lost),
      .thread[2] = next_producer, DIES(0) },
    { PAIR("recq_next_wraps", index_wraps, producer, consumer,
           nothing_lost), .thread[2] = next_producer, DIES(0) },
    { PAIR("recq_next_after_n", pads, producer_n, consumer_n, nothing_lost),
      .thread[2] = next_producer, DIES(0) },
    { PAIR("recq_next_after_loan", pads_often, producer_loans, consumer,
           nothing_lost), .thread[2] = next_producer, DIES(0) },
    { PAIR("recq_next_consumer", pads_often, producer, consumer,
           nothing_lost), .thread[2] = next_consumer, DIES(1) },
    { PAIR("recq_next_borrower", pads, producer, consumer_borrows,
           nothing_lost), .thread[2] = next_consumer, DIES(1) },
    { PAIR("recq_told_of_producer", waitable, producer_waits,
           consumer_waits_or_is_told, told_or_done), .timeouts = true,
      .executions = 5000, DIES(0) },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
