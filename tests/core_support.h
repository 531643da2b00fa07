/* core_support.h - what the tests of errors, names, segments, counters share.
 *
 * Each CORE_CASE runs under a watchdog, with a folder of its own in shared
 * memory, with failures kept in place of printed, and fails if it leaves a
 * file or a descriptor behind.
 * SPDX-License-Identifier: MIT                                            */
#ifndef CORE_SUPPORT_H
#define CORE_SUPPORT_H

#include "test_support.h"

#include "shmcomm.h"

#include <dirent.h>
#include <sys/stat.h>

static char core_dir[64];           /* this test's folder                   */
static char core_log_text[1024];    /* the last line logged                 */
static int  core_log_level;
static int  core_logs;              /* how many lines                       */
static int  core_fds;               /* descriptors open at the start        */

static inline void
core_log(void *user, int level, const char *text)
{
    (void)user;
    core_log_level = level;
    core_logs++;
    snprintf(core_log_text, sizeof core_log_text, "%s", text);
}

static inline int
core_count(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);

    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n - 2;                   /* "." and ".."                         */
}

static inline int
core_setup(void **state)
{
    (void)state;
    test_watchdog(60);
    core_fds = core_count("/proc/self/fd");
    core_logs = 0;
    core_log_text[0] = '\0';
    shmc_log_set(core_log, NULL, SHMC_LOG_INFO);
    test_dir_make(core_dir);
    return 0;
}

static inline int
core_teardown(void **state)
{
    (void)state;
    const int files = core_count(core_dir);
    const int fds = core_count("/proc/self/fd");
    test_dir_remove(core_dir);
    test_watchdog(0);
    if (files != 0) fprintf(stderr, "%d files left behind\n", files);
    if (fds != core_fds)
        fprintf(stderr, "%d descriptors, %d before\n", fds, core_fds);
    return files != 0 || fds != core_fds;
}

#define CORE_CASE(f) \
    cmocka_unit_test_setup_teardown(f, core_setup, core_teardown)

/* A desc with flags, in the test's own folder.                            */
static inline shmc_segment_desc
core_desc(uint32_t flags)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = core_dir;
    d.flags = flags;
    d.heap_bytes = 16384;
    d.max_objects = 8;
    d.max_participants = 16;
    return d;
}

/* The same, to attach to whatever exists.                                 */
static inline shmc_segment_desc
core_any(uint32_t flags)
{
    shmc_segment_desc d;

    memset(&d, 0, sizeof d);
    d.dir = core_dir;
    d.flags = flags;
    return d;
}

static inline void
core_create(shmc_segment *s, const char *name, uint32_t flags)
{
    const shmc_segment_desc d = core_desc(flags);

    assert_int_equal(shmc_segment_create(s, name, &d), SHMC_OK);
}

static inline int
core_attach(shmc_segment *s, const char *name, uint32_t flags)
{
    const shmc_segment_desc d = core_any(flags);

    return shmc_segment_attach(s, name, &d);
}

static inline int
core_unlink(const char *name, uint32_t flags)
{
    const shmc_segment_desc d = core_any(flags);

    return shmc_segment_unlink(name, &d);
}

static inline shmc_object_desc
core_object(uint64_t bytes)
{
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    d.bytes = bytes;
    return d;
}

/* The path of a segment's file.                                           */
static inline const char *
core_path(const char *name)
{
    static char path[512];
    char file[256];

    TEST_REQUIRE(shmc_name_to_file(NULL, name, file, sizeof file) == 0);
    snprintf(path, sizeof path, "%s/%s", core_dir, file);
    return path;
}

/* The call returns `code`, and the sentence has `part` in it.             */
#define CORE_FAILS(call, code, part)                                          \
    do {                                                                      \
        assert_int_equal((call), (code));                                     \
        if (strstr(shmc_last_error(), (part)) == NULL)                        \
            fail_msg("'%s' lacks '%s'", shmc_last_error(), (part));           \
    } while (0)

/* The same in a child.                                                    */
#define CORE_REQUIRE_FAILS(call, code, part)                                  \
    do {                                                                      \
        const int core_r_ = (call);                                           \
        if (core_r_ != (code) ||                                              \
            strstr(shmc_last_error(), (part)) == NULL) {                      \
            fprintf(stderr, "%d: '%s', wanted %d '%s'\n", core_r_,            \
                    shmc_last_error(), (code), (part));                       \
            test_require_failed(__FILE__, __LINE__, #call);                   \
        }                                                                     \
    } while (0)

/* Say in shared memory that step `n` is reached; wait until it is.        */
static inline void
core_reach(uint32_t *word, uint32_t n)
{
    shmi_store_rel_32(word, n);
    shmi_wake_32(word, INT_MAX);
}

static inline void
core_await(uint32_t *word, uint32_t n)
{
    for (;;) {
        const uint32_t now = shmi_load_acq_32(word);
        if (now >= n) return;
        shmi_wait_32(word, now, shmi_deadline(10000000));
    }
}

/* Stay until somebody kills us.                                           */
static inline int
core_stay(void)
{
    while (pause() != 0) {
    }
    return 1;
}

/* A child that opens a segment and stays until it is killed.              */
typedef struct core_guest {
    const char *name;
    uint32_t flags;
    uint32_t *reached;              /* 1 when it is in                      */
    uint64_t owner;                 /* for whom to tell it; in shared memory*/
} core_guest;

static inline int
core_guest_runs(void *arg)
{
    core_guest *g = arg;
    shmc_segment s;

    if (core_attach(&s, g->name, g->flags) != SHMC_OK) return 1;
    g->owner = shmi_owner_self(&s);
    core_reach(g->reached, 1);
    return core_stay();
}

/* Start such a child and wait until it is in; g lies in shared memory.    */
static inline pid_t
core_guest_start(core_guest *g, const char *name, uint32_t flags)
{
    g->name = name;
    g->flags = flags;
    g->reached = (uint32_t *)(void *)(g + 1);
    core_reach(g->reached, 0);
    const pid_t pid = test_spawn(core_guest_runs, g);
    core_await(g->reached, 1);
    return pid;
}

#define CORE_GUEST_NEW() ((core_guest *)test_shared(4096))

#endif /* CORE_SUPPORT_H */
