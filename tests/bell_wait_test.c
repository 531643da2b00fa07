/* Bells: no wake-up is lost, no wait outlives its timeout by a hang.
 * SPDX-License-Identifier: MIT                                            */
/* To sleep at once is what is under test here.                            */
#define SHMC_SPIN_TRIES 2u
#define SHMC_YIELD_TRIES 1u
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/syscall.h>

/* Longer than the watchdog: whoever misses a wake-up does not get on.     */
#define NEVER_RECHECK UINT64_C(600000000000)
#define MS UINT64_C(1000000)

typedef struct table {
    shmi_bell_shm bell[2];
    uint64_t value[2][16];          /* one line each                        */
    uint32_t reached;
    uint32_t wake;
} table;

typedef struct wish {
    const uint64_t *word;
    uint64_t want;
    int tries;
} wish;

static int
is_there(void *ctx)
{
    wish *w = ctx;

    w->tries++;
    return shmi_load_acq_64(w->word) >= w->want ? SHMC_OK : SHMC_EAGAIN;
}

static int
await(table *t, int side, uint64_t want, int64_t timeout_ns, uint64_t slice_ns)
{
    wish w = { t->value[side], want, 0 };

    return shmi_bell_wait(&t->bell[side], t->wake == SHMC_WAKE_ASYMMETRIC,
                          is_there, &w, timeout_ns, slice_ns);
}

static void
tell(table *t, int side, uint64_t value)
{
    shmi_store_rel_64(t->value[side], value);
    shmi_bell_ring(&t->bell[side], t->wake == SHMC_WAKE_ASYMMETRIC);
}

/* ---- no lost wake-up --------------------------------------------------- */

enum { PING_PONGS = 5000 };

static int
plays_pong(void *arg)
{
    table *t = arg;

    if (t->wake == SHMC_WAKE_ASYMMETRIC && shmi_membarrier_register() < 0)
        return 1;
    core_reach(&t->reached, 1);
    for (uint64_t i = 1; i <= PING_PONGS; i++) {
        TEST_REQUIRE(await(t, 0, i, -1, NEVER_RECHECK) == SHMC_OK);
        tell(t, 1, i);
    }
    return 0;
}

static void
ping_pong(uint32_t wake)
{
    table *t = test_shared(sizeof *t);

    t->wake = wake;
    if (wake == SHMC_WAKE_ASYMMETRIC && shmi_membarrier_register() < 0) skip();
    const pid_t pid = test_spawn(plays_pong, t);
    core_await(&t->reached, 1);
    for (uint64_t i = 1; i <= PING_PONGS; i++) {
        tell(t, 0, i);
        assert_int_equal(await(t, 1, i, -1, NEVER_RECHECK), SHMC_OK);
    }
    assert_int_equal(test_join(pid), 0);
}

static void
long_ping_pong_by_fences_loses_no_wake_up(void **state)
{
    (void)state;
    ping_pong(SHMC_WAKE_FENCE);
}

static void
long_ping_pong_by_membarrier_loses_no_wake_up(void **state)
{
    (void)state;
    ping_pong(SHMC_WAKE_ASYMMETRIC);
}

/* Two ring the same bell for two who sleep on it.                         */
static void *
rings_many(void *arg)
{
    table *t = arg;

    for (int i = 0; i < 3000; i++) {
        shmi_faa_64(t->value[0], 1);
        shmi_bell_ring(&t->bell[0], false);
    }
    return NULL;
}

static void *
awaits_many(void *arg)
{
    table *t = arg;

    for (uint64_t i = 1; i <= 6000; i += 3)
        TEST_REQUIRE(await(t, 0, i, -1, NEVER_RECHECK) == SHMC_OK);
    TEST_REQUIRE(await(t, 0, 6000, -1, NEVER_RECHECK) == SHMC_OK);
    return NULL;
}

static void
many_ringers_wake_many_sleepers(void **state)
{
    table *t = test_shared(sizeof *t);
    pthread_t a[2], b[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&a[i], NULL, awaits_many, t), 0);
        assert_int_equal(pthread_create(&b[i], NULL, rings_many, t), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(a[i], NULL);
        pthread_join(b[i], NULL);
    }
}

/* Falling asleep and ringing at the same moment, more or less: each round
 * the ringer is a little later.  Without both fences this hangs.          */
enum { MOMENTS = 20000 };

static void *
rings_at_a_moment(void *arg)
{
    table *t = arg;

    for (uint32_t i = 1; i <= MOMENTS; i++) {
        for (uint32_t n = 0; shmi_load_acq_32(&t->reached) < i; n++) {
            if (n % 1000 != 999) shmi_relax();
            else shmi_yield();      /* there may be one CPU only            */
        }
        for (uint32_t k = i % 64; k > 0; k--) shmi_fence_compiler();
        for (uint32_t k = i / 64 % 32; k > 0; k--) shmi_relax();
        tell(t, 0, i);
    }
    return NULL;
}

