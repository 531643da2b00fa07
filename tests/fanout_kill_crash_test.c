/* One process dies, or stops, after each instruction of each operation of a
 * broadcast ring and of a topic: lossy and reliable, one publisher and many,
 * in the cell and in the arena.  One to three survivors, each a publisher and
 * a subscriber, go on, some with handles from before, some newcomers, and a
 * successor of the dead one.  All subscribers hear the same, once and whole;
 * what was acknowledged is heard.  Nobody that is stopped is held for dead. */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "crash_harness.h"

enum { SLOTS = 4, SMALL = 24, LARGE = 200, ARENA = 1024, LOG = 512 };
enum { WAIT_NS = 300000, SWEEP_NS = 15000000, SEATS = 6 };
enum { FIRST_OF_CHILD = 100, FIRST_OF_OTHERS = 1000, LAPPED = 5 };

/* Calls in a row that may say SHMC_EAGAIN before it counts as the truth;
 * see receive().                                                          */
enum { TRIES = 2 * SHMI_BCAST_IDLE, ROOM_TRIES = 2 * SHMI_BCAST_FULL };

enum { OLD, NEW, THIRD, HEIR, CHILD, PEOPLE };
enum { PUB, SUB };

typedef struct message { uint64_t word[LARGE / 8]; } message;

typedef struct end {                /* one side of a ring or a topic        */
    shmc_segment *segment;
    union { shmc_bcast ring; shmc_pub pub; shmc_sub sub; } as;
} end;

/* Somebody: in the test, each has its own attachment, and so its own life. */
typedef struct person {
    shmc_segment seg;
    end e[2];
    bool open[2];
    uint64_t log[LOG];              /* what it heard                        */
    uint32_t logged;
} person;

/* What the stepped process and the test tell each other.                  */
typedef struct ledger {
    volatile uint32_t acked;        /* messages of the call, if it returned */
    volatile uint32_t returned;
    volatile uint32_t refused;      /* an open found no seat                */
    volatile uint32_t go;           /* who waits may wait again             */
    volatile uint32_t filled;       /* messages that it sent before         */
    message out;                    /* where it puts what it takes          */
} ledger;

typedef struct fan {
    const char *name;
    int (*open)(end *e, int side);
    int (*close)(end *e, int side);
    int (*send)(end *e, const void *data, uint32_t bytes, int64_t timeout_ns);
    int (*loan)(end *e, uint32_t bytes, void **data);
    int (*commit)(end *e, uint32_t bytes);
    int (*abort)(end *e);
    int (*recv)(end *e, void *buf, int64_t timeout_ns);
    int (*borrow)(end *e, const void **data);
    int (*release)(end *e);
    shmc_bcast *(*ring)(end *e, int side);
} fan;

typedef struct flavour {
    const char *name;
    const fan *f;
    uint32_t mode, publishers, bytes;
} flavour;

enum { OPENS = 1, CREATES = 2, CLOSES = 4, WAITS = 8, RELIABLE = 16, ARENAS = 32 };

typedef struct operation {
    const char *name;
    int side;
    uint32_t number, flags;         /* number: of the message it sends, or 0*/
    int (*act)(end *e);             /* child; how many it sent or received  */
} operation;

static const flavour *the;
static const operation *op;
static uint32_t survivors;
static ledger *book;
static person who[PEOPLE];
static uint64_t next_number;        /* of the others' messages              */
static bool inherited;              /* a seat, while the child stopped      */
static uint64_t unread;             /* from here on nobody heard it then    */

/* ---- messages ---------------------------------------------------------- */

/* One of the child's is small, wherever the others lie, and so is what
 * fills the ring for one that waits.                                      */
static uint32_t
bytes_of(uint64_t n)
{
    const bool fills = op->side == PUB && op->flags & WAITS &&
                       n >= FIRST_OF_OTHERS && n < FIRST_OF_OTHERS + SLOTS;

    return fills || n == FIRST_OF_CHILD + 1 ? SMALL : the->bytes;
}

static message
number(uint64_t n)
{
    message m;

    for (uint32_t i = 0; i < LARGE / 8; i++) m.word[i] = n;
    return m;
}

static bool
is_number(const message *m, uint64_t n)
{
    for (uint32_t i = 0; i < bytes_of(n) / 8; i++)
        if (m->word[i] != n) return false;
    return true;
}

