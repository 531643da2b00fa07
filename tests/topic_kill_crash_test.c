/* Somebody dies after each instruction of what only topics do: make a topic
 * anew in another shape, follow it there, drop the oldest message, skip to
 * the newest, subscribe to all topics under a name, let one go.  Others go
 * on, what was acknowledged is heard or counted, and no file is left.      */
#define SHMC_SPIN_TRIES 4u
#define SHMC_YIELD_TRIES 2u
#define SHMC_RECHECK_NS 1000000u
#define SHMC_PEER_CHECK_NS 1000000u
#define SHMC_TOPIC_POLL_NS 20000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "crash_harness.h"

enum { OF_CHILD = 100, OF_OTHERS = 1000, SWEEP_NS = 150000000 };

typedef struct ledger { volatile uint32_t acked, returned; } ledger;

static ledger *book;
static shmc_topic_desc shape, other;
static shmc_pub pub, child_pub;
static shmc_sub sub, child_sub;
static bool pub_open, sub_open, joins;
static uint64_t sent, heard, received;
static const char *child_name;
static shmc_sub_desc child_desc;

static void
send_one(shmc_pub *p, uint64_t n)
{
    int r = SHMC_EAGAIN;

    for (int i = 0; i < 100 && r == SHMC_EAGAIN; i++)
        r = shmc_pub_send(p, &n, sizeof n, 0);
    CRASH_EQUAL(r, SHMC_OK);
    sent = n;
}

/* The survivor hears everything up to what was sent last; it counts what it
 * did not.                                                                */
static void
hear_all(void)
{
    while (heard != sent) {
        uint64_t n = 0;
        const int r = shmc_sub_recv(&sub, &n, sizeof n, 2000000000);
        CRASH_EQUAL(r, 8);
        CRASH_CHECK(n > heard || n == OF_CHILD);
        heard = n;
        received++;
    }
}

static void
open_pub(const shmc_topic_desc *d)
{
    CRASH_EQUAL(shmc_pub_open(&pub, "t/x", d), SHMC_OK);
    pub_open = true;
}

/* A publisher of one shape was here, and a subscriber is.                 */
static void
before(void)
{
    const shmc_sub_desc d = { .dir = crash.dir };

    memset((void *)(uintptr_t)book, 0, sizeof *book);
    shape.dir = other.dir = child_desc.dir = crash.dir;
    sent = heard = received = 0;
    open_pub(&shape);
    CRASH_EQUAL(shmc_sub_open(&sub, "t/x", &d), SHMC_OK);
    sub_open = true;
    CRASH_EQUAL(shmc_sub_ready(&sub), 1);
    crash_watch(sub.segment.base, sub.segment.bytes);
    for (uint64_t i = 0; i < 3; i++) send_one(&pub, 1 + i);
    if (!joins) {
        shmc_pub_close(&pub);
        pub_open = false;
    }
}

static void
after(void)
{
    crash_watch(NULL, 0);
    if (pub_open) (void)shmc_pub_close(&pub);
    if (sub_open) (void)shmc_sub_close(&sub);
    pub_open = sub_open = false;
}

