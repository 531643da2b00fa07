/* 64 publishers and 256 subscribers on one reliable topic, processes and
 * threads mixed: each subscriber gets each message once, whole, and those of
 * each publisher in order.  And the same publishers where the oldest may be
 * dropped: what is not received is counted.                                */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "topic_support.h"

#include <pthread.h>

enum { PUB_PROCESSES = 8, PUB_THREADS = 8, SUB_PROCESSES = 16, SUB_THREADS = 16 };
enum { PUBS = PUB_PROCESSES * PUB_THREADS, SUBS = SUB_PROCESSES * SUB_THREADS };
enum { EACH = SHMI_TSAN ? 10 : 40, BYTES = 200 };

typedef struct crowd {
    shmc_topic_desc desc;
    bool exact;
    uint32_t subs_in, pubs_in, pubs_out, subs_out;
    uint64_t received, lost;
} crowd;

typedef struct one { pthread_t thread; crowd *c; uint32_t index; } one;

static void *
publish(void *arg)
{
    one *me = arg;
    crowd *c = me->c;
    uint64_t words[BYTES / 8];
    shmc_pub pub;

    const int r = shmc_pub_open(&pub, "crowd", &c->desc);
    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(r == SHMC_OK);
    (void)shmi_faa_32(&c->pubs_in, 1);
    while (shmi_load_acq_32(&c->subs_in) < SUBS) test_sleep_ms(1);
    for (uint64_t i = 0; i < EACH; i++) {
        const uint32_t bytes = i % 2 ? BYTES : 64;
        bcast_seal(words, me->index, i, bytes);
        TEST_REQUIRE(shmc_pub_send(&pub, words, bytes, SHMC_FOREVER) == SHMC_OK);
    }
    (void)shmi_faa_32(&c->pubs_out, 1);
    /* Who leaves makes room for a newcomer, which would be one more.      */
    while (shmi_load_acq_32(&c->pubs_out) < PUBS) test_sleep_ms(1);
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    return NULL;
}

static void *
subscribe(void *arg)
{
    one *me = arg;
    crowd *c = me->c;
    uint64_t words[BYTES / 8], received = 0;
    uint64_t next[PUBS] = { 0 };
    shmc_sub sub;

    const int opened = shmc_sub_open(&sub, "crowd", NULL);
    if (opened != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    TEST_REQUIRE(opened == SHMC_OK && shmc_sub_ready(&sub) == 1);
    (void)shmi_faa_32(&c->subs_in, 1);
    for (;;) {
        const bool last = shmi_load_acq_32(&c->pubs_out) == PUBS;
        const int r = shmc_sub_recv(&sub, words, sizeof words, last ? 0 : 100000000);
        if (last && r == SHMC_EAGAIN) break;
        if (r == SHMC_ETIMEDOUT) continue;
        TEST_REQUIRE((r == 64 || r == BYTES) && bcast_sealed(words, (uint32_t)r));
        const uint64_t by = words[0] >> 48, n = words[0] & 0xffffffff;
        TEST_REQUIRE(by < PUBS && (c->exact ? n == next[by] : n >= next[by]));
        next[by] = n + 1;
        received++;
    }
    (void)shmi_faa_64(&c->received, received);
    (void)shmi_faa_64(&c->lost, shmc_sub_lost(&sub));
    TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    return NULL;
}

typedef struct group { crowd *c; uint32_t first, count; void *(*run)(void *); } group;

static int
be_a_group(void *arg)
{
    const group *g = arg;
    one *people = calloc(g->count, sizeof *people);

    TEST_REQUIRE(people != NULL);
    for (uint32_t i = 0; i < g->count; i++) {
        people[i].c = g->c;
        people[i].index = g->first + i;
        TEST_REQUIRE(pthread_create(&people[i].thread, NULL, g->run,
                                    &people[i]) == 0);
    }
    for (uint32_t i = 0; i < g->count; i++)
        TEST_REQUIRE(pthread_join(people[i].thread, NULL) == 0);
    free(people);
    return 0;
}

static void
run(uint32_t when_full, uint32_t depth, bool exact)
{
    crowd *c = test_shared(sizeof *c);
    group groups[PUB_PROCESSES + SUB_PROCESSES];
    pid_t pids[PUB_PROCESSES + SUB_PROCESSES];
    shmc_pub keep;

    c->exact = exact;
    c->desc = (shmc_topic_desc){ .mode = SHMC_RELIABLE, .depth = depth,
                                 .max_bytes = BYTES, .arena_bytes = 4096,
                                 .max_publishers = PUBS + 1,
                                 .max_subscribers = SUBS,
                                 .when_full = when_full };
    assert_int_equal(shmc_pub_open(&keep, "crowd", &c->desc), SHMC_OK);
    for (uint32_t i = 0; i < PUB_PROCESSES + SUB_PROCESSES; i++) {
        groups[i] = i < PUB_PROCESSES
            ? (group){ c, i * PUB_THREADS, PUB_THREADS, publish }
            : (group){ c, 0, SUB_THREADS, subscribe };
        pids[i] = test_spawn(be_a_group, &groups[i]);
    }
    for (uint32_t i = 0; i < PUB_PROCESSES + SUB_PROCESSES; i++)
        assert_int_equal(test_join(pids[i]), 0);
    /* A position that was passed because a publisher sat in its cell for a
     * lap is empty: it counts as lost if it is overwritten unread.        */
    const uint64_t all = (uint64_t)SUBS * PUBS * EACH;
    shmc_bcast_stats st;
    assert_int_equal(shmc_bcast_stats_get(&keep.ring, &st), SHMC_OK);
    if (exact) assert_int_equal(c->lost, 0);
    assert_true(c->received + c->lost >= all);
    assert_true(c->received + c->lost <= all + SUBS * st.voids);
    if (exact) assert_int_equal(c->received, all);
    else print_message("%llu of %llu lost, %llu positions empty\n",
                       (unsigned long long)c->lost, (unsigned long long)all,
                       (unsigned long long)st.voids);
    assert_int_equal(shmc_pub_close(&keep), SHMC_OK);
    assert_int_equal(files(), 0);
    assert_int_equal(shmi_unmap(c, sizeof *c), 0);
}

static void
a_crowd_on_a_reliable_topic_gets_each_message_once(void **state)
{
    (void)state;
    run(SHMC_FULL_WAIT, 256, true);
}

static void
a_crowd_that_is_overrun_counts_what_it_missed(void **state)
{
    (void)state;
    run(SHMC_FULL_DROP_OLDEST, 64, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(a_crowd_on_a_reliable_topic_gets_each_message_once),
        TOPIC_CASE(a_crowd_that_is_overrun_counts_what_it_missed),
    };

    shmc_log_set(count_failures, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests_name("pubsub_many", tests, NULL, NULL);
}
