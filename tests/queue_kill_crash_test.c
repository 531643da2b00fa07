/* One process dies, or stops, after each instruction of each operation of
 * each queue: fixed slots, records, many to many.  One to three survivors go
 * on, some with handles from before, some newcomers, and a successor in its
 * role.  Nothing acknowledged is lost, nothing comes twice or torn, and the
 * queue holds as much as a new one.  Nobody that is stopped is held for dead. */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"
#include "crash_harness.h"

enum { SLOTS = 4, CAPACITY = 256, BATCH = 2, LIMIT = 512, FIRST_OF_OTHERS = 32 };
enum { WAIT_NS = 300000, SEATS = 10, SWEEP_NS = 25000000 };

/* Calls in a row that may say SHMC_EAGAIN before it counts as the truth.   */
enum { TRIES = 2 * SHMI_MPMC_RESCUE_TRIES + SHMI_MPMC_STUCK_TRIES };

enum { OLD, NEW, THIRD, HEIR, CHILD, PEOPLE };

/* Of odd records, twice as many bytes; all words are the message's number. */
typedef struct message { uint64_t word[6]; } message;

typedef union queue {
    shmc_spsc spsc;
    shmc_recq recq;
    shmc_mpmc mpmc;
} queue;

/* Somebody: in the test, each has its own attachment, and so its own life. */
typedef struct person {
    shmc_segment seg;
    queue q[2];                     /* to push into, to pop from            */
    bool open[2];
} person;

/* What the stepped process and the test tell each other.                  */
typedef struct ledger {
    volatile uint32_t acked;        /* messages of the call, if it returned */
    volatile uint32_t returned;
    volatile uint32_t refused;      /* an open found the role taken         */
    volatile uint32_t go;           /* those who wait may wait again        */
    volatile uint64_t first;        /* the first message of the call        */
    volatile uint32_t seat;
    message out[BATCH];             /* where it puts what it takes, or ...  */
    uint64_t dense[BATCH][3];       /* ... two of 24 bytes                  */
} ledger;

enum { OPENS = 1, CREATES = 2, CLOSES = 4, WAITS = 8, BURIES = 16 };

typedef struct operation {
    const char *name;
    uint32_t role, puts, takes, flags;
    int (*act)(queue *q);           /* child; how many it put or took       */
} operation;

typedef struct noun {
    const char *name;
    bool many;                      /* producers and consumers              */
    uint32_t drop;
    int (*open)(queue *q, shmc_segment *s, uint32_t role);
    int (*close)(queue *q);
    int (*put)(queue *q, uint64_t n);
    int (*get)(queue *q, message *m);       /* SHMC_OK, or a code           */
    uint32_t (*room)(const queue *q);       /* for messages of 24 bytes     */
    void (*asleep)(queue *q);       /* as if somebody slept on both sides   */
    void (*inspect)(queue *q, bool stopped);    /* what statistics say      */
    const operation *ops;
} noun;

static const noun *the;
static const operation *op;
static uint32_t survivors;
static ledger *book;
static person who[PEOPLE];
static uint64_t next_number;        /* of the others' messages              */
static bool put_done[LIMIT];
static uint32_t got[LIMIT];
static uint64_t last_got;

/* ---- messages ---------------------------------------------------------- */

static uint32_t
bytes_of(uint64_t n)
{
    return the->name[0] == 'r' && n % 2 ? 48 : 24;
}

static message
number(uint64_t n)
{
    message m;

    for (int i = 0; i < 6; i++) m.word[i] = n;
    return m;
}

static bool
is_number(const message *m, uint64_t n)
{
    for (uint32_t i = 0; i < bytes_of(n) / 8; i++)
        if (m->word[i] != n) return false;
    return true;
}

/* ---- fixed slots ------------------------------------------------------- */

static int
spsc_open(queue *q, shmc_segment *s, uint32_t role)
{
    const shmc_spsc_desc d = { .slot_bytes = 24, .slot_count = SLOTS,
                               .waitable = 1 };
    return shmc_spsc_open(&q->spsc, s, "q", &d, role);
}

static int spsc_close(queue *q) { return shmc_spsc_close(&q->spsc); }

static int
spsc_put(queue *q, uint64_t n)
{
    const message m = number(n);

    return shmc_spsc_push(&q->spsc, &m, 24);
}

static int spsc_get(queue *q, message *m) { return shmc_spsc_pop(&q->spsc, m, 24); }
static uint32_t spsc_room(const queue *q) { return shmc_spsc_free(&q->spsc); }