/* ---- a ring in a segment ----------------------------------------------- */

static int
ring_open(end *e, int side)
{
    const bool reliable = the->mode == SHMC_RELIABLE;
    const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = LARGE,
                                .max_publishers = the->publishers,
                                .max_subscribers = reliable ? SEATS : 0,
                                .arena_bytes = ARENA, .mode = the->mode,
                                .waitable = 1 };
    return shmc_bcast_open(&e->as.ring, e->segment, "b", &d,
                           side == PUB ? SHMC_PRODUCER : SHMC_CONSUMER);
}

static int
ring_close(end *e, int side)
{
    (void)side;
    return shmc_bcast_close(&e->as.ring);
}

static int
ring_send(end *e, const void *data, uint32_t bytes, int64_t timeout_ns)
{
    return timeout_ns == 0 ? shmc_bcast_send(&e->as.ring, data, bytes)
                           : shmc_bcast_send_wait(&e->as.ring, data, bytes,
                                                  timeout_ns);
}

static int
ring_loan(end *e, uint32_t bytes, void **data)
{
    return shmc_bcast_loan(&e->as.ring, bytes, data);
}

static int
ring_commit(end *e, uint32_t bytes)
{
    return shmc_bcast_commit(&e->as.ring, bytes);
}

static int ring_abort(end *e) { return shmc_bcast_abort(&e->as.ring); }

static int
ring_recv(end *e, void *buf, int64_t timeout_ns)
{
    return timeout_ns == 0 ? shmc_bcast_recv(&e->as.ring, buf, LARGE)
                           : shmc_bcast_recv_wait(&e->as.ring, buf, LARGE,
                                                  timeout_ns);
}

static int
ring_borrow(end *e, const void **data)
{
    return shmc_bcast_borrow(&e->as.ring, data);
}

static int ring_release(end *e) { return shmc_bcast_release(&e->as.ring); }

static shmc_bcast *
ring_ring(end *e, int side)
{
    (void)side;
    return &e->as.ring;
}

static const fan ring_fan = {
    "broadcast", ring_open, ring_close, ring_send, ring_loan, ring_commit,
    ring_abort, ring_recv, ring_borrow, ring_release, ring_ring
};

/* ---- a topic ----------------------------------------------------------- */

static int
topic_open(end *e, int side)
{
    const bool reliable = the->mode == SHMC_RELIABLE;
    const shmc_topic_desc t = { .depth = SLOTS, .max_bytes = LARGE,
                                .max_publishers = the->publishers,
                                .max_subscribers = reliable ? SEATS : 0,
                                .arena_bytes = ARENA, .mode = the->mode,
                                .dir = crash.dir };
    const shmc_sub_desc s = { .report_loss = true, .dir = crash.dir };

    if (side == PUB) return shmc_pub_open(&e->as.pub, "t", &t);
    const int r = shmc_sub_open(&e->as.sub, "t", &s);
    return r == SHMC_OK ? shmc_sub_ready(&e->as.sub) - 1 : r;
}

static int
topic_close(end *e, int side)
{
    return side == PUB ? shmc_pub_close(&e->as.pub) : shmc_sub_close(&e->as.sub);
}

static int
topic_send(end *e, const void *data, uint32_t bytes, int64_t timeout_ns)
{
    return shmc_pub_send(&e->as.pub, data, bytes, timeout_ns);
}

static int
topic_loan(end *e, uint32_t bytes, void **data)
{
    return shmc_pub_loan(&e->as.pub, bytes, data, 0);
}

static int
topic_commit(end *e, uint32_t bytes)
{
    return shmc_pub_commit(&e->as.pub, bytes, 0);
}

static int topic_abort(end *e) { return shmc_pub_abort(&e->as.pub); }

static int
topic_recv(end *e, void *buf, int64_t timeout_ns)
{
    return shmc_sub_recv(&e->as.sub, buf, LARGE, timeout_ns);
}

static int
topic_borrow(end *e, const void **data)
{
    return shmc_sub_borrow(&e->as.sub, data, 0);
}

static int topic_release(end *e) { return shmc_sub_release(&e->as.sub); }

static shmc_bcast *
topic_ring(end *e, int side)
{
    return side == PUB ? &e->as.pub.ring : &e->as.sub.ring;
}

