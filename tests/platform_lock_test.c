/* Locks on single bytes of a file, which the kernel drops at death.       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_seccomp.h"

#include <fcntl.h>

enum { MS = 1000000 };

static char dir[64];
static int dirfd_, fd_, other_;     /* fd_, other_: two opens of one file   */

static int
open_twice(void **state)
{
    test_watch(state);
    test_dir_make(dir);
    dirfd_ = shmi_dir_open(dir);
    fd_ = shmi_file_unnamed(dir, 0600, -1);
    assert_int_equal(shmi_file_publish(fd_, dirfd_, "f"), 0);
    other_ = shmi_file_open(dirfd_, "f", false);
    assert_true(other_ >= 0);
    return 0;
}

static int
close_both(void **state)
{
    shmi_close(fd_);
    shmi_close(other_);
    shmi_close(dirfd_);
    test_dir_remove(dir);
    return test_unwatch(state);
}

#define LOCK_CASE(f) cmocka_unit_test_setup_teardown(f, open_twice, close_both)

static void
exclusive_lock_keeps_all_others_out(void **state)
{
    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    assert_int_equal(shmi_lock_try(other_, 5, true), SHMI_OS_EAGAIN);
    assert_int_equal(shmi_lock_try(other_, 5, false), SHMI_OS_EAGAIN);
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);       /* own: again   */
    assert_int_equal(shmi_lock_release(fd_, 5), 0);
    assert_int_equal(shmi_lock_try(other_, 5, true), 0);
}

static void
shared_locks_keep_only_exclusive_ones_out(void **state)
{
    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, false), 0);
    assert_int_equal(shmi_lock_try(other_, 5, false), 0);
    assert_int_equal(shmi_lock_try(fd_, 5, true), SHMI_OS_EAGAIN);
    assert_int_equal(shmi_lock_release(other_, 5), 0);
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    assert_int_equal(shmi_lock_try(fd_, 5, false), 0);
    assert_int_equal(shmi_lock_try(other_, 5, false), 0);
}

static void
each_byte_has_its_own_lock(void **state)
{
    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    assert_int_equal(shmi_lock_try(other_, 4, true), 0);
    assert_int_equal(shmi_lock_try(other_, 6, true), 0);
    assert_int_equal(shmi_lock_try(other_, (UINT64_C(1) << 62) + 1, true), 0);
    assert_int_equal(shmi_lock_try(fd_, UINT64_C(1) << 62, true), 0);
    assert_int_equal(shmi_lock_release(fd_, 5), 0);
    assert_int_equal(shmi_lock_probe(fd_, 4), 1);
    assert_int_equal(shmi_lock_probe(fd_, 6), 1);
}

static void
probe_sees_others_locks_and_takes_none(void **state)
{
    const int reader = shmi_file_open(dirfd_, "f", true);

    (void)state;
    assert_int_equal(shmi_lock_probe(other_, 5), 0);
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    assert_int_equal(shmi_lock_probe(fd_, 5), 0);
    assert_int_equal(shmi_lock_probe(other_, 5), 1);
    assert_int_equal(shmi_lock_probe(reader, 5), 1);
    assert_int_equal(shmi_lock_try(fd_, 5, false), 0);
    assert_int_equal(shmi_lock_probe(other_, 5), 1);
    assert_int_equal(shmi_lock_release(fd_, 5), 0);
    assert_int_equal(shmi_lock_probe(other_, 5), 0);
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    shmi_close(reader);
}

static void
bad_arguments_are_refused(void **state)
{
    const int reader = shmi_file_open(dirfd_, "f", true);

    (void)state;
    assert_int_equal(shmi_lock_try(-1, 0, true), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_probe(-1, 0), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_release(-1, 0), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_wait(-1, 0, true, 0), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_wait(-1, 0, true, SHMI_FOREVER), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_try(fd_, INT64_MAX, true), SHMI_OS_EINVAL);
    assert_int_equal(shmi_lock_probe(fd_, UINT64_MAX), SHMI_OS_EINVAL);
    assert_int_equal(shmi_lock_try(reader, 0, true), SHMI_OS_EBADF);
    assert_int_equal(shmi_lock_try(reader, 0, false), 0);
    shmi_close(reader);
}

static void
closing_another_descriptor_of_the_file_keeps_the_lock(void **state)
{
    const int third = shmi_file_open(dirfd_, "f", false);
    const int copy = dup(fd_);

    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    shmi_close(third);
    assert_int_equal(shmi_lock_probe(other_, 5), 1);
    shmi_close(fd_);                /* the copy holds it still              */
    assert_int_equal(shmi_lock_probe(other_, 5), 1);
    shmi_close(copy);
    assert_int_equal(shmi_lock_probe(other_, 5), 0);
    fd_ = shmi_file_open(dirfd_, "f", false);
}

/* ---- across processes -------------------------------------------------- */

typedef struct holder {
    uint32_t holds;
} holder;

static int
hold_until_killed(void *arg)
{
    holder *h = arg;
    const int fd = shmi_file_open(dirfd_, "f", false);

    TEST_REQUIRE(shmi_lock_try(fd, 5, true) == 0);
    TEST_REQUIRE(shmi_lock_try(fd, 6, false) == 0);
    shmi_store_rel_32(&h->holds, 1);
    while (pause() < 0) {
    }
    return 0;
}

static pid_t
spawn_holder(holder **h)
{
    *h = test_shared(sizeof **h);
    const pid_t pid = test_spawn(hold_until_killed, *h);
    while (shmi_load_acq_32(&(*h)->holds) == 0) shmi_yield();
    return pid;
}

