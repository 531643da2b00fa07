/* One process dies, or stops, after each instruction of each operation of a
 * PUSH/PULL queue: short and long messages, redelivered and dropped, in one
 * ring or dealt by turns.  One or two survivors, each a pusher and a worker,
 * go on, one with handles from before, one a newcomer.  What was acknowledged
 * as pushed comes once; what a dead worker had comes again or is dropped;
 * nothing comes twice or torn; the queue holds as much as a new one, and when
 * the last one goes, no file is left.  Nobody that is stopped is held for
 * dead.                                                                    */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_pushpull.h"
#include "crash_harness.h"

enum { SLOTS = 4, SEATS = 8, SMALL = 24, LARGE = 200, LIMIT = 128 };
enum { WAIT_NS = 300000, SWEEP_NS = 20000000, BEFORE = 5 };
enum { FIRST_OF_CHILD = 8, FIRST_OF_OTHERS = 16 };

/* Calls in a row that may say SHMC_EAGAIN before it counts as the truth.   */
enum { TRIES = 2 * SHMI_MPMC_RESCUE_TRIES + SHMI_MPMC_STUCK_TRIES };
/* By turns each look is at all shares, and each eighth for the dead.       */
enum { SHARES = 3, TRIES_BY_TURNS = 3 * SHMI_MPMC_STUCK_TRIES };

enum { OLD, NEW, PEOPLE };

typedef struct message { uint64_t word[LARGE / 8]; } message;

/* Somebody: each handle has its own attachment, and so its own life.       */
typedef struct person {
    shmc_push push;
    shmc_pull pull;
    bool pushes, pulls;
} person;

/* What the stepped process and the test tell each other.                   */
typedef struct ledger {
    volatile uint32_t acked;        /* messages of the call, if it returned */
    volatile uint32_t returned;
    volatile uint32_t go;           /* who waits may wait again             */
    message out;                    /* where it puts what it takes          */
} ledger;

typedef struct flavour {
    const char *name;
    uint32_t bytes, on_death, shares;
} flavour;

enum {
    OPENS = 1, CREATES = 2, CLOSES = 4, WAITS = 8, HOLDS = 16, ALONE = 32,
    BURIES = 64
};
enum { PUSH, PULL };

typedef struct operation {
    const char *name;
    int side;
    uint32_t puts, flags;
    int (*act)(void);               /* child; how many it put or took       */
} operation;

static const flavour *the;
static const operation *op;
static uint32_t survivors;
static ledger *book;
static person who[PEOPLE], child;
static uint64_t next_number;        /* of the others' messages              */
static bool put_done[LIMIT];
static uint32_t got[LIMIT];

/* ---- messages ------------------------------------------------------------ */

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
    for (uint32_t i = 0; i < the->bytes / 8; i++)
        if (m->word[i] != n) return false;
    return true;
}

static int
open_push(shmc_push *push)
{
    const shmc_push_desc d = { .depth = SLOTS, .max_bytes = the->bytes,
                               .max_handles = SEATS, .dir = crash.dir,
                               .on_worker_death = the->on_death,
                               .round_robin = the->shares };
    return shmc_push_open(push, "w", &d);
}

static int
open_pull(shmc_pull *pull)
{
    const shmc_pull_desc d = { .dir = crash.dir };
    const int r = shmc_pull_open(pull, "w", &d);

    return r == SHMC_OK ? shmc_pull_ready(pull) - 1 : r;
}

/* ---- the calls ------------------------------------------------------------ */

/* Wait, and again if the test says so; 0 when nothing came of it.          */
#define WAIT(call)                                                            \
    do {                                                                      \
        int r_;                                                               \
        do r_ = (call); while (r_ == SHMC_ETIMEDOUT && book->go);             \
        return r_ == SHMC_ETIMEDOUT || r_ == SHMC_EAGAIN ? 0                  \
             : r_ >= 0 ? 1 : r_;                                              \
    } while (0)

static int
act_send(void)
{
    const message m = number(FIRST_OF_CHILD);

    WAIT(shmc_push_send(&child.push, &m, the->bytes,
                        op->flags & WAITS ? WAIT_NS : 0));
}

static int
fill_a_loan(void)
{
    const message m = number(FIRST_OF_CHILD);
    void *room;
    const int r = shmc_push_loan(&child.push, the->bytes, &room, 0);

    if (r == SHMC_OK) memcpy(room, &m, the->bytes);
    return r;
}

static int
act_commit(void)
{
    int r = fill_a_loan();

    if (r == SHMC_OK) r = shmc_push_commit(&child.push, the->bytes);
    return r == SHMC_OK ? 1 : r;
}

static int
act_abort(void)
{
    const int r = fill_a_loan();

    return r == SHMC_OK ? shmc_push_abort(&child.push) : r;
}