static void
lane_asleep(shmi_lane *l)
{
    l->shm->readable.asleep = l->shm->writable.asleep = 1;
}

static void spsc_asleep(queue *q) { lane_asleep(&q->spsc.lane); }

static int
spsc_push(queue *q)
{
    const int r = spsc_put(q, book->first);

    return r == SHMC_OK ? 1 : r;
}

/* Two messages of 24 bytes that lie one behind the other.                 */
static void
two_of(uint64_t (*w)[3])
{
    for (int i = 0; i < 3; i++) w[0][i] = book->first, w[1][i] = book->first + 1;
}

static int
keep(int n, uint64_t (*w)[3])
{
    for (int i = 0; i < n; i++) memcpy(book->out[i].word, w[i], 24);
    return n;
}

static int
spsc_push_n(queue *q)
{
    uint64_t w[BATCH][3];

    two_of(w);
    return shmc_spsc_push_n(&q->spsc, w, 24, BATCH);
}

static int
spsc_lent(queue *q)
{
    uint64_t w[BATCH][3];
    void *slots;

    two_of(w);
    const int n = shmc_spsc_loan(&q->spsc, &slots, BATCH);
    if (n > 0) memcpy(slots, w, (size_t)n * 24);
    return n;
}

static int
spsc_commit(queue *q)
{
    const int n = spsc_lent(q);
    const int r = shmc_spsc_commit(&q->spsc, (uint32_t)n);

    return r == SHMC_OK ? n : r;
}

static int
spsc_abort(queue *q)
{
    const int n = spsc_lent(q);

    return n < 0 ? n : shmc_spsc_abort(&q->spsc);
}

static int
spsc_pop(queue *q)
{
    const int r = spsc_get(q, &book->out[0]);

    return r == SHMC_OK ? 1 : r;
}

static int
spsc_pop_n(queue *q)
{
    const int n = shmc_spsc_pop_n(&q->spsc, book->dense, 24, BATCH);

    return n > 0 ? keep(n, book->dense) : n;
}

static int
spsc_borrow(queue *q)
{
    uint64_t w[BATCH][3];
    const void *slots;
    const int n = shmc_spsc_borrow(&q->spsc, &slots, BATCH);

    if (n < 0) return n;
    memcpy(w, slots, (size_t)n * 24);
    keep(n, w);
    const int r = shmc_spsc_release(&q->spsc, (uint32_t)n);
    return r == SHMC_OK ? n : r;
}

/* Wait, and again if the test says so; 0 when nothing came of it.         */
#define WAIT(call)                                                            \
    do {                                                                      \
        int r_;                                                               \
        do r_ = (call); while (r_ == SHMC_ETIMEDOUT && book->go);             \
        return r_ == SHMC_ETIMEDOUT ? 0 : r_ >= 0 ? 1 : r_;                   \
    } while (0)

static int
spsc_push_wait(queue *q)
{
    const message m = number(book->first);

    WAIT(shmc_spsc_push_wait(&q->spsc, &m, 24, WAIT_NS));
}

static int
spsc_pop_wait(queue *q)
{
    WAIT(shmc_spsc_pop_wait(&q->spsc, book->out, 24, WAIT_NS));
}

/* ---- records ----------------------------------------------------------- */

static int
recq_open(queue *q, shmc_segment *s, uint32_t role)
{
    const shmc_recq_desc d = { .capacity_bytes = CAPACITY, .waitable = 1 };

    return shmc_recq_open(&q->recq, s, "q", &d, role);
}

static int recq_close(queue *q) { return shmc_recq_close(&q->recq); }

static int
recq_put(queue *q, uint64_t n)
{
    const message m = number(n);

    return shmc_recq_push(&q->recq, &m, bytes_of(n));
}

static int
right_size(int bytes, const message *m)
{
    if (bytes < 0) return bytes;
    return (uint32_t)bytes == bytes_of(m->word[0]) ? SHMC_OK : SHMC_EMSGSIZE;
}

static int
recq_get(queue *q, message *m)
{
    return right_size(shmc_recq_pop(&q->recq, m, sizeof *m), m);
}

/* Room that is padded away where it wraps does not count.                 */
static uint32_t
recq_room(const queue *q)
{
    const uint32_t left = CAPACITY - shmc_recq_used_bytes(&q->recq);

    return left < 32 + 24 ? 0 : (left - 24) / 32;
}

