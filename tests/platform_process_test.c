/* Who this process is, its environment, forks, texts of errors, the heap. */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_seccomp.h"

#include <pthread.h>

static void
ids_name_the_process_and_the_thread(void **state)
{
    (void)state;
    assert_int_equal(shmi_process_id(), getpid());
    assert_int_equal(shmi_thread_id(), getpid());
}

static void *
thread_id_of(void *arg)
{
    *(int32_t *)arg = shmi_thread_id();
    return NULL;
}

static void
each_thread_has_its_own_id(void **state)
{
    pthread_t t;
    int32_t id = 0;

    (void)state;
    assert_int_equal(pthread_create(&t, NULL, thread_id_of, &id), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(id > 0 && id != shmi_thread_id());
}

static int
wait_to_be_killed(void *arg)
{
    /* A name made to mislead who reads /proc/<pid>/stat from its start.   */
    prctl(PR_SET_NAME, "x) R 1 2 3 4");
    shmi_store_rel_32(arg, 1);
    while (pause() < 0) {
    }
    return 0;
}

static void
start_tells_processes_apart_and_the_dead_have_none(void **state)
{
    uint32_t *ready = test_shared(sizeof *ready);
    const uint64_t mine = shmi_process_start(shmi_process_id());

    (void)state;
    assert_true(mine > 0);
    assert_true(shmi_process_start(shmi_process_id()) == mine);
    test_sleep_ms(30);              /* a clock tick is 10 ms                */
    const pid_t pid = test_spawn(wait_to_be_killed, ready);
    while (shmi_load_acq_32(ready) == 0) shmi_yield();
    const uint64_t its = shmi_process_start(pid);
    assert_true(its > mine);
    test_kill(pid);
    assert_true(shmi_process_start(pid) == 0);
    assert_true(shmi_process_start(0) == 0);
    assert_true(shmi_process_start(-1) == 0);
    shmi_unmap(ready, sizeof *ready);
}

static int
ask_without_proc(void *arg)
{
    char name[32] = "old";

    (void)arg;
    platform_deny(SYS_read, EIO);
    TEST_REQUIRE(shmi_process_start(getpid()) == 0);
    TEST_REQUIRE(shmi_process_name(name, sizeof name) == -EIO);
    TEST_REQUIRE(name[0] == '\0');
    platform_deny(SYS_openat, EACCES);
    TEST_REQUIRE(shmi_process_start(getpid()) == 0);
    TEST_REQUIRE(shmi_process_name(name, sizeof name) == SHMI_OS_EACCES);
    return 0;
}

static void
without_proc_start_and_name_are_unknown(void **state)
{
    (void)state;
    PLATFORM_NEEDS_FILTER();
    assert_int_equal(test_join(test_spawn(ask_without_proc, NULL)), 0);
}

static void
name_is_the_programs_and_is_cut_to_fit(void **state)
{
    char name[32], little[4] = "???";

    (void)state;
    prctl(PR_SET_NAME, "my program");
    assert_int_equal(shmi_process_name(name, sizeof name), 0);
    assert_string_equal(name, "my program");
    assert_int_equal(shmi_process_name(little, sizeof little), 0);
    assert_string_equal(little, "my ");
    assert_int_equal(shmi_process_name(little, 0), SHMI_OS_EINVAL);
    assert_string_equal(little, "my ");
}

static char calls[8];

static void
note(char c)
{
    const size_t n = strlen(calls);
    if (n + 1 < sizeof calls) calls[n] = c;
}

static void prepare(void) { note('p'); }
static void parent(void) { note('a'); }
static void child(void) { note('c'); }

static int
look_at_calls(void *arg)
{
    (void)arg;
    TEST_REQUIRE(strcmp(calls, "pc") == 0);
    return 0;
}

static void
fork_handlers_run_on_both_sides(void **state)
{
    (void)state;
    assert_int_equal(shmi_on_fork(prepare, parent, child), 0);
    assert_int_equal(test_join(test_spawn(look_at_calls, NULL)), 0);
    assert_string_equal(calls, "pa");
}

static void
environment_is_read(void **state)
{
    (void)state;
    assert_int_equal(setenv("SHMC_TEST_VALUE", "yes", 1), 0);
    assert_string_equal(shmi_env("SHMC_TEST_VALUE"), "yes");
    assert_null(shmi_env("SHMC_TEST_NO_SUCH_VALUE"));
}

static void
errors_are_told_in_words_and_by_name(void **state)
{
    char text[64], little[8];

    (void)state;
    assert_string_equal(shmi_os_error(SHMI_OS_ENOSPC, text, sizeof text),
                        "No space left on device (ENOSPC)");
    assert_string_equal(shmi_os_error(-ENOENT, text, sizeof text),
                        "No such file or directory (ENOENT)");
    assert_string_equal(shmi_os_error(-ENOSPC, little, sizeof little), "No spac");
    assert_string_equal(shmi_os_error(-3999, text, sizeof text),
                        "system error -3999");
    assert_string_equal(shmi_os_error(7, text, sizeof text), "system error 7");
    assert_string_equal(shmi_os_error(INT_MIN, text, sizeof text),
                        "system error -2147483648");
    assert_string_equal(shmi_os_error(-1, NULL, 0), "");
}

static void
allocated_memory_is_zero(void **state)
{
    unsigned char *p = shmi_alloc(5000);

    (void)state;
    assert_non_null(p);
    for (int i = 0; i < 5000; i++) assert_int_equal(p[i], 0);
    shmi_free(p);
    shmi_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(ids_name_the_process_and_the_thread),
        TEST_CASE(each_thread_has_its_own_id),
        TEST_CASE(start_tells_processes_apart_and_the_dead_have_none),
        TEST_CASE(without_proc_start_and_name_are_unknown),
        TEST_CASE(name_is_the_programs_and_is_cut_to_fit),
        TEST_CASE(environment_is_read),
        TEST_CASE(errors_are_told_in_words_and_by_name),
        TEST_CASE(allocated_memory_is_zero),
        TEST_CASE(fork_handlers_run_on_both_sides),     /* for good         */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
