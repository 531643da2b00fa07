/* Clock, wait and wake on a word, membarrier, and the mutex on top.       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_seccomp.h"

#include <poll.h>
#include <pthread.h>

enum { MS = 1000000, ROUNDS = 2000 };

/* Words that processes share.                                             */
typedef struct words {
    uint32_t turn, ready, woken, stop;
    uint64_t pad[14];
    uint32_t a, b, go, done, seen_a, seen_b;
} words;

static void
ignore_signal(int number)
{
    (void)number;
}

/* Have SIGUSR1 interrupt system calls and do nothing else.                */
static void
accept_signals(void)
{
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = ignore_signal;
    TEST_REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
}

/* Wait until `pid` sleeps in the kernel.                                  */
static void
until_asleep(pid_t pid)
{
    char path[64], text[256], state = '?';

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    while (state != 'S') {
        test_sleep_ms(1);
        FILE *f = fopen(path, "r");
        TEST_REQUIRE(f != NULL && fgets(text, sizeof text, f) != NULL);
        fclose(f);
        const char *end = strrchr(text, ')');
        if (end != NULL) state = end[2];
    }
}

/* ---- time -------------------------------------------------------------- */

static void
now_goes_on_and_never_back(void **state)
{
    uint64_t last = shmi_now_ns();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        const uint64_t now = shmi_now_ns();
        assert_true(now >= last);
        last = now;
    }
    test_sleep_ms(3);
    assert_true(shmi_now_ns() - last >= 3 * MS);
}

static void
realtime_is_the_calendar(void **state)
{
    const uint64_t before = (uint64_t)time(NULL);
    const uint64_t seconds = shmi_realtime_ns() / 1000000000u;

    (void)state;
    assert_true(seconds >= before && seconds <= (uint64_t)time(NULL) + 1);
}

static void
deadlines_never_overflow_into_forever(void **state)
{
    const uint64_t now = shmi_now_ns();

    (void)state;
    assert_true(shmi_deadline(-1) == SHMI_FOREVER);
    assert_true(shmi_deadline(INT64_MIN) == SHMI_FOREVER);
    assert_true(shmi_deadline(0) >= now);
    assert_true(shmi_deadline(0) < SHMI_FOREVER);
    assert_true(shmi_deadline(5 * MS) >= now + 5 * MS);
    assert_true(shmi_deadline(INT64_MAX) >= (uint64_t)INT64_MAX + now);
    assert_true(shmi_deadline(INT64_MAX) < SHMI_FOREVER);
}

static int
sleep_half_a_second(void *arg)
{
    const uint64_t until = shmi_now_ns() + 500 * MS;

    (void)arg;
    accept_signals();
    shmi_sleep_until(until);
    TEST_REQUIRE(shmi_now_ns() >= until);
    return 0;
}

static void
signals_do_not_shorten_a_sleep(void **state)
{
    const pid_t pid = test_spawn(sleep_half_a_second, NULL);

    (void)state;
    until_asleep(pid);
    for (int i = 0; i < 5; i++) {
        kill(pid, SIGUSR1);
        test_sleep_ms(5);
    }
    assert_int_equal(test_join(pid), 0);
    shmi_sleep_until(0);            /* the past: at once                    */
}

/* ---- wait and wake ----------------------------------------------------- */

static void
wait_returns_at_once_when_the_word_differs(void **state)
{
    uint32_t word = 7;

    (void)state;
    assert_int_equal(shmi_wait_32(&word, 8, SHMI_FOREVER), 0);
    assert_int_equal(shmi_wait_32(&word, 8, 0), 0);
}

static void
wait_ends_at_an_absolute_deadline_and_not_before(void **state)
{
    const uint64_t deadline = shmi_now_ns() + 30 * MS;
    uint32_t word = 7;

    (void)state;
    test_sleep_ms(10);              /* absolute: this does not add to it    */
    int r = 0;
    while (r == 0) r = shmi_wait_32(&word, 7, deadline);
    assert_int_equal(r, SHMI_TIMEOUT);
    assert_true(shmi_now_ns() >= deadline);
    assert_int_equal(shmi_wait_32(&word, 7, deadline), SHMI_TIMEOUT);
    assert_int_equal(shmi_wait_32(&word, 7, 0), SHMI_TIMEOUT);
}

static void
wait_refuses_a_bad_address(void **state)
{
    (void)state;
    assert_int_equal(shmi_wait_32((uint32_t *)(uintptr_t)64, 0, 0), -EFAULT);
}