static void recq_asleep(queue *q) { lane_asleep(&q->recq.lane); }

static int
recq_push(queue *q)
{
    const int r = recq_put(q, book->first);

    return r == SHMC_OK ? 1 : r;
}

static int
recq_push_n(queue *q)
{
    const uint64_t n = book->first;
    const message m[BATCH] = { number(n), number(n + 1) };
    const shmc_recq_item item[BATCH] = { { &m[0], bytes_of(n) },
                                         { &m[1], bytes_of(n + 1) } };
    return shmc_recq_push_n(&q->recq, item, BATCH);
}

static int
recq_commit(queue *q)
{
    const message m = number(book->first);
    void *data;
    int r = shmc_recq_loan(&q->recq, 64, &data);

    if (r != SHMC_OK) return r;
    memcpy(data, &m, bytes_of(book->first));
    r = shmc_recq_commit(&q->recq, bytes_of(book->first));
    return r == SHMC_OK ? 1 : r;
}

static int
recq_abort(queue *q)
{
    const message m = number(book->first);
    void *data;
    const int r = shmc_recq_loan(&q->recq, 48, &data);

    if (r != SHMC_OK) return r;
    memcpy(data, &m, 48);
    return shmc_recq_abort(&q->recq);
}

static int
recq_pop(queue *q)
{
    const int r = recq_get(q, &book->out[0]);

    return r == SHMC_OK ? 1 : r;
}

static int
recq_pop_n(queue *q)
{
    shmc_recq_buffer b[BATCH] = { { &book->out[0], sizeof(message), 0 },
                                  { &book->out[1], sizeof(message), 0 } };
    return shmc_recq_pop_n(&q->recq, b, BATCH);
}

static int
recq_borrow(queue *q)
{
    const void *data;
    const int n = shmc_recq_borrow(&q->recq, &data);

    if (n < 0) return n;
    memcpy(&book->out[0], data, (size_t)n);
    const int r = shmc_recq_release(&q->recq);
    return r == SHMC_OK ? 1 : r;
}

static int
recq_push_wait(queue *q)
{
    const message m = number(book->first);

    WAIT(shmc_recq_push_wait(&q->recq, &m, bytes_of(book->first), WAIT_NS));
}

static int
recq_pop_wait(queue *q)
{
    WAIT(shmc_recq_pop_wait(&q->recq, book->out, sizeof(message), WAIT_NS));
}

/* ---- many to many ------------------------------------------------------ */

static int
mpmc_open(queue *q, shmc_segment *s, uint32_t role)
{
    const shmc_mpmc_desc d = { .slot_bytes = 24, .slot_count = SLOTS,
                               .max_handles = SEATS, .waitable = 1,
                               .on_consumer_death = the->drop };
    return shmc_mpmc_open(&q->mpmc, s, "q", &d, role);
}

static int mpmc_close(queue *q) { return shmc_mpmc_close(&q->mpmc); }

static int
mpmc_put(queue *q, uint64_t n)
{
    const message m = number(n);

    return shmc_mpmc_push(&q->mpmc, &m, 24);
}

static int mpmc_get(queue *q, message *m) { return shmc_mpmc_pop(&q->mpmc, m, 24); }

static uint32_t
mpmc_room(const queue *q)
{
    return SLOTS - shmc_mpmc_used(&q->mpmc);
}

static void
mpmc_asleep(queue *q)
{
    q->mpmc.shm->readable.asleep = q->mpmc.shm->writable.asleep = 1;
}

static int
mpmc_push(queue *q)
{
    const int r = mpmc_put(q, book->first);

    return r == SHMC_OK ? 1 : r;
}

static int
mpmc_push_n(queue *q)
{
    uint64_t w[BATCH][3];

    two_of(w);
    return shmc_mpmc_push_n(&q->mpmc, w, 24, BATCH);
}

static int
mpmc_commit(queue *q)
{
    const message m = number(book->first);
    void *slot;
    int r = shmc_mpmc_loan(&q->mpmc, &slot);

    if (r != SHMC_OK) return r;
    memcpy(slot, &m, 24);
    r = shmc_mpmc_commit(&q->mpmc);
    return r == SHMC_OK ? 1 : r;
}

static int
mpmc_loan(queue *q)
{
    const message m = number(book->first);
    void *slot;
    const int r = shmc_mpmc_loan(&q->mpmc, &slot);

    if (r == SHMC_OK) memcpy(slot, &m, 24);
    return r;
}

