/* A publisher or a subscriber of a broadcast ring is killed after each
 * instruction of one call.  The others, who were there before, go on within
 * a few thousand calls; nothing acknowledged is lost and nothing comes twice.
 * And one is stopped there, for long: it is held for alive.               */
#define SHMC_RECHECK_NS 2000000u    /* many sweeps wait for it: 2 ms        */
#define SHMC_SPIN_TRIES 16u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "crash_harness.h"

/* Calls in a row that may say SHMC_EAGAIN before it counts as the truth;
 * see receive().                                                          */
enum { TRIES = 2 * SHMI_BCAST_IDLE, ROOM_TRIES = 2 * SHMI_BCAST_FULL };

enum { SLOTS = 4, SMALL = 24, LARGE = 200, ARENA = 1024, MAX_LOG = 64 };
enum { QUIT = 999999 };

typedef struct message { uint64_t word[LARGE / 8]; } message;

/* Shared with the children.                                               */
typedef struct ledger {
    volatile uint32_t acked;        /* the call returned                    */
    message out;                    /* where a recv puts its message        */
    volatile uint32_t ready;        /* the sleeping receiver is there       */
    volatile uint32_t logged;       /* what it received                     */
    uint64_t log[MAX_LOG];
} ledger;

static struct plan {
    uint32_t bytes;                 /* of each message                      */
    uint32_t publishers;            /* max_publishers                       */
    uint32_t mode, waitable;
    uint32_t lapped;                /* messages from before                 */
    bool corpse;                    /* an earlier death holds a cell        */
    bool heir;                      /* somebody takes the dead one's seat   */
} plan;

static ledger *book;
static shmc_segment seg;
static shmc_bcast pub, sub;         /* the test's, or the child's own       */
static shmc_bcast late, heir;       /* a subscriber, a publisher            */
static uint64_t expected;           /* number of the next message           */

static message
number(uint64_t n)
{
    message m;

    for (uint32_t i = 0; i < plan.bytes / 8; i++) m.word[i] = n;
    return m;
}

static bool
is_number(const message *m, uint64_t n)
{
    for (uint32_t i = 0; i < plan.bytes / 8; i++)
        if (m->word[i] != n) return false;
    return true;
}

static int
open_ring(shmc_bcast *h, uint32_t role, int32_t history)
{
    const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = LARGE,
                                .max_publishers = plan.publishers,
                                .max_subscribers = plan.mode == SHMC_RELIABLE
                                                 ? 4 : 0,
                                .arena_bytes = ARENA, .mode = plan.mode,
                                .waitable = plan.waitable,
                                .history = history };
    return shmc_bcast_open(h, &seg, "b", &d, role);
}

static int
send_number(shmc_bcast *h, uint64_t n)
{
    const message m = number(n);

    return shmc_bcast_send(h, &m, plan.bytes);
}

/* Receive one; false if there is none within the tries, and the same again
 * when nobody who is in the way is taken for alive any more.              */
static bool
receive(shmc_bcast *h, message *m)
{
    int r = SHMC_EAGAIN;

    for (int i = 0; i < 2 * TRIES && r == SHMC_EAGAIN; i++) {
        if (i == TRIES) shmi_sleep_until(shmi_now_ns() + SHMI_BCAST_TRUST_NS);
        r = shmc_bcast_recv(h, m, sizeof *m);
    }
    if (r == SHMC_EAGAIN) return false;
    CRASH_EQUAL(r, plan.bytes);
    return true;
}

static void
receive_number(shmc_bcast *h, uint64_t n)
{
    message m = { { 0 } };

    CRASH_CHECK(receive(h, &m));
    CRASH_EQUAL(m.word[0], n);
    CRASH_CHECK(is_number(&m, n));
}

/* ---- one publisher dies in a send -------------------------------------- */

/* A publisher that ends after it took a position; its seat stays, since the
 * one before it is free.                                                  */
static int
corpse(void *arg)
{
    (void)arg;
    crash_join(&seg);
    TEST_REQUIRE(open_ring(&late, SHMC_PRODUCER, 0) == SHMC_OK);
    TEST_REQUIRE(open_ring(&heir, SHMC_PRODUCER, 0) == SHMC_OK);
    TEST_REQUIRE(shmc_bcast_close(&late) == SHMC_OK);
    const uint64_t position = heir.shm->tail;
    heir.pubs[heir.seat].intent = position << 1 | 1;
    heir.shm->tail = position + 1;
    return 0;
}

