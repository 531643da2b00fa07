/* Counters: one writer, any number of readers.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include "shmcomm_counter.h"

#include <pthread.h>

static shmc_segment seg;

static int
counter_setup(void **state)
{
    core_setup(state);
    core_create(&seg, "s", 0);
    return 0;
}

static int
counter_teardown(void **state)
{
    shmc_segment_close(&seg);
    core_unlink("s", 0);
    return core_teardown(state);
}

#define COUNTER_CASE(f) \
    cmocka_unit_test_setup_teardown(f, counter_setup, counter_teardown)

static void
reader_sees_what_the_writer_added(void **state)
{
    shmc_counter w, r;

    (void)state;
    assert_int_equal(shmc_counter_open(&w, &seg, "ticks", true), SHMC_OK);
    assert_int_equal(shmc_counter_open(&r, &seg, "ticks", false), SHMC_OK);
    assert_int_equal(shmc_counter_get(&r), 0);
    assert_int_equal(shmc_counter_add(&w, 5), SHMC_OK);
    assert_int_equal(shmc_counter_add(&w, 2), SHMC_OK);
    assert_int_equal(shmc_counter_get(&r), 7);
    assert_int_equal(shmc_counter_get(&w), 7);
    assert_int_equal(shmc_counter_add(&r, 1), SHMC_EROFS);
    assert_int_equal(shmc_counter_add(&w, UINT64_MAX), SHMC_OK);    /* wraps */
    assert_int_equal(shmc_counter_get(&r), 6);
    assert_int_equal(shmc_counter_close(&w), SHMC_OK);
    assert_int_equal(shmc_counter_close(&r), SHMC_OK);
    CORE_FAILS(shmc_counter_close(&r), SHMC_ECLOSED, "it is not open");
    assert_int_equal(shmc_counter_get(&r), 0);
    assert_int_equal(shmc_counter_add(&w, 1), SHMC_EROFS);
}

static void
second_writer_is_ebusy_and_may_follow(void **state)
{
    shmc_counter a, b;
    char text[40];

    (void)state;
    assert_int_equal(shmc_counter_open(&a, &seg, "ticks", true), SHMC_OK);
    snprintf(text, sizeof text, "process %d is, and is alive", (int)getpid());
    CORE_FAILS(shmc_counter_open(&b, &seg, "ticks", true), SHMC_EBUSY, text);
    assert_non_null(strstr(shmc_last_error(), "become the counter's writer"));
    CORE_FAILS(shmc_counter_close(&b), SHMC_ECLOSED, "not open");
    shmc_counter_add(&a, 3);
    shmc_counter_close(&a);
    assert_int_equal(shmc_counter_open(&b, &seg, "ticks", true), SHMC_OK);
    assert_int_equal(shmc_counter_get(&b), 3);
    shmc_counter_close(&b);
    assert_int_equal(shmc_object_remove(&seg, "ticks"), SHMC_OK);
}

static int
writes_for_ever(void *arg)
{
    shmc_segment s;
    shmc_counter c;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    TEST_REQUIRE(shmc_counter_open(&c, &s, "ticks", true) == SHMC_OK);
    core_reach(arg, 1);
    while (shmc_counter_add(&c, 1) == SHMC_OK) {
    }
    return 1;
}

static void
killed_writers_successor_goes_on_from_its_value(void **state)
{
    uint32_t *reached = test_shared(4096);
    shmc_counter r, w;
    char text[40];

    (void)state;
    assert_int_equal(shmc_counter_open(&r, &seg, "ticks", false), SHMC_OK);
    const pid_t pid = test_spawn(writes_for_ever, reached);
    core_await(reached, 1);
    while (shmc_counter_get(&r) == 0) test_sleep_ms(1);
    snprintf(text, sizeof text, "process %d is", (int)pid);
    CORE_FAILS(shmc_counter_open(&w, &seg, "ticks", true), SHMC_EBUSY, text);
    test_kill(pid);
    const uint64_t last = shmc_counter_get(&r);
    assert_int_equal(shmc_counter_open(&w, &seg, "ticks", true), SHMC_OK);
    assert_int_equal(shmc_counter_add(&w, 1), SHMC_OK);
    assert_int_equal(shmc_counter_get(&r), last + 1);
    shmc_counter_close(&w);
    shmc_counter_close(&r);
}

