/* A producer or a consumer of an MPMC queue is killed after each instruction
 * of one call.  The others, who were there before, go on within TRIES calls;
 * nothing acknowledged is lost and nothing comes twice.  And one is stopped
 * there, for long: nobody takes it for dead.                               */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_mpmc.h"
#include "crash_harness.h"

/* Calls in a row that may say SHMC_EAGAIN before it counts as the truth: an
 * obstacle is inspected every 64, orphans are looked for every 1024 calls. */
enum { TRIES = 2 * SHMI_MPMC_RESCUE_TRIES + SHMI_MPMC_STUCK_TRIES };

enum { WORDS = 3, BATCH = 3, MAX_ITEMS = 64, DRAIN = 32 };

typedef struct message { uint64_t word[WORDS]; } message;

/* Shared with the child.                                                  */
typedef struct ledger {
    volatile uint32_t acked;        /* messages of the calls that returned  */
    message out[BATCH];             /* where a pop puts its messages        */
} ledger;

/* What one sweep varies.                                                  */
static struct plan {
    uint32_t slots, lapped;         /* lapped: pushed and popped before     */
    uint32_t filled;                /* messages that wait                   */
    uint32_t batch;                 /* 0: one, by copy                      */
    uint32_t drop, waitable;
    uint32_t corpse;                /* a role that died before, in a call   */
    bool pushes;                    /* the stopped call is a push           */
    bool apart;                     /* its seat is still the corpse's       */
    bool newcomer;                  /* somebody takes the dead one's seat   */
} plan;

static ledger *book;
static shmc_segment seg;
static shmc_mpmc mine, other;       /* the test's, or the child's own       */
static uint64_t next_push;          /* number of the next message           */
static uint32_t got[MAX_ITEMS];     /* how often it was delivered           */

static message
number(uint64_t n)
{
    message m;

    for (int i = 0; i < WORDS; i++) m.word[i] = n;
    return m;
}

static bool
is_number(const message *m, uint64_t n)
{
    for (int i = 0; i < WORDS; i++)
        if (m->word[i] != n) return false;
    return true;
}

static int
open_queue(shmc_mpmc *q, uint32_t role)
{
    const shmc_mpmc_desc d = { .slot_bytes = sizeof(message),
                               .slot_count = plan.slots,
                               .max_handles = 3 + plan.apart,
                               .on_consumer_death = plan.drop,
                               .waitable = plan.waitable };
    return shmc_mpmc_open(q, &seg, "q", &d, role);
}

static bool
push_one(shmc_mpmc *q, uint32_t tries)
{
    const message m = number(next_push);
    int r = SHMC_EAGAIN;

    for (uint32_t i = 0; i < tries && r == SHMC_EAGAIN; i++)
        r = shmc_mpmc_push(q, &m, sizeof m);
    if (r == SHMC_OK) next_push++;
    else CRASH_EQUAL(r, SHMC_EAGAIN);
    return r == SHMC_OK;
}

/* Pop one, and note which.                                                */
static bool
pop_one(shmc_mpmc *q, uint32_t tries)
{
    message m;
    int r = SHMC_EAGAIN;

    for (uint32_t i = 0; i < tries && r == SHMC_EAGAIN; i++)
        r = shmc_mpmc_pop(q, &m, sizeof m);
    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, SHMC_OK);
    CRASH_CHECK(m.word[0] < MAX_ITEMS && is_number(&m, m.word[0]));
    got[m.word[0]]++;
    return true;
}

/* A process that ends in the middle of a loan or a borrow.                */
static int
corpse(void *arg)
{
    void *slot;
    const void *msg;

    (void)arg;
    crash_join(&seg);
    TEST_REQUIRE(open_queue(&other, plan.corpse) == SHMC_OK);
    if (plan.apart) {               /* sit behind the next one to come      */
        shmc_mpmc first = other;
        TEST_REQUIRE(open_queue(&other, plan.corpse) == SHMC_OK);
        TEST_REQUIRE(shmc_mpmc_close(&first) == SHMC_OK);
    }
    if (plan.corpse == SHMC_PRODUCER)
        TEST_REQUIRE(shmc_mpmc_loan(&other, &slot) == SHMC_OK);
    else
        TEST_REQUIRE(shmc_mpmc_borrow(&other, &msg) == SHMC_OK);
    return 0;
}

