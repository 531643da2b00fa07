/* bcast_support.h - what the tests of broadcast rings and topics share:
 * payloads that show tearing, rings in memory, peers that died or stopped.
 *
 * Include it behind shmcomm_broadcast.h.
 * SPDX-License-Identifier: MIT                                            */
#ifndef BCAST_SUPPORT_H
#define BCAST_SUPPORT_H

#include "test_support.h"

/* ---- payloads ----------------------------------------------------------- */

/* What byte i of message `number` is.                                     */
static inline uint8_t
bcast_byte(uint64_t number, uint32_t i)
{
    return (uint8_t)(number * 131 + i * 7 + (i >> 8));
}

static inline void
bcast_fill(uint8_t *buf, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) buf[i] = bcast_byte(number, i);
}

static inline bool
bcast_is(const uint8_t *buf, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        if (buf[i] != bcast_byte(number, i)) return false;
    return true;
}

/* A message that says who sent it, which one it is, and whether it is torn:
 * every word of it depends on both, and on its place.                     */
static inline void
bcast_seal(uint64_t *words, uint64_t publisher, uint64_t number, uint32_t bytes)
{
    words[0] = publisher << 48 | number;
    for (uint32_t i = 1; i < bytes / 8; i++)
        words[i] = words[0] * 0x9e3779b97f4a7c15u + i;
}

static inline bool
bcast_sealed(const uint64_t *words, uint32_t bytes)
{
    for (uint32_t i = 1; i < bytes / 8; i++)
        if (words[i] != words[0] * 0x9e3779b97f4a7c15u + i) return false;
    return true;
}

/* ---- rings in memory, of exactly the bytes they need --------------------- */

typedef struct bcast_ring { void *mem; uint64_t bytes; } bcast_ring;

static inline bcast_ring
bcast_ring_make(const shmc_bcast_desc *desc)
{
    const int64_t bytes = shmc_bcast_size_for(desc);
    bcast_ring ring = { NULL, (uint64_t)bytes };

    assert_true(bytes > 0);
    assert_int_equal(posix_memalign(&ring.mem, SHMC_LINE, ring.bytes), 0);
    assert_int_equal(shmc_bcast_format(ring.mem, ring.bytes, desc), SHMC_OK);
    return ring;
}

static inline void
bcast_ring_free(bcast_ring *ring)
{
    free(ring->mem);
    ring->mem = NULL;
}

static inline void
bcast_at(const bcast_ring *ring, shmc_bcast *h, uint32_t role)
{
    assert_int_equal(shmc_bcast_map(h, ring->mem, ring->bytes, role, 0), SHMC_OK);
}

/* ---- sending and receiving numbered messages ----------------------------- */

static inline int
bcast_send(shmc_bcast *h, uint64_t number, uint32_t bytes)
{
    uint8_t buf[4096];

    assert_true(bytes <= sizeof buf);
    bcast_fill(buf, number, bytes);
    return shmc_bcast_send(h, buf, bytes);
}

/* Receive; a message must be `number`, of `bytes`.                        */
static inline int
bcast_recv(shmc_bcast *h, uint64_t number, uint32_t bytes)
{
    uint8_t buf[4096];
    const int r = shmc_bcast_recv(h, buf, sizeof buf);

    if (r < 0) return r;
    assert_int_equal(r, bytes);
    assert_true(bcast_is(buf, number, bytes));
    return SHMC_OK;
}

/* ---- peers that died or stopped, written by hand -------------------------- */

/* The owner word of a participant that was never there: dead.             */
#define BCAST_DEAD (UINT64_C(12345) << 16 | 1)

/* Claim the next position as a publisher does, and stop right there.      */
static inline uint64_t
bcast_stop_claimed(shmc_bcast *h)
{
    const uint64_t position = h->shm->tail;

    h->pubs[h->seat].intent = position << 1 | 1;
    h->shm->tail = position + 1;
    return position;
}

/* The same, and stop in the middle of writing the cell.                   */
static inline uint64_t
bcast_stop_busy(shmc_bcast *h)
{
    const uint64_t position = bcast_stop_claimed(h);
    shmi_bcast_cell_shm *cell = &h->cells[position & h->mask];

    cell->stamp = shmi_stamp(position, SHMI_BUSY);
    cell->bytes = 40;
    memset(cell->data, 0xee, 20);
    return position;
}

/* Go on where one of these stopped.                                       */
static inline void
bcast_continue(shmc_bcast *h, uint64_t position, uint64_t number, uint32_t bytes)
{
    uint8_t buf[SHMC_BCAST_INLINE_BYTES];

    bcast_fill(buf, number, bytes);
    shmi_bcast_fill(h, position, buf, bytes, 0);
    shmi_store_rel_64(&h->pubs[h->seat].intent, 0);
}

/* Let the publisher behind the handle be dead.                            */
static inline void
bcast_kill_publisher(shmc_bcast *h)
{
    h->pubs[h->seat].owner = BCAST_DEAD;
}

static inline void
bcast_kill_subscriber(shmc_bcast *h)
{
    h->subs[h->seat].word[SHMI_SUB_ACTIVE] = BCAST_DEAD;
    h->subs[h->seat].owner = BCAST_DEAD;
}

/* Let the next message get number `tail`, in a ring that nobody has open. */
static inline void
bcast_seed(const bcast_ring *ring, uint64_t tail)
{
    shmc_bcast h;

    bcast_at(ring, &h, SHMC_OBSERVER);
    h.shm->tail = tail;
    for (uint64_t i = 1; i <= h.slot_count; i++)
        h.cells[(tail - i) & h.mask].stamp = shmi_stamp(tail - i, SHMI_VOID);
    shmc_bcast_close(&h);
}

#endif /* BCAST_SUPPORT_H */