static int
act_loan_close(void)
{
    const int r = fill_a_loan();

    return r == SHMC_OK ? shmc_push_close(&child.push) : r;
}

static int
act_drain(void)
{
    const int r = shmc_push_drain(&child.push, 0);

    return r == SHMC_EAGAIN ? 0 : r;
}

static int act_open_push(void) { return open_push(&child.push); }
static int act_close_push(void) { return shmc_push_close(&child.push); }

static int
act_recv(void)
{
    WAIT(shmc_pull_recv(&child.pull, &book->out, sizeof book->out,
                        op->flags & WAITS ? WAIT_NS : 0));
}

/* The first call has no room for it.                                       */
static int
act_keep(void)
{
    const int r = shmc_pull_recv(&child.pull, &book->out, 8, 0);

    if (r == SHMC_EAGAIN) return 0;
    if (r != SHMC_EMSGSIZE) return SHMC_ECORRUPT;
    WAIT(shmc_pull_recv(&child.pull, &book->out, sizeof book->out, 0));
}

static int
borrow(void)
{
    const void *data;
    const int r = shmc_pull_borrow(&child.pull, &data, 0);

    if (r > 0) memcpy(&book->out, data, (size_t)r);
    return r;
}

static int
act_release(void)
{
    int r = borrow();

    if (r > 0) r = shmc_pull_release(&child.pull);
    return r == SHMC_OK ? 1 : r == SHMC_EAGAIN ? 0 : r;
}

/* What is borrowed at close is another one's.                              */
static int
act_borrow_close(void)
{
    int r = borrow();

    if (r > 0) r = shmc_pull_close(&child.pull);
    return r == SHMC_OK ? 1 : r == SHMC_EAGAIN ? 0 : r;
}

static int act_open_pull(void) { return open_pull(&child.pull); }
static int act_close_pull(void) { return shmc_pull_close(&child.pull); }

static const operation operations[] = {
    { "send", PUSH, 1, 0, act_send },
    { "send, waiting", PUSH, 1, WAITS, act_send },
    { "loan, commit", PUSH, 1, 0, act_commit },
    { "loan, abort", PUSH, 0, BURIES, act_abort },
    { "loan, close", PUSH, 0, CLOSES | BURIES, act_loan_close },
    { "drain", PUSH, 0, 0, act_drain },
    { "open to push", PUSH, 0, OPENS, act_open_push },
    { "create to push", PUSH, 0, OPENS | CREATES, act_open_push },
    { "close, pushing", PUSH, 0, CLOSES, act_close_push },
    { "close, the last", PUSH, 0, CLOSES | ALONE, act_close_push },
    { "recv", PULL, 0, 0, act_recv },
    { "recv, waiting", PULL, 0, WAITS, act_recv },
    { "recv, too long", PULL, 0, 0, act_keep },
    { "borrow, release", PULL, 0, 0, act_release },
    { "borrow, close", PULL, 0, CLOSES | HOLDS, act_borrow_close },
    { "open to pull", PULL, 0, OPENS, act_open_pull },
    { "close, pulling", PULL, 0, CLOSES, act_close_pull },
    { NULL, 0, 0, 0, NULL }
};

static const flavour flavours[] = {
    { "queue, short", SMALL, SHMC_REDELIVER, 0 },
    { "queue, long", LARGE, SHMC_REDELIVER, 0 },
    { "queue, short, drop", SMALL, SHMC_DROP, 0 },
    { "turns, short", SMALL, SHMC_REDELIVER, SHARES },
    { NULL, 0, 0, 0 }
};

/* ---- people --------------------------------------------------------------- */

static void
sit_down(person *p)
{
    CRASH_EQUAL(open_push(&p->push), SHMC_OK);
    p->pushes = true;
    CRASH_EQUAL(open_pull(&p->pull), SHMC_OK);
    p->pulls = true;
}

static void
leave(person *p)
{
    if (p->pushes) CRASH_EQUAL(shmc_push_close(&p->push), SHMC_OK);
    p->pushes = false;
    if (p->pulls) CRASH_EQUAL(shmc_pull_close(&p->pull), SHMC_OK);
    p->pulls = false;
}

static bool
put_by(person *p, uint32_t tries)
{
    const message m = number(next_number);
    int r = SHMC_EAGAIN;
    uint32_t i = 0;

    for (; i < tries && r == SHMC_EAGAIN; i++)
        r = shmc_push_send(&p->push, &m, the->bytes, 0);
    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, SHMC_OK);
    crash_tried(i);
    put_done[next_number++] = true;
    CRASH_CHECK(next_number < LIMIT);
    return true;
}