static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0xff, sizeof *book);   /* no message looks like that       */
    book->acked = 0;
    memset(got, 0, sizeof got);
    next_push = 0;
    crash_world(&seg, 16384);
    CRASH_EQUAL(open_queue(&mine, SHMC_PRODUCER | SHMC_CONSUMER), SHMC_OK);
    CRASH_EQUAL(open_queue(&other, SHMC_CONSUMER), SHMC_OK);
    /* No longer new: they will not look into every obstacle at once.      */
    CRASH_CHECK(!pop_one(&mine, 2) && !pop_one(&other, 2));
    for (uint32_t i = 0; i < plan.lapped; i++)
        CRASH_CHECK(push_one(&mine, 1) && pop_one(&mine, 1));
    if (plan.corpse == SHMC_PRODUCER)
        CRASH_EQUAL(test_join(test_spawn(corpse, NULL)), 0);
    for (uint32_t i = 0; i < plan.filled; i++)
        CRASH_CHECK(push_one(&mine, 1));
    if (plan.corpse == SHMC_CONSUMER)
        CRASH_EQUAL(test_join(test_spawn(corpse, NULL)), 0);
    if (plan.waitable)
        mine.shm->readable.asleep = mine.shm->writable.asleep = 1;
}

static void
enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(open_queue(&mine, SHMC_PRODUCER | SHMC_CONSUMER) == SHMC_OK);
    /* Inspect an obstacle in this very call; or neither that nor orphans.  */
    mine.look = plan.corpse != 0;
    if (!plan.corpse) mine.patrol_pos += SHMI_MPMC_PATROL;
}

static void
after(void)
{
    if (other.shm != NULL) (void)shmc_mpmc_close(&other);
    if (mine.shm != NULL) (void)shmc_mpmc_close(&mine);
    crash_leave(&seg);
}

/* The queue holds as much as ever, in order.                              */
static void
as_good_as_new(void)
{
    shmc_mpmc_stats st;
    message m;

    CRASH_EQUAL(shmc_mpmc_stats_get(&mine, &st), SHMC_OK);
    CRASH_EQUAL(st.used, 0);
    for (uint32_t lap = 0; lap < 3; lap++) {
        for (uint64_t i = 0; i < plan.slots; i++) {
            m = number(i);
            int r = SHMC_EAGAIN;
            for (int t = 0; t < TRIES && r == SHMC_EAGAIN; t++)
                r = shmc_mpmc_push(&mine, &m, sizeof m);
            CRASH_EQUAL(r, SHMC_OK);
        }
        CRASH_EQUAL(shmc_mpmc_push(&mine, &m, sizeof m), SHMC_EAGAIN);
        for (uint64_t i = 0; i < plan.slots; i++) {
            CRASH_EQUAL(shmc_mpmc_pop(&mine, &m, sizeof m), SHMC_OK);
            CRASH_CHECK(is_number(&m, i));
        }
        CRASH_EQUAL(shmc_mpmc_pop(&mine, &m, sizeof m), SHMC_EAGAIN);
    }
}

/* Somebody new sits down in the dead one's seat.                          */
static void
take_the_seat(void)
{
    shmc_mpmc third;

    if (!plan.newcomer) return;
    CRASH_EQUAL(open_queue(&third, SHMC_CONSUMER), SHMC_OK);
    CRASH_EQUAL(shmc_mpmc_close(&third), SHMC_OK);
}

/* Take everything out, by turns.                                          */
static void
drain(void)
{
    int i = 0;

    while (i < DRAIN && (pop_one(i % 2 ? &other : &mine, TRIES) ||
                         pop_one(i % 2 ? &mine : &other, TRIES)))
        i++;
    CRASH_CHECK(i < DRAIN);
}

/* ---- push -------------------------------------------------------------- */

static void
push_act(void)
{
    const uint64_t first = next_push;
    const message m[BATCH] = { number(first), number(first + 1),
                               number(first + 2) };
    const int r = plan.batch ? shmc_mpmc_push_n(&mine, m, sizeof m[0],
                                                plan.batch)
                             : shmc_mpmc_push(&mine, m, sizeof m[0]);
    TEST_REQUIRE(r >= 0);
    shmi_fence_compiler();
    book->acked = plan.batch ? (uint32_t)r : 1;
}