static const fan topic_fan = {
    "topic", topic_open, topic_close, topic_send, topic_loan, topic_commit,
    topic_abort, topic_recv, topic_borrow, topic_release, topic_ring
};

/* ---- the calls --------------------------------------------------------- */

/* Wait, and again if the test says so; 0 when nothing came of it.  A lossy
 * ring may have gone on without who was stopped.                          */
#define WAIT(call)                                                            \
    do {                                                                      \
        int r_;                                                               \
        do r_ = (call);                                                       \
        while ((r_ == SHMC_ETIMEDOUT || r_ == SHMC_EAGAIN) && book->go);      \
        return r_ == SHMC_ETIMEDOUT || r_ == SHMC_EAGAIN ||                   \
               r_ == SHMC_ELAPPED ? 0 : r_ >= 0 ? 1 : r_;                     \
    } while (0)

static int
act_send(end *e)
{
    const message m = number(op->number);
    const int64_t timeout_ns = op->flags & WAITS ? WAIT_NS : 0;

    WAIT(the->f->send(e, &m, bytes_of(op->number), timeout_ns));
}

static int
fill_a_loan(end *e)
{
    const message m = number(op->number);
    void *data;
    const int r = the->f->loan(e, the->bytes, &data);

    if (r == SHMC_OK) memcpy(data, &m, bytes_of(op->number));
    return r;
}

static int
act_commit(end *e)
{
    const int r = fill_a_loan(e);

    if (r != SHMC_OK) return r;
    WAIT(the->f->commit(e, bytes_of(op->number)));
}

static int
act_abort(end *e)
{
    const int r = fill_a_loan(e);

    return r == SHMC_OK ? the->f->abort(e) : r;
}

static int
act_loan_close(end *e)
{
    const int r = fill_a_loan(e);

    return r == SHMC_OK ? the->f->close(e, PUB) : r;
}

static int
act_recv(end *e)
{
    WAIT(the->f->recv(e, &book->out, op->flags & WAITS ? WAIT_NS : 0));
}

static int
act_borrow(end *e)
{
    const void *data;
    int r = the->f->borrow(e, &data);

    if (r > 0) {
        memcpy(&book->out, data, (size_t)r);
        r = the->f->release(e);
        return r == SHMC_OK ? 1 : r == SHMC_ELAPPED ? 0 : r;
    }
    return r == SHMC_ELAPPED ? 0 : r;
}

static int
act_open(end *e)
{
    const int r = the->f->open(e, op->side);

    if (r == SHMC_ELIMIT) book->refused = 1;
    return r == SHMC_ELIMIT || (r == -1 && op->flags & CREATES) ? 0 : r;
}

static int act_close(end *e) { return the->f->close(e, op->side); }

static const operation operations[] = {
    { "send", PUB, FIRST_OF_CHILD, 0, act_send },
    { "send_wait, full", PUB, FIRST_OF_CHILD, WAITS | RELIABLE, act_send },
    { "loan, commit", PUB, FIRST_OF_CHILD, 0, act_commit },
    { "loan, commit less", PUB, FIRST_OF_CHILD + 1, ARENAS, act_commit },
    { "loan, abort", PUB, 0, 0, act_abort },
    { "loan, close", PUB, 0, CLOSES, act_loan_close },
    { "open to send", PUB, 0, OPENS, act_open },
    { "create to send", PUB, 0, OPENS | CREATES, act_open },
    { "close, sending", PUB, 0, CLOSES, act_close },
    { "recv", SUB, 0, 0, act_recv },
    { "recv_wait, empty", SUB, 0, WAITS, act_recv },
    { "borrow, release", SUB, 0, 0, act_borrow },
    { "open to receive", SUB, 0, OPENS, act_open },
    { "create to receive", SUB, 0, OPENS | CREATES, act_open },
    { "close, receiving", SUB, 0, CLOSES, act_close },
    { NULL, 0, 0, 0, NULL }
};