static bool
get_by(person *p, uint32_t tries)
{
    message m;
    int r = SHMC_EAGAIN;
    uint32_t i = 0;

    for (; i < tries && r == SHMC_EAGAIN; i++)
        r = shmc_pull_recv(&p->pull, &m, sizeof m, 0);
    if (r == SHMC_EAGAIN) return false;
    crash_tried(i);
    CRASH_EQUAL(r, the->bytes);
    const uint64_t n = m.word[0];
    CRASH_CHECK(n < LIMIT && is_number(&m, n));
    got[n]++;
    return true;
}

static uint32_t tries(void) { return the->shares ? TRIES_BY_TURNS : TRIES; }

/* Take everything out, one after the other.                                */
static void
take_all(void)
{
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < PEOPLE; i++)
            if (who[i].pulls && get_by(&who[i], tries())) more = true;
    }
}

/* ---- the world ------------------------------------------------------------ */

static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0xff, sizeof *book);
    book->acked = book->returned = book->go = 0;
    memset(got, 0, sizeof got);
    memset(put_done, 0, sizeof put_done);
    next_number = 0;
    crash_watch(NULL, 0);
    if (op->flags & (CREATES | ALONE)) return;
    sit_down(&who[OLD]);
    crash_watch(who[OLD].push.segment.base, who[OLD].push.segment.bytes);
    for (int i = 0; i < BEFORE; i++) {
        CRASH_CHECK(put_by(&who[OLD], 1));
        CRASH_CHECK(get_by(&who[OLD], TRIES));
    }
}

static void
enter(void)
{
    if (op->flags & OPENS) return;
    if (op->side == PULL) {
        TEST_REQUIRE(open_pull(&child.pull) == SHMC_OK);
        return;
    }
    TEST_REQUIRE(open_push(&child.push) == SHMC_OK);
    if (!(op->flags & ALONE)) return;
    const message m = number(FIRST_OF_CHILD);
    if (survivors == 2)
        TEST_REQUIRE(shmc_push_send(&child.push, &m, the->bytes, 0) == SHMC_OK);
}

/* Leave messages for a child that receives; fill the queue of one that waits
 * to send.  The call goes through a wake-up, too.                          */
static void
ready(void)
{
    next_number = FIRST_OF_OTHERS;
    if (op->flags & (CREATES | ALONE)) return;
    const bool full = op->side == PUSH && op->flags & WAITS;
    const bool some = op->side == PULL && !(op->flags & WAITS);
    for (int i = 0; i < (full ? SLOTS : some ? 2 : 0); i++)
        CRASH_CHECK(put_by(&who[OLD], 1));
    uint32_t count;
    shmc_push *push = &who[OLD].push;
    shmi_work *w = shmi_work_rings(&push->work, &push->shares, &count);
    for (uint32_t i = 0; i < count; i++)
        w[i].ring.shm->readable.asleep = w[i].ring.writable->asleep = 1;
}

static void
act(void)
{
    crash_acknowledge(op->act(), &book->acked, &book->returned);
}

static void
after(void)
{
    for (int i = 0; i < PEOPLE; i++) {
        if (who[i].pushes) (void)shmc_push_close(&who[i].push);
        if (who[i].pulls) (void)shmc_pull_close(&who[i].pull);
        who[i].pushes = who[i].pulls = false;
    }
    const shmc_segment_desc d = { .dir = crash.dir, .flags = SHMC_FORCE };
    (void)shmc_segment_unlink("w", &d);
}

/* ---- what must hold ------------------------------------------------------- */