static int
mpmc_abort(queue *q)
{
    const int r = mpmc_loan(q);

    return r != SHMC_OK ? r : shmc_mpmc_abort(&q->mpmc);
}

static int
mpmc_pop(queue *q)
{
    const int r = mpmc_get(q, &book->out[0]);

    return r == SHMC_OK ? 1 : r;
}

static int
mpmc_pop_n(queue *q)
{
    const int n = shmc_mpmc_pop_n(&q->mpmc, book->dense, 24, BATCH);

    return n > 0 ? keep(n, book->dense) : n;
}

static int
mpmc_lend(queue *q)
{
    const void *msg;
    const int r = shmc_mpmc_borrow(&q->mpmc, &msg);

    if (r == SHMC_OK) memcpy(&book->out[0], msg, 24);
    return r;
}

static int
mpmc_borrow(queue *q)
{
    int r = mpmc_lend(q);

    if (r == SHMC_OK) r = shmc_mpmc_release(&q->mpmc);
    return r == SHMC_OK ? 1 : r;
}

/* A loan is aborted, a borrowed message counts as released.               */
static int
mpmc_loan_close(queue *q)
{
    const int r = mpmc_loan(q);

    return r != SHMC_OK ? r : shmc_mpmc_close(&q->mpmc);
}

static int
mpmc_borrow_close(queue *q)
{
    int r = mpmc_lend(q);

    if (r == SHMC_OK) r = shmc_mpmc_close(&q->mpmc);
    return r == SHMC_OK ? 1 : r;
}

static int
mpmc_push_wait(queue *q)
{
    const message m = number(book->first);

    WAIT(shmc_mpmc_push_wait(&q->mpmc, &m, 24, WAIT_NS));
}

static int
mpmc_pop_wait(queue *q)
{
    WAIT(shmc_mpmc_pop_wait(&q->mpmc, book->out, 24, WAIT_NS));
}

/* ---- statistics -------------------------------------------------------- */

/* Once more from the dead one's side: his life is told as it is.          */
static void
tell_life(bool producer, bool consumer, bool stopped)
{
    const bool lives = op->role == SHMC_PRODUCER ? producer : consumer;

    if (op->flags & (OPENS | CLOSES)) CRASH_CHECK(stopped || !lives);
    else CRASH_EQUAL(lives, stopped);
}

static void
spsc_inspect(queue *q, bool stopped)
{
    shmc_spsc_stats st;

    CRASH_EQUAL(shmc_spsc_stats_get(&q->spsc, &st), SHMC_OK);
    tell_life(st.producer_alive, st.consumer_alive, stopped);
}

static void
recq_inspect(queue *q, bool stopped)
{
    shmc_recq_stats st;

    CRASH_EQUAL(shmc_recq_stats_get(&q->recq, &st), SHMC_OK);
    tell_life(st.producer_alive, st.consumer_alive, stopped);
}

/* Nobody who was only stopped was recovered from.                         */
static void
mpmc_inspect(queue *q, bool stopped)
{
    shmc_mpmc_stats st;

    CRASH_EQUAL(shmc_mpmc_stats_get(&q->mpmc, &st), SHMC_OK);
    if (!stopped) return;
    CRASH_EQUAL(st.redelivered, 0);
    CRASH_EQUAL(st.dropped, 0);
    const bool buries = (op->flags & BURIES) != 0;
    if (book->returned) CRASH_EQUAL(st.tombs, buries);
    CRASH_CHECK(st.tombs <= buries);
}

/* ---- opening and closing ----------------------------------------------- */

static int
act_open(queue *q)
{
    const int r = the->open(q, &who[CHILD].seg, op->role);

    if (r == SHMC_EBUSY) book->refused = 1;
    else if (r != SHMC_OK) return r;
    if (the->many) book->seat = (uint32_t)(q->mpmc.seat - q->mpmc.seats);
    return 0;
}

static int
act_close(queue *q)
{
    const int r = the->close(q);

    return r == SHMC_OK ? (int)op->takes : r;
}

/* ---- the tables -------------------------------------------------------- */