static const flavour flavours[] = {
    { "lossy", &ring_fan, SHMC_LOSSY, 5, SMALL },
    { "lossy, arena", &ring_fan, SHMC_LOSSY, 5, LARGE },
    { "reliable", &ring_fan, SHMC_RELIABLE, 5, SMALL },
    { "reliable, arena", &ring_fan, SHMC_RELIABLE, 5, LARGE },
    { "alone", &ring_fan, SHMC_LOSSY, 1, SMALL },
    { "alone, arena", &ring_fan, SHMC_LOSSY, 1, LARGE },
    { "alone, reliable, arena", &ring_fan, SHMC_RELIABLE, 1, LARGE },
    { "lossy", &topic_fan, SHMC_LOSSY, 5, SMALL },
    { "reliable, arena", &topic_fan, SHMC_RELIABLE, 5, LARGE },
    { NULL, NULL, 0, 0, 0 }
};

/* ---- people ------------------------------------------------------------ */

static bool
join_as(person *p, int side)
{
    const bool topic = the->f == &topic_fan;

    if (!topic && p->seg.base == NULL)
        CRASH_EQUAL(crash_attach(&p->seg), SHMC_OK);
    p->e[side].segment = &p->seg;
    const int r = the->f->open(&p->e[side], side);
    p->open[side] = r == SHMC_OK;
    if (r != SHMC_OK) CRASH_EQUAL(r, SHMC_ELIMIT);
    if (side == SUB) p->logged = 0;
    return r == SHMC_OK;
}

static void
leave_as(person *p, int side)
{
    if (!p->open[side]) return;
    p->open[side] = false;
    CRASH_EQUAL(the->f->close(&p->e[side], side), SHMC_OK);
}

/* As subscriber, and as publisher where there may be one more.            */
static void
sit_down(person *p)
{
    if (the->publishers > 1 || (op->side == SUB && p == &who[OLD]) ||
        (op->flags & CREATES && op->side == SUB && p == &who[NEW]))
        CRASH_CHECK(join_as(p, PUB));
    CRASH_CHECK(join_as(p, SUB));
}

/* Receive one; false if there is none within the tries, and (when there are
 * TRIES) the same again when nobody who is in the way is taken for alive any
 * more.                                                                   */
static bool
hear_in(person *p, uint64_t *n, int tries)
{
    message m = { { 0 } };
    int r = SHMC_EAGAIN, i = 0;

    for (; i < tries && (r == SHMC_EAGAIN || r == SHMC_ELAPPED); i++) {
        if (i == TRIES) shmi_sleep_until(shmi_now_ns() + SHMI_BCAST_TRUST_NS);
        r = the->f->recv(&p->e[SUB], &m, 0);
    }
    if (r == SHMC_EAGAIN || r == SHMC_ELAPPED) return false;
    crash_tried((uint32_t)i);
    *n = m.word[0];
    CRASH_EQUAL(r, bytes_of(*n));
    CRASH_CHECK(is_number(&m, *n) && p->logged < LOG);
    p->log[p->logged++] = *n;
    return true;
}

static bool
hear(person *p, uint64_t *n)
{
    return hear_in(p, n, 2 * TRIES);
}

/* Everybody who listens hears this one, and what was before it.           */
static void
all_hear(uint64_t n)
{
    for (int i = 0; i < PEOPLE; i++)
        for (uint64_t is = 0; who[i].open[SUB] && is != n;)
            CRASH_CHECK(hear(&who[i], &is));
}

/* Everybody takes what is there.                                          */
static void
all_listen(void)
{
    uint64_t n;

    for (int i = 0; i < PEOPLE; i++)
        while (who[i].open[SUB] && hear(&who[i], &n)) { }
}

static int
send_by(person *p, uint64_t n, uint32_t tries)
{
    const message m = number(n);
    int r = SHMC_EAGAIN;
    uint32_t i = 0;

    for (; i < tries && r == SHMC_EAGAIN; i++)
        r = the->f->send(&p->e[PUB], &m, bytes_of(n), 0);
    if (r == SHMC_OK) crash_tried(i);
    return r;
}

/* ---- the world --------------------------------------------------------- */

/* The child will sit where the first messages were sent from: five, so that
 * in the arena there is room for none, and the next one needs padding.    */