static int
play_ping_pong(void *arg)
{
    words *w = arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t v;
        while ((v = shmi_load_acq_32(&w->turn)) != 2 * i + 1)
            TEST_REQUIRE(shmi_wait_32(&w->turn, v, SHMI_FOREVER) == 0);
        shmi_store_rel_32(&w->turn, 2 * i + 2);
        shmi_wake_32(&w->turn, INT_MAX);
    }
    return 0;
}

static void
no_wake_up_is_lost_between_processes(void **state)
{
    words *w = test_shared(sizeof *w);
    const pid_t pid = test_spawn(play_ping_pong, w);

    (void)state;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t v;
        shmi_store_rel_32(&w->turn, 2 * i + 1);
        shmi_wake_32(&w->turn, 1);
        while ((v = shmi_load_acq_32(&w->turn)) != 2 * i + 2)
            assert_int_equal(shmi_wait_32(&w->turn, v, SHMI_FOREVER), 0);
    }
    assert_int_equal(test_join(pid), 0);
    shmi_unmap(w, sizeof *w);
}

static int
sleep_for_one_wake(void *arg)
{
    words *w = arg;

    TEST_REQUIRE(shmi_wait_32(&w->turn, 0, SHMI_FOREVER) == 0);
    (void)shmi_faa_32(&w->woken, 1);
    return 0;
}

static void
wake_wakes_as_many_as_it_is_told(void **state)
{
    words *w = test_shared(sizeof *w);
    pid_t pid[3];

    (void)state;
    for (int i = 0; i < 3; i++) pid[i] = test_spawn(sleep_for_one_wake, w);
    for (int i = 0; i < 3; i++) until_asleep(pid[i]);
    shmi_wake_32(&w->turn, 1);
    while (shmi_load_acq_32(&w->woken) == 0) shmi_yield();
    test_sleep_ms(20);
    assert_int_equal(shmi_load_acq_32(&w->woken), 1);
    shmi_store_rel_32(&w->turn, 1);
    shmi_wake_32(&w->turn, INT_MAX);
    for (int i = 0; i < 3; i++) assert_int_equal(test_join(pid[i]), 0);
    assert_int_equal(w->woken, 3);
    shmi_unmap(w, sizeof *w);
}

static int
wait_for_a_signal(void *arg)
{
    uint32_t word = 0;

    (void)arg;
    accept_signals();
    return shmi_wait_32(&word, 0, SHMI_FOREVER);
}

