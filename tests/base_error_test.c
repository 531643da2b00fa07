/* Errors, sentences and the log.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include <pthread.h>

static void
every_code_has_its_own_name_and_text(void **state)
{
    static const struct { const char *name, *text; int code; } all[] = {
#define ROW(n, number, t) { "SHMC_" #n, t, number },
        SHMC_ERRORS(ROW)
#undef ROW
    };
    const size_t n = sizeof all / sizeof all[0];

    (void)state;
    assert_int_equal(n, 27);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(shmc_error_name(all[i].code), all[i].name);
        assert_string_equal(shmc_strerror(all[i].code), all[i].text);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(all[i].code, all[k].code);
            assert_string_not_equal(all[i].text, all[k].text);
        }
    }
}

static void
codes_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(SHMC_OK, 0);
    assert_int_equal(SHMC_EINVAL, -1);
    assert_int_equal(SHMC_EAGAIN, -7);
    assert_int_equal(SHMC_ECORRUPT, -10);
    assert_int_equal(SHMC_EFORKED, -18);
    assert_int_equal(SHMC_EOS, -24);
    assert_int_equal(SHMC_EEND, -25);
}

static void
unknown_code_is_called_unknown_and_a_count_success(void **state)
{
    (void)state;
    assert_string_equal(shmc_error_name(-999), "SHMC_E?");
    assert_string_equal(shmc_strerror(-999), "unknown error code");
    assert_string_equal(shmc_error_name(7), "SHMC_OK");
    assert_string_equal(shmc_strerror(7), "success");
}

static void
failure_keeps_and_logs_a_sentence_with_its_code(void **state)
{
    (void)state;
    assert_int_equal(shmi_fail(SHMC_EINVAL, "value %d of '%s'", 7, "x"),
                     SHMC_EINVAL);
    assert_string_equal(shmc_last_error(), "value 7 of 'x' [SHMC_EINVAL]");
    assert_string_equal(core_log_text, shmc_last_error());
    assert_int_equal(core_log_level, SHMC_LOG_ERROR);
    assert_int_equal(core_logs, 1);
}

static void
sentence_may_quote_the_one_before_it(void **state)
{
    (void)state;
    shmi_fail(SHMC_ENAME, "inner");
    shmi_fail(SHMC_EINVAL, "outer: %s", shmc_last_error());
    assert_string_equal(shmc_last_error(),
                        "outer: inner [SHMC_ENAME] [SHMC_EINVAL]");
}

static void
answers_are_kept_but_not_logged(void **state)
{
    static const int answers[] = { SHMC_ENOENT, SHMC_EEXIST, SHMC_EAGAIN,
                                   SHMC_ETIMEDOUT, SHMC_EBUSY };
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        assert_int_equal(shmi_fail(answers[i], "answer %zu", i), answers[i]);
        assert_non_null(strstr(shmc_last_error(),
                               shmc_error_name(answers[i])));
    }
    assert_int_equal(core_logs, 0);
}

static void
control_characters_become_question_marks(void **state)
{
    (void)state;
    shmi_fail(SHMC_EINVAL, "a\nb\x1b[31m\x7f \xc3\xa9");
    assert_string_equal(shmc_last_error(), "a?b?[31m? \xc3\xa9 [SHMC_EINVAL]");
    shmi_event(SHMC_LOG_INFO, "c\rd");
    assert_string_equal(core_log_text, "c?d");
}

static void
too_long_a_sentence_is_cut(void **state)
{
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    shmi_fail(SHMC_EINVAL, "%s", text);
    assert_int_equal(strlen(shmc_last_error()), 767);
    /* Room for the sentence but not for all of its code.                  */
    text[764] = '\0';
    shmi_fail(SHMC_EINVAL, "%s", text);
    assert_int_equal(strlen(shmc_last_error()), 767);
    shmi_event(SHMC_LOG_WARN, "%s", text);
    assert_int_equal(strlen(core_log_text), 764);
}

static void
level_chooses_what_is_logged_and_null_silences(void **state)
{
    (void)state;
    shmc_log_set(core_log, NULL, SHMC_LOG_WARN);
    shmi_event(SHMC_LOG_INFO, "info");
    assert_int_equal(core_logs, 0);
    shmi_event(SHMC_LOG_WARN, "warn");
    assert_int_equal(core_logs, 1);
    assert_int_equal(core_log_level, SHMC_LOG_WARN);
    shmc_log_set(NULL, NULL, SHMC_LOG_INFO);
    shmi_fail(SHMC_EINVAL, "silent");
    assert_int_equal(core_logs, 1);
    assert_non_null(strstr(shmc_last_error(), "silent"));
}

