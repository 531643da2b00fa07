/* shmcomm_bcast.h - a broadcast ring: what lies in memory, and who sits there.
 *
 *     shmc_bcast look;
 *     shmc_bcast_stats stats;
 *     shmc_bcast_open(&look, &segment, "pose", NULL, SHMC_OBSERVER);
 *     shmc_bcast_stats_get(&look, &stats);
 *
 * Who sends or receives includes shmcomm_broadcast.h, which has this as well.
 * Manual: docs/shmcomm_broadcast.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BCAST_H
#define SHMCOMM_BCAST_H

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
    uint32_t max_subscribers;       /* seats if reliable, and as many places
                                       of guests, 1..4096 [64]              */
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

/* ---- shared layout, version 4 ------------------------------------------
 * head | tail | readable | writable | counts | publisher seats and arena
 * lines | subscriber seats | guests' places | cells | arenas
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
enum { SHMI_BCAST_VERSION = 4 };
enum { SHMI_BUSY = 1, SHMI_DONE = 2, SHMI_VOID = 3 };
enum { SHMI_RECORD_BYTES = 64, SHMI_BCAST_ARENA_BYTES = 262144 };
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
                                       max_subscribers, mark, guests        */
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
 * its owner: a newcomer's cursor is set before that.  A guest, who holds
 * nobody up, has a place of the same kind to show how far it is: publishers
 * never look at it, and its cursor may be behind.                         */
enum { SHMI_SUB_CURSOR = 0, SHMI_SUB_ACTIVE = 1, SHMI_SUB_LOST = 2 };
/* A guest says where it is every so many messages, or every eighth of a lap
 * if that is less, and whenever it finds nothing.                         */
enum { SHMI_BCAST_NOTE = 64 };

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
    uint32_t back;                  /* the same gate, of commit or release,
                                       while a small one is lent; or 0      */
    uint32_t small;                 /* publisher: fewer bytes go in a cell  */
    uint32_t epoch, role, seat, idle;
    bool     quick;                 /* publisher: alone and lossy           */
    bool     reliable, waitable, asymmetric, alone, lent;
    bool     seated, guest;         /* subscriber: what its place is        */
    bool     overrun;               /* publisher: wait for no subscriber    */
    bool     holding;               /* publisher: from hold on all stays    */
    uint64_t *intent, *head_shm;    /* publisher: words in its seat         */
    uint64_t gate;                  /* publisher: slowest cursor last seen  */
    uint64_t hold;                  /* publisher: as a cursor, if holding   */
    uint64_t joined;                /* subscriber: losses count from here   */
    uint64_t first, kept;           /* subscriber: where it begins; seated:
                                       from here on all waits for it (I4)   */
    uint64_t lost, gap;             /* subscriber: in all; the last time    */
    uint64_t passed;                /* subscriber: positions left empty;
                                       publisher: looks while it overran    */
    uint64_t blocked_at, trust_ns;  /* subscriber: waits for next's taker   */
    uint64_t *cursor;               /* subscriber: word in its seat         */
    uint64_t note;                  /* subscriber: says where it is whenever
                                       next has none of these bits          */
    uint64_t arena_bytes, low, head, offset;    /* publisher's own arena    */
    uint64_t lent_at;               /* subscriber: arena count borrowed     */
    uint32_t max_bytes, slot_count, max_publishers, max_subscribers;
    uint32_t max_guests, mark;
    uint32_t lent_bytes, lent_seat;
    shmi_seat_shm *pubs, *subs, *guests;
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
    uint32_t guests;                /* places of who holds nobody up        */
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

/* ---- API: private ------------------------------------------------------ */

/* Say why a call is not let in.                                           */
SHMC_API int shmi_bcast_refuse(const shmc_bcast *h);

/* Show what a subscriber lost and, of a guest, where it is.               */
SHMC_API void shmi_bcast_note(const shmc_bcast *h);

/* What `ready` is while sends, or receives, are let in.                   */
SHMC_INLINE uint32_t shmi_bcast_out(void) { return shmi_fork_epoch + 1; }
SHMC_INLINE uint32_t shmi_bcast_in(void) { return ~shmi_fork_epoch; }

SHMC_INLINE uint64_t
shmi_stamp(uint64_t position, uint64_t state)
{
    return (position + 1) << 2 | state;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_BCAST_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_BCAST_IMPLEMENTED)
#define SHMCOMM_BCAST_IMPLEMENTED

#include <string.h>

/* >>geometry */

