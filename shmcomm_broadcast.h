/* shmcomm_broadcast.h - one total order of messages for any number of readers.
 *
 *     shmc_bcast pub;                           // in one process
 *     shmc_bcast_open(&pub, &segment, "pose", NULL, SHMC_PRODUCER);
 *     shmc_bcast_send(&pub, &pose, sizeof pose);
 *     shmc_bcast sub;                           // in others
 *     shmc_bcast_open(&sub, &segment, "pose", NULL, SHMC_CONSUMER);
 *     int bytes = shmc_bcast_recv(&sub, &pose, sizeof pose);
 *
 * Manual: docs/shmcomm_broadcast.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BROADCAST_H
#define SHMCOMM_BROADCAST_H

#include "shmcomm_ring.h"

/* ---- constants --------------------------------------------------------- */

enum {                              /* how a ring treats slow subscribers   */
    SHMC_LOSSY = 1,                 /* overwrites; the loss is counted      */
    SHMC_RELIABLE = 2               /* publishers wait for seated ones      */
};

/* A consumer without a seat: sees everything, holds nobody up, and may be
 * overtaken.  In a lossy ring every consumer is one.                      */
enum { SHMC_WATCHER = 4 };

enum {
    SHMC_BCAST_INLINE_BYTES = 96,   /* up to here one cell holds a message  */
    SHMC_BCAST_ALL = -1             /* history: as much as there is         */
};

/* ---- descs ------------------------------------------------------------- */

typedef struct shmc_bcast_desc {    /* zero: default, or what exists        */
    uint32_t slot_count;            /* power of two, 2..2^24 [1024]         */
    uint32_t max_bytes;             /* longest message, 1..2^30 [65536]     */
    uint32_t max_publishers;        /* 1..1024; 1 is fastest [16]           */
    uint32_t max_subscribers;       /* seats if reliable, 1..4096 [64]      */
    uint64_t arena_bytes;           /* a publisher's, multiple of 128
                                       [4 longest messages, at least 256
                                       KiB; none if max_bytes <= 96]        */
    uint32_t mode;                  /* SHMC_LOSSY, SHMC_RELIABLE [lossy]    */
    uint32_t waitable;              /* 1: _wait may sleep, sends ring       */
    int32_t  history;               /* this consumer: messages from before
                                       it came, or SHMC_BCAST_ALL [0]       */
    const char *type_name;          /* of the messages, at most 63 bytes;
                                       NULL: not checked                    */
    uint64_t type_hash;             /* [that of type_name]                  */
    uint32_t type_bytes;            /* 0: not checked                       */
    uint32_t mark;                  /* the caller's own, kept in the ring   */
} shmc_bcast_desc;

/* ---- shared layout, version 3 ------------------------------------------
 * head | tail | readable | writable | counts | publisher seats and arena
 * lines | subscriber seats | cells | arenas
 *
 * A cell's stamp names the position p it is at and how far: (p + 1) << 2 |
 * BUSY, DONE or VOID, all modulo 2^64.
 * I1: only who moved tail from p to p + 1 writes cell p mod slot_count, and
 *     only if no live publisher is inside that cell for an older position.
 *     (max_publishers 1: only who holds the seat writes, at tail.)
 * I2: a publisher's intent names p from before it moves tail until cell p
 *     is DONE or given up.  So: tail > p, no live intent for p, and (looked
 *     at after that) a stamp that is not p's DONE  =>  p stays empty.
 * I3: what a cell refers to in an arena is whole as long as low <= its
 *     `at`; low moves up before these bytes are written again, head moves up
 *     before a cell refers to them, so that a successor does not.
 * I4: reliable: tail - slot_count <= the cursor of every seated subscriber
 *     at every position from the one where it took its seat, unless a
 *     publisher overran it: that is as in a lossy ring.
 * Edges (what is stored before R happens before what is loaded after A):
 * R0 -> A0  BUSY, then the new bytes; a copy, then the stamp again
 * R1 -> A1  the message, then DONE; DONE, then the message
 * R2 -> A2  low, then the new bytes; a copy from an arena, then low again
 * R3 -> A3  intent (alone: DONE), then tail; tail, then intents
 * R4 -> A4  arena head and low, then the seat's owner word; a successor
 * R5 -> A5  a reader's loads, then its cursor; the cursor, then new bytes
 * R6 -> A6  all of a publication, then its intent is cleared; the stamp
 * R7 -> A7  tail, as far as position, then BUSY; the stamp, then tail
 * F2 <> F3  a seat, then tail; tail, then the seats (see join_subscriber)
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */

#define SHMI_BCAST_MAGIC 0x54534342u    /* "BCST" in memory                 */
enum { SHMI_BCAST_VERSION = 3 };
enum { SHMI_BUSY = 1, SHMI_DONE = 2, SHMI_VOID = 3 };
enum { SHMI_RECORD_BYTES = 64, SHMI_BCAST_ARENA_BYTES = 262144 };
/* Every so many fruitless looks in a row, a subscriber looks at tail, or at
 * the cell behind, and a publisher asks the kernel who is alive.          */
enum { SHMI_BCAST_IDLE = 1024, SHMI_BCAST_PEEK = 256, SHMI_BCAST_FULL = 16 };
/* The longest record whose successor's lines are asked for early.         */
enum { SHMI_BCAST_AHEAD = 1024 + SHMI_RECORD_BYTES };
/* How long a subscriber takes a publisher that is in its way for alive.   */
enum { SHMI_BCAST_TRUST_NS = 200000 };
/* No call goes round more often, whatever the shared bytes say.           */
enum { SHMI_BCAST_ROUNDS = 1 << 16 };
/* A history besides SHMC_BCAST_ALL: what is gone already counts as lost.  */
enum { SHMI_BCAST_BEGIN = -2 };

typedef struct shmi_bcast_cell_shm {
    uint64_t stamp;                 /* W publisher (R1)  R subscriber (A1)  */
    uint32_t bytes;                 /* W publisher before R1                */
    uint32_t seat;                  /* W publisher before R1                */
    uint64_t at;                    /* W publisher before R1; arena count   */
    uint64_t reserved;
    uint8_t  data[SHMC_BCAST_INLINE_BYTES];     /* W publisher before R1    */
} shmi_bcast_cell_shm;
SHMC_LAYOUT_AT(shmi_bcast_cell_shm, bytes, 8);
SHMC_LAYOUT_AT(shmi_bcast_cell_shm, at, 16);
SHMC_LAYOUT_AT(shmi_bcast_cell_shm, data, 32);
SHMC_LAYOUT_SIZE(shmi_bcast_cell_shm, SHMC_LINE);

typedef struct shmi_bcast_arena_shm {
    uint64_t low;                   /* W publisher (R2)  R subscriber (A2)  */
    uint8_t  pad[SHMC_LINE - 8];    /* seldom written: subscribers keep it  */
} shmi_bcast_arena_shm;
SHMC_LAYOUT_SIZE(shmi_bcast_arena_shm, SHMC_LINE);

typedef struct shmi_bcast_record_shm {  /* before each payload in an arena  */
    uint64_t position;              /* W publisher; not later than this     */
    uint64_t span;                  /* W publisher; bytes to the next one   */
    uint8_t  pad[SHMI_RECORD_BYTES - 16];
} shmi_bcast_record_shm;
SHMC_LAYOUT_SIZE(shmi_bcast_record_shm, SHMI_RECORD_BYTES);

typedef struct shmi_bcast_shm {
    shmi_ring_head_shm head;        /* aux: max_bytes, arena_bytes,
                                       max_subscribers, mark                */
    uint64_t tail;                  /* W publishers (R3) R everybody (A3)   */
    uint8_t  pad0[SHMC_LINE - 8];
    shmi_bell_shm readable;         /* subscribers sleep here               */
    shmi_bell_shm writable;         /* publishers sleep here                */
    uint64_t voids;                 /* W publishers by RMW, rarely          */
    uint64_t dropped;               /* W publishers by RMW, rarely          */
    uint64_t seats;                 /* W subscribers that sit down, by CAS
                                       (F2)  R publishers (F3)              */
    uint64_t user[4];               /* the caller's own, 0 at first         */
    uint8_t  pad1[SHMC_LINE - 56];
} shmi_bcast_shm;
SHMC_LAYOUT_AT(shmi_bcast_shm, tail, 1 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_bcast_shm, readable, 2 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_bcast_shm, writable, 3 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_bcast_shm, voids, 4 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_bcast_shm, seats, 4 * SHMC_LINE + 16);
SHMC_LAYOUT_AT(shmi_bcast_shm, user, 4 * SHMC_LINE + 24);
SHMC_LAYOUT_SIZE(shmi_bcast_shm, 5 * SHMC_LINE);

/* Words of a publisher's seat: where its arena's next record begins (R4 A4);
 * the caller's own, which stays when the owner changes.                    */
enum { SHMI_PUB_HEAD = 0, SHMI_PUB_USER = 1 };

/* Words of a subscriber's seat.  A seat counts only while `active` equals
 * its owner: a newcomer's cursor is set before that.                      */
enum { SHMI_SUB_CURSOR = 0, SHMI_SUB_ACTIVE = 1 };

/* ---- handles ----------------------------------------------------------- */

/* One thread's view of a ring.  Private.                                  */
typedef struct shmc_bcast {
    shmi_bcast_shm *shm;            /* NULL = closed                        */
    shmi_bcast_cell_shm *cells;
    uint64_t mask;
    uint64_t next;                  /* publisher: tail if alone, else its
                                       last; subscriber: position to read   */
    uint32_t ready;                 /* of the gates below, the open one; 0:
                                       closed or lent                       */
    uint32_t small;                 /* publisher: fewer bytes go in a cell  */
    uint32_t epoch, role, seat, idle;
    bool     quick;                 /* publisher: alone and lossy           */
    bool     reliable, waitable, asymmetric, alone, seated, lent;
    bool     overrun;               /* publisher: wait for no subscriber    */
    uint64_t *intent, *head_shm;    /* publisher: words in its seat         */
    uint64_t gate;                  /* publisher: slowest cursor last seen  */
    uint64_t joined;                /* subscriber: losses count from here   */
    uint64_t first, kept;           /* subscriber: where it begins; seated:
                                       from here on all waits for it (I4)   */
    uint64_t lost, gap;             /* subscriber: in all; the last time    */
    uint64_t passed;                /* subscriber: positions left empty;
                                       publisher: looks while it overran    */
    uint64_t blocked_at, trust_ns;  /* subscriber: waits for next's taker   */
    uint64_t *cursor;               /* subscriber: word in its seat         */
    uint64_t arena_bytes, low, head, offset;    /* publisher's own arena    */
    uint64_t lent_at;               /* subscriber: arena count borrowed     */
    uint32_t max_bytes, slot_count, max_publishers, max_subscribers, mark;
    uint32_t lent_bytes, lent_seat;
    shmi_seat_shm *pubs, *subs;
    shmi_bcast_arena_shm *arena_lines;
    uint8_t *arenas;
    shmc_segment *segment;          /* NULL: caller-supplied memory         */
    shmc_object object;
    uint8_t  stage[SHMC_BCAST_INLINE_BYTES];    /* small loans              */
} shmc_bcast;

