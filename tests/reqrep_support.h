/* reqrep_support.h - what the tests of REQ/REP sockets share.
 *
 *     SERVICE_CASE(a_test)        // in a folder of its own, empty afterwards
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_REQREP_SUPPORT_H
#define SHMCOMM_REQREP_SUPPORT_H

#include "test_support.h"

static char folder[64];             /* each test's own, empty again after it */

static inline void
service_hush(void *user, int level, const char *text)
{
    (void)user;
    (void)level;
    if (getenv("SHMC_TEST_LOG") != NULL) fprintf(stderr, "%s\n", text);
}

static inline int
service_begin(void **state)
{
    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    shmc_log_set(service_hush, NULL, SHMC_LOG_ERROR);
    return test_watch(state);
}

static inline int
service_count_file(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return 0;
}

static inline int
service_files(void)
{
    int n = 0;

    (void)shmi_dir_each(folder, service_count_file, &n);
    return n;
}

static inline int
service_end(void **state)
{
    const int left = service_files();

    test_dir_remove(folder);
    (void)test_unwatch(state);
    if (left != 0) fprintf(stderr, "%d files were left\n", left);
    return left != 0;
}

#define SERVICE_CASE(f)                                                       \
    cmocka_unit_test_setup_teardown(f, service_begin, service_end)

/* Fill `bytes` bytes from a seed, and tell whether they are so.           */
static inline uint8_t
service_byte(uint64_t seed, uint32_t i)
{
    return (uint8_t)((seed + i) * 0x9e3779b97f4a7c15u >> 56);
}

static inline void
service_fill(void *to, uint64_t seed, uint32_t bytes)
{
    uint8_t *p = (uint8_t *)to;

    for (uint32_t i = 0; i < bytes; i++) p[i] = service_byte(seed, i);
}

static inline bool
service_filled(const void *from, uint64_t seed, uint32_t bytes)
{
    const uint8_t *p = (const uint8_t *)from;

    for (uint32_t i = 0; i < bytes; i++)
        if (p[i] != service_byte(seed, i)) return false;
    return true;
}

#endif /* SHMCOMM_REQREP_SUPPORT_H */