typedef struct shmi_bcast_geometry {
    uint64_t pubs_at, arena_lines_at, subs_at, guests_at, cells_at, arenas_at;
    uint64_t total;
    uint64_t arena_bytes;
    uint32_t slot_count, max_bytes, publishers, subscribers, mode, waitable, flags;
    uint32_t guests, mark;
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
    g->guests_at = g->subs_at + (uint64_t)g->subscribers * SHMC_LINE;
    g->cells_at = g->guests_at + (uint64_t)g->guests * SHMC_LINE;
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
          max_subscribers <= 4096 && g->guests <= 4096 },
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
    g->guests = d->max_subscribers ? d->max_subscribers : 64;
    if (g->mode == SHMC_RELIABLE) g->subscribers = g->guests;
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
    head.aux[4] = g->guests;
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
    g->guests = (uint32_t)head->aux[4];
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
    h->guests = (void *)((uint8_t *)mem + g->guests_at);
    h->cells = (void *)((uint8_t *)mem + g->cells_at);
    h->arenas = (uint8_t *)mem + g->arenas_at;
    h->mask = g->slot_count - 1;
    h->slot_count = g->slot_count;
    h->max_bytes = g->max_bytes;
    h->max_publishers = g->publishers;
    h->max_subscribers = g->subscribers;
    h->max_guests = g->guests;
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
    h->back = 0;
    h->ready = lent || h->role == SHMC_OBSERVER ? 0
             : h->role == SHMC_PRODUCER ? shmi_bcast_out() : shmi_bcast_in();
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

/* Take a guest's place, if there is one: all goes well without it.        */
static void
shmi_bcast_be_guest(shmc_bcast *h)
{
    const uint64_t eighth = h->slot_count / 8 ? h->slot_count / 8 : 1;

    h->note = UINT64_MAX;
    if (h->segment != NULL && h->segment->read_only) return;
    const int r = shmi_seat_try(h->segment, h->guests, h->max_guests, NULL, NULL);
    if (r < 0) return;
    h->seat = (uint32_t)r;
    h->guest = true;
    h->cursor = &h->guests[h->seat].word[SHMI_SUB_CURSOR];
    h->note = (eighth < SHMI_BCAST_NOTE ? eighth : SHMI_BCAST_NOTE) - 1;
}

/* Show what a subscriber lost and, of a guest, where it is.  Relaxed: nothing
 * depends on either.                                                      */
SHMC_API void
shmi_bcast_note(const shmc_bcast *h)
{
    shmi_seat_shm *seats = h->seated ? h->subs : h->guests;

    if (!h->seated && !h->guest) return;
    if (h->guest) shmi_store_rlx_64(h->cursor, h->next);
    shmi_store_rlx_64(&seats[h->seat].word[SHMI_SUB_LOST], h->lost);
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
    } else {
        shmi_bcast_be_guest(h);
    }
    h->joined = h->kept = tail;
    h->next = h->first = shmi_bcast_first(h, tail, history);
    h->blocked_at = h->next - 1;
    if (h->seated) shmi_store_rlx_64(h->cursor, h->next);   /* behind F2    */
    shmi_bcast_note(h);
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

enum { SHMI_BCAST_ASKS = 8 };

/* What is asked for beside what exists.                                   */
static void
shmi_bcast_asks(const shmi_bcast_geometry *g, const shmc_bcast_desc *d,
                shmi_ask row[SHMI_BCAST_ASKS])
{
    const bool seats = g->mode == SHMC_RELIABLE;

    row[0] = (shmi_ask){ "slot_count", d->slot_count, g->slot_count };
    row[1] = (shmi_ask){ "max_bytes", d->max_bytes, g->max_bytes };
    row[2] = (shmi_ask){ "max_publishers", d->max_publishers, g->publishers };
    row[3] = (shmi_ask){ "mode (1 lossy, 2 reliable)", d->mode, g->mode };
    row[4] = (shmi_ask){ "max_subscribers", seats ? d->max_subscribers : 0,
                         g->subscribers };
    row[5] = (shmi_ask){ "arena_bytes", d->arena_bytes, g->arena_bytes };
    row[6] = (shmi_ask){ "waitable", d->waitable, g->waitable };
    row[7] = (shmi_ask){ "mark", d->mark, g->mark };
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
    shmi_ask row[SHMI_BCAST_ASKS];
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
    if (r == SHMC_OK) {
        shmi_bcast_asks(&g, d, row);
        r = shmi_ring_same("broadcast ring", row, SHMI_BCAST_ASKS);
    }
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
        if (h->guest) shmi_seat_drop(&h->guests[h->seat]);
    }
    h->shm = NULL;
    h->ready = h->back = 0;
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
    for (uint32_t i = 0; i < h->max_guests; i++)
        out->guests += shmi_load_rlx_64(&h->guests[i].owner) != 0;
    return SHMC_OK;
}

#endif /* SHMCOMM_IMPLEMENTATION */
