/* ring_support.h - what the tests of the rings of one producer share.
 * Include it behind the ring's own header.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_RING_SUPPORT_H
#define SHMCOMM_RING_SUPPORT_H

#include "test_support.h"

enum { GUARD_BYTES = 256 };

/* Memory for a ring, 128-byte aligned, between two guards.  Returns where
 * it begins; *block is what guarded_free takes, and frees.                */
static inline void *
guarded_alloc(uint8_t **block, uint64_t bytes)
{
    *block = aligned_alloc(128, bytes + 2 * GUARD_BYTES);
    assert_non_null(*block);
    memset(*block, 0xa5, bytes + 2 * GUARD_BYTES);
    return *block + GUARD_BYTES;
}

static inline void
guarded_free(uint8_t *block, uint64_t bytes)
{
    for (uint32_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(block[i], 0xa5);
        assert_int_equal(block[GUARD_BYTES + bytes + i], 0xa5);
    }
    free(block);
}

/* Run `fn` in a child with the segment open; return when the child has done
 * so.  It then waits to be killed.                                        */
typedef struct child_task {
    const char *name;
    void (*fn)(shmc_segment *s);
    int ends[2];
} child_task;

static inline int
child_main(void *arg)
{
    child_task *task = (child_task *)arg;
    shmc_segment s;
    TEST_REQUIRE(shmc_segment_attach(&s, task->name, NULL) == SHMC_OK);
    task->fn(&s);
    TEST_REQUIRE(write(task->ends[1], "x", 1) == 1);
    for (;;) pause();
    return 0;
}

static inline pid_t
start_child(const char *name, void (*fn)(shmc_segment *s))
{
    child_task task = { name, fn, { -1, -1 } };
    char byte = 0;
    assert_int_equal(pipe(task.ends), 0);
    const pid_t child = test_spawn(child_main, &task);
    close(task.ends[1]);
    assert_int_equal(read(task.ends[0], &byte, 1), 1);
    close(task.ends[0]);
    return child;
}

#endif /* SHMCOMM_RING_SUPPORT_H */