static void
falling_asleep_at_any_moment(uint32_t wake)
{
    table *t = test_shared(sizeof *t);
    pthread_t thread;

    t->wake = wake;
    if (wake == SHMC_WAKE_ASYMMETRIC && shmi_membarrier_register() < 0) skip();
    assert_int_equal(pthread_create(&thread, NULL, rings_at_a_moment, t), 0);
    for (uint32_t i = 1; i <= MOMENTS; i++) {
        wish w = { t->value[0], i, 0 };
        shmi_store_rel_32(&t->reached, i);
        while (shmi_bell_sleep(&t->bell[0], wake == SHMC_WAKE_ASYMMETRIC,
                               is_there, &w, SHMI_FOREVER, NEVER_RECHECK) !=
               SHMC_OK) {
        }
    }
    pthread_join(thread, NULL);
}

static void
ring_while_falling_asleep_is_heard_by_fences(void **state)
{
    (void)state;
    falling_asleep_at_any_moment(SHMC_WAKE_FENCE);
}

static void
ring_while_falling_asleep_is_heard_by_membarrier(void **state)
{
    (void)state;
    falling_asleep_at_any_moment(SHMC_WAKE_ASYMMETRIC);
}

static int
sleeps_once(void *arg)
{
    table *t = arg;

    core_reach(&t->reached, 1);
    return await(t, 0, 1, -1, NEVER_RECHECK);
}

static void
one_ring_wakes_all_who_sleep(void **state)
{
    table *t = test_shared(sizeof *t);
    pid_t pid[3];

    (void)state;
    for (int i = 0; i < 3; i++) pid[i] = test_spawn(sleeps_once, t);
    test_sleep_ms(20);              /* asleep or not yet: both must do      */
    tell(t, 0, 1);
    for (int i = 0; i < 3; i++) assert_int_equal(test_join(pid[i]), 0);
    assert_int_equal(t->bell[0].asleep, 0);
}

/* ---- timeouts ---------------------------------------------------------- */

static void
no_timeout_tries_once_and_returns_eagain(void **state)
{
    table *t = test_shared(sizeof *t);
    wish w = { t->value[0], 1, 0 };

    (void)state;
    assert_int_equal(shmi_bell_wait(&t->bell[0], false, is_there, &w, 0,
                                    SHMC_RECHECK_NS), SHMC_EAGAIN);
    assert_int_equal(w.tries, 1);
    assert_int_equal(t->bell[0].asleep, 0);
    t->value[0][0] = 1;
    assert_int_equal(shmi_bell_wait(&t->bell[0], false, is_there, &w, 0,
                                    SHMC_RECHECK_NS), SHMC_OK);
    assert_int_equal(shmi_bell_wait(&t->bell[0], false, is_there, &w, -1,
                                    SHMC_RECHECK_NS), SHMC_OK);
    assert_int_equal(w.tries, 3);
}

static void
finite_timeout_is_waited_out(void **state)
{
    table *t = test_shared(sizeof *t);
    static const int64_t timeouts[] = { 1, 1000, 3 * (int64_t)MS,
                                        30 * (int64_t)MS };

    (void)state;
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        const uint64_t before = shmi_now_ns();
        assert_int_equal(await(t, 0, 1, timeouts[i], 10 * MS), SHMC_ETIMEDOUT);
        assert_true(shmi_now_ns() - before >= (uint64_t)timeouts[i]);
    }
    assert_int_equal(core_logs, 0);
}

static int
tells_later(void *arg)
{
    table *t = arg;

    test_sleep_ms(40);
    tell(t, 0, 1);
    return 0;
}

static void
timeout_longer_than_the_wait_does_not_matter(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    const pid_t pid = test_spawn(tells_later, t);
    assert_int_equal(await(t, 0, 1, INT64_MAX, NEVER_RECHECK), SHMC_OK);
    assert_int_equal(test_join(pid), 0);
}

static int
fails(void *ctx)
{
    int *left = ctx;

    return --*left > 0 ? SHMC_EAGAIN : SHMC_EPEERDEAD;
}

/* Spinning, yielding, before the sleep and after it.                      */
static void
any_other_answer_ends_the_wait(void **state)
{
    shmi_bell_shm bell;

    (void)state;
    memset(&bell, 0, sizeof bell);
    for (int n = 1; n <= 12; n++) {
        int left = n;
        assert_int_equal(shmi_bell_wait(&bell, false, fails, &left, -1, MS),
                         SHMC_EPEERDEAD);
        assert_int_equal(left, 0);
        left = n;
        assert_int_equal(shmi_bell_wait(NULL, false, fails, &left, -1,
                                        SHMC_RECHECK_NS), SHMC_EPEERDEAD);
    }
}

