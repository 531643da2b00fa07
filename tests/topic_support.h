/* topic_support.h - what the tests of topics share: a folder of their own,
 * which must be empty afterwards, and messages that are texts.
 *
 * Include it behind shmcomm_patterns.h.
 * SPDX-License-Identifier: MIT                                            */
#ifndef TOPIC_SUPPORT_H
#define TOPIC_SUPPORT_H

#include "bcast_support.h"

static char folder[64];             /* each test's own, empty again after it */

static uint32_t failures_logged;

static inline void
count_failures(void *user, int level, const char *text)
{
    (void)user;
    if (level != SHMC_LOG_ERROR) return;
    failures_logged++;
    if (getenv("SHMC_TEST_LOG") != NULL) fprintf(stderr, "%s\n", text);
}

static inline int
begin(void **state)
{
    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    failures_logged = 0;
    return test_watch(state);
}

static inline int
count_file(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

static inline int
files(void)
{
    int n = 0;

    (void)shmi_dir_each(folder, count_file, &n);
    return n;
}

static inline int
end(void **state)
{
    const int left = files();

    test_dir_remove(folder);
    (void)test_unwatch(state);
    if (left != 0) fprintf(stderr, "%d files were left\n", left);
    return left != 0;
}

#define TOPIC_CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

static inline void
pub_open(shmc_pub *pub, const shmc_topic_desc *desc)
{
    const int r = shmc_pub_open(pub, "robot/pose", desc);

    if (r != SHMC_OK) fprintf(stderr, "%s\n", shmc_last_error());
    assert_int_equal(r, SHMC_OK);
}

static inline void
sub_open(shmc_sub *sub, const shmc_sub_desc *desc)
{
    assert_int_equal(shmc_sub_open(sub, "robot/pose", desc), SHMC_OK);
}

static inline void
say(shmc_pub *pub, const char *text)
{
    assert_int_equal(shmc_pub_send(pub, text, (uint32_t)strlen(text) + 1, 0),
                     SHMC_OK);
}

/* The next message is `text`.                                             */
static inline void
hear(shmc_sub *sub, const char *text)
{
    char buf[256] = "";
    const int r = shmc_sub_recv(sub, buf, sizeof buf, SHMC_FOREVER);

    assert_int_equal(r, strlen(text) + 1);
    assert_string_equal(buf, text);
}

static inline void
hear_nothing(shmc_sub *sub)
{
    char buf[256];

    for (int i = 0; i < 50; i++)
        assert_int_equal(shmc_sub_recv(sub, buf, sizeof buf, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_sub_recv(sub, buf, sizeof buf, 3000000),
                     SHMC_ETIMEDOUT);
}

#endif /* TOPIC_SUPPORT_H */
