/* shmcomm_counter.h - named 64-bit counters that anybody may read.
 *
 *     shmc_counter ticks;
 *     shmc_counter_open(&ticks, &segment, "ticks", true);
 *     shmc_counter_add(&ticks, 1);
 *     printf("%llu", (unsigned long long)shmc_counter_get(&ticks));
 *
 * Manual: docs/shmcomm.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_COUNTER_H
#define SHMCOMM_COUNTER_H

#include "shmcomm.h"

/* ---- shared layout, version 1 ------------------------------------------ */

typedef struct shmc_counter_shm {
    uint64_t value;                 /* W owner (relaxed)   R anybody        */
    uint64_t owner;                 /* W claimant by CAS                    */
    uint8_t  pad[SHMC_LINE - 16];
} shmc_counter_shm;
SHMC_LAYOUT_SIZE(shmc_counter_shm, SHMC_LINE);

/* ---- handle ------------------------------------------------------------ */

typedef struct shmc_counter {
    shmc_counter_shm *shm;
    shmc_segment *segment;
    shmc_object object;
    uint32_t epoch;
    bool     writer;
} shmc_counter;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Open a counter: one writer, any number of readers (also read-only).  The
 * value outlives its writers; the next one goes on from it.
 * Safety  one thread writes.
 * Errors  SHMC_EBUSY another live writer; SHMC_EROFS a writer needs a
 *         writable segment; those of shmc_object_open (read-only: attach). */
SHMC_API int shmc_counter_open(shmc_counter *c, shmc_segment *s,
                               const char *name, bool writer);
SHMC_API int shmc_counter_close(shmc_counter *c);

/* Add to a counter.
 * Cost    wait-free: a load and a store, no locked instruction.
 * Crash   the value is before or after, never torn.
 * Errors  SHMC_EROFS not opened as the writer; SHMC_EFORKED.              */
SHMC_INLINE int
shmc_counter_add(shmc_counter *c, uint64_t n)
{
    if (SHMI_UNLIKELY(!c->writer)) return SHMC_EROFS;
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    /* Relaxed: one writer, and a reader wants this word alone.            */
    shmi_store_rlx_64(&c->shm->value, shmi_load_rlx_64(&c->shm->value) + n);
    return SHMC_OK;
}

/* Read a counter that is open (0 where it is not).
 * Cost  wait-free; takes the line from no other reader.                   */
SHMC_INLINE uint64_t
shmc_counter_get(const shmc_counter *c)
{
    return SHMI_LIKELY(c->shm != NULL) ? shmi_load_rlx_64(&c->shm->value) : 0;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_COUNTER_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_COUNTER_IMPLEMENTED)
#define SHMCOMM_COUNTER_IMPLEMENTED

#include <string.h>

SHMC_API int
shmc_counter_open(shmc_counter *c, shmc_segment *s, const char *name,
                  bool writer)
{
    static const shmc_object_desc desc = {
        sizeof(shmc_counter_shm), 0, SHMC_KIND_COUNTER, 1, 8, "counter", NULL,
        NULL
    };
    int r;

    memset(c, 0, sizeof *c);
    r = s->read_only ? shmc_object_attach(s, name, &desc, &c->object)
                     : shmc_object_open(s, name, &desc, &c->object);
    if (r != SHMC_OK) return r;
    c->shm = c->object.mem;
    c->segment = s;
    c->epoch = shmi_fork_epoch;
    if (c->object.bytes < sizeof *c->shm)
        r = shmi_fail(SHMC_ECORRUPT, "counter '%s' in segment '%s' has %llu "
                      "bytes", name, s->name,
                      (unsigned long long)c->object.bytes);
    else if (writer)
        r = shmi_role_claim(s, &c->shm->owner, "the counter's writer");
    c->writer = writer && r == SHMC_OK;
    if (r != SHMC_OK) shmc_counter_close(c);
    return r;
}

SHMC_API int
shmc_counter_close(shmc_counter *c)
{
    if (c->shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close counter: it is not open");
    if (c->writer && c->epoch == shmi_fork_epoch)
        shmi_role_drop(c->segment, &c->shm->owner);
    c->writer = false;
    c->shm = NULL;
    return shmc_object_close(c->segment, &c->object);
}

#endif /* SHMCOMM_IMPLEMENTATION */