static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0, sizeof *book);
    next_number = FIRST_OF_OTHERS;
    if (the->f == &ring_fan) crash_world(&who[OLD].seg, 32768);
    else crash_watch(NULL, 0);
    if (op->flags & CREATES) return;
    CRASH_CHECK(join_as(&who[HEIR], PUB));
    CRASH_CHECK(join_as(&who[OLD], SUB));
    if (the->f == &topic_fan) {
        const shmc_segment *s = &who[OLD].e[SUB].as.sub.segment;
        crash_watch(s->base, s->bytes);
    }
    for (uint64_t n = 0; n < LAPPED; n++) {
        CRASH_EQUAL(send_by(&who[HEIR], 1 + n, 1), SHMC_OK);
        all_hear(1 + n);
    }
    if (the->publishers == 1 && op->side == PUB) {
        leave_as(&who[HEIR], PUB);
    } else {
        if (the->publishers == 1) leave_as(&who[HEIR], PUB);
        CRASH_CHECK(join_as(&who[OLD], PUB));
        leave_as(&who[HEIR], PUB);
    }
    if (survivors == 3) sit_down(&who[THIRD]);
}

static void
enter(void)
{
    person *p = &who[CHILD];

    if (the->f == &ring_fan) crash_join(&p->seg);
    p->e[op->side].segment = &p->seg;
    if (op->flags & OPENS) return;
    TEST_REQUIRE(the->f->open(&p->e[op->side], op->side) == SHMC_OK);
    if (the->publishers > 1 || op->side == SUB || !(op->flags & WAITS)) return;
    while (send_by(p, FIRST_OF_OTHERS + book->filled, 1) == SHMC_OK)
        book->filled++;
}

/* Leave messages for a child that receives; fill the ring of one that waits
 * to send (an only publisher has done so).  The call goes through a wake-up,
 * too.                                                                    */
static void
ready(void)
{
    if (op->flags & CREATES) return;
    next_number += book->filled;
    const bool full = op->side == PUB && op->flags & WAITS && !book->filled;
    const bool some = op->side == SUB && !(op->flags & (WAITS | OPENS));
    for (int i = 0; i < (full ? SLOTS : some ? SLOTS - 1 : 0); i++) {
        CRASH_EQUAL(send_by(&who[OLD], next_number++, 1), SHMC_OK);
    }
    if (some) all_hear(next_number - 1);
    shmc_bcast *ring = the->f->ring(&who[OLD].e[SUB], SUB);
    ring->shm->readable.asleep = ring->shm->writable.asleep = 1;
}

static void
act(void)
{
    const int r = op->act(&who[CHILD].e[op->side]);

    crash_acknowledge(r, &book->acked, &book->returned);
}

static void
after(void)
{
    for (int i = 0; i < PEOPLE; i++) {
        for (int k = 0; k < 2; k++)
            if (who[i].open[k]) (void)the->f->close(&who[i].e[k], k);
        who[i].open[0] = who[i].open[1] = false;
        if (i != OLD && who[i].seg.base != NULL)
            (void)shmc_segment_close(&who[i].seg);
    }
    crash_leave(&who[OLD].seg);
}

/* ---- what must hold ---------------------------------------------------- */

static void
newcomers(void)
{
    if (survivors >= 2 || op->flags & CREATES) sit_down(&who[NEW]);
}

/* Each publisher sends one, and everybody hears it.                       */
static void
everybody_goes_on(void)
{
    for (int i = 0; i < PEOPLE; i++) {
        if (!who[i].open[PUB]) continue;
        CRASH_EQUAL(send_by(&who[i], next_number, ROOM_TRIES), SHMC_OK);
        all_hear(next_number++);
    }
}

/* Is it in what somebody heard, how often?                                */
static uint32_t
times(const person *p, uint64_t n)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < p->logged; i++) count += p->log[i] == n;
    return count;
}

/* Nobody heard a thing twice, or out of order; those who were there heard
 * the same; and what was not heard is counted.                            */