static void
before(void)
{
    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0, sizeof *book);
    expected = 0;
    crash_world(&seg, 16384);
    /* The child will sit where these were sent from.                       */
    CRASH_EQUAL(open_ring(&heir, SHMC_PRODUCER, 0), SHMC_OK);
    CRASH_EQUAL(open_ring(&sub, SHMC_CONSUMER, 0), SHMC_OK);
    for (; expected < plan.lapped; expected++) {
        CRASH_EQUAL(send_number(&heir, expected), SHMC_OK);
        receive_number(&sub, expected);
    }
    if (plan.publishers > 1)
        CRASH_EQUAL(open_ring(&pub, SHMC_PRODUCER, 0), SHMC_OK);
    CRASH_EQUAL(shmc_bcast_close(&heir), SHMC_OK);
    if (plan.corpse) CRASH_EQUAL(test_join(test_spawn(corpse, NULL)), 0);
    for (uint32_t i = 0; plan.corpse && i < SLOTS - 1; i++, expected++) {
        CRASH_EQUAL(send_number(&pub, expected), SHMC_OK);
        receive_number(&sub, expected);
    }
    if (plan.waitable) sub.shm->readable.asleep = sub.shm->writable.asleep = 1;
}

static void
enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(open_ring(&pub, SHMC_PRODUCER, 0) == SHMC_OK);
    if (!plan.corpse) TEST_REQUIRE(send_number(&pub, expected) == SHMC_OK);
    if (plan.waitable) pub.shm->readable.asleep = 1;
}

static void
send_act(void)
{
    TEST_REQUIRE(send_number(&pub, expected + !plan.corpse) == SHMC_OK);
    shmi_fence_compiler();
    book->acked = 1;
}

/* Twice round the ring and the arena, each message in one call, for who was
 * there and for who comes now.                                            */
static void
goes_on(uint64_t first)
{
    if (late.shm == NULL)
        CRASH_EQUAL(open_ring(&late, SHMC_CONSUMER, 0), SHMC_OK);
    for (uint64_t n = first; n < first + 3 * SLOTS; n++) {
        int r = SHMC_EAGAIN;
        for (int i = 0; i < ROOM_TRIES && r == SHMC_EAGAIN; i++)
            r = send_number(&pub, n);
        CRASH_EQUAL(r, SHMC_OK);
        receive_number(&sub, n);
        receive_number(&late, n);
    }
    CRASH_EQUAL(shmc_bcast_lost(&sub), 0);
    CRASH_EQUAL(shmc_bcast_lost(&late), 0);
}

/* Send from the dead one's seat, as much as there is room for: nobody has
 * read anything yet, and all of it will come.                             */
static uint64_t
heir_sends(uint64_t first)
{
    uint64_t n = 0;

    if (!plan.heir) return 0;
    CRASH_EQUAL(open_ring(&heir, SHMC_PRODUCER, 0), SHMC_OK);
    while (n <= SLOTS && send_number(&heir, first + n) == SHMC_OK) n++;
    CRASH_EQUAL(shmc_bcast_close(&heir), SHMC_OK);
    CRASH_CHECK(n > 0 && n <= SLOTS);
    return n;
}

/* What was acknowledged comes, and the last one may.                      */
static void
send_check(void)
{
    const uint64_t inherited = 1000, more = heir_sends(inherited);
    message m = { { 0 } };

    if (!plan.corpse) receive_number(&sub, expected++);
    const bool got = receive(&sub, &m);
    const bool came = got && m.word[0] == expected;
    CRASH_CHECK(came || !book->acked);
    if (got) CRASH_CHECK(is_number(&m, came ? expected : inherited));
    for (uint64_t i = got && !came; i < more; i++)
        receive_number(&sub, inherited + i);
    CRASH_CHECK(!receive(&sub, &m));
    if (plan.publishers == 1)
        CRASH_EQUAL(open_ring(&pub, SHMC_PRODUCER, 0), SHMC_OK);
    goes_on(expected + 1);
}

static void
after(void)
{
    if (late.shm != NULL) (void)shmc_bcast_close(&late);
    if (heir.shm != NULL) (void)shmc_bcast_close(&heir);
    if (sub.shm != NULL) (void)shmc_bcast_close(&sub);
    if (pub.shm != NULL) (void)shmc_bcast_close(&pub);
    crash_leave(&seg);
}

static const crash_case send_case = {
    before, enter, NULL, send_act, NULL, send_check, after
};

