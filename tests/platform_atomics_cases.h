/* platform_atomics_cases.h - the tests of the atomics, fences and copies,
 * which each back end has to pass.  Include it once, in a test's file.
 * SPDX-License-Identifier: MIT                                            */
#include "test_support.h"

#include <pthread.h>
#include <sched.h>

enum { ROUNDS = 20000, LITMUS_ROUNDS = 60000 };

/* Words that two threads or processes share, each on its own line.        */
typedef struct lines {
    uint32_t a; uint8_t pad0[SHMC_LINE - 4];
    uint32_t b; uint8_t pad1[SHMC_LINE - 4];
    uint64_t c; uint8_t pad2[SHMC_LINE - 8];
    uint64_t data[16];
    uint32_t seen_a, seen_b;        /* what a litmus test's sides loaded    */
    uint32_t go, done;
} lines;
SHMC_LAYOUT_AT(lines, b, SHMC_LINE);
SHMC_LAYOUT_SIZE(lines, 5 * SHMC_LINE - 112);

/* Run fn(arg) in a second thread while this one runs other(arg).          */
static void
both(void *(*fn)(void *), void *(*other)(void *), void *arg)
{
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, fn, arg), 0);
    other(arg);
    assert_int_equal(pthread_join(t, NULL), 0);
}

/* ---- one thread -------------------------------------------------------- */

static void
loads_return_what_was_stored(void **state)
{
    uint32_t w = 1;
    uint64_t x = 1;

    (void)state;
    shmi_store_rlx_32(&w, 0xfffffff0u);
    assert_true(shmi_load_rlx_32(&w) == 0xfffffff0u);
    shmi_store_rel_32(&w, 0x80000001u);
    assert_true(shmi_load_acq_32(&w) == 0x80000001u);
    shmi_store_rlx_64(&x, UINT64_C(0xfffffff0fffffff1));
    assert_true(shmi_load_rlx_64(&x) == UINT64_C(0xfffffff0fffffff1));
    shmi_store_rel_64(&x, UINT64_C(0x8000000080000001));
    assert_true(shmi_load_acq_64(&x) == UINT64_C(0x8000000080000001));
}

static void
swap_and_add_return_what_was_there(void **state)
{
    uint32_t w = UINT32_MAX;
    uint64_t x = UINT64_MAX;

    (void)state;
    assert_true(shmi_faa_32(&w, 3) == UINT32_MAX);
    assert_true(w == 2);
    assert_true(shmi_faa_rlx_32(&w, UINT32_MAX) == 2);
    assert_true(shmi_faa_rlx_32(&w, 1) == 1);
    assert_true(shmi_swap_32(&w, 0x80000000u) == 2);
    assert_true(w == 0x80000000u);
    assert_true(shmi_faa_64(&x, 3) == UINT64_MAX);
    assert_true(x == 2);
    assert_true(shmi_faa_rlx_64(&x, UINT64_MAX) == 2);
    assert_true(shmi_faa_rlx_64(&x, 1) == 1);
    assert_true(shmi_swap_64(&x, UINT64_C(1) << 63) == 2);
    assert_true(x == UINT64_C(1) << 63);
}