static void
all_heard_the_same(bool stopped)
{
    const bool lossless = !stopped || the->mode == SHMC_RELIABLE;

    for (int i = 0; i < PEOPLE; i++) {
        const person *p = &who[i];
        uint64_t last = 0, others = 0;
        if (!p->open[SUB]) continue;
        shmc_bcast *ring = the->f->ring(&who[i].e[SUB], SUB);
        for (uint32_t k = 0; k < p->logged; k++) {
            if (p->log[k] < FIRST_OF_OTHERS) {
                CRASH_CHECK(p->log[k] > last);
                last = p->log[k];
            } else {
                CRASH_CHECK(others == 0 || p->log[k] > others);
                if (lossless && others != 0) CRASH_EQUAL(p->log[k], others + 1);
                others = p->log[k];
            }
        }
        CRASH_EQUAL(others, next_number - 1);
        CRASH_EQUAL(p->logged + ring->lost + ring->passed,
                    ring->next - ring->joined);
        if (lossless) CRASH_EQUAL(ring->lost, 0);
        for (uint64_t n = unread; stopped && n < next_number; n++)
            if (i != HEIR) CRASH_EQUAL(times(p, n), 1);
        if (i == NEW || i == HEIR || op->number == 0) continue;
        const uint32_t heard = times(p, op->number);
        CRASH_CHECK(heard <= 1);
        if (lossless && book->acked) CRASH_EQUAL(heard, 1);
        if (lossless && who[OLD].open[SUB])
            CRASH_EQUAL(heard, times(&who[OLD], op->number));
    }
}

static int
count_one(void *user, const char *name)
{
    int *count = user;

    (void)name;
    ++*count;
    return 0;
}

/* Round the ring and the arenas; then every seat can be taken, and of a
 * topic nothing is left when the last one goes.                           */
static void
as_good_as_new(void)
{
    end all[SEATS];
    int files = 0;

    for (uint32_t i = 0; i < 2 * SLOTS; i++) everybody_goes_on();
    for (int i = 0; i < PEOPLE; i++) leave_as(&who[i], PUB);
    const uint32_t pubs = the->publishers;
    const uint32_t seats = the->mode == SHMC_RELIABLE ? SEATS : 0;
    for (int side = PUB; side <= SUB; side++) {
        const uint32_t n = side == PUB ? pubs : seats;
        for (int i = 0; i < PEOPLE && side == SUB && n > 0; i++)
            if (i != OLD && i != NEW) leave_as(&who[i], SUB);
        const uint32_t taken = side == PUB || n == 0 ? 0
            : (uint32_t)(who[OLD].open[SUB] + who[NEW].open[SUB]);
        for (uint32_t i = 0; i + taken < n; i++) {
            all[i].segment = &who[OLD].seg;
            CRASH_EQUAL(the->f->open(&all[i], side), SHMC_OK);
        }
        for (uint32_t i = 0; i + taken < n; i++)
            CRASH_EQUAL(the->f->close(&all[i], side), SHMC_OK);
    }
    for (int i = 0; i < PEOPLE; i++) leave_as(&who[i], SUB);
    if (the->f != &topic_fan) return;
    CRASH_EQUAL(shmi_dir_each(crash.dir, count_one, &files), 0);
    CRASH_EQUAL(files, 0);
}

/* At once: of one, others have heard all that is there; of two, the one in
 * the dead one's seat sends before anybody has.                           */
static void
before_anything_else(void)
{
    uint64_t n;

    for (int i = 0; i < PEOPLE && survivors != 2; i++)
        while (who[i].open[SUB] && hear_in(&who[i], &n, 1)) { }
    newcomers();
    if (survivors == 2 && who[NEW].open[PUB])
        CRASH_EQUAL(send_by(&who[NEW], next_number++, ROOM_TRIES), SHMC_OK);
}

/* A dead subscriber is in the way a lap later.                            */
static void
killed_check(void)
{
    const uint32_t laps = op->side == SUB && !(op->flags & CREATES) ? SLOTS + 1
                                                                    : 1;

    if (op->flags & WAITS && op->side == PUB) all_hear(next_number - 1);
    before_anything_else();
    if (op->side == PUB && the->publishers == 1)
        CRASH_CHECK(join_as(&who[HEIR], PUB));
    for (uint32_t i = 0; i < laps; i++) everybody_goes_on();
    crash_recovered();
    if (op->side == PUB && !who[HEIR].open[PUB])
        CRASH_CHECK(join_as(&who[HEIR], PUB));
    if (op->side == SUB) CRASH_CHECK(join_as(&who[HEIR], SUB));
    everybody_goes_on();
    everybody_goes_on();
    if (op->side == SUB && book->returned && book->acked)
        CRASH_CHECK(is_number(&book->out, book->out.word[0]));
    all_heard_the_same(false);
    as_good_as_new();
}

/* ---- stopped ----------------------------------------------------------- */