static int
count_file(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

/* It holds as much as ever, all of it can be drained, as many may come as
 * ever; and it goes with the last one.                                     */
static void
as_good_as_new(void)
{
    shmc_pull all[SEATS];
    int files = 0;

    for (int lap = 0; lap < 2; lap++) {
        uint32_t count = 0;
        while (put_by(&who[lap % 2 && survivors == 2 ? NEW : OLD], 1)) count++;
        CRASH_EQUAL(count, the->shares ? SLOTS * survivors : SLOTS);
        CRASH_EQUAL(shmc_push_drain(&who[OLD].push, 0), SHMC_EAGAIN);
        take_all();
        CRASH_EQUAL(shmc_push_drain(&who[OLD].push, 0), SHMC_OK);
    }
    for (uint64_t n = FIRST_OF_OTHERS + SLOTS; n < next_number; n++)
        CRASH_EQUAL(got[n], put_done[n]);
    leave(&who[NEW]);
    CRASH_EQUAL(shmc_pull_close(&who[OLD].pull), SHMC_OK);
    who[OLD].pulls = false;
    const int most = the->shares ? SHARES : SEATS - 1;
    for (int i = 0; i < most; i++) CRASH_EQUAL(open_pull(&all[i]), SHMC_OK);
    for (int i = 0; i < most; i++)
        CRASH_EQUAL(shmc_pull_close(&all[i]), SHMC_OK);
    leave(&who[OLD]);
    (void)shmi_dir_each(crash.dir, count_file, &files);
    CRASH_EQUAL(files, 0);
}

/* Each message once.  What the child pushed and acknowledged; of what it
 * took, what it has whole, or what may have been dropped, may be missing.  */
static void
each_came_once(bool stopped)
{
    const bool drops = the->on_death == SHMC_DROP;

    for (uint64_t n = 0; n < next_number; n++) {
        const bool childs = n == FIRST_OF_CHILD;
        const bool taken = op->side == PULL && n == FIRST_OF_OTHERS;
        CRASH_CHECK(got[n] <= 1);
        if (childs && op->flags & ALONE) {
            CRASH_EQUAL(got[n], survivors == 2);
        } else if (childs) {
            if (book->acked && op->puts) CRASH_EQUAL(got[n], 1);
            else if (stopped || !op->puts) CRASH_EQUAL(got[n], 0);
        } else if (!taken || op->flags & (OPENS | WAITS)) {
            CRASH_EQUAL(got[n], put_done[n]);
        } else if (op->flags & HOLDS) {
            if (!drops) CRASH_EQUAL(got[n], 1);
            else if (book->acked) CRASH_EQUAL(got[n], 0);
        } else if (op->flags & CLOSES) {
            CRASH_EQUAL(got[n], 1);
        } else if (stopped) {
            CRASH_EQUAL(got[n], 1);
        } else if (book->acked) {
            CRASH_EQUAL(got[n], 0);
        } else if (got[n] == 0 && !drops) {
            CRASH_CHECK(is_number(&book->out, n));
        }
    }
}

static void
killed_check(void)
{
    if (op->flags & (CREATES | ALONE)) sit_down(&who[OLD]);
    if (survivors == 2) sit_down(&who[NEW]);
    take_all();
    for (int i = 0; i < PEOPLE; i++)
        if (who[i].pushes) CRASH_CHECK(put_by(&who[i], tries()));
    take_all();
    crash_recovered();
    each_came_once(false);
    as_good_as_new();
}

/* Others take and push as much as they can; a call that waits finds something
 * when it goes on.                                                         */
static void
others_meanwhile(void)
{
    shmc_mpmc_stats st;

    if (survivors == 2) sit_down(&who[NEW]);
    take_all();
    for (int i = 0; i < PEOPLE; i++)
        if (who[i].pushes) (void)put_by(&who[i], tries());
    if (!(op->flags & WAITS && op->side == PULL)) take_all();
    CRASH_EQUAL(shmc_push_stats_get(&who[OLD].push, &st), SHMC_OK);
    const bool buries = (op->flags & BURIES) != 0;
    CRASH_EQUAL(st.redelivered + st.dropped,
                op->flags & HOLDS ? st.redelivered + st.dropped : 0);
    CRASH_CHECK(st.tombs <= buries);
    book->go = 1;
}

/* It went on, and its process has died since.                              */
static void
stopped_check(void)
{
    CRASH_EQUAL(book->returned, 1);
    if (op->side == PULL && book->acked && !(op->flags & HOLDS)) {
        const uint64_t n = book->out.word[0];
        CRASH_CHECK(n < LIMIT && is_number(&book->out, n));
        got[n]++;
    }
    take_all();
    each_came_once(true);
    as_good_as_new();
}

/* ---- sweeping -------------------------------------------------------------- */

static const crash_case killed_case = {
    before, enter, ready, act, NULL, killed_check, after
};
static const crash_case stopped_case = {
    before, enter, ready, act, others_meanwhile, stopped_check, after
};

static void
sweep_all(const crash_case *c)
{
    for (the = flavours; the->name != NULL; the++) {
        for (op = operations; op->name != NULL; op++) {
            /* What becomes of a dead worker is no matter of pushers.      */
            if (the->on_death == SHMC_DROP && op->side == PUSH) continue;
            if (c->frozen != NULL && op->flags & (CREATES | ALONE)) continue;
            for (survivors = 1; survivors <= 2; survivors++) {
                /* Thousands of instructions: all when there is time.      */
                const uint32_t few = the->bytes == SMALL && !the->shares ? 1 : 2;
                if (op->flags & OPENS && !crash_thorough() && survivors != few)
                    continue;
                if (the->shares != 0 && !crash_thorough() &&
                    (op->flags & CREATES || survivors != few)) continue;
                crash_sweep_row(the->name, op->name, survivors, c, SWEEP_NS);
            }
        }
    }
}

static void
queue_goes_on_after_a_death_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&killed_case);
}

static void
queue_is_whole_after_a_stop_in_any_operation(void **state)
{
    (void)state;
    sweep_all(&stopped_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(queue_goes_on_after_a_death_in_any_operation),
        CRASH_TEST(queue_is_whole_after_a_stop_in_any_operation),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests_name("pushpull_kill_crash", tests, NULL, NULL);
}