static void
cas_stores_only_over_what_is_expected(void **state)
{
    uint32_t w = 5, seen = 5;
    uint64_t x = UINT64_C(5) << 32, found = 5;

    (void)state;
    assert_true(shmi_cas_32(&w, &seen, 6));
    assert_true(w == 6 && seen == 5);
    assert_false(shmi_cas_32(&w, &seen, 7));
    assert_true(w == 6 && seen == 6);
    assert_true(shmi_cas_acq_32(&w, &seen, 8));
    assert_false(shmi_cas_acq_32(&w, &seen, 9));
    assert_true(w == 8 && seen == 8);
    assert_true(shmi_cas_rel_32(&w, &seen, 7));
    assert_false(shmi_cas_rel_32(&w, &seen, 9));
    assert_true(w == 7 && seen == 7);
    assert_true(shmi_cas_rlx_32(&w, &seen, 6));
    assert_false(shmi_cas_rlx_32(&w, &seen, 9));
    assert_true(w == 6 && seen == 6);
    assert_false(shmi_cas_64(&x, &found, 7));
    assert_true(x == UINT64_C(5) << 32 && found == x);
    assert_true(shmi_cas_64(&x, &found, 7));
    assert_true(x == 7 && found == UINT64_C(5) << 32);
    assert_false(shmi_cas_rel_64(&x, &found, 8));
    assert_true(shmi_cas_rel_64(&x, &found, 8));
    assert_true(x == 8 && found == 7);
    assert_false(shmi_cas_acq_64(&x, &found, 9));
    assert_true(shmi_cas_acq_64(&x, &found, 9));
    assert_true(x == 9 && found == 8);
    assert_false(shmi_cas_rlx_64(&x, &found, 10));
    assert_true(shmi_cas_rlx_64(&x, &found, 10));
    assert_true(x == 10 && found == 9);
}

static void
atomics_leave_the_neighbours_alone(void **state)
{
    uint32_t w[3] = { 1, 2, 3 }, seen = 2;
    uint64_t x[3] = { 1, 2, 3 };

    (void)state;
    shmi_store_rel_32(&w[1], UINT32_MAX);
    (void)shmi_faa_32(&w[1], 3);
    assert_true(shmi_cas_32(&w[1], &seen, UINT32_MAX));
    shmi_store_rel_64(&x[1], UINT64_MAX);
    (void)shmi_faa_64(&x[1], 3);
    assert_true(w[0] == 1 && w[1] == UINT32_MAX && w[2] == 3);
    assert_true(x[0] == 1 && x[1] == 2 && x[2] == 3);
}

static void
copies_move_exactly_the_bytes_asked_for(void **state)
{
    unsigned char from[160], to[160];

    (void)state;
    for (size_t i = 0; i < sizeof from; i++) from[i] = (unsigned char)(i + 1);
    for (size_t at = 0; at < 9; at++) {
        for (size_t n = 0; n <= 150; n++) {
            for (int out = 0; out < 2; out++) {
                memset(to, 0, sizeof to);
                if (out) shmi_copy_out(to + 9, from + at, n);
                else shmi_copy_in(to + at, from + 9, n);
                const size_t d = out ? 9 : at, s = out ? at : 9;
                for (size_t i = 0; i < sizeof to; i++)
                    assert_int_equal(to[i], i < d || i >= d + n
                                            ? 0 : from[s + i - d]);
            }
        }
    }
}

static void
prefetch_and_relax_accept_anything(void **state)
{
    (void)state;
    shmi_prefetch_r(NULL);
    shmi_prefetch_w((void *)(uintptr_t)0x10);
    shmi_relax();
}

static void
backoff_grows_to_its_limit_and_then_yields(void **state)
{
    shmi_backoff b = SHMI_BACKOFF_INIT;
    uint32_t last = 0, calls = 0;

    (void)state;
    for (; b.n < SHMC_BACKOFF_LIMIT; calls++) {
        shmi_backoff_spin(&b);
        assert_true(b.n > last);
        last = b.n;
        assert_true(calls < 32);
    }
    for (int i = 0; i < 5; i++) shmi_backoff_spin(&b);
    assert_true(b.n == last);
}

/* ---- two threads or processes ------------------------------------------ */

static void *
add_by_all_means(void *arg)
{
    lines *l = arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t seen = shmi_load_rlx_64(&l->c);
        (void)shmi_faa_32(&l->a, 1);
        while (!shmi_cas_64(&l->c, &seen, seen + 1)) {
        }
    }
    return NULL;
}

static void
concurrent_adds_lose_nothing(void **state)
{
    lines l;

    (void)state;
    memset(&l, 0, sizeof l);
    both(add_by_all_means, add_by_all_means, &l);
    assert_true(l.a == 2 * ROUNDS);
    assert_true(l.c == 2 * ROUNDS);
}

