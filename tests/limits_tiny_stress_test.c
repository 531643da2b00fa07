/* The smallest ring of each kind, between two processes: one or two slots, so
 * that each message goes over the end, meets a full ring and an empty one.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"

#include "test_support.h"

enum { MESSAGES = 2000 };

/* All words are the number, so that a torn message shows.                  */
typedef struct message { uint64_t word[24]; } message;

static void
fill(message *m, uint64_t number)
{
    for (int i = 0; i < 24; i++) m->word[i] = number;
}

static bool
is(const message *m, uint64_t number)
{
    for (int i = 0; i < 24; i++)
        if (m->word[i] != number) return false;
    return true;
}

typedef struct shared {
    void *mem;
    uint64_t bytes;
} shared;

static shared
shared_make(int64_t bytes)
{
    assert_true(bytes > 0);
    const shared s = { test_shared((size_t)bytes), (uint64_t)bytes };
    return s;
}

/* Every third message by copy, by loan, and by waiting.                    */
#define EACH_WAY(n, copy, loan, wait)                                         \
    ((n) % 3 == 0 ? (copy) : (n) % 3 == 1 ? (loan) : (wait))

/* ---- spsc ------------------------------------------------------------------- */

static int
spsc_loaned(shmc_spsc *q, const message *m)
{
    void *slot;
    const int r = shmc_spsc_loan(q, &slot, 1);
    if (r < 0) return r;
    memcpy(slot, m, sizeof *m);
    return shmc_spsc_commit(q, 1);
}

static int
spsc_child(void *arg)
{
    const shared *s = arg;
    shmc_spsc q;
    message m;

    TEST_REQUIRE(shmc_spsc_map(&q, s->mem, s->bytes, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t n = 0; n < MESSAGES;) {
        fill(&m, n);
        const int r = EACH_WAY(n, shmc_spsc_push(&q, &m, sizeof m),
                               spsc_loaned(&q, &m),
                               shmc_spsc_push_wait(&q, &m, sizeof m, -1));
        if (r == SHMC_EAGAIN) shmi_yield();
        else TEST_REQUIRE(r == SHMC_OK);
        n += r == SHMC_OK;
    }
    return 0;
}

static void
spsc_of_one_slot(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        const shmc_spsc_desc d = { sizeof(message), count, 1, NULL };
        shared s = shared_make(shmc_spsc_size_for(&d));
        shmc_spsc q;
        message m;
        assert_int_equal(shmc_spsc_format(s.mem, s.bytes, &d), SHMC_OK);
        const pid_t child = test_spawn(spsc_child, &s);
        assert_int_equal(shmc_spsc_map(&q, s.mem, s.bytes, SHMC_CONSUMER), SHMC_OK);
        for (uint64_t n = 0; n < MESSAGES; n++) {
            assert_int_equal(shmc_spsc_pop_wait(&q, &m, sizeof m, -1), SHMC_OK);
            assert_true(is(&m, n));
        }
        assert_int_equal(test_join(child), 0);
    }
}

/* ---- mpmc: two producers, of whom one also consumes ---------------------------- */

static int
mpmc_child(void *arg)
{
    const shared *s = arg;
    shmc_mpmc q;
    message m;
    void *slot;

    TEST_REQUIRE(shmc_mpmc_map(&q, s->mem, s->bytes, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t n = 0; n < MESSAGES;) {
        fill(&m, n);
        int r;
        if (n % 3 == 1) {
            r = shmc_mpmc_loan(&q, &slot);
            if (r == SHMC_OK) {
                memcpy(slot, &m, sizeof m);
                r = shmc_mpmc_commit(&q);
            }
        } else {
            r = n % 3 ? shmc_mpmc_push_wait(&q, &m, sizeof m, -1)
                      : shmc_mpmc_push(&q, &m, sizeof m);
        }
        if (r == SHMC_EAGAIN) shmi_yield();
        else TEST_REQUIRE(r == SHMC_OK);
        n += r == SHMC_OK;
    }
    return 0;
}

static void
mpmc_of_one_slot(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 2; count++) {
        const shmc_mpmc_desc d = { .slot_bytes = sizeof(message),
                                   .slot_count = count, .waitable = 1 };
        shared s = shared_make(shmc_mpmc_size_for(&d));
        shmc_mpmc q;
        message m;
        assert_int_equal(shmc_mpmc_format(s.mem, s.bytes, &d), SHMC_OK);
        const pid_t child = test_spawn(mpmc_child, &s);
        assert_int_equal(shmc_mpmc_map(&q, s.mem, s.bytes, SHMC_PRODUCER |
                                       SHMC_CONSUMER), SHMC_OK);
        uint64_t own = 0, taken = 0, next = 0;
        while (next < MESSAGES || taken < own) {
            fill(&m, own | UINT64_C(1) << 63);
            if (own < MESSAGES && shmc_mpmc_push(&q, &m, sizeof m) == SHMC_OK) own++;
            const int r = shmc_mpmc_pop(&q, &m, sizeof m);
            if (r == SHMC_EAGAIN) { shmi_yield(); continue; }
            assert_int_equal(r, SHMC_OK);
            if (m.word[0] >> 63) assert_true(is(&m, taken++ | UINT64_C(1) << 63));
            else assert_true(is(&m, next++));
        }
        assert_int_equal(test_join(child), 0);
    }
}

/* ---- recq of the least capacity -------------------------------------------------- */

