/* Publishers and subscribers of a topic are killed, and some stopped, at
 * random moments and replaced, while others go on.  The survivors never
 * stall; in a reliable topic they get all that was acknowledged, once.      */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "bcast_support.h"

enum {
    MORTAL_PUBS = 3, MORTAL_SUBS = 2, WITNESSES = 2, KILLS = SHMI_TSAN ? 25 : 100,
    MAX_ITEMS = 1 << 20, MAX_BYTES = 2000, PEOPLE = MORTAL_PUBS + MORTAL_SUBS
};

static char folder[64];

typedef struct book {
    shmc_topic_desc desc;
    uint64_t next;                  /* item to send next, all publishers    */
    uint32_t witnesses_in, stop, over;
    uint64_t by_survivor, heard[WITNESSES];
    uint8_t acked[MAX_ITEMS];       /* send returned                        */
    uint8_t got[WITNESSES][MAX_ITEMS];
} book;

typedef struct who {
    book *b;
    uint32_t index;
} who;

/* ---- publishers ----------------------------------------------------------- */

static int
send_item(book *b, shmc_pub *pub, uint64_t item)
{
    uint64_t words[MAX_BYTES / 8];
    const uint32_t bytes = item % 3 == 0 ? 8 + (uint32_t)(item % 240) * 8
                                         : 8 + (uint32_t)(item % 12) * 8;
    void *room;

    bcast_seal(words, 0, item, bytes);
    if (item % 5 != 0) return shmc_pub_send(pub, words, bytes, SHMC_FOREVER);
    int r = shmc_pub_loan(pub, bytes, &room, SHMC_FOREVER);
    if (r != SHMC_OK) return r;
    shmi_copy_in(room, words, bytes);
    r = shmc_pub_commit(pub, bytes, SHMC_FOREVER);
    (void)b;
    return r;
}

static int
publish(void *arg)
{
    who *w = arg;
    book *b = w->b;
    const bool survives = w->index == MORTAL_PUBS;
    shmc_pub pub;

    setenv("SHMCOMM_DIR", folder, 1);
    int r = shmc_pub_open(&pub, "death/all", &b->desc);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(r == SHMC_OK);
    while (shmi_load_acq_32(&b->stop) == 0) {
        const uint64_t item = shmi_faa_64(&b->next, 1);
        if (item >= MAX_ITEMS) break;
        r = send_item(b, &pub, item);
        TEST_REQUIRE(r == SHMC_OK);
        b->acked[item] = 1;
        if (survives) (void)shmi_faa_64(&b->by_survivor, 1);
        if (b->desc.mode == SHMC_LOSSY) test_sleep_ms(item % 64 == 0);
    }
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return 0;
}

/* ---- subscribers ---------------------------------------------------------- */

static int
subscribe_mortal(void *arg)
{
    who *w = arg;
    uint64_t words[MAX_BYTES / 8];
    const shmc_sub_desc desc = { .history = (int32_t)w->index * 20 };
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, "death/all", &desc) == SHMC_OK);
    while (shmi_load_acq_32(&w->b->stop) == 0) {
        const int r = shmc_sub_recv(&sub, words, sizeof words, 20000000);
        TEST_REQUIRE(r >= 8 || r == SHMC_ETIMEDOUT);
        if (r >= 8) TEST_REQUIRE(bcast_sealed(words, (uint32_t)r));
    }
    TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    return 0;
}