static int
child_logs_to_stderr(void *arg)
{
    TEST_REQUIRE(dup2(*(int *)arg, STDERR_FILENO) >= 0);
    shmi_log.set = false;           /* as if nobody had called log_set      */
    shmi_event(SHMC_LOG_WARN, "not this");
    shmi_fail(SHMC_ENOENT, "nor this");
    shmi_fail(SHMC_EINVAL, "but this");
    return 0;
}

static void
failures_and_nothing_else_go_to_stderr_by_default(void **state)
{
    char text[256] = "";
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(test_join(test_spawn(child_logs_to_stderr, &ends[1])), 0);
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_string_equal(text, "shmcomm: but this [SHMC_EINVAL]\n");
}

static void *
thread_fails(void *arg)
{
    (void)arg;
    TEST_REQUIRE(shmc_last_error()[0] == '\0');
    shmi_fail(SHMC_ENOENT, "the other thread's");
    TEST_REQUIRE(strstr(shmc_last_error(), "the other") != NULL);
    return NULL;
}

static void
each_thread_has_its_own_sentence(void **state)
{
    pthread_t t;

    (void)state;
    shmi_fail(SHMC_ENOENT, "mine");
    assert_int_equal(pthread_create(&t, NULL, thread_fails, NULL), 0);
    pthread_join(t, NULL);
    assert_non_null(strstr(shmc_last_error(), "mine"));
}

static void
system_error_gives_code_sentence_and_advice(void **state)
{
    static const struct { int os, code; const char *advice; } all[] = {
        { -ENOSPC, SHMC_ENOSPC, "free space" },
        { -EDQUOT, SHMC_ENOSPC, "free space" },
        { -EFBIG, SHMC_ENOSPC, "ask for less" },
        { -EACCES, SHMC_EACCES, "owner, mode and gid" },
        { -EPERM, SHMC_EACCES, "owner, mode and gid" },
        { -EROFS, SHMC_EACCES, "Read-only file system" },
        { -ENOENT, SHMC_ENOENT, "is the other side running" },
        { -EEXIST, SHMC_EEXIST, "open it instead" },
        { -EOPNOTSUPP, SHMC_ENOTSUP, "/dev/shm" },
        { -EISDIR, SHMC_ENOTSUP, "tmpfs" },
        { -EMFILE, SHMC_ELIMIT, "ulimit -n" },
        { -ENFILE, SHMC_ELIMIT, "open files" },
        { -ENOMEM, SHMC_ENOMEM, "ulimit -l" },
        { -ELOOP, SHMC_ECORRUPT, "not a segment" },
        { -EINVAL, SHMC_ECORRUPT, "not a segment" },
        { -ENOTDIR, SHMC_ENAME, "SHMCOMM_DIR" },
        { -ENAMETOOLONG, SHMC_ENAME, "SHMCOMM_DIR" },
        { -ETIMEDOUT, SHMC_ETIMEDOUT, "SIGSTOP" },
        { -EIO, SHMC_EOS, "the system's own error" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CORE_FAILS(shmi_fail_os(all[i].os, "try", "name", "/d", "f"),
                   all[i].code, all[i].advice);
        assert_non_null(strstr(shmc_last_error(), "try 'name' (/d/f): "));
    }
    CORE_FAILS(shmi_fail_os(-EIO, "a", "b", "c", "d"), SHMC_EOS, "EIO");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(every_code_has_its_own_name_and_text),
        CORE_CASE(codes_keep_their_numbers),
        CORE_CASE(unknown_code_is_called_unknown_and_a_count_success),
        CORE_CASE(failure_keeps_and_logs_a_sentence_with_its_code),
        CORE_CASE(sentence_may_quote_the_one_before_it),
        CORE_CASE(answers_are_kept_but_not_logged),
        CORE_CASE(control_characters_become_question_marks),
        CORE_CASE(too_long_a_sentence_is_cut),
        CORE_CASE(level_chooses_what_is_logged_and_null_silences),
        CORE_CASE(failures_and_nothing_else_go_to_stderr_by_default),
        CORE_CASE(each_thread_has_its_own_sentence),
        CORE_CASE(system_error_gives_code_sentence_and_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