static int
recq_child(void *arg)
{
    const shared *s = arg;
    shmc_recq q;

    TEST_REQUIRE(shmc_recq_map(&q, s->mem, s->bytes, SHMC_PRODUCER) == SHMC_OK);
    const uint32_t most = shmc_recq_max_bytes(&q);
    for (uint64_t n = 0; n < MESSAGES; n++) {
        uint64_t words[32];
        for (int i = 0; i < 32; i++) words[i] = n;
        TEST_REQUIRE(shmc_recq_push_wait(&q, words, (uint32_t)(n % (most + 1)),
                                         -1) == SHMC_OK);
    }
    return 0;
}

static void
recq_of_the_least_capacity(void **state)
{
    const shmc_recq_desc d = { .capacity_bytes = SHMI_RECQ_MIN_BYTES, .waitable = 1 };
    shared s = shared_make(shmc_recq_size_for(&d));
    shmc_recq q;

    (void)state;
    assert_int_equal(shmc_recq_format(s.mem, s.bytes, &d), SHMC_OK);
    const pid_t child = test_spawn(recq_child, &s);
    assert_int_equal(shmc_recq_map(&q, s.mem, s.bytes, SHMC_CONSUMER), SHMC_OK);
    const uint32_t most = shmc_recq_max_bytes(&q);
    for (uint64_t n = 0; n < MESSAGES; n++) {
        uint8_t got[256];
        const uint32_t bytes = (uint32_t)(n % (most + 1));
        assert_int_equal(shmc_recq_pop_wait(&q, got, sizeof got, -1), bytes);
        for (uint32_t i = 0; i < bytes; i++)
            assert_int_equal(got[i], (n >> i % 8 * 8) & 0xff);
    }
    assert_int_equal(test_join(child), 0);
}

/* ---- broadcast of two cells, latest of two slots ------------------------------ */

static int
bcast_child(void *arg)
{
    const shared *s = arg;
    shmc_bcast p;
    message m;

    TEST_REQUIRE(shmc_bcast_map(&p, s->mem, s->bytes, SHMC_PRODUCER, 0) == 0);
    for (uint64_t n = 0; n < MESSAGES; n++) {
        fill(&m, n);
        const uint32_t bytes = n % 2 ? 40 : (uint32_t)sizeof m;
        TEST_REQUIRE(shmc_bcast_send_wait(&p, &m, bytes, -1) == SHMC_OK);
    }
    return 0;
}

static void
bcast_of_two_cells(void **state)
{
    (void)state;
    for (uint32_t publishers = 1; publishers <= 2; publishers++) {
        const shmc_bcast_desc d = { .slot_count = 2, .max_bytes = sizeof(message),
                                    .max_publishers = publishers, .waitable = 1,
                                    .mode = SHMC_RELIABLE, .arena_bytes = 512 };
        shared s = shared_make(shmc_bcast_size_for(&d));
        shmc_bcast sub;
        assert_int_equal(shmc_bcast_format(s.mem, s.bytes, &d), SHMC_OK);
        assert_int_equal(shmc_bcast_map(&sub, s.mem, s.bytes, SHMC_CONSUMER, 0), 0);
        const pid_t child = test_spawn(bcast_child, &s);
        for (uint64_t n = 0; n < MESSAGES; n++) {
            message m;
            fill(&m, n);            /* what is not received is right        */
            m.word[0] = ~n;
            const int bytes = shmc_bcast_recv_wait(&sub, &m, sizeof m, -1);
            assert_int_equal(bytes, n % 2 ? 40 : (int)sizeof m);
            assert_true(is(&m, n));
        }
        assert_int_equal(shmc_bcast_lost(&sub), 0);
        assert_int_equal(test_join(child), 0);
    }
}

static int
latest_child(void *arg)
{
    const shared *s = arg;
    shmc_latest w;
    message m;

    TEST_REQUIRE(shmc_latest_map(&w, s->mem, s->bytes, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t n = 1; n <= MESSAGES; n++) {
        fill(&m, n);
        TEST_REQUIRE(shmc_latest_write(&w, &m, sizeof m) == SHMC_OK);
        if (n % 64 == 0) shmi_yield();
    }
    return 0;
}

static void
latest_of_two_slots(void **state)
{
    const shmc_latest_desc d = { .value_bytes = sizeof(message), .slot_count = 2,
                                 .waitable = 1 };
    shared s = shared_make(shmc_latest_size_for(&d));
    shmc_latest r;
    message m;
    uint64_t version = 0;

    (void)state;
    assert_int_equal(shmc_latest_format(s.mem, s.bytes, &d), SHMC_OK);
    const pid_t child = test_spawn(latest_child, &s);
    assert_int_equal(shmc_latest_map(&r, s.mem, s.bytes, SHMC_CONSUMER), SHMC_OK);
    for (uint64_t last = 0; version < MESSAGES; last = version) {
        assert_int_equal(shmc_latest_read_wait(&r, &m, sizeof m, &version, -1), 0);
        assert_true(version > last && is(&m, version));
    }
    assert_int_equal(test_join(child), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(spsc_of_one_slot),
        TEST_CASE(mpmc_of_one_slot),
        TEST_CASE(recq_of_the_least_capacity),
        TEST_CASE(bcast_of_two_cells),
        TEST_CASE(latest_of_two_slots),
    };

    shmc_log_set(NULL, NULL, 0);
    return cmocka_run_group_tests_name("limits_tiny", tests, NULL, NULL);
}