/* Whole, in order and once: all that was acknowledged, and of the rest the
 * first few.                                                              */
static void
push_check(void)
{
    const uint64_t first = next_push;
    const uint32_t count = plan.batch ? plan.batch : 1;

    take_the_seat();
    /* The next one gets through, unless the queue is full.                */
    next_push = first + count;
    const bool room = push_one(&mine, TRIES);
    CRASH_CHECK(room || shmc_mpmc_used(&mine) == plan.slots);
    drain();
    for (uint64_t i = 0; i < first; i++) CRASH_EQUAL(got[i], 1);
    for (uint64_t i = first; i < first + count; i++) {
        CRASH_CHECK(got[i] <= 1);
        if (i > first) CRASH_CHECK(got[i] <= got[i - 1]);
        if (i < first + book->acked) CRASH_EQUAL(got[i], 1);
    }
    CRASH_EQUAL(got[first + count], room);
    as_good_as_new();
}

static const crash_case push_case = {
    before, enter, NULL, push_act, NULL, push_check, after
};

static void
push_killed_anywhere_leaves_acknowledged_messages(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 1 };
    crash_sweep("mpmc push", &push_case);
    plan = (struct plan){ .slots = 1, .waitable = 1 };
    crash_sweep("mpmc push, one slot, waking", &push_case);
    plan = (struct plan){ .slots = 4, .lapped = 2, .newcomer = true };
    crash_sweep("mpmc push, then a newcomer", &push_case);
}

static void
push_n_killed_anywhere_leaves_the_first_few(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 1, .batch = BATCH };
    crash_sweep("mpmc push_n", &push_case);
}

/* The child is stopped.  Others push and pop as if it were dead.          */
static void
frozen(void)
{
    if (plan.pushes) {
        next_push += plan.batch ? plan.batch : 1;   /* those of the child   */
        (void)push_one(&mine, TRIES);
    }
    take_the_seat();
    drain();
    /* Leave a child that pops something to pop.                           */
    if (!plan.pushes) while (push_one(&mine, TRIES)) { }
}

/* It went on: all came once, to one or the other.                         */
static void
nobody_was_robbed(void)
{
    const uint64_t first = plan.lapped + plan.filled;
    const uint32_t count = plan.batch ? plan.batch : 1;

    drain();
    CRASH_CHECK(book->acked > 0);
    for (uint32_t i = 0; i < book->acked && !plan.pushes; i++) {
        const uint64_t n = book->out[i].word[0];
        CRASH_CHECK(n < MAX_ITEMS && is_number(&book->out[i], n));
        got[n]++;
    }
    for (uint64_t i = 0; i < next_push; i++) {
        const bool none = plan.pushes && i >= first + book->acked &&
                          i < first + count;
        CRASH_EQUAL(got[i], !none);
    }
    as_good_as_new();
}

static const crash_case stopped_push_case = {
    before, enter, NULL, push_act, frozen, nobody_was_robbed, after
};

static void
push_stopped_anywhere_is_not_taken_for_dead(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 1, .pushes = true };
    crash_sweep("mpmc push", &stopped_push_case);
    plan.batch = BATCH - 1;
    crash_sweep("mpmc push_n", &stopped_push_case);
}

/* ---- pop --------------------------------------------------------------- */

static void
pop_act(void)
{
    const int r = plan.batch ? shmc_mpmc_pop_n(&mine, book->out,
                                               sizeof(message), plan.batch)
                             : shmc_mpmc_pop(&mine, book->out, sizeof(message));
    TEST_REQUIRE(r >= 0);
    shmi_fence_compiler();
    book->acked = plan.batch ? (uint32_t)r : 1;
}

/* Does the dead one have it, whole?                                       */
static bool
handed_over(uint64_t n)
{
    for (int i = 0; i < BATCH; i++)
        if (book->out[i].word[0] == n && is_number(&book->out[i], n)) return true;
    return false;
}

/* Each message comes once: to the survivors, or the dead one has it whole.
 * By SHMC_DROP those that he held may be gone.                            */
