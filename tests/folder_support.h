/* folder_support.h - each test has a folder of its own for its segments, and
 * says nothing in the log.  Include it behind the headers under test.
 * SPDX-License-Identifier: MIT                                            */
#ifndef FOLDER_SUPPORT_H
#define FOLDER_SUPPORT_H

#include "test_support.h"

static char folder[64];

static inline int
folder_begin(void **state)
{
    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    shmc_log_set(NULL, NULL, 0);
    return test_watch(state);
}

static inline int
folder_end(void **state)
{
    test_dir_remove(folder);
    return test_unwatch(state);
}

#define FOLDER_CASE(f) \
    cmocka_unit_test_setup_teardown(f, folder_begin, folder_end)

#endif /* FOLDER_SUPPORT_H */
