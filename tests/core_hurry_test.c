/* No time is left to whoever was stopped for long in the middle of a call;
 * tries it still has.  Here the time is over when it begins.
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 1
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "core_support.h"

static void
segments_and_objects_are_made_in_time(void **state)
{
    const shmc_segment_desc d = core_desc(0);
    const shmc_object_desc bytes = { .bytes = 100 };
    shmc_segment s;
    shmc_object o;

    (void)state;
    assert_int_equal(shmc_segment_open(&s, "s", &d), SHMC_OK);
    assert_int_equal(shmc_object_open(&s, "o", &bytes, &o), SHMC_OK);
    assert_true(o.created);
    assert_int_equal(shmc_object_close(&s, &o), SHMC_OK);
    assert_int_equal(shmc_object_open(&s, "o", &bytes, &o), SHMC_OK);
    assert_false(o.created);
    assert_int_equal(shmc_object_close(&s, &o), SHMC_OK);
    assert_int_equal(shmc_object_remove(&s, "o"), SHMC_OK);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
}

static void
topics_are_made_in_time(void **state)
{
    const shmc_topic_desc topic = { .dir = core_dir };
    const shmc_sub_desc listener = { .dir = core_dir };
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "t", &topic), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "t", &listener), SHMC_OK);
    assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(segments_and_objects_are_made_in_time),
        CORE_CASE(topics_are_made_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