static void
send_of_a_lone_publisher_killed_anywhere_is_passed(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 1, .lapped = 6,
                          .mode = SHMC_LOSSY };
    crash_sweep("broadcast send, alone", &send_case);
    plan.waitable = 1;
    crash_sweep("broadcast send, alone, waking", &send_case);
    /* Five: the arena is full, and the next one needs padding.            */
    plan = (struct plan){ .bytes = LARGE, .publishers = 1, .lapped = 5,
                          .mode = SHMC_LOSSY };
    crash_sweep("broadcast send, alone, arena", &send_case);
    plan.mode = SHMC_RELIABLE;
    plan.heir = true;
    crash_sweep("broadcast send, alone, arena, reliable", &send_case);
}

static void
send_of_one_of_many_killed_anywhere_is_passed(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 3, .lapped = 6,
                          .mode = SHMC_LOSSY, .waitable = 1 };
    crash_sweep("broadcast send, waking", &send_case);
    plan = (struct plan){ .bytes = LARGE, .publishers = 3, .lapped = 5,
                          .mode = SHMC_LOSSY };
    crash_sweep("broadcast send, arena", &send_case);
    plan.mode = SHMC_RELIABLE;
    crash_sweep("broadcast send, arena, reliable", &send_case);
    plan.heir = true;
    crash_sweep("broadcast send, arena, reliable, an heir", &send_case);
}

static void
send_into_a_dead_publishers_cell_killed_anywhere_is_passed(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 4, .lapped = 6,
                          .mode = SHMC_LOSSY, .corpse = true };
    crash_sweep("broadcast send over a dead one's cell", &send_case);
}

/* ---- one publisher is stopped in a send -------------------------------- */

static uint64_t heard[2 * MAX_LOG]; /* what the subscriber got, in order    */
static uint32_t heard_count;
static uint64_t sent_meanwhile;

/* Listen until there is nothing more.                                     */
static void
listen(void)
{
    for (;;) {
        message m = { { 0 } };
        int r = SHMC_EAGAIN;
        for (int i = 0; i < 2 * TRIES && (r == SHMC_EAGAIN ||
                                          r == SHMC_ELAPPED); i++) {
            if (i == TRIES)
                shmi_sleep_until(shmi_now_ns() + SHMI_BCAST_TRUST_NS);
            r = shmc_bcast_recv(&sub, &m, sizeof m);
        }
        if (r == SHMC_EAGAIN || r == SHMC_ELAPPED) return;
        CRASH_EQUAL(r, plan.bytes);
        CRASH_CHECK(is_number(&m, m.word[0]) && heard_count < 2 * MAX_LOG);
        heard[heard_count++] = m.word[0];
    }
}

/* Others send three laps, or in a reliable ring as much as there is room.  */
static void
others_go_on(void)
{
    const uint64_t first = 1000;

    heard_count = 0;
    for (sent_meanwhile = 0; sent_meanwhile < 3 * SLOTS; sent_meanwhile++) {
        int r = SHMC_EAGAIN;
        listen();
        for (int i = 0; i < ROOM_TRIES && r == SHMC_EAGAIN; i++)
            r = send_number(&pub, first + sent_meanwhile);
        if (r == SHMC_EAGAIN && plan.mode == SHMC_RELIABLE) break;
        CRASH_EQUAL(r, SHMC_OK);
    }
    listen();
}

/* Each is heard once, whole and in the order it was sent; a reliable ring
 * loses none, and a lossy one tells how many.                             */
static void
all_is_heard_or_counted(void)
{
    uint64_t next[2] = { expected, 1000 };

    listen();
    CRASH_EQUAL(book->acked, 1);
    for (uint32_t i = 0; i < heard_count; i++) {
        uint64_t *n = &next[heard[i] >= 1000];
        CRASH_CHECK(heard[i] >= *n);
        if (plan.mode == SHMC_RELIABLE) CRASH_EQUAL(heard[i], *n);
        *n = heard[i] + 1;
    }
    const uint64_t all = sent_meanwhile + 2, lost = shmc_bcast_lost(&sub);
    if (plan.mode == SHMC_RELIABLE) CRASH_EQUAL(heard_count, all);
    CRASH_EQUAL(sub.next - sub.joined, shmi_load_acq_64(&sub.shm->tail) -
                                       sub.joined);
    CRASH_EQUAL(heard_count + lost + sub.passed, sub.next - sub.joined -
                                                 plan.lapped);
    CRASH_CHECK(heard_count + lost + sub.passed >= all);
    sub.lost = 0;
    goes_on(2000);
}

static const crash_case stopped_send_case = {
    before, enter, NULL, send_act, others_go_on, all_is_heard_or_counted, after
};