static void
without_a_bell_it_looks_again_and_again(void **state)
{
    table *t = test_shared(sizeof *t);
    wish w = { t->value[0], 1, 0 };

    (void)state;
    const pid_t pid = test_spawn(tells_later, t);
    assert_int_equal(shmi_bell_wait(NULL, false, is_there, &w, -1,
                                    NEVER_RECHECK), SHMC_OK);
    assert_int_equal(test_join(pid), 0);
    w.want = 2;
    assert_int_equal(shmi_bell_wait(NULL, false, is_there, &w, 3 * (int64_t)MS,
                                    NEVER_RECHECK), SHMC_ETIMEDOUT);
}

/* ---- deaths ------------------------------------------------------------ */

static void
killed_sleepers_mark_is_gone_with_the_next_ring(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    const pid_t pid = test_spawn(sleeps_once, t);
    while (shmi_load_acq_32(&t->bell[0].asleep) == 0) test_sleep_ms(1);
    test_kill(pid);
    assert_int_equal(t->bell[0].asleep, 1);
    const uint32_t seq = t->bell[0].seq;
    shmi_bell_ring(&t->bell[0], false);
    assert_int_equal(t->bell[0].asleep, 0);
    assert_int_equal(t->bell[0].seq, seq + 1);
    shmi_bell_ring(&t->bell[0], false);         /* costs a load from now on */
    assert_int_equal(t->bell[0].seq, seq + 1);
    const pid_t next = test_spawn(sleeps_once, t);
    while (shmi_load_acq_32(&t->bell[0].asleep) == 0) test_sleep_ms(1);
    tell(t, 0, 1);
    assert_int_equal(test_join(next), 0);
}

static int
publishes_and_dies(void *arg)
{
    table *t = arg;

    while (shmi_load_acq_32(&t->bell[0].asleep) == 0) shmi_yield();
    test_sleep_ms(5);
    shmi_store_rel_64(t->value[0], 1);
    if (t->wake == 99) (void)shmi_swap_32(&t->bell[0].asleep, 0);
    kill(getpid(), SIGKILL);
    return 0;
}

static void
ringer_that_dies_before_the_ring_is_covered_by_the_recheck(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    const pid_t pid = test_spawn(publishes_and_dies, t);
    assert_int_equal(await(t, 0, 1, -1, 20 * MS), SHMC_OK);
    assert_int_equal(test_join(pid), 1000 + SIGKILL);
}

static void
ringer_that_dies_inside_the_ring_is_covered_too(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    t->wake = 99;
    const pid_t pid = test_spawn(publishes_and_dies, t);
    assert_int_equal(await(t, 0, 1, -1, 20 * MS), SHMC_OK);
    assert_int_equal(test_join(pid), 1000 + SIGKILL);
}

static void
scribbled_bell_wakes_too_often_and_nothing_worse(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    memset(&t->bell[0], 0xff, sizeof t->bell[0]);
    tell(t, 0, 1);
    assert_int_equal(t->bell[0].asleep, 0);
    assert_int_equal(t->bell[0].seq, 0);
    memset(&t->bell[0], 0xa5, sizeof t->bell[0]);
    assert_int_equal(await(t, 0, 2, 2 * (int64_t)MS, MS), SHMC_ETIMEDOUT);
}

/* ---- no membarrier ----------------------------------------------------- */

static int
waits_without_membarrier(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  /* the system call's number */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, code };
    table *t = arg;

    TEST_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 77;
    TEST_REQUIRE(shmi_membarrier() < 0);
    core_reach(&t->reached, 1);
    return await(t, 0, 1, -1, 20 * MS);
}

static void
sleeper_that_lost_membarrier_still_wakes(void **state)
{
    table *t = test_shared(sizeof *t);

    (void)state;
    t->wake = SHMC_WAKE_ASYMMETRIC;
    const pid_t pid = test_spawn(waits_without_membarrier, t);
    test_sleep_ms(10);
    tell(t, 0, 1);
    const int r = test_join(pid);
    if (r == 77) skip();            /* no seccomp here                      */
    assert_int_equal(r, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(long_ping_pong_by_fences_loses_no_wake_up),
        CORE_CASE(long_ping_pong_by_membarrier_loses_no_wake_up),
        CORE_CASE(ring_while_falling_asleep_is_heard_by_fences),
        CORE_CASE(ring_while_falling_asleep_is_heard_by_membarrier),
        CORE_CASE(many_ringers_wake_many_sleepers),
        CORE_CASE(one_ring_wakes_all_who_sleep),
        CORE_CASE(no_timeout_tries_once_and_returns_eagain),
        CORE_CASE(finite_timeout_is_waited_out),
        CORE_CASE(timeout_longer_than_the_wait_does_not_matter),
        CORE_CASE(any_other_answer_ends_the_wait),
        CORE_CASE(without_a_bell_it_looks_again_and_again),
        CORE_CASE(killed_sleepers_mark_is_gone_with_the_next_ring),
        CORE_CASE(ringer_that_dies_before_the_ring_is_covered_by_the_recheck),
        CORE_CASE(ringer_that_dies_inside_the_ring_is_covered_too),
        CORE_CASE(scribbled_bell_wakes_too_often_and_nothing_worse),
        CORE_CASE(sleeper_that_lost_membarrier_still_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