static void
locks_drop_when_their_holder_is_killed(void **state)
{
    holder *h;
    const pid_t pid = spawn_holder(&h);

    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), SHMI_OS_EAGAIN);
    assert_int_equal(shmi_lock_probe(fd_, 6), 1);
    kill(pid, SIGKILL);
    /* Not reaped: a zombie holds nothing.                                 */
    assert_int_equal(shmi_lock_wait(fd_, 5, true, SHMI_FOREVER), 0);
    assert_int_equal(shmi_lock_wait(fd_, 6, true, SHMI_FOREVER), 0);
    (void)test_join(pid);
    shmi_unmap(h, sizeof *h);
}

static void
stopped_process_keeps_its_locks(void **state)
{
    holder *h;
    const pid_t pid = spawn_holder(&h);
    int status;

    (void)state;
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(shmi_lock_probe(fd_, 5), 1);
    test_kill(pid);
    assert_int_equal(shmi_lock_probe(fd_, 5), 0);
    shmi_unmap(h, sizeof *h);
}

static int
use_the_parents_descriptor(void *arg)
{
    (void)arg;
    /* The same description: no conflict, and closing it drops nothing.    */
    TEST_REQUIRE(shmi_lock_probe(fd_, 5) == 0);
    TEST_REQUIRE(shmi_lock_try(fd_, 5, true) == 0);
    TEST_REQUIRE(shmi_lock_probe(other_, 5) == 1);
    shmi_close(fd_);
    return 0;
}

static void
forked_child_shares_the_lock_and_its_death_keeps_it(void **state)
{
    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    assert_int_equal(test_join(test_spawn(use_the_parents_descriptor, NULL)), 0);
    assert_int_equal(shmi_lock_probe(other_, 5), 1);
}

static void
wait_times_out_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    assert_int_equal(shmi_lock_try(other_, 5, true), 0);
    const uint64_t deadline = shmi_now_ns() + 20 * MS;
    assert_int_equal(shmi_lock_wait(fd_, 5, false, deadline), SHMI_OS_ETIMEDOUT);
    assert_true(shmi_now_ns() >= deadline);
    assert_int_equal(shmi_lock_wait(fd_, 5, true, 0), SHMI_OS_ETIMEDOUT);
    assert_int_equal(shmi_lock_release(other_, 5), 0);
    assert_int_equal(shmi_lock_wait(fd_, 5, true, 0), 0);   /* one try      */
}

static void
wait_gets_the_lock_of_a_holder_that_dies_meanwhile(void **state)
{
    holder *h;
    const pid_t pid = spawn_holder(&h);

    (void)state;
    assert_int_equal(shmi_lock_wait(fd_, 5, true, shmi_now_ns() + 5 * MS),
                     SHMI_OS_ETIMEDOUT);
    kill(pid, SIGKILL);
    assert_int_equal(shmi_lock_wait(fd_, 5, true, shmi_deadline(INT64_MAX)), 0);
    (void)test_join(pid);
    shmi_unmap(h, sizeof *h);
}

static void
ignore_signal(int number)
{
    (void)number;
}

static int
wait_for_ever(void *arg)
{
    uint32_t *got = arg;
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = ignore_signal;
    TEST_REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
    const int fd = shmi_file_open(dirfd_, "f", false);
    shmi_store_rel_32(got, 1);
    TEST_REQUIRE(shmi_lock_wait(fd, 5, true, SHMI_FOREVER) == 0);
    shmi_store_rel_32(got, 2);
    return 0;
}

static void
signals_do_not_end_a_wait_for_a_lock(void **state)
{
    uint32_t *got = test_shared(sizeof *got);

    (void)state;
    assert_int_equal(shmi_lock_try(fd_, 5, true), 0);
    const pid_t pid = test_spawn(wait_for_ever, got);
    while (shmi_load_acq_32(got) == 0) shmi_yield();
    for (int i = 0; i < 10; i++) {
        kill(pid, SIGUSR1);
        test_sleep_ms(3);
    }
    assert_int_equal(shmi_load_acq_32(got), 1);
    assert_int_equal(shmi_lock_release(fd_, 5), 0);
    assert_int_equal(test_join(pid), 0);
    shmi_unmap(got, sizeof *got);
}

static int
lock_where_the_system_says_eacces(void *arg)
{
    (void)arg;
    platform_deny_if(SYS_fcntl, 1, F_OFD_SETLK, EACCES);
    TEST_REQUIRE(shmi_lock_try(fd_, 5, true) == SHMI_OS_EAGAIN);
    TEST_REQUIRE(shmi_lock_wait(fd_, 5, true, 0) == SHMI_OS_ETIMEDOUT);
    return 0;
}

static void
both_ways_to_say_held_mean_the_same(void **state)
{
    const pid_t pid = test_spawn(lock_where_the_system_says_eacces, NULL);

    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(pid), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_CASE(exclusive_lock_keeps_all_others_out),
        LOCK_CASE(shared_locks_keep_only_exclusive_ones_out),
        LOCK_CASE(each_byte_has_its_own_lock),
        LOCK_CASE(probe_sees_others_locks_and_takes_none),
        LOCK_CASE(bad_arguments_are_refused),
        LOCK_CASE(closing_another_descriptor_of_the_file_keeps_the_lock),
        LOCK_CASE(locks_drop_when_their_holder_is_killed),
        LOCK_CASE(stopped_process_keeps_its_locks),
        LOCK_CASE(forked_child_shares_the_lock_and_its_death_keeps_it),
        LOCK_CASE(wait_times_out_at_its_deadline_and_not_before),
        LOCK_CASE(wait_gets_the_lock_of_a_holder_that_dies_meanwhile),
        LOCK_CASE(signals_do_not_end_a_wait_for_a_lock),
        LOCK_CASE(both_ways_to_say_held_mean_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
