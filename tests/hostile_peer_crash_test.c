/* A peer that never stops: behind every instruction of a call it changes the
 * very word that the call waits for, or tries to change.  The call comes back
 * all the same.  It is single-stepped in a child, and the peer is the test.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 20000000
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "crash_harness.h"

enum { SEATS = 64, OBJECTS = 4, HEAP_BYTES = 1 << 24, STEPS_MAX = 1 << 18 };

static void *mem;                   /* shared with the child                */
static uint64_t bytes;
static int32_t *answer;             /* of the call; shared, too             */
static shmc_segment segment;
static uint64_t steps;

/* ---- taking a child through a call ------------------------------------- */

static int
setup(void **state)
{
    answer = test_shared(4096);
    return crash_setup(state);
}

static int
teardown(void **state)
{
    (void)shmi_unmap(mem, bytes);
    (void)shmi_unmap(answer, 4096);
    return crash_teardown(state);
}

/* What the call answers, with spite() behind each of its instructions.    */
static int
walk(const char *what, void (*enter)(void), void (*act)(void),
     void (*spite)(void))
{
    const crash_case stepped = { .enter = enter, .act = act };

    crash.what = what;
    snprintf(crash.where, sizeof crash.where, "%s\n", what);
    crash_watchdog();
    const pid_t pid = crash_begin(&stepped);
    for (steps = 0; !*crash.over; steps++) {
        if (steps == STEPS_MAX) {
            test_kill(pid);
            fail_msg("%s: not back after %d instructions", what, STEPS_MAX);
        }
        spite();
        crash_resume(PTRACE_SINGLESTEP, pid);
    }
    crash_end(&stepped, pid);
    print_message("%s: %d after %llu instructions\n", what, *answer,
                  (unsigned long long)steps);
    return *answer;
}

/* ---- a segment in memory ----------------------------------------------- */

static void
make_segment(void)
{
    const shmc_segment_desc d = { .heap_bytes = HEAP_BYTES,
                                  .max_objects = OBJECTS };
    const shmc_object_desc o = { .bytes = SHMC_LINE };
    shmc_object x;

    bytes = (uint64_t)shmc_segment_size_for(&d);
    mem = test_shared(bytes);
    assert_int_equal(shmc_segment_format(mem, bytes, &d), SHMC_OK);
    assert_int_equal(shmc_segment_map(&segment, mem, bytes), SHMC_OK);
    assert_int_equal(shmc_object_open(&segment, "x", &o, &x), SHMC_OK);
    assert_int_equal(shmc_object_close(&segment, &x), SHMC_OK);
}

static void
enter_segment(void)
{
    TEST_REQUIRE(shmc_segment_map(&segment, mem, bytes) == SHMC_OK);
}

static void
open_y(void)
{
    const shmc_object_desc o = { .bytes = 64 * SHMC_LINE };
    shmc_object y;

    *answer = shmc_object_open(&segment, "y", &o, &y);
}

/* The lock is taken, and nobody is noted who would have to be woken.      */
static void
take_lock(void)
{
    shmi_store_rlx_32(&((shmc_segment_shm *)mem)->memory_lock, 1);
}

/* Object x has grown again, so that no place behind it is behind it.      */
static void
grow_x(void)
{
    shmi_store_rlx_64(&segment.entries[0].bytes,
                      SHMC_LINE * (1 + steps % (HEAP_BYTES / SHMC_LINE / 2)));
}

static void
who_keeps_taking_a_memory_segments_lock_is_waited_for_only_so_long(void **state)
{
    (void)state;
    make_segment();
    const uint64_t before = shmi_now_ns();
    assert_int_equal(walk("open an object, lock taken", enter_segment, open_y,
                          take_lock), SHMC_ETIMEDOUT);
    assert_true(shmi_now_ns() - before >= SHMC_LOCK_TIMEOUT_NS);
}

static void
a_place_in_the_heap_is_not_looked_for_behind_an_object_that_grows(void **state)
{
    (void)state;
    make_segment();
    assert_int_equal(walk("open an object, another grows", enter_segment,
                          open_y, grow_x), SHMC_ECORRUPT);
}

/* ---- a broadcast ring -------------------------------------------------- */

/* All seats but the last are taken.                                       */
static void
make_ring(void)
{
    const shmc_bcast_desc d = { .slot_count = 4, .max_bytes = 8,
        .max_publishers = 2, .mode = SHMC_RELIABLE, .max_subscribers = SEATS };
    shmc_bcast sub;

    bytes = (uint64_t)shmc_bcast_size_for(&d);
    mem = test_shared(bytes);
    assert_int_equal(shmc_bcast_format(mem, bytes, &d), SHMC_OK);
    for (int i = 0; i < SEATS - 1; i++)
        assert_int_equal(shmc_bcast_map(&sub, mem, bytes, SHMC_CONSUMER, 0),
                         SHMC_OK);
}

static void enter_ring(void) { }

static void
sit_down(void)
{
    shmc_bcast sub;

    *answer = shmc_bcast_map(&sub, mem, bytes, SHMC_CONSUMER, 0);
}

/* Another number of seats than a moment ago, the last one never among them. */
static void
change_seats(void)
{
    shmi_store_rlx_64(&((shmi_bcast_shm *)mem)->seats, steps % (SEATS - 3));
}

static void
a_count_of_seats_that_never_stands_still_is_damage(void **state)
{
    shmc_bcast sub;

    (void)state;
    make_ring();
    assert_int_equal(walk("sit down, seats change", enter_ring, sit_down,
                          change_seats), SHMC_ECORRUPT);
    /* It has got up again: the seat is free.                              */
    assert_int_equal(shmc_bcast_map(&sub, mem, bytes, SHMC_CONSUMER, 0),
                     SHMC_OK);
    assert_int_equal(shmc_bcast_close(&sub), SHMC_OK);
}

#define PEER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PEER_TEST(
            who_keeps_taking_a_memory_segments_lock_is_waited_for_only_so_long),
        PEER_TEST(
            a_place_in_the_heap_is_not_looked_for_behind_an_object_that_grows),
        PEER_TEST(a_count_of_seats_that_never_stands_still_is_damage),
    };

    (void)argc;
    crash_bind_now(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