static void
pop_check(void)
{
    const uint64_t first = plan.lapped, end = next_push;
    const uint32_t count = plan.batch ? plan.batch : 1;

    take_the_seat();
    drain();
    for (uint64_t i = 0; i < first; i++) CRASH_EQUAL(got[i], 1);
    for (uint64_t i = first; i < end; i++) {
        CRASH_CHECK(got[i] <= 1);
        if (i >= first + count) CRASH_EQUAL(got[i], 1);
        if (got[i] == 0 && !plan.drop) CRASH_CHECK(handed_over(i));
        if (i < first + count && book->acked)
            CRASH_CHECK(got[i] == (i >= first + book->acked));
    }
    as_good_as_new();
}

static const crash_case pop_case = {
    before, enter, NULL, pop_act, NULL, pop_check, after
};

static void
pop_killed_anywhere_is_delivered_once(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 3 };
    crash_sweep("mpmc pop", &pop_case);
    plan = (struct plan){ .slots = 1, .lapped = 1, .filled = 1, .waitable = 1 };
    crash_sweep("mpmc pop, one slot, waking", &pop_case);
}

static void
pop_killed_anywhere_is_delivered_once_after_its_seat_is_taken(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 3,
                          .newcomer = true };
    crash_sweep("mpmc pop, then a newcomer", &pop_case);
}

static void
pop_killed_anywhere_loses_at_most_its_message_by_option(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 3, .drop = 1 };
    crash_sweep("mpmc pop, drop", &pop_case);
    plan = (struct plan){ .slots = 2, .filled = 2, .drop = 1, .waitable = 1,
                          .newcomer = true };
    crash_sweep("mpmc pop, drop, then a newcomer", &pop_case);
}

static void
pop_n_killed_anywhere_is_delivered_once(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 4, .batch = BATCH };
    crash_sweep("mpmc pop_n", &pop_case);
    plan.newcomer = true;
    crash_sweep("mpmc pop_n, then a newcomer", &pop_case);
    plan.drop = 1;
    crash_sweep("mpmc pop_n, drop, then a newcomer", &pop_case);
}

static const crash_case stopped_pop_case = {
    before, enter, NULL, pop_act, frozen, nobody_was_robbed, after
};

static void
pop_stopped_anywhere_is_not_taken_for_dead(void **state)
{
    (void)state;
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 3 };
    crash_sweep("mpmc pop", &stopped_pop_case);
    plan.drop = 1;
    crash_sweep("mpmc pop, drop", &stopped_pop_case);
    plan.drop = 0;
    plan.batch = BATCH;
    crash_sweep("mpmc pop_n", &stopped_pop_case);
}

/* ---- recovering from another's death ----------------------------------- */

static void
recover(const char *from, const crash_case *c)
{
    /* A pop that meets a position whose producer is dead buries it.       */
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 2,
                          .corpse = SHMC_PRODUCER };
    print_message("%s:\n", from);
    crash_sweep("mpmc pop over a dead producer's position", c);
    /* A pop that takes over a dead consumer's message.                    */
    plan = (struct plan){ .slots = 4, .lapped = 6, .filled = 3,
                          .corpse = SHMC_CONSUMER };
    crash_sweep("mpmc pop of a dead consumer's message", c);
    plan.apart = true;
    crash_sweep("mpmc pop of the same, from another seat", c);
    plan.newcomer = true;
    crash_sweep("mpmc pop of the same, then a newcomer", c);
}

static void
recovery_killed_anywhere_is_recovered_from(void **state)
{
    (void)state;
    recover("killed in a recovery", &pop_case);
}

static void
recovery_stopped_anywhere_is_finished_once(void **state)
{
    (void)state;
    recover("stopped in a recovery", &stopped_pop_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(push_killed_anywhere_leaves_acknowledged_messages),
        CRASH_TEST(push_n_killed_anywhere_leaves_the_first_few),
        CRASH_TEST(push_stopped_anywhere_is_not_taken_for_dead),
        CRASH_TEST(pop_killed_anywhere_is_delivered_once),
        CRASH_TEST(pop_killed_anywhere_is_delivered_once_after_its_seat_is_taken),
        CRASH_TEST(pop_killed_anywhere_loses_at_most_its_message_by_option),
        CRASH_TEST(pop_n_killed_anywhere_is_delivered_once),
        CRASH_TEST(pop_stopped_anywhere_is_not_taken_for_dead),
        CRASH_TEST(recovery_killed_anywhere_is_recovered_from),
        CRASH_TEST(recovery_stopped_anywhere_is_finished_once),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
