/* test_support.h - what the tests share: watchdog, names, children, folders.
 *
 *     static int child(void *arg) { TEST_REQUIRE(arg != NULL); return 7; }
 *     ...
 *     test_watchdog(20);
 *     assert_int_equal(test_join(test_spawn(child, &x)), 7);
 *
 * Include it before the C library's headers.  Assert by cmocka in the test's
 * own process and by TEST_REQUIRE in a child or a second thread: cmocka
 * would go on with the next test there.
 * SPDX-License-Identifier: MIT                                            */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include "shmcomm_platform.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* End the process, with the place, unless the condition holds.            */
#define TEST_REQUIRE(cond)                                                    \
    do {                                                                      \
        if (!(cond)) test_require_failed(__FILE__, __LINE__, #cond);          \
    } while (0)

static inline void
test_require_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: process %d: not so: %s\n", file, line,
            (int)getpid(), what);
    _exit(99);
}

/* ---- watchdog ---------------------------------------------------------- */

static inline void
test_watchdog_bites(int signal_number)
{
    static const char text[] = "watchdog: the test hangs\n";

    (void)signal_number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(97);
    _exit(98);
}

/* End the process, as a failure, if this is not called again within the
 * time.  0 stops it.  A child does not inherit it; test_spawn sets its own. */
static inline void
test_watchdog(unsigned seconds)
{
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = test_watchdog_bites;
    sigaction(SIGALRM, &act, NULL);
    alarm(seconds);
}

/* cmocka setup and teardown with a watchdog of a minute.                  */
static inline int
test_watch(void **state)
{
    (void)state;
    test_watchdog(60);
    return 0;
}

static inline int
test_unwatch(void **state)
{
    (void)state;
    test_watchdog(0);
    return 0;
}

/* A row of the test table: the function, under the watchdog.              */
#define TEST_CASE(f) cmocka_unit_test_setup_teardown(f, test_watch, test_unwatch)

/* ---- emulators --------------------------------------------------------- */

/* Leave the test that says so out, with the reason, where an emulator of
 * another CPU runs us and lacks `has`.  Whoever starts the emulator sets
 * SHMC_TEST_EMULATOR; anywhere else what is missing makes the test fail.   */
#define TEST_EMULATOR_LACKS(has, what)                                        \
    do {                                                                      \
        if (getenv("SHMC_TEST_EMULATOR") != NULL && !(has)) {                 \
            print_message("left out: %s: no %s\n", __func__, what);           \
            skip();                                                           \
        }                                                                     \
    } while (0)

/* ---- names and time ---------------------------------------------------- */

/* Write "t<pid>.<noun>", a name that no other running test has.  A child
 * that needs its parent's names gets them from the parent.                */
static inline const char *
test_name(char *out, size_t bytes, const char *noun)
{
    snprintf(out, bytes, "t%d.%s", (int)getpid(), noun);
    return out;
}

static inline void
test_sleep_ms(unsigned ms)
{
    struct timespec t;

    t.tv_sec = (time_t)(ms / 1000);
    t.tv_nsec = (long)(ms % 1000) * 1000000;
    while (nanosleep(&t, &t) != 0) {
    }
}

/* ---- children ---------------------------------------------------------- */

/* Fork a child that returns fn(arg) as its exit status, under a watchdog
 * of a minute; it dies with its parent.                                   */
static inline pid_t
test_spawn(int (*fn)(void *arg), void *arg)
{
    const pid_t parent = getpid();

    fflush(NULL);
    const pid_t pid = fork();
    if (pid != 0) {
        assert_true(pid > 0);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(96);
    test_watchdog(60);
    _exit(fn(arg));
}

/* Wait for a child.  Returns its exit status, or 1000 + the signal.       */
static inline int
test_join(pid_t pid)
{
    int status = 0;
    pid_t got;

    do got = waitpid(pid, &status, 0); while (got < 0 && errno == EINTR);
    if (got != pid) return -1;
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* SIGKILL a child and reap it.                                            */
static inline void
test_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    (void)test_join(pid);
}

/* Map zeroed memory that children share; it goes away with the process.   */
static inline void *
test_shared(size_t bytes)
{
    void *p = NULL;

    assert_int_equal(shmi_memory_map(bytes, &p), 0);
    return p;
}

/* ---- folders ----------------------------------------------------------- */

/* Make an empty folder in shared memory.  `out` has room for 64 bytes.    */
static inline const char *
test_dir_make(char *out)
{
    snprintf(out, 64, "/dev/shm/t%d.XXXXXX", (int)getpid());
    assert_non_null(mkdtemp(out));
    return out;
}

static inline int
test_dir_remove_one(void *user, const char *name)
{
    const int fd = shmi_dir_open(user);

    (void)shmi_file_unlink(fd, name);
    (void)shmi_close(fd);
    return 0;
}

/* Remove a folder and the files in it.                                    */
static inline void
test_dir_remove(char *dir)
{
    (void)shmi_dir_each(dir, test_dir_remove_one, dir);
    assert_int_equal(rmdir(dir), 0);
}

#endif /* TEST_SUPPORT_H */