typedef struct shmc_bcast_stats {
    uint64_t sent;                  /* positions taken                      */
    uint64_t voids;                 /* of these, left empty                 */
    uint64_t dropped;               /* dead subscribers given up            */
    uint32_t publishers, subscribers;   /* seats taken (reliable only)      */
    uint64_t lag;                   /* of the slowest seated subscriber     */
} shmc_bcast_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: open and close ----------------------------------------------- */

/* Tell how many bytes a ring takes.  Errors  SHMC_EINVAL with the field.  */
SHMC_API int64_t shmc_bcast_size_for(const shmc_bcast_desc *desc);

/* Lay a ring out in memory of the caller, 128-byte aligned.               */
SHMC_API int shmc_bcast_format(void *mem, uint64_t bytes,
                               const shmc_bcast_desc *desc);

/* Open a handle on such memory.  `history` as in the desc.
 * Crash   without a segment nobody's death is noticed.                    */
SHMC_API int shmc_bcast_map(shmc_bcast *h, void *mem, uint64_t bytes,
                            uint32_t role, int32_t history);

/* Create or attach in a segment.  role: SHMC_PRODUCER, SHMC_CONSUMER,
 * SHMC_WATCHER or SHMC_OBSERVER.
 * Safety  a handle belongs to one thread; open one per thread.
 * Errors  SHMC_ELIMIT no seat is free; SHMC_EMISMATCH; SHMC_EROFS; those
 *         of shmc_object_open.                                            */
SHMC_API int shmc_bcast_open(shmc_bcast *h, shmc_segment *s, const char *name,
                             const shmc_bcast_desc *desc, uint32_t role);
SHMC_API int shmc_bcast_close(shmc_bcast *h);
SHMC_API int shmc_bcast_stats_get(const shmc_bcast *h, shmc_bcast_stats *out);

/* ---- API: slow parts of the calls below -------------------------------- */

SHMC_API int shmi_bcast_refuse(const shmc_bcast *h);
SHMC_API int shmi_bcast_send_any(shmc_bcast *h, const void *data,
                                 uint32_t bytes);
SHMC_API int shmi_bcast_claim(shmc_bcast *h, uint64_t *record);
SHMC_API int shmi_bcast_next(shmc_bcast *h);
SHMC_API int shmi_bcast_recv_any(shmc_bcast *h, void *buf, uint32_t cap);

/* Send, and receive, a message whose first `first_bytes` (of a send: no more
 * than a cell holds) lie elsewhere.  What is received counts without them. */
SHMC_API int shmi_bcast_send_pair(shmc_bcast *h, const void *first,
                                  uint32_t first_bytes, const void *data,
                                  uint32_t bytes);
SHMC_API int shmi_bcast_recv_pair(shmc_bcast *h, void *first,
                                  uint32_t first_bytes, void *buf,
                                  uint32_t cap);
SHMC_API void shmi_bcast_room(shmc_bcast *h);

/* ---- API: publishers --------------------------------------------------- */

/* What `ready` is while sends, or receives, are let in.                   */
SHMC_INLINE uint32_t shmi_bcast_out(void) { return shmi_fork_epoch + 1; }
SHMC_INLINE uint32_t shmi_bcast_in(void) { return ~shmi_fork_epoch; }

SHMC_INLINE uint64_t
shmi_stamp(uint64_t position, uint64_t state)
{
    return (position + 1) << 2 | state;
}

/* Fill the cell of a position that is ours (I1) and publish it.           */
SHMC_HOT void
shmi_bcast_fill(shmc_bcast *h, uint64_t position, const void *data,
                uint32_t bytes, uint64_t at)
{
    shmi_bcast_cell_shm *cell = &h->cells[position & h->mask];

    /* R7 -> A7: who finds himself lapped finds tail at least here.        */
    shmi_store_rel_64(&cell->stamp, shmi_stamp(position, SHMI_BUSY));
    /* R0 -> A0: BUSY is visible before any byte of the new message, so that
     * a reader that copied one of these bytes fails its recheck.          */
    shmi_fence_rel();
    shmi_store_rlx_32(&cell->bytes, bytes);
    if (bytes <= SHMC_BCAST_INLINE_BYTES) {
        if (bytes != 0) shmi_copy_in(cell->data, data, bytes);
    } else {
        shmi_store_rlx_32(&cell->seat, h->seat);
        shmi_store_rlx_64(&cell->at, at);
    }
    /* R1 -> A1: the whole message happens before it is read.              */
    shmi_store_rel_64(&cell->stamp, shmi_stamp(position, SHMI_DONE));
}

/* Let the position just filled be seen to be taken, or be given up.       */
SHMC_HOT void
shmi_bcast_tell(shmc_bcast *h)
{
    if (SHMI_LIKELY(h->alone))  /* R3 -> A3: DONE, before tail says so      */
        shmi_store_rel_64(&h->shm->tail, ++h->next);
    else                        /* R6 -> A6: after R1                       */
        shmi_store_rel_64(h->intent, 0);
    if (h->waitable) shmi_bell_ring(&h->shm->readable, h->asymmetric);
}

/* Send one message of 0..max_bytes bytes, copying it.
 * Safety  this handle's thread; any number of publishers at once.
 * Cost    lossy: wait-free with max_publishers 1, else lock-free with one
 *         locked instruction; O(bytes).  A system call only if waitable and
 *         somebody sleeps, or to ask whether the publisher that sits in the
 *         cell for a whole lap is alive.
 * Crash   dying before R1 loses this message only; subscribers pass it.  A
 *         publisher *stopped* between R3 and R1 holds up those behind it,
 *         in a lossy ring for one lap at most.
 * Errors  SHMC_EMSGSIZE; SHMC_EAGAIN reliable and full, or stopped
 *         publishers sit in all cells; SHMC_ECORRUPT a peer broke the
 *         arena; SHMC_EBUSY there is a loan; SHMC_EINVAL not opened as
 *         producer; SHMC_ECLOSED; SHMC_EFORKED.
 * Source  seqlock per cell, as in Aeron's broadcast buffer and DPDK.      */
SHMC_HOT int
shmc_bcast_send(shmc_bcast *h, const void *data, uint32_t bytes)
{
    if (SHMI_UNLIKELY(h->ready != shmi_bcast_out())) return shmi_bcast_refuse(h);
    if (bytes >= h->small) return shmi_bcast_send_any(h, data, bytes);
    if (!h->quick) {
        const int r = shmi_bcast_claim(h, NULL);
        if (SHMI_UNLIKELY(r != SHMC_OK)) return r;
    }
    shmi_bcast_fill(h, h->next, data, bytes, 0);
    shmi_bcast_tell(h);
    return SHMC_OK;
}

/* The same, waiting for room in a reliable ring.  Blocks; timeout_ns as
 * everywhere: 0 tries, negative waits for ever.
 * Crash   a subscriber that dies is given up within SHMC_PEER_CHECK_NS.
 * Errors  also SHMC_ETIMEDOUT; SHMC_ENOTSUP the ring is not waitable.     */
SHMC_API int shmc_bcast_send_wait(shmc_bcast *h, const void *data,
                                  uint32_t bytes, int64_t timeout_ns);

/* Lend room for a message of up to `bytes`; write it, then commit what it
 * became.  One loan at a time, and no send meanwhile.  After SHMC_EAGAIN or
 * SHMC_EMSGSIZE from commit the loan stays: commit again, or abort.
 * Owner   the caller until commit or abort.
 * Crash   dying with a loan loses nothing but it.
 * Errors  as send.                                                        */
SHMC_API int shmc_bcast_loan(shmc_bcast *h, uint32_t bytes, void **data);
SHMC_API int shmc_bcast_commit(shmc_bcast *h, uint32_t bytes);
SHMC_API int shmc_bcast_abort(shmc_bcast *h);

/* ---- API: subscribers -------------------------------------------------- */

/* Receive the next message by copy.  Returns its bytes.
 * Safety  this handle's thread; works read-only.
 * Cost    wait-free, O(bytes).  A system call only to wake a publisher that
 *         waits for room, or to ask whether the publisher that took the next
 *         position a while ago and others overtook is alive.
 * Crash   a subscriber's death leaves nothing but its seat.
 * Errors  SHMC_EAGAIN nothing new; SHMC_ELAPPED messages were overwritten
 *         before they were read: shmc_bcast_gap says how many, the next
 *         call goes on behind them; SHMC_EMSGSIZE `cap` is too small, the
 *         message stays (shmc_bcast_next_bytes); SHMC_ECORRUPT a peer broke
 *         this message, the next call goes on behind it; SHMC_EBUSY there is
 *         a borrow; SHMC_EINVAL not opened to read; SHMC_ECLOSED;
 *         SHMC_EFORKED.                                                   */
SHMC_HOT int
shmc_bcast_recv(shmc_bcast *h, void *buf, uint32_t cap)
{
    if (SHMI_UNLIKELY(h->ready != shmi_bcast_in())) return shmi_bcast_refuse(h);
    const shmi_bcast_cell_shm *cell = &h->cells[h->next & h->mask];
    const uint64_t done = shmi_stamp(h->next, SHMI_DONE);
    /* A1 <- R1: the cell is whole, if it still is below.                  */
    if (shmi_load_acq_64(&cell->stamp) != done) {
        const int r = shmi_bcast_next(h);
        return r != SHMC_OK ? r : shmi_bcast_recv_any(h, buf, cap);
    }
    const uint32_t bytes = shmi_load_rlx_32(&cell->bytes);
    if (bytes > SHMC_BCAST_INLINE_BYTES || bytes > cap || buf == NULL)
        return shmi_bcast_recv_any(h, buf, cap);
    /* In one piece, where the compiler knows the usual size.              */
    if (SHMI_CONSTANT(cap) && SHMI_LIKELY(bytes == cap))
        shmi_copy_out(buf, cell->data, cap);
    else
        shmi_copy_out(buf, cell->data, bytes);
    /* A0 <- R0: if a byte was a later message's, so is the stamp.         */
    shmi_fence_acq();
    if (SHMI_UNLIKELY(shmi_load_rlx_64(&cell->stamp) != done))
        return shmi_bcast_recv_any(h, buf, cap);
    h->next++;
    h->idle = 0;
    if (h->seated) shmi_bcast_room(h);
    return (int)bytes;
}