static int
count_file(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

static void
nothing_is_left(void)
{
    int files = 0;

    CRASH_EQUAL(shmc_pub_close(&pub), SHMC_OK);
    pub_open = false;
    CRASH_EQUAL(shmc_sub_close(&sub), SHMC_OK);
    sub_open = false;
    CRASH_EQUAL(shmi_dir_each(crash.dir, count_file, &files), 0);
    CRASH_EQUAL(files, 0);
}

/* ---- make a topic anew ---------------------------------------------------- */

static void enter_nothing(void) { }

static void
act_replace(void)
{
    const uint64_t n = OF_CHILD;
    int r = shmc_pub_open(&child_pub, "t/x", &other);

    if (r == SHMC_OK) r = shmc_pub_send(&child_pub, &n, sizeof n, 0);
    crash_acknowledge(r == SHMC_OK, &book->acked, &book->returned);
}

/* The survivor, who listens, hears what was acknowledged; then one of either
 * shape comes.                                                            */
static void
check_replace(void)
{
    uint64_t n;

    if (book->acked) sent = OF_CHILD;
    hear_all();
    while (!book->acked && shmc_sub_recv(&sub, &n, sizeof n, 2000000) == 8) {
        CRASH_EQUAL(n, OF_CHILD);
        received++;
    }
    if (book->acked) CRASH_EQUAL(received, 4);
    for (int i = 0; i < 2; i++) {
        open_pub(i == 0 ? &shape : &other);
        send_one(&pub, OF_OTHERS + (uint64_t)i);
        hear_all();
        if (i == 1) break;
        shmc_pub_close(&pub);
        pub_open = false;
    }
    crash_recovered();
    CRASH_CHECK(received == 5 || received == 6);
    CRASH_EQUAL(shmc_sub_lost(&sub), 0);
    nothing_is_left();
}

/* ---- subscribe and receive ------------------------------------------------ */

static void
enter_sub(void)
{
    TEST_REQUIRE(shmc_sub_open(&child_sub, child_name, &child_desc) == SHMC_OK);
}

static void
ready_more(void)
{
    for (uint64_t i = 0; i < 3; i++) send_one(&pub, 10 + i);
    sub.ring.shm->writable.asleep = sub.ring.shm->readable.asleep = 1;
}

/* Between the open and this, its topic was made anew.                      */
static void
ready_anew(void)
{
    ready_more();
    shmc_pub_close(&pub);
    open_pub(&other);
    send_one(&pub, 20);
}

static void
act_sub_open(void)
{
    enter_sub();
    crash_acknowledge(1, &book->acked, &book->returned);
}

static void
act_recv(void)
{
    uint64_t n;
    int got = 0, r;

    for (int i = 0; i < 4; i++) {
        r = shmc_sub_recv(&child_sub, &n, sizeof n, 0);
        got += r == 8;
        TEST_REQUIRE(r == 8 || r == SHMC_EAGAIN);
    }
    crash_acknowledge(got, &book->acked, &book->returned);
}

static void
act_follow(void)
{
    uint64_t n = 0;
    int got = 0;

    while (n != 20) {
        const int r = shmc_sub_recv(&child_sub, &n, sizeof n, 1000000000);
        TEST_REQUIRE(r == 8);
        got++;
    }
    crash_acknowledge(got, &book->acked, &book->returned);
}

static void
act_sub_close(void)
{
    TEST_REQUIRE(shmc_sub_close(&child_sub) == SHMC_OK);
    crash_acknowledge(1, &book->acked, &book->returned);
}

static void
check_sub(void)
{
    for (uint64_t i = 0; i < 3 * 4; i++) {
        send_one(&pub, OF_OTHERS + i);
        hear_all();
    }
    crash_recovered();
    CRASH_EQUAL(shmc_sub_lost(&sub), 0);
    nothing_is_left();
}

/* ---- drop the oldest ------------------------------------------------------ */

static void
enter_pub(void)
{
    other = shape;
    other.when_full = SHMC_FULL_DROP_OLDEST;
    TEST_REQUIRE(shmc_pub_open(&child_pub, "t/x", &other) == SHMC_OK);
}

static void
ready_full(void)
{
    ready_more();
    send_one(&pub, 20);
}

static void
act_overrun(void)
{
    const uint64_t n = OF_CHILD;
    int acked = 0;

    for (int i = 0; i < 3; i++)
        acked += shmc_pub_send(&child_pub, &n, sizeof n, 0) == SHMC_OK;
    crash_acknowledge(acked, &book->acked, &book->returned);
}

/* All that was sent was heard or counted; who died in between left at most
 * positions that stay empty.                                               */
static void
check_overrun(void)
{
    uint64_t n;
    int r;

    while ((r = shmc_sub_recv(&sub, &n, sizeof n, 3000000)) == 8) received++;
    CRASH_EQUAL(r, SHMC_ETIMEDOUT);
    if (book->returned) CRASH_EQUAL(book->acked, 3);
    CRASH_EQUAL(received + shmc_sub_lost(&sub) + sub.ring.passed,
                shmi_load_rlx_64(&sub.ring.shm->tail) - sub.ring.joined);
    for (uint64_t i = 0; i < 12; i++) {
        send_one(&pub, OF_OTHERS + i);
        CRASH_EQUAL(shmc_sub_recv(&sub, &n, sizeof n, 1000000000), 8);
        CRASH_EQUAL(n, OF_OTHERS + i);
    }
    crash_recovered();
    nothing_is_left();
}

/* ---- sweeps ---------------------------------------------------------------- */

static int
setup(void **state)
{
    if (book == NULL) book = test_shared(4096);
    return crash_setup(state);
}

static void
who_makes_a_topic_anew_dies(void **state)
{
    static const crash_case killed = { before, enter_nothing, NULL, act_replace,
                                       NULL, check_replace, after };

    (void)state;
    joins = false;
    shape = (shmc_topic_desc){ .depth = 8, .max_bytes = 16, .max_publishers = 2 };
    other = (shmc_topic_desc){ .depth = 4, .max_bytes = 16, .max_publishers = 2 };
    crash_sweep_for("make a topic anew", &killed, SWEEP_NS);
}

static void
sweep_sub(const char *what, const crash_case *c, const char *name,
          const shmc_sub_desc *d)
{
    joins = true;
    child_name = name;
    child_desc = *d;
    shape = (shmc_topic_desc){ .depth = 16, .max_bytes = 16, .max_publishers = 2,
                               .mode = SHMC_RELIABLE, .max_subscribers = 4 };
    other = shape;
    other.depth = 8;
    crash_sweep_for(what, c, SWEEP_NS);
}

static void
a_subscriber_of_all_topics_under_a_name_dies(void **state)
{
    static const shmc_sub_desc plain = { .history = 0 };
    static const crash_case opens = { before, enter_nothing, NULL, act_sub_open,
                                      NULL, check_sub, after };
    static const crash_case receives = { before, enter_sub, ready_more, act_recv,
                                         NULL, check_sub, after };
    static const crash_case closes = { before, enter_sub, ready_more,
                                       act_sub_close, NULL, check_sub, after };

    (void)state;
    sweep_sub("open t/", &opens, "t/", &plain);
    sweep_sub("receive from t/", &receives, "t/", &plain);
    sweep_sub("close t/", &closes, "t/", &plain);
}

static void
a_subscriber_with_options_dies(void **state)
{
    static const shmc_sub_desc newest = { .conflate = true };
    static const shmc_sub_desc told = { .report_restart = true };
    static const crash_case receives = { before, enter_sub, ready_more, act_recv,
                                         NULL, check_sub, after };

    (void)state;
    sweep_sub("receive the newest", &receives, "t/x", &newest);
    sweep_sub("receive, restarts told", &receives, "t/x", &told);
}

static void
a_subscriber_that_follows_its_topic_dies(void **state)
{
    static const shmc_sub_desc plain = { .history = 0 };
    static const crash_case follows = { before, enter_sub, ready_anew, act_follow,
                                        NULL, check_sub, after };

    (void)state;
    sweep_sub("follow a topic made anew", &follows, "t/x", &plain);
}

static void
who_drops_the_oldest_dies(void **state)
{
    static const crash_case killed = { before, enter_pub, ready_full, act_overrun,
                                       NULL, check_overrun, after };

    (void)state;
    joins = true;
    shape = (shmc_topic_desc){ .depth = 8, .max_bytes = 16, .max_publishers = 2,
                               .mode = SHMC_RELIABLE, .max_subscribers = 4 };
    crash_sweep_for("drop the oldest", &killed, SWEEP_NS);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_makes_a_topic_anew_dies, setup,
                                        crash_teardown),
        cmocka_unit_test_setup_teardown(
            a_subscriber_of_all_topics_under_a_name_dies, setup, crash_teardown),
        cmocka_unit_test_setup_teardown(a_subscriber_with_options_dies, setup,
                                        crash_teardown),
        cmocka_unit_test_setup_teardown(a_subscriber_that_follows_its_topic_dies,
                                        setup, crash_teardown),
        cmocka_unit_test_setup_teardown(who_drops_the_oldest_dies, setup,
                                        crash_teardown),
    };

    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