#define OPERATIONS(x, n)                                                      \
    static const operation x##_ops[] = {                                      \
        { "push", SHMC_PRODUCER, 1, 0, 0, x##_push },                         \
        { "push_n", SHMC_PRODUCER, 2, 0, 0, x##_push_n },                     \
        { "loan, commit", SHMC_PRODUCER, n, 0, 0, x##_commit },               \
        { "loan, abort", SHMC_PRODUCER, 0, 0, BURIES, x##_abort },            \
        { "push_wait, full", SHMC_PRODUCER, 1, 0, WAITS, x##_push_wait },     \
        { "open to push", SHMC_PRODUCER, 0, 0, OPENS, act_open },             \
        { "create and push", SHMC_PRODUCER, 0, 0, OPENS | CREATES, act_open },\
        { "close, pushing", SHMC_PRODUCER, 0, 0, CLOSES, act_close },         \
        X##x                                                                  \
        { "pop", SHMC_CONSUMER, 0, 1, 0, x##_pop },                           \
        { "pop_n", SHMC_CONSUMER, 0, 2, 0, x##_pop_n },                       \
        { "borrow, release", SHMC_CONSUMER, 0, n, 0, x##_borrow },            \
        { "pop_wait, empty", SHMC_CONSUMER, 0, 1, WAITS, x##_pop_wait },      \
        { "open to pop", SHMC_CONSUMER, 0, 0, OPENS, act_open },              \
        { "create and pop", SHMC_CONSUMER, 0, 0, OPENS | CREATES, act_open }, \
        { "close, popping", SHMC_CONSUMER, 0, 0, CLOSES, act_close },         \
        { NULL, 0, 0, 0, 0, NULL },                                           \
    }

#define Xspsc
#define Xrecq
#define Xmpmc                                                                 \
        { "loan, close", SHMC_PRODUCER, 0, 0, CLOSES | BURIES, mpmc_loan_close }, \
        { "borrow, close", SHMC_CONSUMER, 0, 1, CLOSES, mpmc_borrow_close },

OPERATIONS(spsc, 2);
OPERATIONS(recq, 1);
OPERATIONS(mpmc, 1);

static const noun spsc_noun = {
    "spsc", false, 0, spsc_open, spsc_close, spsc_put, spsc_get, spsc_room,
    spsc_asleep, spsc_inspect, spsc_ops
};
static const noun recq_noun = {
    "recq", false, 0, recq_open, recq_close, recq_put, recq_get, recq_room,
    recq_asleep, recq_inspect, recq_ops
};
static const noun mpmc_noun = {
    "mpmc", true, 0, mpmc_open, mpmc_close, mpmc_put, mpmc_get, mpmc_room,
    mpmc_asleep, mpmc_inspect, mpmc_ops
};
static const noun drop_noun = {
    "mpmc by drop", true, SHMC_DROP, mpmc_open, mpmc_close, mpmc_put, mpmc_get,
    mpmc_room, mpmc_asleep, mpmc_inspect, mpmc_ops
};

/* ---- people ------------------------------------------------------------ */

static int
side(uint32_t role)
{
    return role == SHMC_CONSUMER;
}

static bool
join_as(person *p, uint32_t role)
{
    if (p->seg.base == NULL) CRASH_EQUAL(crash_attach(&p->seg), SHMC_OK);
    const int r = the->open(&p->q[side(role)], &p->seg, role);
    p->open[side(role)] = r == SHMC_OK;
    if (r != SHMC_OK) CRASH_EQUAL(r, SHMC_EBUSY);
    return r == SHMC_OK;
}

static void
leave_as(person *p, uint32_t role)
{
    if (!p->open[side(role)]) return;
    p->open[side(role)] = false;
    CRASH_EQUAL(the->close(&p->q[side(role)]), SHMC_OK);
}

/* Both, or of a queue with one of each only what the child is not.        */
static void
sit_down(person *p)
{
    if (the->many || op->role == SHMC_CONSUMER)
        CRASH_CHECK(join_as(p, SHMC_PRODUCER));
    if (the->many || op->role == SHMC_PRODUCER)
        CRASH_CHECK(join_as(p, SHMC_CONSUMER));
}

static bool
put_by(person *p, uint32_t tries)
{
    int r = SHMC_EAGAIN;
    uint32_t i = 0;

    for (; i < tries && r == SHMC_EAGAIN; i++)
        r = the->put(&p->q[0], next_number);
    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, SHMC_OK);
    crash_tried(i);
    put_done[next_number] = true;
    next_number += next_number < FIRST_OF_OTHERS ? 1 : 2;
    CRASH_CHECK(next_number < LIMIT);
    return true;
}

static bool
get_by(person *p, uint32_t tries)
{
    message m;
    int r = SHMC_EAGAIN;
    uint32_t i = 0;

    for (; i < tries && r == SHMC_EAGAIN; i++) r = the->get(&p->q[1], &m);
    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, SHMC_OK);
    crash_tried(i);
    const uint64_t n = m.word[0];
    CRASH_CHECK(n < LIMIT && is_number(&m, n));
    got[n]++;
    /* In order: plus one, so that the first may be 0.                     */
    if (!the->many) CRASH_CHECK(n + 1 > last_got);
    last_got = n + 1;
    return true;
}

/* ---- the world --------------------------------------------------------- */

static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0xff, sizeof *book);   /* no message looks like that       */
    book->acked = book->returned = book->refused = book->go = 0;
    book->first = 0;
    memset(got, 0, sizeof got);
    memset(put_done, 0, sizeof put_done);
    last_got = next_number = 0;
    crash_world(&who[OLD].seg, 16384);
    if (op->flags & CREATES) return;
    sit_down(&who[OLD]);
    if (survivors == 3 && the->many) sit_down(&who[THIRD]);
    if (survivors == 3 && !the->many)
        CRASH_CHECK(join_as(&who[THIRD], SHMC_OBSERVER));
    if (!(op->flags & OPENS)) {
        while (op->role == SHMC_CONSUMER && put_by(&who[OLD], 1)) { }
        return;
    }
    /* Two messages are there.                                             */
    const bool alone = !the->many;
    if (alone) CRASH_CHECK(join_as(&who[OLD], op->role));
    for (int i = 0; i < 2; i++) CRASH_CHECK(put_by(&who[OLD], 1));
    if (alone) leave_as(&who[OLD], op->role);
    book->first = next_number;
}

/* Fill the queue, or empty it, so that the call finds it so by what it has
 * seen, and at its end.                                                   */
static void
enter(void)
{
    queue *q = &who[CHILD].q[side(op->role)];
    message m;
    uint64_t n = 0;

    crash_join(&who[CHILD].seg);
    if (op->flags & OPENS) return;
    TEST_REQUIRE(the->open(q, &who[CHILD].seg, op->role) == SHMC_OK);
    if (op->role == SHMC_PRODUCER)
        while (the->put(q, n) == SHMC_OK) n++;
    else
        while (the->get(q, &m) == SHMC_OK) n++;
    book->first = n;
}

/* The child waits.  Make room for it, or messages.                        */
static void
ready(void)
{
    const uint64_t first = book->first;

    if (op->role == SHMC_PRODUCER && !(op->flags & OPENS)) {
        for (uint64_t n = 0; n < first; n++) put_done[n] = true;
        for (int i = 0; i < 3 && !(op->flags & WAITS); i++)
            CRASH_CHECK(get_by(&who[OLD], 1));
    } else if (!(op->flags & OPENS)) {
        for (uint64_t n = 0; n < first; n++) got[n] = 1;
        last_got = first;
        for (int i = 0; i < 3 && !(op->flags & WAITS); i++)
            CRASH_CHECK(put_by(&who[OLD], 1));
    }
    next_number = FIRST_OF_OTHERS;
    if (op->flags & CREATES) return;
    the->asleep(&who[OLD].q[side(op->role == SHMC_PRODUCER ? SHMC_CONSUMER
                                                           : SHMC_PRODUCER)]);
    if (survivors == 2 && !the->many) {
        leave_as(&who[OLD], SHMC_PRODUCER);
        leave_as(&who[OLD], SHMC_CONSUMER);
    }
}

static void
act(void)
{
    const int r = op->act(&who[CHILD].q[side(op->role)]);

    crash_acknowledge(r, &book->acked, &book->returned);
}

static void
after(void)
{
    for (int i = 0; i < PEOPLE; i++) {
        for (int k = 0; k < 2; k++)
            if (who[i].open[k]) (void)the->close(&who[i].q[k]);
        who[i].open[0] = who[i].open[1] = false;
        if (i != OLD && who[i].seg.base != NULL)
            (void)shmc_segment_close(&who[i].seg);
    }
    crash_leave(&who[OLD].seg);
}

/* ---- what must hold ---------------------------------------------------- */

static bool
pushes(const person *p)
{
    return p->open[0] && !(!the->many && p == &who[THIRD]);
}

/* Has the dead one this message, whole?                                   */
static bool
handed_over(uint64_t n)
{
    for (int i = 0; i < BATCH; i++) {
        const uint64_t *w = book->dense[i];
        if (book->out[i].word[0] == n && is_number(&book->out[i], n)) return true;
        if (w[0] == n && w[1] == n && w[2] == n) return true;
    }
    return false;
}

static bool
of_child(uint64_t n, uint32_t count)
{
    return n >= book->first && n < book->first + count;
}

/* How many messages are there for sure?                                   */
static uint32_t
waiting(void)
{
    uint32_t count = 0;

    for (uint64_t n = 0; n < next_number; n++)
        count += put_done[n] && !got[n] &&
                 !(of_child(n, op->takes) && (the->drop || handed_over(n)));
    return count;
}

/* Each one takes what there is, and adds one.                             */
static void
everybody_goes_on(void)
{
    for (int i = 0; i < PEOPLE; i++)
        if (who[i].open[1] && waiting() > 0) CRASH_CHECK(get_by(&who[i], TRIES));
    for (int i = 0; i < PEOPLE; i++)
        if (pushes(&who[i]) && !put_by(&who[i], TRIES))
            CRASH_EQUAL(the->room(&who[i].q[0]), 0);
}

/* Take everything out, by turns.                                          */
static void
drain(void)
{
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < PEOPLE; i++)
            if (who[i].open[1] && get_by(&who[i], TRIES)) more = true;
    }
}

/* It holds as much as ever, in every one's hands; and so do its seats.    */
static void
as_good_as_new(void)
{
    for (int lap = 0; lap < 2; lap++) {
        uint32_t count = 0;
        for (bool more = true; more;) {
            more = false;
            for (int i = 0; i < PEOPLE; i++)
                if (pushes(&who[i]) && put_by(&who[i], 1)) count++, more = true;
        }
        if (the == &recq_noun) CRASH_CHECK(count >= CAPACITY / 32 - 1);
        else CRASH_EQUAL(count, SLOTS);
        drain();
    }
    for (uint64_t n = FIRST_OF_OTHERS; n < next_number; n++)
        CRASH_EQUAL(got[n], put_done[n]);
    if (!the->many) return;
    queue all[SEATS];
    for (int i = 0; i < PEOPLE; i++) {
        leave_as(&who[i], SHMC_PRODUCER);
        leave_as(&who[i], SHMC_CONSUMER);
    }
    for (int i = 0; i < SEATS; i++)
        CRASH_EQUAL(the->open(&all[i], &who[OLD].seg, SHMC_CONSUMER), SHMC_OK);
    for (int i = 0; i < SEATS; i++) CRASH_EQUAL(the->close(&all[i]), SHMC_OK);
}

/* Each message once.  Of those that the call put, the first few (of the
 * queues with one producer: all or none), and all that it acknowledged.  Of
 * those that it took, none that it acknowledged, and the rest unless it has
 * them, or may have dropped them.                                         */
static void
each_came_once(bool stopped)
{
    const uint64_t first = book->first;

    for (uint64_t n = 0; n < next_number; n++) {
        const bool pushed = op->role == SHMC_PRODUCER && of_child(n, BATCH);
        const bool popped = op->role == SHMC_CONSUMER && of_child(n, op->takes);
        CRASH_CHECK(got[n] <= 1);
        if (pushed) {
            if (n < first + book->acked) CRASH_EQUAL(got[n], 1);
            else if (stopped || n >= first + op->puts) CRASH_EQUAL(got[n], 0);
            else if (n > first && !the->many) CRASH_EQUAL(got[n], got[n - 1]);
            else if (n > first) CRASH_CHECK(got[n] <= got[n - 1]);
        } else if (popped && !stopped) {
            if (n < first + book->acked) CRASH_EQUAL(got[n], 0);
            else if (got[n] == 0 && put_done[n] && !the->drop)
                CRASH_CHECK(handed_over(n));
        } else {
            CRASH_EQUAL(got[n], put_done[n]);
        }
    }
}

static void
newcomers(void)
{
    const bool all = (op->flags & CREATES) != 0;

    if (survivors == 2 || all || (the->many && survivors == 3)) sit_down(&who[NEW]);
    if (all && the->many && survivors >= 2) sit_down(&who[OLD]);
    if (all && the->many && survivors == 3) sit_down(&who[THIRD]);
}

static void
killed_check(void)
{
    for (uint32_t i = 0; i < book->acked; i++)
        if (op->role == SHMC_PRODUCER) put_done[book->first + i] = true;
    if (who[THIRD].open[0]) the->inspect(&who[THIRD].q[0], false);
    newcomers();
    if (!the->many) CRASH_CHECK(join_as(&who[HEIR], op->role));
    everybody_goes_on();
    everybody_goes_on();
    crash_recovered();
    if (the->many) CRASH_CHECK(join_as(&who[HEIR], op->role));
    everybody_goes_on();
    drain();
    each_came_once(false);
    as_good_as_new();
}

/* ---- stopped ----------------------------------------------------------- */

static bool inherited;              /* while it was stopped                 */

/* Others open, take and put as much as they can; a call that waits finds
 * something when it goes on.                                              */
static void
others_meanwhile(void)
{
    if (who[THIRD].open[0]) the->inspect(&who[THIRD].q[0], true);
    newcomers();
    if (!the->many) {
        inherited = join_as(&who[HEIR], op->role);
        CRASH_CHECK(!inherited || op->flags & (OPENS | CLOSES));
    }
    drain();
    for (int i = 0; i < PEOPLE; i++)
        if (pushes(&who[i])) (void)put_by(&who[i], TRIES);
    drain();
    for (int i = 0; i < PEOPLE && op->role == SHMC_CONSUMER; i++)
        while (pushes(&who[i]) && put_by(&who[i], 1)) { }
    book->go = 1;
}

static void
nobody_has_another_ones_seat(void)
{
    for (int i = 0; i < PEOPLE; i++)
        for (int k = 0; k < 2; k++)
            if (who[i].open[k])
                CRASH_CHECK(who[i].q[k].mpmc.seat - who[i].q[k].mpmc.seats !=
                            (ptrdiff_t)book->seat);
}

/* It went on, and its process has died since.                             */
static void
stopped_check(void)
{
    CRASH_EQUAL(book->returned, 1);
    if (op->flags & OPENS && the->many) nobody_has_another_ones_seat();
    if (op->flags & OPENS && !the->many) CRASH_EQUAL(book->refused, inherited);
    for (uint32_t i = 0; i < book->acked; i++) {
        if (op->role == SHMC_PRODUCER) {
            put_done[book->first + i] = true;
            continue;
        }
        const uint64_t n = book->out[i].word[0];
        CRASH_CHECK(n < LIMIT && is_number(&book->out[i], n));
        got[n]++;
    }
    if (!who[HEIR].open[side(op->role)])
        CRASH_CHECK(join_as(&who[HEIR], op->role));
    drain();
    each_came_once(true);
    if (the->many) the->inspect(&who[OLD].q[0], true);
    as_good_as_new();
}

/* ---- sweeping ---------------------------------------------------------- */

static const crash_case killed_case = {
    before, enter, ready, act, NULL, killed_check, after
};
static const crash_case stopped_case = {
    before, enter, ready, act, others_meanwhile, stopped_check, after
};

static void
sweep_all(const noun *n, const crash_case *c)
{
    the = n;
    for (op = n->ops; op->name != NULL; op++) {
        if (c->frozen != NULL && op->flags & CREATES) continue;
        for (survivors = 1; survivors <= 3; survivors++) {
            /* Thousands of instructions: all three when there is time.    */
            if (op->flags & CREATES && !crash_thorough() &&
                (survivors != 1 || n->many || op->role == SHMC_CONSUMER)) continue;
            /* What becomes of a dead consumer is no matter of producers.  */
            if (n->drop && op->role == SHMC_PRODUCER) continue;
            crash_sweep_row(n->name, op->name, survivors, c, SWEEP_NS);
        }
    }
}

static void
spsc_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&spsc_noun, &killed_case);
}

static void
spsc_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&spsc_noun, &stopped_case);
}

static void
recq_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&recq_noun, &killed_case);
}

static void
recq_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&recq_noun, &stopped_case);
}

static void
mpmc_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&mpmc_noun, &killed_case);
    sweep_all(&drop_noun, &killed_case);
}

static void
mpmc_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&mpmc_noun, &stopped_case);
    sweep_all(&drop_noun, &stopped_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(spsc_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(spsc_is_whole_after_a_stop_in_any_operation),
        CRASH_TEST(recq_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(recq_is_whole_after_a_stop_in_any_operation),
        CRASH_TEST(mpmc_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(mpmc_is_whole_after_a_stop_in_any_operation),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