static void *
pass_the_lock(void *arg)
{
    lines *l = arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        while (shmi_swap_32(&l->a, 1) != 0) shmi_backoff_spin(&b);
        l->data[0]++;               /* plain: the swap orders it            */
        shmi_store_rel_32(&l->a, 0);
    }
    return NULL;
}

static void
swap_and_release_store_make_a_lock(void **state)
{
    lines l;

    (void)state;
    memset(&l, 0, sizeof l);
    both(pass_the_lock, pass_the_lock, &l);
    assert_true(l.data[0] == 2 * ROUNDS);
}

/* Send ROUNDS numbers in plain bytes, by release and acquire of words when
 * `fences` is 0, else by fences and relaxed words.  a: sent, b: received. */
static void
send_numbers(lines *l, bool fences)
{
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        while (shmi_load_acq_32(&l->b) != i - 1) shmi_backoff_spin(&b);
        for (uint32_t k = 0; k < 16; k++) l->data[k] = i + k;
        if (fences) {
            shmi_fence_rel();
            shmi_store_rlx_32(&l->a, i);
        } else {
            shmi_store_rel_32(&l->a, i);
        }
    }
}

static uint32_t
check_numbers(lines *l, bool fences)
{
    uint32_t wrong = 0;

    for (uint32_t i = 1; i <= ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        if (fences) {
            while (shmi_load_rlx_32(&l->a) != i) shmi_backoff_spin(&b);
            shmi_fence_acq();
        } else {
            while (shmi_load_acq_32(&l->a) != i) shmi_backoff_spin(&b);
        }
        for (uint32_t k = 0; k < 16; k++) wrong += l->data[k] != i + k;
        shmi_store_rel_32(&l->b, i);
    }
    return wrong;
}

static int
send_by_words(void *arg)
{
    send_numbers(arg, false);
    return 0;
}

static void
release_and_acquire_pass_plain_bytes_between_processes(void **state)
{
    lines *l = test_shared(sizeof *l);
    const pid_t pid = test_spawn(send_by_words, l);

    (void)state;
    assert_int_equal(check_numbers(l, false), 0);
    assert_int_equal(test_join(pid), 0);
    shmi_unmap(l, sizeof *l);
}

static void *
send_by_fences(void *arg)
{
    send_numbers(arg, true);
    return NULL;
}

static void *
check_by_fences(void *arg)
{
    TEST_REQUIRE(check_numbers(arg, true) == 0);
    return NULL;
}

static void
fences_pass_plain_bytes_between_threads(void **state)
{
    lines l;

    (void)state;
    memset(&l, 0, sizeof l);
    both(send_by_fences, check_by_fences, &l);
}

/* Both sides store and then load the other's word; the sc fence between
 * means that at least one of them sees the other.  That both miss, without
 * it, takes starting at almost one time: so spin hard, and try all delays. */
static void
store_then_look(lines *l, uint32_t *mine, uint32_t *other, uint32_t *seen)
{
    for (uint32_t i = 1; i <= LITMUS_ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        (void)shmi_faa_32(&l->go, 1);
        for (uint32_t n = 0; shmi_load_acq_32(&l->go) < 2 * i; n++)
            if (n > 2000) shmi_backoff_spin(&b);
        for (uint32_t n = mine == &l->a ? i % 256 : 128; n > 0; n--)
            shmi_fence_compiler();
        shmi_store_rlx_32(mine, i);
        shmi_fence_sc();
        shmi_store_rlx_32(seen, shmi_load_rlx_32(other));
        (void)shmi_faa_32(&l->done, 1);
        while (shmi_load_acq_32(&l->done) < 2 * i) shmi_backoff_spin(&b);
        TEST_REQUIRE(shmi_load_rlx_32(&l->seen_a) >= i ||
                     shmi_load_rlx_32(&l->seen_b) >= i);
    }
}

static void *
store_a_look_at_b(void *arg)
{
    lines *l = arg;
    store_then_look(l, &l->a, &l->b, &l->seen_a);
    return NULL;
}