static int
witness(void *arg)
{
    who *w = arg;
    book *b = w->b;
    uint64_t words[MAX_BYTES / 8], count = 0;
    shmc_sub sub;

    TEST_REQUIRE(shmc_sub_open(&sub, "death/all", NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_sub_ready(&sub) == 1);
    const uint64_t first = sub.ring.joined;
    (void)shmi_faa_32(&b->witnesses_in, 1);
    for (;;) {
        const bool over = shmi_load_acq_32(&b->over) != 0;
        const int r = shmc_sub_recv(&sub, words, sizeof words, 20000000);
        if (r >= 0) {
            TEST_REQUIRE(r >= 8 && bcast_sealed(words, (uint32_t)r));
            TEST_REQUIRE(words[0] < MAX_ITEMS && b->got[w->index][words[0]] == 0);
            b->got[w->index][words[0]] = 1;
            shmi_store_rel_64(&b->heard[w->index], ++count);
            continue;
        }
        TEST_REQUIRE(r == SHMC_ETIMEDOUT);
        if (over && sub.ring.next == shmi_load_acq_64(&sub.ring.shm->tail)) break;
    }
    TEST_REQUIRE(count + shmc_sub_lost(&sub) + sub.ring.passed ==
                 sub.ring.next - first);
    if (b->desc.mode == SHMC_RELIABLE) TEST_REQUIRE(shmc_sub_lost(&sub) == 0);
    TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    return 0;
}

/* ---- all ------------------------------------------------------------------ */

static uint32_t
random_next(void)
{
    static uint32_t x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    return x ^= x << 5;
}

static void
nap(void)
{
    shmi_sleep_until(shmi_now_ns() + random_next() % 8000000);
}

static pid_t
bring(who *w)
{
    return test_spawn(w->index < MORTAL_PUBS ? publish : subscribe_mortal, w);
}

/* Kill one after the other; each time the survivors must go on: if they did
 * not, this would not end.                                                  */
static void
reap(book *b, who *people, pid_t *pids)
{
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        const uint32_t i = random_next() % PEOPLE;
        const uint32_t other = (i + 1 + random_next() % (PEOPLE - 1)) % PEOPLE;
        const bool stop = kill_number % 4 == 0;
        nap();
        if (stop) kill(pids[other], SIGSTOP);
        test_kill(pids[i]);
        const uint64_t heard = shmi_load_acq_64(&b->heard[0]);
        const uint64_t sent = shmi_load_acq_64(&b->by_survivor);
        pids[i] = bring(&people[i]);
        if (stop) nap();
        if (stop) kill(pids[other], SIGCONT);
        while (shmi_load_acq_64(&b->next) < MAX_ITEMS &&
               (shmi_load_acq_64(&b->heard[0]) == heard ||
                shmi_load_acq_64(&b->by_survivor) == sent)) test_sleep_ms(1);
    }
}

static void
run(uint32_t mode, uint32_t depth)
{
    book *b = test_shared(sizeof *b);
    who people[PEOPLE + 1], watching[WITNESSES];
    pid_t pids[PEOPLE], witnesses[WITNESSES];
    shmc_pub keep;
    uint64_t acked = 0;

    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    b->desc = (shmc_topic_desc){ .mode = mode, .depth = depth,
                                 .max_bytes = MAX_BYTES, .max_publishers = 8,
                                 .max_subscribers = 8, .arena_bytes = 8192 };
    assert_int_equal(shmc_pub_open(&keep, "death/all", &b->desc), SHMC_OK);
    for (uint32_t i = 0; i < WITNESSES; i++) {
        watching[i] = (who){ b, i };
        witnesses[i] = test_spawn(witness, &watching[i]);
    }
    while (shmi_load_acq_32(&b->witnesses_in) < WITNESSES) test_sleep_ms(1);
    for (uint32_t i = 0; i < PEOPLE; i++) {
        people[i] = (who){ b, i + (i >= MORTAL_PUBS) };
        pids[i] = bring(&people[i]);
    }
    people[PEOPLE] = (who){ b, MORTAL_PUBS };
    const pid_t survivor = test_spawn(publish, &people[PEOPLE]);
    reap(b, people, pids);
    shmi_store_rel_32(&b->stop, 1);
    for (uint32_t i = 0; i < PEOPLE; i++) assert_int_equal(test_join(pids[i]), 0);
    assert_int_equal(test_join(survivor), 0);
    shmi_store_rel_32(&b->over, 1);
    for (uint32_t i = 0; i < WITNESSES; i++)
        assert_int_equal(test_join(witnesses[i]), 0);
    for (uint64_t item = 0; item < MAX_ITEMS; item++) {
        acked += b->acked[item];
        for (uint32_t i = 0; i < WITNESSES && mode == SHMC_RELIABLE; i++)
            assert_true(b->got[i][item] >= b->acked[item]);
    }
    assert_true(acked > KILLS);
    assert_int_equal(shmc_pub_close(&keep), SHMC_OK);
    test_dir_remove(folder);
    assert_int_equal(shmi_unmap(b, sizeof *b), 0);
}

static void
survivors_of_a_reliable_topic_get_all_that_was_acknowledged(void **state)
{
    (void)state;
    run(SHMC_RELIABLE, 64);
}

static void
survivors_of_a_short_reliable_topic_do_not_stall(void **state)
{
    (void)state;
    run(SHMC_RELIABLE, 2);
}

static void
survivors_of_a_lossy_topic_do_not_stall(void **state)
{
    (void)state;
    run(SHMC_LOSSY, 64);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(survivors_of_a_reliable_topic_get_all_that_was_acknowledged),
        TEST_CASE(survivors_of_a_short_reliable_topic_do_not_stall),
        TEST_CASE(survivors_of_a_lossy_topic_do_not_stall),
    };

    return cmocka_run_group_tests_name("pubsub_death", tests, NULL, NULL);
}