static void
send_stopped_anywhere_holds_up_a_lossy_ring_for_a_lap_at_most(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 3, .lapped = 6,
                          .mode = SHMC_LOSSY };
    crash_sweep("broadcast send", &stopped_send_case);
    plan.bytes = LARGE;
    plan.lapped = 5;
    crash_sweep("broadcast send, arena", &stopped_send_case);
}

static void
send_stopped_anywhere_loses_nothing_in_a_reliable_ring(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 3, .lapped = 6,
                          .mode = SHMC_RELIABLE };
    crash_sweep("broadcast send, reliable", &stopped_send_case);
    plan.bytes = LARGE;
    plan.lapped = 5;
    crash_sweep("broadcast send, arena, reliable", &stopped_send_case);
}

/* ---- a seated subscriber dies in a receive ----------------------------- */

static void
recv_before(void)
{
    before();
    CRASH_EQUAL(open_ring(&late, SHMC_CONSUMER, 0), SHMC_OK);
}

/* Sit down, and have messages waiting: of a publisher of our own.         */
static void
recv_enter(void)
{
    crash_join(&seg);
    TEST_REQUIRE(open_ring(&sub, SHMC_CONSUMER, 0) == SHMC_OK);
    TEST_REQUIRE(open_ring(&pub, SHMC_PRODUCER, 0) == SHMC_OK);
    for (uint64_t i = 0; i < SLOTS - 1; i++)
        TEST_REQUIRE(send_number(&pub, expected + i) == SHMC_OK);
    TEST_REQUIRE(shmc_bcast_close(&pub) == SHMC_OK);
}

static void
recv_act(void)
{
    TEST_REQUIRE(shmc_bcast_recv(&sub, &book->out, sizeof book->out) > 0);
    shmi_fence_compiler();
    book->acked = 1;
}

/* The publisher drops the dead one as soon as it holds it up; the others
 * have what was there, and what follows.                                  */
static void
recv_check(void)
{
    const uint64_t first = expected + SLOTS - 1;

    if (book->acked) CRASH_CHECK(is_number(&book->out, expected));
    for (uint64_t n = expected; n < first; n++) {
        receive_number(&sub, n);
        receive_number(&late, n);
    }
    goes_on(first);
    shmc_bcast_stats st;
    CRASH_EQUAL(shmc_bcast_stats_get(&pub, &st), SHMC_OK);
    CRASH_EQUAL(st.subscribers, 2);
    CRASH_EQUAL(st.dropped, 1);
}

static const crash_case recv_case = {
    recv_before, recv_enter, NULL, recv_act, NULL, recv_check, after
};

static void
recv_of_a_seated_subscriber_killed_anywhere_frees_its_seat(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 2, .lapped = 6,
                          .mode = SHMC_RELIABLE, .waitable = 1 };
    crash_sweep("broadcast recv, seated", &recv_case);
    plan.bytes = LARGE;
    crash_sweep("broadcast recv, seated, arena", &recv_case);
}

/* It was stopped: what it had not read was not overwritten.               */
static void
nothing_was_overwritten(void)
{
    CRASH_EQUAL(book->acked, 1);
    CRASH_CHECK(is_number(&book->out, expected));
}

static const crash_case stopped_recv_case = {
    before, recv_enter, NULL, recv_act, others_go_on, nothing_was_overwritten, after
};

static void
recv_of_a_seated_subscriber_stopped_anywhere_keeps_its_message(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL, .publishers = 2, .lapped = 6,
                          .mode = SHMC_RELIABLE, .waitable = 1 };
    crash_sweep("broadcast recv, seated", &stopped_recv_case);
    plan.bytes = LARGE;
    crash_sweep("broadcast recv, seated, arena", &stopped_recv_case);
}

/* ---- a topic with a receiver asleep ------------------------------------ */

static shmc_pub topic_pub;
static shmc_sub topic_sub, topic_late;
static pid_t receiver;

static shmc_sub_desc
topic_sub_desc(void)
{
    const shmc_sub_desc d = { .history = 0, .dir = crash.dir };

    return d;
}

static int
topic_pub_open(void)
{
    const shmc_topic_desc d = { .depth = 8, .max_bytes = LARGE,
                                .max_publishers = 3, .max_subscribers = 4,
                                .arena_bytes = ARENA, .dir = crash.dir };

    return shmc_pub_open(&topic_pub, "t", &d);
}