/* Others send three laps; in a reliable ring, as much as there is room for
 * before who stopped.  The last two nobody has heard when it goes on.
 * Nobody is given up.                                                     */
static void
others_meanwhile(void)
{
    shmc_bcast_stats st;

    newcomers();
    inherited = false;
    if (op->side == PUB && the->publishers == 1) {
        inherited = join_as(&who[HEIR], PUB);
        CRASH_CHECK(!inherited || op->flags & (OPENS | CLOSES));
    }
    all_listen();
    for (uint32_t i = 0; i < 3 * SLOTS; i++) {
        person *p = &who[(i % PEOPLE)];
        if (!p->open[PUB]) continue;
        const int r = send_by(p, next_number, ROOM_TRIES);
        if (r == SHMC_EAGAIN && the->mode == SHMC_RELIABLE) break;
        CRASH_EQUAL(r, SHMC_OK);
        next_number++;
        all_listen();
    }
    unread = next_number;
    for (int i = 0; i < PEOPLE; i++)
        while (who[i].open[PUB] && next_number < unread + 2 &&
               send_by(&who[i], next_number, 1) == SHMC_OK) next_number++;
    CRASH_EQUAL(shmc_bcast_stats_get(the->f->ring(&who[OLD].e[SUB], SUB), &st),
                SHMC_OK);
    CRASH_EQUAL(st.dropped, 0);
    book->go = 1;
}

/* It went on, and its process has died since.                             */
static void
stopped_check(void)
{
    CRASH_EQUAL(book->returned, 1);
    if (op->flags & OPENS) CRASH_EQUAL(book->refused, inherited);
    const bool whole = is_number(&book->out, book->out.word[0]);
    if (op->side == SUB && book->acked) CRASH_CHECK(whole);
    if (op->side == SUB && !(op->flags & (OPENS | CLOSES | WAITS))) {
        if (the->mode == SHMC_RELIABLE) CRASH_EQUAL(book->acked, 1);
        if (book->acked) CRASH_EQUAL(book->out.word[0], FIRST_OF_OTHERS);
    }
    all_listen();
    if (!who[HEIR].open[op->side])
        CRASH_CHECK(join_as(&who[HEIR], op->side));
    everybody_goes_on();
    all_heard_the_same(true);
    as_good_as_new();
}

/* ---- sweeping ---------------------------------------------------------- */

static const crash_case killed_case = {
    before, enter, ready, act, NULL, killed_check, after
};
static const crash_case stopped_case = {
    before, enter, ready, act, others_meanwhile, stopped_check, after
};

/* Sweep every operation that this one has.  When time is short, each with
 * another number of survivors.                                            */
static void
sweep_all(const flavour *f, const crash_case *c)
{
    uint32_t turn = (uint32_t)(f - flavours) + (c->frozen != NULL);
    char noun[64];

    snprintf(noun, sizeof noun, "%s %s:", f->f->name, f->name);
    the = f;
    for (op = operations; op->name != NULL; op++, turn++) {
        const uint32_t flags = op->flags;
        if (c->frozen != NULL && flags & CREATES) continue;
        if (flags & RELIABLE && f->mode != SHMC_RELIABLE) continue;
        if (flags & ARENAS && f->bytes != LARGE) continue;
        /* Ten thousands of instructions.                                  */
        if (flags & CREATES && !crash_thorough() &&
            (f->f == &ring_fan || f->mode == SHMC_LOSSY || op->side == SUB))
            continue;
        for (survivors = 1; survivors <= 3; survivors++) {
            if (!crash_thorough() && survivors != turn % 3 + 1) continue;
            crash_sweep_row(noun, op->name, survivors, c, SWEEP_NS);
        }
    }
}

static void
sweep_flavours(const fan *f, const crash_case *c)
{
    for (const flavour *x = flavours; x->name != NULL; x++)
        if (x->f == f) sweep_all(x, c);
}

static void
broadcast_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_flavours(&ring_fan, &killed_case);
}

static void
broadcast_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_flavours(&ring_fan, &stopped_case);
}

static void
topic_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_flavours(&topic_fan, &killed_case);
}

static void
topic_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_flavours(&topic_fan, &stopped_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(broadcast_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(broadcast_is_whole_after_a_stop_in_any_operation),
        CRASH_TEST(topic_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(topic_is_whole_after_a_stop_in_any_operation),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