static void
signal_ends_a_wait_for_no_reason(void **state)
{
    const pid_t pid = test_spawn(wait_for_a_signal, NULL);

    (void)state;
    int status;
    until_asleep(pid);
    /* Again and again: the first may come before the wait.                */
    while (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, SIGUSR1);
        test_sleep_ms(5);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

typedef struct read_only_words {
    words *own;
    int fd;
} read_only_words;

static int
wait_in_a_read_only_mapping(void *arg)
{
    const read_only_words *r = arg;
    void *p;

    TEST_REQUIRE(shmi_map(r->fd, sizeof(words), true, 0, &p) == 0);
    TEST_REQUIRE(p != (void *)r->own);
    words *w = p;
    while (shmi_load_acq_32(&w->turn) == 0)
        TEST_REQUIRE(shmi_wait_32(&w->turn, 0, SHMI_FOREVER) == 0);
    return (int)shmi_load_rlx_32(&w->turn);
}

static void
read_only_mapping_elsewhere_can_be_waited_on(void **state)
{
    read_only_words r;
    void *p;

    (void)state;
    r.fd = shmi_file_unnamed("/dev/shm", 0600, -1);
    assert_true(r.fd >= 0);
    assert_int_equal(shmi_file_reserve(r.fd, sizeof(words)), 0);
    assert_int_equal(shmi_map(r.fd, sizeof(words), false, 0, &p), 0);
    r.own = p;
    const pid_t pid = test_spawn(wait_in_a_read_only_mapping, &r);
    until_asleep(pid);
    shmi_store_rel_32(&r.own->turn, 5);
    shmi_wake_32(&r.own->turn, 1);
    assert_int_equal(test_join(pid), 5);
    shmi_unmap(p, sizeof(words));
    shmi_close(r.fd);
}

/* ---- many words ---------------------------------------------------------- */

static bool
can_wait_for_many(void)
{
    uint32_t w = 1;
    const shmi_wait_word word = { &w, 0 };

    return shmi_wait_many(&word, 1, SHMI_FOREVER) == 0;
}

static int
wake_the_last(void *arg)
{
    shmi_wait_word *many = arg;

    until_asleep(getppid());
    shmi_store_rel_32(many[SHMI_WAIT_MAX - 1].word, 1);
    shmi_wake_32(many[SHMI_WAIT_MAX - 1].word, 1);
    return 0;
}

static void
many_words_are_waited_on_at_once(void **state)
{
    uint32_t *const shared = test_shared(4096);
    shmi_wait_word many[SHMI_WAIT_MAX + 1];

    (void)state;
    TEST_EMULATOR_LACKS(can_wait_for_many(), "futex_waitv");
    for (uint32_t i = 0; i <= SHMI_WAIT_MAX; i++)
        many[i] = (shmi_wait_word){ &shared[i], 0 };
    assert_int_equal(shmi_wait_many(many, 0, 0), SHMI_OS_EINVAL);
    assert_int_equal(shmi_wait_many(many, SHMI_WAIT_MAX + 1, 0), SHMI_OS_EINVAL);
    const uint64_t until = shmi_now_ns() + 20 * MS;
    assert_int_equal(shmi_wait_many(many, SHMI_WAIT_MAX, until), SHMI_TIMEOUT);
    assert_true(shmi_now_ns() >= until);
    const pid_t child = test_spawn(wake_the_last, many);
    while (shmi_load_acq_32(&shared[SHMI_WAIT_MAX - 1]) == 0)
        assert_int_equal(shmi_wait_many(many, SHMI_WAIT_MAX, SHMI_FOREVER), 0);
    assert_int_equal(test_join(child), 0);
    /* The last one differs: at once.                                       */
    assert_int_equal(shmi_wait_many(many, SHMI_WAIT_MAX, SHMI_FOREVER), 0);
    many[0].word = NULL;
    assert_true(shmi_wait_many(many, 2, SHMI_FOREVER) < 0);
    shmi_unmap(shared, 4096);
}

static int
wait_without_the_call(void *arg)
{
    uint32_t w = 0;
    const shmi_wait_word word = { &w, 0 };

    (void)arg;
    platform_deny(SYS_futex_waitv, ENOSYS);
    TEST_REQUIRE(shmi_wait_many(&word, 1, SHMI_FOREVER) == SHMI_OS_ENOSYS);
    return 0;
}

static void
many_words_without_the_call_are_an_error(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(wait_without_the_call, NULL)), 0);
}

/* ---- threads and flags --------------------------------------------------- */

static void *
note_signals(void *arg)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

static void
a_thread_runs_without_signals(void **state)
{
    sigset_t before, after, inside;
    shmi_thread t;

    (void)state;
    sigemptyset(&inside);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(shmi_thread_start(&t, note_signals, &inside), 0);
    shmi_thread_join(&t);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&inside, SIGTERM) && sigismember(&inside, SIGCHLD));
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

static void
a_flag_is_readable_from_set_to_clear(void **state)
{
    const int fd = shmi_flag_open();
    struct pollfd p = { .fd = fd, .events = POLLIN };

    (void)state;
    assert_true(fd >= 0);
    shmi_flag_clear(fd);
    assert_int_equal(poll(&p, 1, 0), 0);
    for (int i = 0; i < 3; i++) shmi_flag_set(fd);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(poll(&p, 1, 0), 1);
    shmi_flag_clear(fd);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(shmi_close(fd), 0);
}

/* ---- membarrier -------------------------------------------------------- */

/* The sleeper's side pays: it stores, issues membarrier, then looks.  The
 * other's side is a plain store and a plain load.  One sees the other.    */
static int
announce_then_look(void *arg)
{
    words *w = arg;

    TEST_REQUIRE(shmi_membarrier_register() == 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        (void)shmi_faa_32(&w->go, 1);
        while (shmi_load_acq_32(&w->go) < 2 * i) shmi_backoff_spin(&b);
        shmi_store_rlx_32(&w->a, i);
        TEST_REQUIRE(shmi_membarrier() == 0);
        shmi_store_rlx_32(&w->seen_b, shmi_load_rlx_32(&w->b));
        (void)shmi_faa_32(&w->done, 1);
        while (shmi_load_acq_32(&w->done) < 2 * i) shmi_backoff_spin(&b);
    }
    return 0;
}

