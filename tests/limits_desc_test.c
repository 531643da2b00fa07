/* Each field of each ring's desc: its limit is accepted, one beyond it is
 * refused with an error that names the field.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"

#include "test_support.h"

#define MOST_BYTES (1u << 30)
#define MOST_COUNT (1u << 31)

static void
refused(int64_t r, const char *field)
{
    assert_int_equal(r, SHMC_EINVAL);
    if (strstr(shmc_last_error(), field) == NULL)
        fail_msg("no %s in: %s", field, shmc_last_error());
}

#define SPSC(...)   shmc_spsc_size_for(&(const shmc_spsc_desc){ __VA_ARGS__ })
#define RECQ(...)   shmc_recq_size_for(&(const shmc_recq_desc){ __VA_ARGS__ })
#define LATEST(...) shmc_latest_size_for(&(const shmc_latest_desc){ __VA_ARGS__ })
#define MPMC(...)   shmc_mpmc_size_for(&(const shmc_mpmc_desc){ __VA_ARGS__ })
#define BCAST(...)  shmc_bcast_size_for(&(const shmc_bcast_desc){ __VA_ARGS__ })

static void
spsc_fields_have_limits(void **state)
{
    (void)state;
    assert_int_equal(SPSC(.slot_bytes = 1, .slot_count = 1), 768 + 128);
    assert_int_equal(SPSC(.slot_bytes = MOST_BYTES, .slot_count = MOST_COUNT),
                     768 + (INT64_C(1) << 61));
    assert_int_equal(SPSC(.slot_bytes = MOST_BYTES - 1, .slot_count = 1),
                     768 + (INT64_C(1) << 30));
    refused(SPSC(.slot_bytes = MOST_BYTES + 1), "slot_bytes is 1073741825");
    refused(SPSC(.slot_bytes = UINT32_MAX), "slot_bytes");
    refused(SPSC(.slot_count = MOST_COUNT - 1), "slot_count is 2147483647");
    refused(SPSC(.slot_count = MOST_COUNT + 1), "slot_count is 2147483649");
    refused(SPSC(.slot_count = 3), "slot_count is 3");
    refused(SPSC(.waitable = 2), "waitable is 2");
}

static void
recq_fields_have_limits(void **state)
{
    (void)state;
    assert_true(RECQ(.capacity_bytes = SHMI_RECQ_MIN_BYTES) > 768);
    assert_int_equal(RECQ(.capacity_bytes = MOST_COUNT), 768 + (INT64_C(1) << 31));
    refused(RECQ(.capacity_bytes = SHMI_RECQ_MIN_BYTES / 2), "capacity_bytes");
    refused(RECQ(.capacity_bytes = SHMI_RECQ_MIN_BYTES + 1), "capacity_bytes");
    refused(RECQ(.capacity_bytes = MOST_COUNT - 1), "capacity_bytes is 2147483647");
    refused(RECQ(.capacity_bytes = MOST_COUNT + 1), "capacity_bytes is 2147483649");
    refused(RECQ(.capacity_bytes = UINT32_MAX), "capacity_bytes");
    refused(RECQ(.waitable = UINT32_MAX), "waitable");
}

static void
latest_fields_have_limits(void **state)
{
    (void)state;
    assert_int_equal(LATEST(.value_bytes = 1, .slot_count = 2), 384 + 256);
    assert_int_equal(LATEST(.value_bytes = MOST_BYTES, .slot_count = MOST_COUNT),
                     384 + ((INT64_C(1) << 30) + 128) * (INT64_C(1) << 31));
    refused(LATEST(.value_bytes = MOST_BYTES + 1), "value_bytes is 1073741825");
    refused(LATEST(.slot_count = 1), "slot_count is 1");
    refused(LATEST(.slot_count = 6), "slot_count is 6");
    refused(LATEST(.slot_count = MOST_COUNT + 1), "slot_count is 2147483649");
    refused(LATEST(.waitable = 2), "waitable is 2");
}

static void
mpmc_fields_have_limits(void **state)
{
    (void)state;
    assert_true(MPMC(.slot_bytes = 1, .slot_count = 1, .max_handles = 1) > 0);
    assert_true(MPMC(.slot_bytes = MOST_BYTES, .slot_count = MOST_COUNT,
                     .max_handles = 4096) > INT64_C(1) << 61);
    refused(MPMC(.slot_bytes = MOST_BYTES + 1), "slot_bytes 1073741825");
    refused(MPMC(.slot_count = MOST_COUNT - 1), "slot_count 2147483647");
    refused(MPMC(.slot_count = MOST_COUNT + 1), "slot_count 2147483649");
    refused(MPMC(.max_handles = 4097), "max_handles 4097");
    refused(MPMC(.max_handles = UINT32_MAX), "max_handles");
    refused(MPMC(.on_consumer_death = SHMC_DROP + 1), "on_consumer_death 2");
    refused(MPMC(.waitable = 2), "waitable 2");
}

static void
bcast_fields_have_limits(void **state)
{
    const uint64_t record = 64 + 128;       /* of 100 bytes                 */

    (void)state;
    assert_true(BCAST(.slot_count = 2, .max_bytes = 1, .max_publishers = 1) > 0);
    assert_true(BCAST(.slot_count = 1u << 24, .max_bytes = MOST_BYTES,
                      .max_publishers = 1024, .max_subscribers = 4096,
                      .mode = SHMC_RELIABLE,
                      .arena_bytes = UINT64_C(1) << 40) > INT64_C(1) << 50);
    assert_true(BCAST(.max_bytes = 100, .arena_bytes = 2 * record) > 0);
    refused(BCAST(.slot_count = 1), "slot_count 1 ");
    refused(BCAST(.slot_count = (1u << 24) + 1), "slot_count 16777217");
    refused(BCAST(.slot_count = 1u << 25), "slot_count 33554432");
    refused(BCAST(.max_bytes = MOST_BYTES + 1), "max_bytes 1073741825");
    refused(BCAST(.max_publishers = 1025), "max_publishers 1025");
    refused(BCAST(.max_subscribers = 4097, .mode = SHMC_RELIABLE),
            "max_subscribers 4097");
    refused(BCAST(.max_subscribers = 4097), "max_subscribers 4097");
    refused(BCAST(.mode = SHMC_RELIABLE + 1), "mode 3");
    refused(BCAST(.waitable = 2), "waitable 2");
    refused(BCAST(.max_bytes = 100, .arena_bytes = 2 * record - 128),
            "arena_bytes 256");
    refused(BCAST(.max_bytes = 100, .arena_bytes = 2 * record + 1),
            "arena_bytes 385");
    refused(BCAST(.arena_bytes = (UINT64_C(1) << 40) + 128),
            "arena_bytes 1099511627904");
    refused(BCAST(.arena_bytes = UINT64_MAX), "arena_bytes");
}

/* What is refused names no other field as if it were the bad one.          */
static void
bcast_says_which_field_is_bad(void **state)
{
    (void)state;
    refused(BCAST(.max_publishers = 1025), "max_publishers 1025");
    assert_null(strstr(shmc_last_error(), "slot_count"));
    assert_null(strstr(shmc_last_error(), "arena_bytes"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(spsc_fields_have_limits),
        TEST_CASE(recq_fields_have_limits),
        TEST_CASE(latest_fields_have_limits),
        TEST_CASE(mpmc_fields_have_limits),
        TEST_CASE(bcast_fields_have_limits),
        TEST_CASE(bcast_says_which_field_is_bad),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("limits_desc", tests, NULL, NULL);
}