/* The same, waiting for a message.  Errors  also SHMC_ETIMEDOUT;
 * SHMC_ENOTSUP the ring is not waitable.                                  */
SHMC_API int shmc_bcast_recv_wait(shmc_bcast *h, void *buf, uint32_t cap,
                                  int64_t timeout_ns);

/* Point at the next message where it lies.  Returns its bytes.  Nothing in
 * it may be believed before shmc_bcast_release says SHMC_OK.
 * Owner   the ring; valid until release.  One borrow at a time.
 * Errors  as recv; SHMC_EBUSY there is a borrow already.                  */
SHMC_API int shmc_bcast_borrow(shmc_bcast *h, const void **data);

/* Give the view back.  Errors  SHMC_ELAPPED it was overwritten meanwhile:
 * what was read may be torn; it counts as lost.  (A seated subscriber's
 * view cannot be.)                                                        */
SHMC_API int shmc_bcast_release(shmc_bcast *h);
SHMC_API int shmc_bcast_borrow_wait(shmc_bcast *h, const void **data,
                                    int64_t timeout_ns);

/* Name the ring to shmc_poll: SHMC_POLLIN when a receive would find a message
 * or a gap, SHMC_POLLOUT when a message of max_bytes would find room (in a
 * lossy ring: always).  Nothing holds while there is a loan or a borrow.
 * Errors  SHMC_ENOTSUP not waitable; SHMC_EINVAL not this handle's role;
 *         SHMC_ECORRUPT; SHMC_EFORKED; SHMC_ECLOSED.                      */
SHMC_API shmc_pollable shmc_bcast_pollable(shmc_bcast *h);

/* Tell the size of the next message, or SHMC_EAGAIN, or SHMC_ELAPPED.     */
SHMC_API int shmc_bcast_next_bytes(shmc_bcast *h);

/* Messages lost by this subscriber: in all, and at the last SHMC_ELAPPED.
 * Exact with one publisher.  With several, a position that stayed empty (its
 * publisher died there, or found a cell where another was off its CPU for a
 * whole lap; shmc_bcast_stats counts the latter as voids) counts as one if
 * it lies in what was overwritten, so that no loss is ever left out.       */
SHMC_INLINE uint64_t shmc_bcast_lost(const shmc_bcast *h) { return h->lost; }
SHMC_INLINE uint64_t shmc_bcast_gap(const shmc_bcast *h) { return h->gap; }

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BROADCAST_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_BROADCAST_IMPLEMENTED)
#define SHMCOMM_BROADCAST_IMPLEMENTED

#include <string.h>

/* >>geometry */

typedef struct shmi_bcast_geometry {
    uint64_t pubs_at, arena_lines_at, subs_at, cells_at, arenas_at, total;
    uint64_t arena_bytes;
    uint32_t slot_count, max_bytes, publishers, subscribers, mode, waitable, flags;
    uint32_t mark;
} shmi_bcast_geometry;

static uint64_t
shmi_bcast_record_span(uint64_t bytes)
{
    return SHMI_RECORD_BYTES + shmi_round_up(bytes, SHMI_RECORD_BYTES);
}

static void
shmi_bcast_place(shmi_bcast_geometry *g)
{
    g->pubs_at = sizeof(shmi_bcast_shm);
    g->arena_lines_at = g->pubs_at + (uint64_t)g->publishers * SHMC_LINE;
    g->subs_at = g->arena_lines_at + (uint64_t)g->publishers * SHMC_LINE;
    g->cells_at = g->subs_at + (uint64_t)g->subscribers * SHMC_LINE;
    g->arenas_at = g->cells_at + (uint64_t)g->slot_count * SHMC_LINE;
    g->total = g->arenas_at + g->publishers * g->arena_bytes;
}