static void
read_only_segment_reads_and_never_writes(void **state)
{
    shmc_segment ro;
    shmc_counter w, r;

    (void)state;
    for (uint32_t flags = SHMC_READ_ONLY; flags <= SHMC_INSPECT; flags *= 2) {
        assert_int_equal(core_attach(&ro, "s", flags), SHMC_OK);
        CORE_FAILS(shmc_counter_open(&r, &ro, "none", false), SHMC_ENOENT,
                   "object 'none' is not in segment 's'");
        assert_int_equal(shmc_counter_open(&w, &seg, "c", true), SHMC_OK);
        assert_int_equal(shmc_counter_open(&r, &ro, "c", false), SHMC_OK);
        shmc_counter_add(&w, 4);
        assert_int_equal(shmc_counter_get(&r), shmc_counter_get(&w));
        shmc_counter_close(&r);
        CORE_FAILS(shmc_counter_open(&r, &ro, "c", true), SHMC_EROFS,
                   "segment 's' is open read-only");
        shmc_counter_close(&w);
        shmc_segment_close(&ro);
    }
}

static void
object_that_is_no_counter_is_refused(void **state)
{
    shmc_object_desc d = core_object(8);
    shmc_object x;
    shmc_counter c;

    (void)state;
    assert_int_equal(shmc_object_open(&seg, "raw", &d, &x), SHMC_OK);
    CORE_FAILS(shmc_counter_open(&c, &seg, "raw", false), SHMC_ETYPE,
               "kind 1 (counter) was asked for");
    shmc_object_close(&seg, &x);
    d.kind = SHMC_KIND_COUNTER;     /* one that claims to be                */
    d.version = 1;
    d.elem_bytes = 8;
    assert_int_equal(shmc_object_open(&seg, "fake", &d, &x), SHMC_OK);
    CORE_FAILS(shmc_counter_open(&c, &seg, "fake", true), SHMC_ECORRUPT,
               "counter 'fake' in segment 's' has 8 bytes");
    shmc_object_close(&seg, &x);
    assert_int_equal(shmc_object_remove(&seg, "fake"), SHMC_OK);
    CORE_FAILS(shmc_counter_open(&c, &seg, "a b", true), SHMC_ENAME, "0x20");
}

static void *
reads(void *arg)
{
    shmc_counter *c = arg;
    uint64_t last = 0;

    while (last < 20000) {
        const uint64_t now = shmc_counter_get(c);
        TEST_REQUIRE(now >= last);
        last = now;
    }
    return NULL;
}

static void
value_never_goes_back_for_a_reader(void **state)
{
    shmc_counter w, r;
    pthread_t t;

    (void)state;
    assert_int_equal(shmc_counter_open(&w, &seg, "c", true), SHMC_OK);
    assert_int_equal(shmc_counter_open(&r, &seg, "c", false), SHMC_OK);
    assert_int_equal(pthread_create(&t, NULL, reads, &r), 0);
    for (int i = 0; i < 20000; i++) shmc_counter_add(&w, 1);
    pthread_join(t, NULL);
    shmc_counter_close(&w);
    shmc_counter_close(&r);
}

static void
counters_work_in_a_memory_segment(void **state)
{
    shmc_segment_desc sd = core_desc(0);
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&sd);
    void *mem = aligned_alloc(SHMC_LINE, bytes);
    shmc_counter w, r;
    shmc_segment m, n;

    (void)state;
    assert_int_equal(shmc_segment_format(mem, bytes, &sd), SHMC_OK);
    assert_int_equal(shmc_segment_map(&m, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_segment_map(&n, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_counter_open(&w, &m, "c", true), SHMC_OK);
    CORE_FAILS(shmc_counter_open(&r, &n, "c", true), SHMC_EBUSY, "is alive");
    assert_int_equal(shmc_counter_open(&r, &n, "c", false), SHMC_OK);
    shmc_counter_add(&w, 9);
    assert_int_equal(shmc_counter_get(&r), 9);
    shmc_counter_close(&r);
    /* A handle that goes without closing its counter was its owner.       */
    shmc_segment_close(&m);
    assert_int_equal(shmc_counter_open(&r, &n, "c", true), SHMC_OK);
    assert_int_equal(shmc_counter_get(&r), 9);
    shmc_counter_close(&r);
    shmc_segment_close(&n);
    free(mem);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        COUNTER_CASE(reader_sees_what_the_writer_added),
        COUNTER_CASE(second_writer_is_ebusy_and_may_follow),
        COUNTER_CASE(killed_writers_successor_goes_on_from_its_value),
        COUNTER_CASE(read_only_segment_reads_and_never_writes),
        COUNTER_CASE(object_that_is_no_counter_is_refused),
        COUNTER_CASE(value_never_goes_back_for_a_reader),
        COUNTER_CASE(counters_work_in_a_memory_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