static void *
store_b_look_at_a(void *arg)
{
    lines *l = arg;
    store_then_look(l, &l->b, &l->a, &l->seen_b);
    return NULL;
}

static void
full_fence_orders_a_store_before_a_load(void **state)
{
    lines l;

    (void)state;
    memset(&l, 0, sizeof l);
    both(store_a_look_at_b, store_b_look_at_a, &l);
}

static void *
write_seqlock(void *arg)
{
    lines *l = arg;
    uint64_t mine[16];

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        for (uint64_t k = 0; k < 16; k++) mine[k] = i + k;
        shmi_store_rlx_64(&l->c, 2 * i - 1);
        shmi_fence_rel();           /* odd before the bytes                 */
        shmi_copy_in(l->data, mine, sizeof mine);
        shmi_store_rel_64(&l->c, 2 * i);
    }
    return NULL;
}

static void *
read_seqlock(void *arg)
{
    lines *l = arg;
    uint64_t mine[16], stamp = 0;

    while (stamp != 2 * ROUNDS) {
        stamp = shmi_load_acq_64(&l->c);
        shmi_copy_out(mine, l->data, sizeof mine);
        shmi_fence_acq();           /* the bytes before the second look     */
        if (stamp % 2 != 0 || shmi_load_rlx_64(&l->c) != stamp) stamp = 0;
        if (stamp == 0) continue;
        for (uint64_t k = 0; k < 16; k++)
            TEST_REQUIRE(mine[k] == stamp / 2 + k);
    }
    return NULL;
}

static void
seqlock_read_accepts_no_mixed_bytes(void **state)
{
    lines l;

    (void)state;
    memset(&l, 0, sizeof l);
    both(write_seqlock, read_seqlock, &l);
}

/* Keep this process on one CPU.                                           */
static void
pin(void)
{
    cpu_set_t set;

    TEST_REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    bool found = false;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (found) CPU_CLR(cpu, &set);
        found = found || CPU_ISSET(cpu, &set);
    }
    TEST_REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0);
}

static int
play_ping_pong(void *arg)
{
    lines *l = arg;
    const uint32_t side = shmi_faa_32(&l->go, 1);

    pin();
    for (uint32_t i = 0; i < 300; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        while (shmi_load_acq_32(&l->a) != 2 * i + side) shmi_backoff_spin(&b);
        shmi_store_rel_32(&l->a, 2 * i + side + 1);
    }
    return 0;
}

static void
backoff_lets_a_peer_on_the_same_cpu_run(void **state)
{
    lines *l = test_shared(sizeof *l);
    const pid_t first = test_spawn(play_ping_pong, l);
    const pid_t second = test_spawn(play_ping_pong, l);

    (void)state;
    assert_int_equal(test_join(first), 0);
    assert_int_equal(test_join(second), 0);
    shmi_unmap(l, sizeof *l);
}

static const struct CMUnitTest atomics_cases[] = {
    TEST_CASE(loads_return_what_was_stored),
    TEST_CASE(swap_and_add_return_what_was_there),
    TEST_CASE(cas_stores_only_over_what_is_expected),
    TEST_CASE(atomics_leave_the_neighbours_alone),
    TEST_CASE(copies_move_exactly_the_bytes_asked_for),
    TEST_CASE(prefetch_and_relax_accept_anything),
    TEST_CASE(backoff_grows_to_its_limit_and_then_yields),
    TEST_CASE(concurrent_adds_lose_nothing),
    TEST_CASE(swap_and_release_store_make_a_lock),
    TEST_CASE(release_and_acquire_pass_plain_bytes_between_processes),
    TEST_CASE(fences_pass_plain_bytes_between_threads),
    TEST_CASE(full_fence_orders_a_store_before_a_load),
    TEST_CASE(seqlock_read_accepts_no_mixed_bytes),
    TEST_CASE(backoff_lets_a_peer_on_the_same_cpu_run),
};