/* Reject sizes that cannot be, naming the field.                          */
static int
shmi_bcast_check(const shmi_bcast_geometry *g, uint32_t max_subscribers)
{
    const uint64_t least = 2 * shmi_bcast_record_span(g->max_bytes);
    const struct { const char *field, *give; uint64_t is; bool good; } row[] = {
        { "slot_count", "a power of two, 2..2^24", g->slot_count,
          shmi_is_pow2(g->slot_count) && g->slot_count >= 2 &&
          g->slot_count <= 1u << 24 },
        { "max_bytes", "1..2^30", g->max_bytes,
          g->max_bytes >= 1 && g->max_bytes <= 1u << 30 },
        { "max_publishers", "1..1024", g->publishers,
          g->publishers >= 1 && g->publishers <= 1024 },
        { "max_subscribers", "1..4096", max_subscribers,
          max_subscribers <= 4096 },
        { "mode", "SHMC_LOSSY (1) or SHMC_RELIABLE (2)", g->mode,
          g->mode == (g->subscribers == 0 ? SHMC_LOSSY : SHMC_RELIABLE) },
        { "waitable", "0 or 1", g->waitable, g->waitable <= 1 },
        { "arena_bytes", "a multiple of 128, up to 2^40, that holds two longest "
          "messages and 64 bytes with each", g->arena_bytes,
          g->arena_bytes % SHMC_LINE == 0 &&
          g->arena_bytes <= UINT64_C(1) << 40 &&
          (g->max_bytes <= SHMC_BCAST_INLINE_BYTES || g->arena_bytes >= least) },
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (!row[i].good)
            return shmi_fail(SHMC_EINVAL, "broadcast ring: %s %llu is out of "
                             "range: give %s", row[i].field,
                             (unsigned long long)row[i].is, row[i].give);
    return SHMC_OK;
}

static int
shmi_bcast_geometry_of(const shmc_bcast_desc *desc, shmi_bcast_geometry *g)
{
    static const shmc_bcast_desc defaults;
    const shmc_bcast_desc *d = desc != NULL ? desc : &defaults;

    memset(g, 0, sizeof *g);
    g->slot_count = d->slot_count ? d->slot_count : 1024;
    g->max_bytes = d->max_bytes ? d->max_bytes : 65536;
    g->publishers = d->max_publishers ? d->max_publishers : 16;
    g->mode = d->mode ? d->mode : SHMC_LOSSY;
    g->waitable = d->waitable;
    g->mark = d->mark;
    if (g->mode == SHMC_RELIABLE)
        g->subscribers = d->max_subscribers ? d->max_subscribers : 64;
    g->arena_bytes = d->arena_bytes;
    if (g->arena_bytes == 0 && g->max_bytes > SHMC_BCAST_INLINE_BYTES) {
        const uint64_t four = 4 * shmi_bcast_record_span(g->max_bytes);
        g->arena_bytes = four > SHMI_BCAST_ARENA_BYTES ? four : SHMI_BCAST_ARENA_BYTES;
    }
    g->flags = shmi_ring_flags(NULL, g->waitable);
    const int r = shmi_bcast_check(g, d->max_subscribers);
    if (r == SHMC_OK) shmi_bcast_place(g);
    return r;
}

SHMC_API int64_t
shmc_bcast_size_for(const shmc_bcast_desc *desc)
{
    shmi_bcast_geometry g;
    const int r = shmi_bcast_geometry_of(desc, &g);

    return r == SHMC_OK ? (int64_t)g.total : r;
}

static int
shmi_bcast_init(void *mem, uint64_t bytes, const void *geometry)
{
    const shmi_bcast_geometry *g = geometry;
    shmi_bcast_shm *shm = mem;
    shmi_ring_head_shm head;

    (void)bytes;
    memset(mem, 0, g->cells_at);
    shmi_bcast_cell_shm *cells = (void *)((uint8_t *)mem + g->cells_at);
    for (uint64_t i = 0; i < g->slot_count; i++) {
        memset(&cells[i], 0, sizeof cells[i]);
        cells[i].stamp = shmi_stamp(i - g->slot_count, SHMI_VOID);
    }
    memset(&head, 0, sizeof head);
    head.magic = SHMI_BCAST_MAGIC;
    head.version = SHMI_BCAST_VERSION;
    head.total_bytes = g->total;
    head.slot_bytes = head.stride_bytes = SHMC_LINE;
    head.slot_count = g->slot_count;
    head.flags = g->flags;
    head.seats = g->publishers;
    head.mode = g->mode;
    head.aux[0] = g->max_bytes;
    head.aux[1] = g->arena_bytes;
    head.aux[2] = g->subscribers;
    head.aux[3] = g->mark;
    shmi_ring_publish(&shm->head, &head);
    return SHMC_OK;
}

SHMC_API int
shmc_bcast_format(void *mem, uint64_t bytes, const shmc_bcast_desc *desc)
{
    shmi_bcast_geometry g;
    int r = shmi_bcast_geometry_of(desc, &g);

    if (r == SHMC_OK) r = shmi_ring_memory(mem, bytes, g.total, "broadcast ring");
    return r == SHMC_OK ? shmi_bcast_init(mem, bytes, &g) : r;
}

/* >>open and close */

static void
shmi_bcast_geometry_in(const shmi_ring_head_shm *head, shmi_bcast_geometry *g)
{
    memset(g, 0, sizeof *g);
    g->slot_count = head->slot_count;
    g->max_bytes = (uint32_t)head->aux[0];
    g->publishers = head->seats;
    g->subscribers = (uint32_t)head->aux[2];
    g->arena_bytes = head->aux[1];
    g->mode = head->mode;
    g->waitable = (head->flags & SHMI_RING_WAITABLE) != 0;
    g->mark = (uint32_t)head->aux[3];
}

/* Check the head, which is untrusted, and point the handle's parts.       */
static int
shmi_bcast_point(shmc_bcast *h, void *mem, uint64_t bytes, shmi_bcast_geometry *g)
{
    shmi_ring_head_shm head;
    const int r = shmi_ring_check(mem, bytes, SHMI_BCAST_MAGIC,
                                  SHMI_BCAST_VERSION, "broadcast ring", &head);

    if (r != SHMC_OK) return r;
    shmi_bcast_geometry_in(&head, g);
    if (shmi_bcast_check(g, g->subscribers) == SHMC_OK) shmi_bcast_place(g);
    if (g->total == 0 || g->total != head.total_bytes ||
        head.aux[0] != g->max_bytes || head.stride_bytes != SHMC_LINE)
        return shmi_fail(SHMC_ECORRUPT, "broadcast ring: its first line has "
                         "sizes that contradict each other: damaged");
    h->shm = mem;
    h->pubs = (void *)((uint8_t *)mem + g->pubs_at);
    h->arena_lines = (void *)((uint8_t *)mem + g->arena_lines_at);
    h->subs = (void *)((uint8_t *)mem + g->subs_at);
    h->cells = (void *)((uint8_t *)mem + g->cells_at);
    h->arenas = (uint8_t *)mem + g->arenas_at;
    h->mask = g->slot_count - 1;
    h->slot_count = g->slot_count;
    h->max_bytes = g->max_bytes;
    h->max_publishers = g->publishers;
    h->max_subscribers = g->subscribers;
    h->arena_bytes = g->arena_bytes;
    h->mark = g->mark;
    h->reliable = g->mode == SHMC_RELIABLE;
    h->waitable = g->waitable;
    h->asymmetric = (head.flags & SHMI_RING_ASYMMETRIC) != 0;
    h->alone = g->publishers == 1;
    h->epoch = shmi_fork_epoch;
    return SHMC_OK;
}

/* Say why a call is not let in: its gate is closed.                       */
SHMC_API int
shmi_bcast_refuse(const shmc_bcast *h)
{
    if (h->shm == NULL) return SHMC_ECLOSED;
    if (h->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (h->lent) return SHMC_EBUSY;
    return shmi_fail(SHMC_EINVAL, "broadcast ring: SHMC_PRODUCER sends, "
                     "SHMC_CONSUMER and SHMC_WATCHER receive; the handle has "
                     "role %u", h->role);
}

static int
shmi_bcast_usable(const shmc_bcast *h)
{
    return h->shm == NULL || h->epoch != shmi_fork_epoch ? shmi_bcast_refuse(h)
                                                         : SHMC_OK;
}

/* Note a loan or a borrow, or its end: it keeps the other calls out.      */
static void
shmi_bcast_lend(shmc_bcast *h, bool lent)
{
    h->lent = lent;
    h->ready = lent || h->role == SHMC_OBSERVER ? 0
             : h->role == SHMC_PRODUCER ? shmi_bcast_out() : shmi_bcast_in();
}

/* Is there a loan, or a borrow, for `call` to end?                        */
static int
shmi_bcast_ends(const shmc_bcast *h, const char *call, bool loan)
{
    const int r = shmi_bcast_usable(h);

    if (r != SHMC_OK || (h->lent && loan == (h->role == SHMC_PRODUCER))) return r;
    return shmi_fail(SHMC_EINVAL, "%s on a broadcast ring: there is no %s", call,
                     loan ? "loan" : "borrow");
}

/* Sit down as a publisher: go on where the seat's last owner stopped.     */
static int
shmi_bcast_join_publisher(shmc_bcast *h)
{
    /* Nothing to settle: a dead owner's intent says by itself that its
     * position stays empty (I2), and so does its absence.                 */
    const int r = shmi_seat_claim(h->segment, h->pubs, h->max_publishers, NULL,
                                  NULL);

    if (r < 0) return r;
    h->seat = (uint32_t)r;
    const uint64_t tail = shmi_load_acq_64(&h->shm->tail);  /* A3 <- R3     */
    shmi_bcast_arena_shm *line = &h->arena_lines[h->seat];
    h->intent = &h->pubs[h->seat].intent;
    h->head_shm = &h->pubs[h->seat].word[SHMI_PUB_HEAD];
    /* A4 <- R4 of the last owner, through the seat's owner word.          */
    h->low = shmi_load_rlx_64(&line->low);
    h->head = shmi_load_rlx_64(h->head_shm);
    /* R2 -> A2 for the last owner, who moved low and wrote nothing there;
     * R3 -> A3 for tail below.                                            */
    shmi_fence_rel();
    /* 2^63 bytes take 14 years of 20 GB/s: what is beyond was scribbled, and
     * `at` of a cell, which does not wrap, can always be told from low.    */
    if (h->low > h->head || h->head - h->low > h->arena_bytes ||
        h->head >> 63 != 0 || (h->low | h->head) % SHMI_RECORD_BYTES != 0) {
        shmi_seat_drop(&h->pubs[h->seat]);
        return shmi_fail(SHMC_ECORRUPT, "broadcast ring: the arena of publisher "
                         "%u runs from %llu to %llu: damaged", h->seat,
                         (unsigned long long)h->low,
                         (unsigned long long)h->head);
    }
    h->offset = h->arena_bytes != 0 ? h->head % h->arena_bytes : 0;
    h->gate = tail - h->slot_count;                 /* look before trusting */
    h->quick = h->alone && !h->reliable;
    h->small = 1 + (h->max_bytes < SHMC_BCAST_INLINE_BYTES
                    ? h->max_bytes : SHMC_BCAST_INLINE_BYTES);
    if (!h->alone) return SHMC_OK;
    h->next = tail;
    /* Its last owner may have died between DONE and tail.                 */
    while (shmi_load_rlx_64(&h->cells[h->next & h->mask].stamp) ==
           shmi_stamp(h->next, SHMI_DONE)) {
        if (++h->next - tail < h->slot_count) continue;
        shmi_seat_drop(&h->pubs[h->seat]);
        return shmi_fail(SHMC_ECORRUPT, "broadcast ring: messages beyond its "
                         "tail %llu: damaged", (unsigned long long)tail);
    }
    shmi_store_rlx_64(&h->shm->tail, h->next);
    return SHMC_OK;
}

/* Find the oldest position that `history` and the ring still offer: its cell
 * is not at a later one.  Whether it is DONE, comes to be, or stays empty is
 * seen when it is read.                                                   */
static uint64_t
shmi_bcast_first(const shmc_bcast *h, uint64_t tail, int32_t history)
{
    uint64_t back = history < 0 ? h->slot_count : (uint64_t)history;

    if (back > h->slot_count) back = h->slot_count;
    for (; back > 0; back--) {
        const uint64_t p = tail - back;
        const uint64_t stamp = shmi_load_rlx_64(&h->cells[p & h->mask].stamp);
        /* VOID at p: a new ring, which began behind p.                    */
        if ((int64_t)(stamp - shmi_stamp(p, SHMI_DONE)) <= 0) break;
    }
    return tail - back;
}

/* No seat from `seats` on was ever taken: publishers skip these.  It only
 * rises, once for each other seat at most while we try.                   */
static int
shmi_bcast_count_seat(const shmc_bcast *h)
{
    uint64_t seats = shmi_load_rlx_64(&h->shm->seats);

    for (uint32_t i = 0; i <= h->max_subscribers; i++)
        if (seats > h->seat ||
            shmi_cas_rel_64(&h->shm->seats, &seats, h->seat + 1))
            return SHMC_OK;
    return shmi_fail(SHMC_ECORRUPT, "broadcast ring: its count of seats falls: "
                     "damaged");
}

static int
shmi_bcast_join_subscriber(shmc_bcast *h, uint32_t role, int32_t history)
{
    uint64_t tail = shmi_load_acq_64(&h->shm->tail);        /* A3 <- R3     */

    if (history < SHMI_BCAST_BEGIN)
        return shmi_fail(SHMC_EINVAL, "broadcast ring: history %d; give a number "
                         "of messages or SHMC_BCAST_ALL", (int)history);
    if (h->reliable && role == SHMC_CONSUMER) {
        int r = shmi_seat_claim(h->segment, h->subs, h->max_subscribers, NULL,
                                NULL);
        if (r < 0) return r;
        h->seat = (uint32_t)r;
        shmi_seat_shm *seat = &h->subs[h->seat];
        r = shmi_bcast_count_seat(h);
        if (r != SHMC_OK) {
            shmi_seat_drop(seat);
            return r;
        }
        h->seated = true;
        h->cursor = &seat->word[SHMI_SUB_CURSOR];
        shmi_store_rel_64(h->cursor, shmi_bcast_first(h, tail, history));
        shmi_store_rel_64(&seat->word[SHMI_SUB_ACTIVE],
                          shmi_owner_self(h->segment));
        /* F2 <> F3 in shmi_bcast_look: a publisher whose scan missed this
         * seat took its gate from a tail not later than the one read here,
         * so that nothing from here on is overwritten unread (I4).        */
        shmi_fence_sc();
        tail = shmi_load_acq_64(&h->shm->tail);
    }
    h->joined = h->kept = tail;
    h->next = h->first = shmi_bcast_first(h, tail, history);
    h->blocked_at = h->next - 1;
    if (h->seated) shmi_store_rlx_64(h->cursor, h->next);   /* behind F2    */
    if (history == SHMI_BCAST_BEGIN) h->joined = h->next = 0;
    return SHMC_OK;
}

static int
shmi_bcast_join(shmc_bcast *h, uint32_t role, int32_t history)
{
    const bool writes = role == SHMC_PRODUCER ||
                        (role == SHMC_CONSUMER && h->reliable);

    if (writes && h->segment != NULL && h->segment->read_only)
        return shmi_fail(SHMC_EROFS, "broadcast ring: a %s needs segment '%s' "
                         "writable; use SHMC_WATCHER to read it only",
                         role == SHMC_PRODUCER ? "producer" : "reliable consumer",
                         h->segment->name);
    h->role = role;
    int r = SHMC_OK;
    if (role == SHMC_PRODUCER)
        r = shmi_bcast_join_publisher(h);
    else if (role == SHMC_CONSUMER || role == SHMC_WATCHER)
        r = shmi_bcast_join_subscriber(h, role, history);
    else if (role != SHMC_OBSERVER)
        return shmi_fail(SHMC_EINVAL, "broadcast ring: role %u; give "
                         "SHMC_PRODUCER, SHMC_CONSUMER, SHMC_WATCHER or "
                         "SHMC_OBSERVER", role);
    if (r == SHMC_OK) shmi_bcast_lend(h, false);
    return r;
}

SHMC_API int
shmc_bcast_map(shmc_bcast *h, void *mem, uint64_t bytes, uint32_t role, int32_t history)
{
    shmi_bcast_geometry g;

    memset(h, 0, sizeof *h);
    int r = shmi_bcast_point(h, mem, bytes, &g);
    if (r == SHMC_OK) r = shmi_bcast_join(h, role, history);
    if (r != SHMC_OK) h->shm = NULL;
    return r;
}

/* Name the first field that was asked for and differs, or NULL.           */
static const char *
shmi_bcast_differs(const shmi_bcast_geometry *g, const shmc_bcast_desc *d,
                   uint64_t *asked, uint64_t *exists)
{
    const struct { const char *field; uint64_t asked, exists; } row[] = {
        { "slot_count", d->slot_count, g->slot_count },
        { "max_bytes", d->max_bytes, g->max_bytes },
        { "max_publishers", d->max_publishers, g->publishers },
        { "mode (1 lossy, 2 reliable)", d->mode, g->mode },
        { "max_subscribers", g->mode == SHMC_RELIABLE ? d->max_subscribers : 0,
          g->subscribers },
        { "arena_bytes", d->arena_bytes, g->arena_bytes },
        { "waitable", d->waitable, g->waitable },
        { "mark", d->mark, g->mark },
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        *asked = row[i].asked;
        *exists = row[i].exists;
        if (*asked != 0 && *asked != *exists) return row[i].field;
    }
    return NULL;
}

/* What the type is known by; 0: there is none, or none is asked for.      */
static uint64_t
shmi_bcast_type_hash(const shmc_bcast_desc *d)
{
    return d->type_hash != 0 || d->type_name == NULL
         ? d->type_hash : shmc_type_hash(d->type_name);
}

SHMC_API int
shmc_bcast_open(shmc_bcast *h, shmc_segment *s, const char *name,
                const shmc_bcast_desc *desc, uint32_t role)
{
    static const shmc_bcast_desc defaults;
    const shmc_bcast_desc *d = desc != NULL ? desc : &defaults;
    const char *field = NULL;
    uint64_t asked = 0, exists = 0;
    shmi_bcast_geometry g;

    memset(h, 0, sizeof *h);
    int r = shmi_bcast_geometry_of(d, &g);
    if (r != SHMC_OK) return r;
    g.flags = shmi_ring_flags(s, g.waitable);
    const shmc_object_desc object = {
        g.total, shmi_bcast_type_hash(d), SHMC_KIND_BCAST, SHMI_BCAST_VERSION,
        d->type_bytes, d->type_name, shmi_bcast_init, &g
    };
    r = shmi_ring_object(s, name, &object, role == SHMC_OBSERVER ||
                         role == SHMC_WATCHER, &h->object);
    if (r != SHMC_OK) return r;
    h->segment = s;
    r = shmi_bcast_point(h, h->object.mem, h->object.bytes, &g);
    if (r == SHMC_OK) field = shmi_bcast_differs(&g, d, &asked, &exists);
    if (field != NULL) r = shmi_ring_same("broadcast ring", field, asked, exists);
    if (r == SHMC_OK) r = shmi_bcast_join(h, role, d->history);
    if (r == SHMC_OK) return r;
    h->shm = NULL;
    shmc_object_close(s, &h->object);
    return r;
}

SHMC_API int
shmc_bcast_close(shmc_bcast *h)
{
    if (h->shm == NULL)
        return shmi_fail(SHMC_ECLOSED, "close broadcast ring: it is not open");
    if (h->epoch == shmi_fork_epoch) {
        if (h->role == SHMC_PRODUCER) shmi_seat_drop(&h->pubs[h->seat]);
        if (h->seated) {
            shmi_store_rel_64(&h->subs[h->seat].word[SHMI_SUB_ACTIVE], 0);
            shmi_seat_drop(&h->subs[h->seat]);
            if (h->waitable) shmi_bell_ring(&h->shm->writable, h->asymmetric);
        }
    }
    h->shm = NULL;
    h->ready = 0;
    return h->segment != NULL ? shmc_object_close(h->segment, &h->object)
                              : SHMC_OK;
}

SHMC_API int
shmc_bcast_stats_get(const shmc_bcast *h, shmc_bcast_stats *out)
{
    const int r = shmi_bcast_usable(h);

    memset(out, 0, sizeof *out);
    if (r != SHMC_OK) return r;
    out->sent = shmi_load_rlx_64(&h->shm->tail);
    out->voids = shmi_load_rlx_64(&h->shm->voids);
    out->dropped = shmi_load_rlx_64(&h->shm->dropped);
    for (uint32_t i = 0; i < h->max_publishers; i++)
        out->publishers += shmi_load_rlx_64(&h->pubs[i].owner) != 0;
    for (uint32_t i = 0; i < h->max_subscribers; i++) {
        shmi_seat_shm *seat = &h->subs[i];
        if (shmi_load_rlx_64(&seat->owner) == 0) continue;
        out->subscribers++;
        const uint64_t lag = out->sent - shmi_load_rlx_64(&seat->word[SHMI_SUB_CURSOR]);
        if (lag <= h->slot_count && lag > out->lag) out->lag = lag;
    }
    return SHMC_OK;
}

/* >>publishing */

/* Find the slowest live seated subscriber.  `full` also looks for dead ones
 * among those that hold us up, and gives them up.                         */
static void
shmi_bcast_look(shmc_bcast *h, bool full)
{
    uint64_t least = shmi_load_rlx_64(&h->shm->tail);

    shmi_fence_sc();                /* F3 pairs with F2; A3 <- R3           */
    const uint64_t tail = least;
    uint64_t seats = shmi_load_rlx_64(&h->shm->seats);
    if (seats > h->max_subscribers) seats = h->max_subscribers;
    for (uint64_t i = 0; i < seats; i++) {
        shmi_seat_shm *seat = &h->subs[i];
        uint64_t owner = shmi_load_acq_64(&seat->owner);
        if (owner == 0 ||
            shmi_load_acq_64(&seat->word[SHMI_SUB_ACTIVE]) != owner) continue;
        /* A5 <- R5: its reads of a cell happen before our reuse of it.    */
        uint64_t cursor = shmi_load_acq_64(&seat->word[SHMI_SUB_CURSOR]);
        if ((int64_t)(cursor - least) >= 0) continue;
        if (full && !shmi_owner_alive(h->segment, owner)) {
            if (!shmi_cas_rel_64(&seat->owner, &owner, 0)) continue;
            (void)shmi_faa_rlx_64(&h->shm->dropped, 1);
            shmi_event(SHMC_LOG_WARN, "broadcast ring: gave up subscriber %u, "
                       "which died %llu messages behind", (unsigned)i,
                       (unsigned long long)(tail - cursor));
            continue;
        }
        /* Further back than the ring reaches: it just sits down (and will
         * say where it is), or its cursor is damaged.                     */
        if (tail - cursor > h->slot_count) cursor = tail - h->slot_count;
        least = cursor;
    }
    h->gate = least;
}

/* Is a publisher other than us (`live`: one that lives) at `position`, or
 * (earlier) at any earlier position that shares its cell?                 */
static bool
shmi_bcast_intended(const shmc_bcast *h, uint64_t position, bool earlier, bool live)
{
    for (uint32_t i = 0; i < h->max_publishers; i++) {
        if (h->role == SHMC_PRODUCER && i == h->seat) continue;
        /* A6 <- R6: a cleared intent shows all that was done under it.    */
        const uint64_t intent = shmi_load_acq_64(&h->pubs[i].intent);
        if (intent == 0) continue;
        const uint64_t apart = (position - (intent >> 1)) & UINT64_MAX >> 1;
        if (earlier ? apart == 0 || (apart & h->mask) != 0 : apart != 0) continue;
        if (!live || shmi_owner_alive(h->segment,
                                      shmi_load_acq_64(&h->pubs[i].owner)))
            return true;
    }
    return false;
}

enum { SHMI_TAKE = 1, SHMI_PASS = 2, SHMI_RETRY = 3 };

/* May we write the cell of `position`, the tail just seen?                */
static int
shmi_bcast_cell_free(const shmc_bcast *h, uint64_t position)
{
    const shmi_bcast_cell_shm *cell = &h->cells[position & h->mask];
    const uint64_t last = shmi_stamp(position - h->slot_count, SHMI_DONE);
    const uint64_t stamp = shmi_load_acq_64(&cell->stamp);

    if (SHMI_LIKELY((stamp | 1) == (last | 1))) return SHMI_TAKE;
    /* Somebody was faster (or the stamp is damaged, and gets replaced).   */
    if ((int64_t)(stamp - shmi_stamp(position, 0)) >= 0 &&
        shmi_load_rlx_64(&h->shm->tail) != position) return SHMI_RETRY;
    /* The last lap's owner is inside, died, or passed.  By I2 the intents
     * of all that may be inside are visible: tail showed us their claims.
     * Should tail be stale, the claim that follows fails.                 */
    return shmi_bcast_intended(h, position, true, true) ? SHMI_PASS : SHMI_TAKE;
}

/* How far behind the publishers who was lapped goes on.                   */
static uint64_t
shmi_bcast_clear(const shmc_bcast *h)
{
    return h->slot_count / 8 ? h->slot_count / 8 : 1;
}

/* May `position` be overwritten, as far as seated subscribers go (I4)?    */
static int
shmi_bcast_has_room(shmc_bcast *h, uint64_t position)
{
    if (!h->reliable || (int64_t)(position - h->gate) < h->slot_count)
        return SHMC_OK;
    /* Who overruns never fails, so that its looks are counted apart.      */
    if (h->overrun) h->idle = (uint32_t)h->passed++;
    shmi_bcast_look(h, h->idle++ % SHMI_BCAST_FULL == SHMI_BCAST_FULL - 1);
    if ((int64_t)(position - h->gate) < h->slot_count) return SHMC_OK;
    if (!h->overrun) return SHMC_EAGAIN;
    /* Who is that far behind goes on an eighth of a lap clear of us, and is
     * looked at again no sooner.                                          */
    h->gate = position - h->slot_count + shmi_bcast_clear(h);
    return SHMC_OK;
}

/* Claim the next position whose cell we may write, as h->next.  `record` is
 * where an arena record notes its position, or NULL.  Each round that fails
 * was won by another publisher, or passes a cell with a stopped one inside.
 * Who is alone has no claim to win and no intent to leave.                */
SHMC_API int
shmi_bcast_claim(shmc_bcast *h, uint64_t *record)
{
    uint64_t position = shmi_load_acq_64(&h->shm->tail);    /* A3 <- R3     */
    uint32_t passes = 0;

    if (h->alone) {
        if (shmi_bcast_has_room(h, h->next) != SHMC_OK) return SHMC_EAGAIN;
        if (record != NULL) shmi_store_rlx_64(record, h->next);
        h->idle = 0;
        return SHMC_OK;
    }
    for (uint32_t round = 0; round < SHMI_BCAST_ROUNDS; round++) {
        if (shmi_bcast_has_room(h, position) != SHMC_OK) break;
        const int how = shmi_bcast_cell_free(h, position);
        if (how == SHMI_RETRY) {
            position = shmi_load_acq_64(&h->shm->tail);     /* A3 <- R3     */
            continue;
        }
        /* Once round, or as many as can be inside cells: there is none.   */
        if (how == SHMI_PASS && (passes == h->slot_count ||
                                 passes == h->max_publishers)) break;
        if (record != NULL) shmi_store_rlx_64(record, position);
        /* Before tail moves, so that whoever sees position taken sees by
         * whom; R6 -> A6 for the position before, if we passed it.        */
        shmi_store_rel_64(h->intent, position << 1 | 1);
        if (!shmi_cas_64(&h->shm->tail, &position, position + 1))   /* R3   */
            continue;
        if (how == SHMI_TAKE) {
            h->next = position;
            h->idle = 0;
            return SHMC_OK;
        }
        (void)shmi_faa_rlx_64(&h->shm->voids, 1);
        passes++;
        position++;
    }
    shmi_store_rel_64(h->intent, 0);                        /* R6 -> A6     */
    return SHMC_EAGAIN;
}

static int
shmi_bcast_publish(shmc_bcast *h, const void *data, uint32_t bytes,
                   shmi_bcast_record_shm *record, uint64_t at)
{
    const int r = shmi_bcast_claim(h, record ? &record->position : NULL);

    if (r != SHMC_OK) return r;
    shmi_bcast_fill(h, h->next, data, bytes, at);
    shmi_bcast_tell(h);
    return SHMC_OK;
}

/* >>arena */

static shmi_bcast_record_shm *
shmi_bcast_record(const shmc_bcast *h, uint64_t offset)
{
    return (void *)(h->arenas + h->seat * h->arena_bytes + offset);
}

/* Has every seated subscriber gone past `position`, of a record of ours?  */
static bool
shmi_bcast_all_read(shmc_bcast *h, uint64_t position)
{
    if ((int64_t)(h->gate - position) > 0) return true;
    /* At tail or later: a claim that the seat's last owner died before.
     * Nobody ever saw the record, and nobody may move tail past it but us. */
    if ((int64_t)(position - shmi_load_rlx_64(&h->shm->tail)) >= 0) return true;
    shmi_bcast_look(h, h->idle++ % SHMI_BCAST_FULL == SHMI_BCAST_FULL - 1);
    return (int64_t)(h->gate - position) > 0;
}

/* Free the oldest record of our arena.  Its header lies in shared memory:
 * what it says is loaded once and checked.  Unless it `must`, it does not
 * look where subscribers are.                                             */
static int
shmi_bcast_reclaim(shmc_bcast *h, bool must)
{
    const uint64_t low_offset = h->low % h->arena_bytes;
    const shmi_bcast_record_shm *old = shmi_bcast_record(h, low_offset);
    const uint64_t bytes = shmi_load_rlx_64(&old->span);

    if (bytes == 0 || bytes % SHMI_RECORD_BYTES != 0 ||
        bytes > h->arena_bytes - low_offset || bytes > h->head - h->low)
        return SHMC_ECORRUPT;
    if (h->reliable && !h->overrun) {
        const uint64_t position = shmi_load_rlx_64(&old->position);
        if (must ? !shmi_bcast_all_read(h, position)
                 : (int64_t)(h->gate - position) <= 0) return SHMC_EAGAIN;
    }
    h->low += bytes;
    return SHMC_OK;
}

/* Make the `need` bytes behind head ours to write.                        */
static int
shmi_bcast_reserve(shmc_bcast *h, uint64_t need)
{
    const uint64_t pad = h->offset + need > h->arena_bytes
                       ? h->arena_bytes - h->offset : 0;
    const uint64_t low = h->low, end = h->head + pad + need;
    int r = SHMC_OK;

    while (r == SHMC_OK && end - h->low > h->arena_bytes)
        r = shmi_bcast_reclaim(h, true);
    if (h->low != low) {
        /* Small ones an eighth of the arena at a time, so that subscribers
         * seldom have to fetch the line of low.                           */
        const uint64_t eighth = h->arena_bytes / 8;
        while (need <= eighth / 2 && end - h->low > h->arena_bytes - eighth)
            if (shmi_bcast_reclaim(h, false) != SHMC_OK) break;
        /* R2 -> A2: low is visible before any byte that overwrites (I3).  */
        shmi_store_rlx_64(&h->arena_lines[h->seat].low, h->low);
        shmi_fence_rel();
    }
    if (r != SHMC_OK) return r;
    if (pad != 0) {                 /* a record of nothing up to the end    */
        shmi_bcast_record_shm *filler = shmi_bcast_record(h, h->offset);
        /* Older than any cursor: free as soon as it is the oldest.        */
        shmi_store_rlx_64(&filler->position, shmi_load_rlx_64(&h->shm->tail) -
                                             h->slot_count - 1);
        shmi_store_rlx_64(&filler->span, pad);
        h->head += pad;
        h->offset = 0;
        shmi_store_rel_64(h->head_shm, h->head);  /* R4   */
    }
    return SHMC_OK;
}

/* Ask early for the lines of the record after the next one, if it is as long
 * as the last one and room for it is ours: subscribers are through with it. */
static void
shmi_bcast_ask(const shmc_bcast *h, uint64_t span)
{
    if (span > SHMI_BCAST_AHEAD || h->offset + 2 * span > h->arena_bytes ||
        h->head + 2 * span - h->low > h->arena_bytes) return;
    const uint8_t *line = (uint8_t *)shmi_bcast_record(h, h->offset + span);
    for (uint64_t i = 0; i < span; i += SHMI_RECORD_BYTES)
        shmi_prefetch_w(line + i);
}

/* Publish the record at head, whose payload is written.                   */
static int
shmi_bcast_publish_record(shmc_bcast *h, uint32_t bytes)
{
    shmi_bcast_record_shm *record = shmi_bcast_record(h, h->offset);
    const uint64_t span = shmi_bcast_record_span(bytes);
    const uint64_t at = h->head, offset = h->offset;

    shmi_store_rlx_64(&record->span, span);
    shmi_store_rlx_64(&record->position, h->gate - 1);      /* free, so far */
    h->head += span;
    h->offset = h->offset + span == h->arena_bytes ? 0 : h->offset + span;
    /* R4 -> A4, and before the cell refers to it: should we die in between,
     * a successor must not write over what subscribers already see (I3).  */
    shmi_store_rel_64(h->head_shm, h->head);
    const int r = shmi_bcast_publish(h, NULL, bytes, record, at);
    if (r == SHMC_OK) {
        shmi_bcast_ask(h, span);
        return r;
    }
    h->head = at;                   /* not referred to: ours again          */
    h->offset = offset;
    shmi_store_rlx_64(h->head_shm, h->head);
    return r;
}

static int
shmi_bcast_may_send(const shmc_bcast *h, uint32_t bytes)
{
    const int r = shmi_bcast_usable(h);

    if (r != SHMC_OK) return r;
    if (h->role != SHMC_PRODUCER)
        return shmi_fail(SHMC_EINVAL, "send on a broadcast ring: the handle was "
                         "not opened as SHMC_PRODUCER");
    return bytes > h->max_bytes ? SHMC_EMSGSIZE : SHMC_OK;
}

SHMC_API int
shmi_bcast_send_any(shmc_bcast *h, const void *data, uint32_t bytes)
{
    int r = shmi_bcast_may_send(h, bytes);

    if (r != SHMC_OK) return r;
    if (bytes <= SHMC_BCAST_INLINE_BYTES)
        return shmi_bcast_publish(h, data, bytes, NULL, 0);
    r = shmi_bcast_reserve(h, shmi_bcast_record_span(bytes));
    if (r != SHMC_OK) return r;
    shmi_copy_in(shmi_bcast_record(h, h->offset) + 1, data, bytes);
    return shmi_bcast_publish_record(h, bytes);
}

SHMC_API int
shmi_bcast_send_pair(shmc_bcast *h, const void *first, uint32_t first_bytes,
                     const void *data, uint32_t bytes)
{
    if (h->ready != shmi_bcast_out()) return shmi_bcast_refuse(h);
    if (bytes > h->max_bytes || first_bytes > h->max_bytes - bytes)
        return SHMC_EMSGSIZE;
    const uint32_t total = first_bytes + bytes;
    if (total <= SHMC_BCAST_INLINE_BYTES) {
        memcpy(h->stage, first, first_bytes);
        if (bytes != 0) memcpy(h->stage + first_bytes, data, bytes);
        return shmi_bcast_publish(h, h->stage, total, NULL, 0);
    }
    const int r = shmi_bcast_reserve(h, shmi_bcast_record_span(total));
    if (r != SHMC_OK) return r;
    uint8_t *to = (uint8_t *)(shmi_bcast_record(h, h->offset) + 1);
    shmi_copy_in(to, first, first_bytes);
    if (bytes != 0) shmi_copy_in(to + first_bytes, data, bytes);
    return shmi_bcast_publish_record(h, total);
}

SHMC_API int
shmc_bcast_loan(shmc_bcast *h, uint32_t bytes, void **data)
{
    int r = shmi_bcast_may_send(h, bytes);

    if (r == SHMC_OK && h->lent) r = SHMC_EBUSY;
    if (r != SHMC_OK) return r;
    if (bytes <= SHMC_BCAST_INLINE_BYTES) {
        *data = h->stage;           /* copied into the cell at commit       */
    } else {
        r = shmi_bcast_reserve(h, shmi_bcast_record_span(bytes));
        if (r != SHMC_OK) return r;
        *data = shmi_bcast_record(h, h->offset) + 1;
    }
    shmi_bcast_lend(h, true);
    h->lent_bytes = bytes;
    return SHMC_OK;
}

SHMC_API int
shmc_bcast_commit(shmc_bcast *h, uint32_t bytes)
{
    int r = shmi_bcast_may_send(h, bytes);

    if (r == SHMC_OK) r = shmi_bcast_ends(h, "commit", true);
    if (r != SHMC_OK) return r;
    if (bytes > h->lent_bytes) return SHMC_EMSGSIZE;
    const void *from = h->lent_bytes <= SHMC_BCAST_INLINE_BYTES
                     ? (void *)h->stage : shmi_bcast_record(h, h->offset) + 1;
    r = bytes > SHMC_BCAST_INLINE_BYTES
      ? shmi_bcast_publish_record(h, bytes)
      : shmi_bcast_publish(h, from, bytes, NULL, 0);
    if (r != SHMC_EAGAIN) shmi_bcast_lend(h, false);
    return r;
}

SHMC_API int
shmc_bcast_abort(shmc_bcast *h)
{
    const int r = shmi_bcast_ends(h, "abort", true);

    if (r == SHMC_OK) shmi_bcast_lend(h, false);
    return r;
}

/* >>receiving */

/* Count positions [next, to) as lost, those from before we came excepted. */
static int
shmi_bcast_skip(shmc_bcast *h, uint64_t to)
{
    const uint64_t from = (int64_t)(h->next - h->joined) < 0 ? h->joined
                                                             : h->next;
    h->next = to;
    h->idle = 0;
    if (h->seated) shmi_store_rel_64(h->cursor, to);        /* R5 -> A5     */
    if ((int64_t)(to - from) <= 0) return SHMC_OK;
    h->gap = to - from;
    h->lost += h->gap;
    return SHMC_ELAPPED;
}

/* The ring has gone on without us: go on where it still has messages, an
 * eighth of a lap clear of the publishers.                                */
static int
shmi_bcast_lapped(shmc_bcast *h)
{
    const uint64_t tail = shmi_load_rlx_64(&h->shm->tail);  /* behind A7    */
    uint64_t to = tail - h->slot_count + shmi_bcast_clear(h);

    /* What it came for is kept (I4); behind that it was overrun.          */
    if (h->seated && (int64_t)(h->kept - h->next) > 0 &&
        (int64_t)(to - h->kept) > 0) to = h->kept;
    if ((int64_t)(h->first - h->next) > 0) to = h->first;
    if ((int64_t)(to - h->next) <= 0) to = h->next + 1;
    return shmi_bcast_skip(h, to);
}

/* Next, which is before tail, is not DONE: who took it, and is he coming?   */
static int
shmi_bcast_taken(shmc_bcast *h, const uint64_t *stamp_at)
{
    if (shmi_bcast_intended(h, h->next, false, false)) {
        /* Most of the time he is just copying.  Ask for him when he had
         * time enough, and not at every look.                             */
        const uint64_t now = shmi_now_ns();
        const bool known = h->blocked_at == h->next;
        if (known && now < h->trust_ns) return SHMC_EAGAIN;
        h->blocked_at = h->next;
        h->trust_ns = now + SHMI_BCAST_TRUST_NS;
        if (!known || shmi_bcast_intended(h, h->next, false, true))
            return SHMC_EAGAIN;
    }
    /* I2: looked at again after the intents, is it DONE (or past) now?    */
    if ((int64_t)(shmi_load_rlx_64(stamp_at) - shmi_stamp(h->next, 0)) >=
        SHMI_DONE) return SHMC_OK;
    h->next++;
    h->passed++;
    h->idle = SHMI_BCAST_IDLE - 1;  /* the one behind may be empty as well  */
    if (h->seated) shmi_store_rel_64(h->cursor, h->next);   /* R5 -> A5     */
    return SHMC_OK;
}

/* Next may be taken and not DONE.                                         */
static int
shmi_bcast_inspect(shmc_bcast *h, const uint64_t *stamp_at)
{
    /* A3 <- R3: if next is taken, its taker's intent was visible before.  */
    const uint64_t tail = shmi_load_acq_64(&h->shm->tail);
    const int64_t behind = (int64_t)(tail - h->next);

    if (behind < -1) {              /* a lone publisher is ahead by one     */
        (void)shmi_bcast_skip(h, tail);
        return SHMC_ECORRUPT;       /* tail went back                       */
    }
    if (behind > h->slot_count) return shmi_bcast_lapped(h);
    return behind <= 0 || h->alone ? SHMC_EAGAIN : shmi_bcast_taken(h, stamp_at);
}

/* Decide what the cell of `next` means when it is not readable: SHMC_OK
 * when the caller should look again (at a new `next`, perhaps).           */
SHMC_API int
shmi_bcast_next(shmc_bcast *h)
{
    const uint64_t *stamp_at = &h->cells[h->next & h->mask].stamp;
    /* A7 <- R7: tail cannot seem to be behind it.                         */
    const int64_t ahead = (int64_t)(shmi_load_acq_64(stamp_at) -
                                    shmi_stamp(h->next, 0));

    if (ahead == SHMI_DONE) return SHMC_OK;
    if (ahead > SHMI_VOID) return shmi_bcast_lapped(h);
    /* Most of the time nothing is published yet.  Leave the publishers'
     * lines alone, but look now and then whether the next cell was passed
     * by, and more rarely at tail.                                        */
    const bool thorough = ++h->idle % SHMI_BCAST_IDLE == 0;
    if (!thorough) {
        if (h->alone || h->idle % SHMI_BCAST_PEEK != 0) return SHMC_EAGAIN;
        const uint64_t behind = h->next + 1;
        if ((int64_t)(shmi_load_rlx_64(&h->cells[behind & h->mask].stamp) -
                      shmi_stamp(behind, SHMI_BUSY)) < 0) return SHMC_EAGAIN;
    } else if (h->seated) {
        shmi_store_rel_64(h->cursor, h->next);              /* R5 -> A5     */
        if (h->waitable && h->idle == SHMI_BCAST_IDLE)
            shmi_bell_ring(&h->shm->writable, h->asymmetric);
    }
    return shmi_bcast_inspect(h, stamp_at);
}

/* Tell publishers how far a seated subscriber is; ring for a sleeping one
 * each quarter of a lap.                                                  */
SHMC_API void
shmi_bcast_room(shmc_bcast *h)
{
    const uint64_t quarter = h->slot_count / 4 ? h->slot_count / 4 : 1;

    shmi_store_rel_64(h->cursor, h->next);                  /* R5 -> A5     */
    if (h->waitable && h->next % quarter == 0)
        shmi_bell_ring(&h->shm->writable, h->asymmetric);
}

/* Read where the next message lies: bytes, and *data.  The view is checked
 * by shmi_bcast_intact afterwards.                                        */
static int
shmi_bcast_view(shmc_bcast *h, const uint8_t **data)
{
    for (uint32_t round = 0; round < SHMI_BCAST_ROUNDS; round++) {
        const shmi_bcast_cell_shm *cell = &h->cells[h->next & h->mask];
        const uint64_t done = shmi_stamp(h->next, SHMI_DONE);
        if (shmi_load_acq_64(&cell->stamp) == done) {       /* A1 <- R1     */
            const uint32_t bytes = shmi_load_rlx_32(&cell->bytes);
            const uint32_t seat = shmi_load_rlx_32(&cell->seat);
            const uint64_t at = shmi_load_rlx_64(&cell->at);
            shmi_fence_acq();                               /* A0 <- R0     */
            if (shmi_load_rlx_64(&cell->stamp) == done) {
                h->lent_bytes = bytes;
                h->lent_at = at;
                h->lent_seat = seat;
                *data = cell->data;
                if (bytes <= SHMC_BCAST_INLINE_BYTES) return (int)bytes;
                if (bytes > h->max_bytes || seat >= h->max_publishers)
                    return SHMC_ECORRUPT;
                const uint64_t offset = at % h->arena_bytes;
                if (offset % SHMI_RECORD_BYTES != 0 || h->arena_bytes - offset <
                    shmi_bcast_record_span(bytes)) return SHMC_ECORRUPT;
                *data = h->arenas + seat * h->arena_bytes + offset +
                        SHMI_RECORD_BYTES;
                return (int)bytes;
            }
        }
        const int r = shmi_bcast_next(h);
        if (r != SHMC_OK) return r;
    }
    return SHMC_EAGAIN;
}

/* Was everything read through the view, until now, the message's own?     */
static bool
shmi_bcast_intact(const shmc_bcast *h)
{
    shmi_fence_acq();               /* A0 <- R0, A2 <- R2                   */
    if (h->lent_bytes > SHMC_BCAST_INLINE_BYTES)
        return shmi_load_rlx_64(&h->arena_lines[h->lent_seat].low) <= h->lent_at;
    return shmi_load_rlx_64(&h->cells[h->next & h->mask].stamp) ==
           shmi_stamp(h->next, SHMI_DONE);
}

/* Go on behind a message that was read through the view.                  */
static void
shmi_bcast_pass(shmc_bcast *h)
{
    h->next++;
    h->idle = 0;
    if (!h->seated) return;
    shmi_bcast_room(h);
    /* Large ones fill an arena long before they fill the ring.            */
    if (h->waitable && h->lent_bytes > h->arena_bytes / 16)
        shmi_bell_ring(&h->shm->writable, h->asymmetric);
}

SHMC_API int
shmi_bcast_recv_any(shmc_bcast *h, void *buf, uint32_t cap)
{
    return shmi_bcast_recv_pair(h, NULL, 0, buf, cap);
}

SHMC_API int
shmi_bcast_recv_pair(shmc_bcast *h, void *first, uint32_t first_bytes,
                     void *buf, uint32_t cap)
{
    if (h->ready != shmi_bcast_in()) return shmi_bcast_refuse(h);
    for (uint32_t round = 0; round < SHMI_BCAST_ROUNDS; round++) {
        const uint8_t *data;
        int bytes = shmi_bcast_view(h, &data);

        if (bytes >= 0 && (uint32_t)bytes < first_bytes && shmi_bcast_intact(h))
            bytes = SHMC_ECORRUPT;  /* nobody sends such                    */
        if (bytes == SHMC_ECORRUPT) (void)shmi_bcast_skip(h, h->next + 1);
        if (bytes < 0) return bytes;
        const uint32_t rest = (uint32_t)bytes > first_bytes
                            ? (uint32_t)bytes - first_bytes : 0;
        if (rest > cap) return SHMC_EMSGSIZE;
        if (rest + first_bytes == (uint32_t)bytes) {
            if (first_bytes != 0) shmi_copy_out(first, data, first_bytes);
            if (buf != NULL) shmi_copy_out(buf, data + first_bytes, rest);
            if (shmi_bcast_intact(h)) {
                shmi_bcast_pass(h);
                return (int)rest;
            }
        }
        const int r = shmi_bcast_skip(h, h->next + 1);
        if (r != SHMC_OK) return r;     /* OK: it was from before we came   */
    }
    return SHMC_EAGAIN;
}

SHMC_API int
shmc_bcast_borrow(shmc_bcast *h, const void **data)
{
    const uint8_t *view = NULL;

    if (h->ready != shmi_bcast_in()) return shmi_bcast_refuse(h);
    const int bytes = shmi_bcast_view(h, &view);
    if (bytes == SHMC_ECORRUPT) (void)shmi_bcast_skip(h, h->next + 1);
    if (bytes < 0) return bytes;
    *data = view;
    shmi_bcast_lend(h, true);
    return bytes;
}

SHMC_API int
shmc_bcast_release(shmc_bcast *h)
{
    const int r = shmi_bcast_ends(h, "release", false);

    if (r != SHMC_OK) return r;
    shmi_bcast_lend(h, false);
    if (shmi_bcast_intact(h)) {
        shmi_bcast_pass(h);
        return SHMC_OK;
    }
    (void)shmi_bcast_skip(h, h->next + 1);
    return SHMC_ELAPPED;
}

SHMC_API int
shmc_bcast_next_bytes(shmc_bcast *h)
{
    const uint8_t *data;

    if (h->ready != shmi_bcast_in()) return shmi_bcast_refuse(h);
    return shmi_bcast_view(h, &data);
}

/* >>waiting */

enum { SHMI_BCAST_SEND, SHMI_BCAST_RECV, SHMI_BCAST_BORROW, SHMI_BCAST_CALL };

typedef struct shmi_bcast_wait {
    shmc_bcast *h;
    int what;
    void *buf;
    const void *data;
    uint32_t bytes, tries;
    bool blocked;                   /* next was taken, we sleep for its taker */
    int (*call)(void *ctx, bool slow);      /* in place of a receive        */
    void *ctx;
} shmi_bcast_wait;

/* What a try returns to be waited with the other kind of sleep.           */
enum { SHMI_BCAST_RESLICE = SHMI_ERROR_END };

static int
shmi_bcast_try(void *ctx)
{
    shmi_bcast_wait *w = ctx;
    const bool slow = ++w->tries > SHMC_SPIN_TRIES;

    /* Once it no longer spins, each look of a waiter is a thorough one.   */
    if (slow) w->h->idle |= SHMI_BCAST_IDLE - 1;
    if (w->what == SHMI_BCAST_SEND) return shmc_bcast_send(w->h, w->data, w->bytes);
    const int r = w->what == SHMI_BCAST_RECV
                ? shmc_bcast_recv(w->h, w->buf, w->bytes)
                : w->what == SHMI_BCAST_BORROW
                ? shmc_bcast_borrow(w->h, &w->data) : w->call(w->ctx, slow);
    /* Who sleeps because of one publisher must learn of its death sooner
     * than who sleeps because there is nothing.                           */
    const bool blocked = w->h->blocked_at == w->h->next;
    return r == SHMC_EAGAIN && slow && blocked != w->blocked ? SHMI_BCAST_RESLICE
                                                             : r;
}

static int
shmi_bcast_wait_for(shmi_bcast_wait *w, int64_t timeout_ns)
{
    const shmc_bcast *h = w->h;
    const bool to_read = w->what != SHMI_BCAST_SEND;
    int64_t left = timeout_ns;

    if (h->ready == 0 || h->epoch != shmi_fork_epoch)
        return shmi_bcast_refuse(h);
    if (timeout_ns == 0) return shmi_bcast_try(w);
    if (!h->waitable)
        return shmi_fail(SHMC_ENOTSUP, "wait on a broadcast ring: it was created "
                         "without waitable");
    shmi_bell_shm *bell = to_read ? &h->shm->readable : &h->shm->writable;
    if (h->segment != NULL && h->segment->read_only) bell = NULL;
    const uint64_t deadline = shmi_deadline(timeout_ns);
    for (;;) {
        const int r = shmi_bell_wait(bell, h->asymmetric, shmi_bcast_try, w, left,
                                     to_read && !w->blocked ? SHMC_RECHECK_NS
                                                            : SHMC_PEER_CHECK_NS);
        if (r != SHMI_BCAST_RESLICE) return r;
        w->blocked = !w->blocked;
        if (timeout_ns < 0) continue;
        const uint64_t now = shmi_now_ns();
        if (now >= deadline) return SHMC_ETIMEDOUT;
        left = (int64_t)(deadline - now);
    }
}

SHMC_API int
shmc_bcast_send_wait(shmc_bcast *h, const void *data, uint32_t bytes,
                     int64_t timeout_ns)
{
    shmi_bcast_wait w = { .h = h, .what = SHMI_BCAST_SEND, .data = data,
                          .bytes = bytes };

    return shmi_bcast_wait_for(&w, timeout_ns);
}

SHMC_API int
shmc_bcast_recv_wait(shmc_bcast *h, void *buf, uint32_t cap, int64_t timeout_ns)
{
    shmi_bcast_wait w = { .h = h, .what = SHMI_BCAST_RECV, .buf = buf, .bytes = cap };

    return shmi_bcast_wait_for(&w, timeout_ns);
}

SHMC_API int
shmc_bcast_borrow_wait(shmc_bcast *h, const void **data, int64_t timeout_ns)
{
    shmi_bcast_wait w = { .h = h, .what = SHMI_BCAST_BORROW };
    const int r = shmi_bcast_wait_for(&w, timeout_ns);

    if (r >= 0) *data = w.data;
    return r;
}

/* >>polling */

/* Would a receive find something?  Counts no loss: a gap is there to be
 * received.  1 or SHMC_EAGAIN.                                            */
static int
shmi_bcast_readable(shmc_bcast *h, bool thorough)
{
    for (uint32_t round = 0; round < SHMI_BCAST_ROUNDS; round++) {
        const uint64_t *stamp_at = &h->cells[h->next & h->mask].stamp;
        /* Relaxed: nothing is read on its account.  The receive loads it
         * again, and not an older one.                                    */
        const int64_t ahead = (int64_t)(shmi_load_rlx_64(stamp_at) -
                                        shmi_stamp(h->next, 0));
        if (ahead == SHMI_DONE || ahead > SHMI_VOID) return 1;
        if (!thorough) return SHMC_EAGAIN;
        /* A3 <- R3, as in shmi_bcast_inspect.                             */
        const int64_t behind = (int64_t)(shmi_load_acq_64(&h->shm->tail) -
                                         h->next);
        /* A gap, or tail went back: a receive says so, and goes on.  It has
         * to look as far as we did: the cell may not show it yet.         */
        if (behind < -1 || behind > h->slot_count) {
            h->idle = SHMI_BCAST_IDLE - 1;
            return 1;
        }
        if (behind <= 0 || h->alone) return SHMC_EAGAIN;
        const int r = shmi_bcast_taken(h, stamp_at);
        if (r != SHMC_OK) return r;
    }
    return SHMC_EAGAIN;
}

/* Would a message of max_bytes find room?                                 */
static int
shmi_bcast_writable(shmc_bcast *h, bool thorough)
{
    if (!h->reliable) return 1;
    if (thorough) h->idle |= SHMI_BCAST_FULL - 1;
    int r = shmi_bcast_has_room(h, h->alone ? h->next
                                            : shmi_load_rlx_64(&h->shm->tail));
    if (r == SHMC_OK && h->max_bytes > SHMC_BCAST_INLINE_BYTES)
        r = shmi_bcast_reserve(h, shmi_bcast_record_span(h->max_bytes));
    return r == SHMC_OK ? 1 : r;
}

static int
shmi_bcast_poll(void *ring, uint32_t events, bool thorough,
                shmi_poll_spot *spot)
{
    shmc_bcast *h = ring;
    const bool reads = h->role == SHMC_CONSUMER || h->role == SHMC_WATCHER;
    const uint32_t mine = reads ? SHMC_POLLIN
                        : h->role == SHMC_PRODUCER ? SHMC_POLLOUT : 0u;
    int r = shmi_bcast_usable(h);

    if (r != SHMC_OK) return r;
    if ((events & ~mine) != 0)
        return shmi_fail(SHMC_EINVAL, "poll a broadcast ring for 0x%x: readers "
                         "ask for SHMC_POLLIN, producers for SHMC_POLLOUT",
                         events);
    if (!h->waitable)
        return shmi_fail(SHMC_ENOTSUP, "poll a broadcast ring that was created "
                         "without waitable");
    const bool deaf = h->segment != NULL && h->segment->read_only;
    if (!deaf) spot->bell[0] = reads ? &h->shm->readable : &h->shm->writable;
    spot->asymmetric = h->asymmetric;
    spot->progress = h->next;
    if (!h->lent && events != 0) {
        r = reads ? shmi_bcast_readable(h, thorough)
                  : shmi_bcast_writable(h, thorough);
        if (r < 0 && r != SHMC_EAGAIN) return r;
    }
    /* Who waits because of one publisher, or for room, awaits a peer.     */
    spot->slice_ns = deaf ? SHMI_DEAF_NS
                   : !reads || h->blocked_at == h->next ? SHMC_PEER_CHECK_NS
                                                        : SHMC_RECHECK_NS;
    /* Publishers that wait for room learn how far we are before we sleep. */
    if (thorough && h->seated && r != 1) {
        shmi_store_rel_64(h->cursor, h->next);              /* R5 -> A5     */
        shmi_bell_ring(&h->shm->writable, h->asymmetric);
    }
    return r == 1 ? (int)mine : 0;
}

SHMC_API shmc_pollable
shmc_bcast_pollable(shmc_bcast *h)
{
    return (shmc_pollable){ shmi_bcast_poll, h };
}

#endif /* SHMCOMM_IMPLEMENTATION */