static int
receiver_main(void *arg)
{
    const shmc_sub_desc d = topic_sub_desc();

    (void)arg;
    TEST_REQUIRE(shmc_sub_open(&topic_late, "t", &d) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_ready(&topic_late) == 1);
    book->ready = 1;
    for (uint64_t n = 0; n != QUIT; book->logged++) {
        message m = { { 0 } };
        TEST_REQUIRE(shmc_sub_recv(&topic_late, &m, sizeof m, SHMC_FOREVER) ==
                     (int)plan.bytes);
        n = m.word[0];
        TEST_REQUIRE(is_number(&m, n) && book->logged < MAX_LOG);
        book->log[book->logged] = n;
    }
    TEST_REQUIRE(shmc_sub_close(&topic_late) == SHMC_OK);
    return 0;
}

/* Let others run until the receiver says so; the watchdog is the bound.   */
static void
await(const volatile uint32_t *word, uint32_t value)
{
    while (*word < value) shmi_yield();
}

static void
topic_before(void)
{
    const shmc_sub_desc d = topic_sub_desc();

    if (book == NULL) book = test_shared(sizeof *book);
    memset(book, 0, sizeof *book);
    CRASH_EQUAL(topic_pub_open(), SHMC_OK);
    CRASH_EQUAL(shmc_sub_open(&topic_sub, "t", &d), SHMC_OK);
    CRASH_EQUAL(shmc_sub_ready(&topic_sub), 1);
    crash_watch(topic_sub.segment.base, topic_sub.segment.bytes);
    receiver = test_spawn(receiver_main, NULL);
    await(&book->ready, 1);
}

static void
topic_enter(void)
{
    TEST_REQUIRE(topic_pub_open() == SHMC_OK);
    const message m = number(1);
    TEST_REQUIRE(shmc_pub_send(&topic_pub, &m, plan.bytes, 0) == SHMC_OK);
    await(&book->logged, 1);
    await(&topic_pub.ring.shm->readable.asleep, 1);
}

static void
topic_act(void)
{
    const message m = number(2);

    TEST_REQUIRE(shmc_pub_send(&topic_pub, &m, plan.bytes, 0) == SHMC_OK);
    shmi_fence_compiler();
    book->acked = 1;
}

/* What can be received comes to the sleeper, too, rung or not.            */
static void
topic_check(void)
{
    message m = { { 0 } };
    uint32_t count = 1;

    receive_number(&topic_sub.ring, 1);
    if (receive(&topic_sub.ring, &m)) {
        CRASH_CHECK(is_number(&m, 2));
        count++;
    }
    CRASH_CHECK(count == 2 || !book->acked);
    await(&book->logged, count);
    m = number(QUIT);
    CRASH_EQUAL(shmc_pub_send(&topic_pub, &m, plan.bytes, 0), SHMC_OK);
    CRASH_EQUAL(test_join(receiver), 0);
    receiver = 0;
    CRASH_EQUAL(book->logged, count + 1);
    for (uint32_t i = 0; i < count; i++) CRASH_EQUAL(book->log[i], i + 1);
    receive_number(&topic_sub.ring, QUIT);
    CRASH_EQUAL(shmc_sub_lost(&topic_sub), 0);
}

/* The last to leave removes the topic.                                    */
static void
topic_after(void)
{
    if (receiver > 0) test_kill(receiver);
    receiver = 0;
    if (topic_sub.open) (void)shmc_sub_close(&topic_sub);
    if (topic_pub.ring.shm != NULL) (void)shmc_pub_close(&topic_pub);
}

static const crash_case topic_case = {
    topic_before, topic_enter, NULL, topic_act, NULL, topic_check, topic_after
};

static void
pub_send_killed_anywhere_reaches_a_sleeper_if_it_reaches_anybody(void **state)
{
    (void)state;
    plan = (struct plan){ .bytes = SMALL };
    crash_sweep("pub send to a sleeper", &topic_case);
    plan = (struct plan){ .bytes = LARGE };
    crash_sweep("pub send to a sleeper, arena", &topic_case);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CRASH_TEST(send_of_a_lone_publisher_killed_anywhere_is_passed),
        CRASH_TEST(send_of_one_of_many_killed_anywhere_is_passed),
        CRASH_TEST(send_into_a_dead_publishers_cell_killed_anywhere_is_passed),
        CRASH_TEST(send_stopped_anywhere_holds_up_a_lossy_ring_for_a_lap_at_most),
        CRASH_TEST(send_stopped_anywhere_loses_nothing_in_a_reliable_ring),
        CRASH_TEST(recv_of_a_seated_subscriber_killed_anywhere_frees_its_seat),
        CRASH_TEST(recv_of_a_seated_subscriber_stopped_anywhere_keeps_its_message),
        CRASH_TEST(pub_send_killed_anywhere_reaches_a_sleeper_if_it_reaches_anybody),
    };
    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