static void
membarrier_orders_the_other_process(void **state)
{
    words *w = test_shared(sizeof *w);

    (void)state;
    if (!shmi_membarrier_supported()) {
        print_message("skipped: this kernel has no global membarrier\n");
        skip();
    }
    assert_int_equal(shmi_membarrier_register(), 0);
    const pid_t pid = test_spawn(announce_then_look, w);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        shmi_backoff b = SHMI_BACKOFF_INIT;
        (void)shmi_faa_32(&w->go, 1);
        while (shmi_load_acq_32(&w->go) < 2 * i) shmi_backoff_spin(&b);
        for (uint32_t n = i % 1024; n > 0; n--) shmi_fence_compiler();
        shmi_store_rlx_32(&w->b, i);
        shmi_fence_compiler();
        shmi_store_rlx_32(&w->seen_a, shmi_load_rlx_32(&w->a));
        (void)shmi_faa_32(&w->done, 1);
        while (shmi_load_acq_32(&w->done) < 2 * i) shmi_backoff_spin(&b);
        assert_true(shmi_load_rlx_32(&w->seen_a) >= i ||
                    shmi_load_rlx_32(&w->seen_b) >= i);
    }
    assert_int_equal(test_join(pid), 0);
    shmi_unmap(w, sizeof *w);
}

static int
call_membarrier_when_forbidden(void *arg)
{
    (void)arg;
    platform_deny(SYS_membarrier, EPERM);
    TEST_REQUIRE(!shmi_membarrier_supported());
    TEST_REQUIRE(shmi_membarrier_register() == SHMI_OS_EPERM);
    TEST_REQUIRE(shmi_membarrier() == SHMI_OS_EPERM);
    return 0;
}

static void
forbidden_membarrier_is_an_error_not_a_crash(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    const pid_t pid = test_spawn(call_membarrier_when_forbidden, NULL);
    assert_int_equal(test_join(pid), 0);
}

/* ---- mutex ------------------------------------------------------------- */

static shmi_mutex mutex;
static uint32_t in_it, entered;

static void *
enter_often(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 5 * ROUNDS; i++) {
        shmi_mutex_lock(&mutex);
        TEST_REQUIRE(in_it == 0);   /* plain: the mutex orders it           */
        in_it = 1;
        entered++;
        if (i % 64 == 0) shmi_yield();
        in_it = 0;
        shmi_mutex_unlock(&mutex);
    }
    return NULL;
}

static void
mutex_lets_in_one_thread_at_a_time(void **state)
{
    pthread_t t[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, enter_often, NULL), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(entered, 4 * 5 * ROUNDS);
    assert_int_equal(mutex.word, 0);
}

static void *
enter_once(void *arg)
{
    uint32_t *got = arg;

    shmi_mutex_lock(&mutex);
    shmi_store_rel_32(got, 1);
    shmi_mutex_unlock(&mutex);
    return NULL;
}

static void
mutex_wakes_who_sleeps_on_it(void **state)
{
    pthread_t t[3];
    uint32_t got[3] = { 0, 0, 0 };

    (void)state;
    shmi_mutex_lock(&mutex);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, enter_once, &got[i]), 0);
    while (shmi_load_acq_32(&mutex.word) != 2) shmi_yield();
    test_sleep_ms(20);
    for (int i = 0; i < 3; i++) assert_int_equal(shmi_load_acq_32(&got[i]), 0);
    shmi_mutex_unlock(&mutex);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(got[i], 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(now_goes_on_and_never_back),
        TEST_CASE(realtime_is_the_calendar),
        TEST_CASE(deadlines_never_overflow_into_forever),
        TEST_CASE(signals_do_not_shorten_a_sleep),
        TEST_CASE(wait_returns_at_once_when_the_word_differs),
        TEST_CASE(wait_ends_at_an_absolute_deadline_and_not_before),
        TEST_CASE(wait_refuses_a_bad_address),
        TEST_CASE(no_wake_up_is_lost_between_processes),
        TEST_CASE(wake_wakes_as_many_as_it_is_told),
        TEST_CASE(signal_ends_a_wait_for_no_reason),
        TEST_CASE(read_only_mapping_elsewhere_can_be_waited_on),
        TEST_CASE(many_words_are_waited_on_at_once),
        TEST_CASE(many_words_without_the_call_are_an_error),
        TEST_CASE(a_thread_runs_without_signals),
        TEST_CASE(a_flag_is_readable_from_set_to_clear),
        TEST_CASE(membarrier_orders_the_other_process),
        TEST_CASE(forbidden_membarrier_is_an_error_not_a_crash),
        TEST_CASE(mutex_lets_in_one_thread_at_a_time),
        TEST_CASE(mutex_wakes_who_sleeps_on_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
