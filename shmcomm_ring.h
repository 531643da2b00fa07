/* shmcomm_ring.h - a queue of fixed slots in shared memory, from one producer
 * to one consumer; and the ground that every other ring stands on.
 *
 *     shmc_spsc q;                              // the other side: CONSUMER
 *     shmc_spsc_desc d = { .slot_bytes = sizeof p, .waitable = 1 };
 *     shmc_spsc_open(&q, &segment, "poses", &d, SHMC_PRODUCER);
 *     if (shmc_spsc_push(&q, &p, sizeof p) == SHMC_EAGAIN) dropped++;
 *     shmc_spsc_close(&q);
 *
 * Records of any size: shmcomm_recq.h; only the latest: shmcomm_latest.h.
 * Manual: docs/shmcomm_ring.md, bytes: docs/layout.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_RING_H
#define SHMCOMM_RING_H

#include "shmcomm.h"
#include <string.h>

/* ---- constants --------------------------------------------------------- */

enum {                              /* what a handle is opened for          */
    SHMC_OBSERVER = 0,              /* statistics only; writes nothing      */
    SHMC_PRODUCER = 1,
    SHMC_CONSUMER = 2
};

enum {                              /* flags of a ring, constant            */
    SHMI_RING_WAITABLE   = 1,       /* publishing rings the bells           */
    SHMI_RING_ASYMMETRIC = 2        /* ... without a fence (segment's wake) */
};

#define SHMI_RING_MAX_COUNT 0x80000000u     /* 2^31 slots                   */
#define SHMI_RING_MAX_BYTES 0x40000000u     /* 2^30 bytes a slot            */
#define SHMI_RING_MAX_GRANT 0x40000000u     /* 2^30 slots at a time         */

enum {                              /* how far ahead lines are asked for    */
    SHMI_LANE_AHEAD_BYTES = 1024,   /* slots larger than that: not at all   */
    SHMI_LANE_FETCH_MAX = 64,       /* slots, in one loan or borrow         */
    SHMI_LANE_CPU_LINE = 64,        /* bytes of a line to the CPU           */
    SHMI_LANE_WORDS_BYTES = 64,     /* a push copies so many word by word   */
    SHMI_LANE_IDLE = 16             /* fruitless looks till notes are asked */
};
#define SHMI_LANE_NEVER UINT32_MAX          /* farther than any limit       */

/* First word and layout version of a queue.                               */
enum { SHMI_SPSC_MAGIC = 0x51505353, SHMI_SPSC_VERSION = 3 };    /* "SSPQ" */

/* ---- descs: zero selects the default, or what exists ------------------- */

typedef struct shmc_spsc_desc {
    uint32_t slot_bytes;            /* bytes of each message, 1..2^30 [64]  */
    uint32_t slot_count;            /* power of two, 1..2^31 [1024]         */
    uint32_t waitable;              /* 1: _wait works, publishing rings [0] */
    const char *type_name;          /* of the messages, checked; NULL: not  */
} shmc_spsc_desc;

/* ---- the first line of every ring --------------------------------------
 * G1: after R0 no field of it changes until somebody formats the memory.
 * G2: 128 + stride_bytes * slot_count <= total_bytes <= the object's bytes.
 * G3: slot_count is a power of two.
 * G4: in a lane stride_bytes is slot_bytes rounded up to 8.
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */
typedef struct shmi_ring_head_shm {
    uint32_t magic;                 /* W creator (R0)   R attacher (A0)     */
    uint32_t version;               /* W creator before R0; constant        */
    uint64_t total_bytes;           /* W creator before R0; constant        */
    uint32_t slot_bytes;            /* W creator before R0; constant        */
    uint32_t slot_count;            /* W creator before R0; constant        */
    uint32_t stride_bytes;          /* W creator before R0; constant        */
    uint32_t flags;                 /* W creator before R0; SHMI_RING_...   */
    uint32_t seats;                 /* W creator before R0; 0 = none        */
    uint32_t mode;                  /* W creator before R0; the ring's own  */
    uint64_t aux[11];               /* W creator before R0; the ring's own  */
} shmi_ring_head_shm;
SHMC_LAYOUT_AT(shmi_ring_head_shm, version, 4);
SHMC_LAYOUT_AT(shmi_ring_head_shm, total_bytes, 8);
SHMC_LAYOUT_AT(shmi_ring_head_shm, slot_bytes, 16);
SHMC_LAYOUT_AT(shmi_ring_head_shm, slot_count, 20);
SHMC_LAYOUT_AT(shmi_ring_head_shm, stride_bytes, 24);
SHMC_LAYOUT_AT(shmi_ring_head_shm, flags, 28);
SHMC_LAYOUT_AT(shmi_ring_head_shm, seats, 32);
SHMC_LAYOUT_AT(shmi_ring_head_shm, mode, 36);
SHMC_LAYOUT_AT(shmi_ring_head_shm, aux, 40);
SHMC_LAYOUT_SIZE(shmi_ring_head_shm, SHMC_LINE);

/* One side's line: how far it has come, and who it is.  The note is a second
 * copy of a short message, made while the consumer waits for each, so that it
 * gets index and message in one line; or, of a longer one, in a line that is
 * always the same and that it asks for as it looks at the index.
 * I1: all but `owner` is written by the holder of `owner` alone.
 * I6: while note_of is i, the note has bytes of message i - 1 or none that
 *     matter; only a push that wrote it all publishes i after that.        */
enum { SHMI_NOTE_WORDS = 5, SHMI_LONG_NOTE_WORDS = 8 };
typedef struct shmi_end_shm {
    uint64_t index;                 /* W this side (R1 R2)  R the other   */
    uint64_t owner;                 /* W claimants by CAS; 0 = nobody       */
    uint64_t note_of;               /* W spsc producer (R3)  R consumer (A3)*/
    uint64_t note[SHMI_NOTE_WORDS]; /* W spsc producer (R1)  R consumer (A1)*/
    uint32_t notes;                 /* W spsc consumer: 1 = make notes; a hint
                                       of its own 64 bytes, as it is read by
                                       each push and changes seldom         */
    uint8_t  pad[SHMC_LINE - 68];
} shmi_end_shm;
SHMC_LAYOUT_AT(shmi_end_shm, owner, 8);
SHMC_LAYOUT_AT(shmi_end_shm, note_of, 16);
SHMC_LAYOUT_AT(shmi_end_shm, note, 24);
SHMC_LAYOUT_AT(shmi_end_shm, notes, 64);
SHMC_LAYOUT_SIZE(shmi_end_shm, SHMC_LINE);

/* A lane: shmc_spsc, where indices count slots, and
 * shmc_recq, where they count bytes.  They start at any value and never stop.
 * I2: tail.index - head.index <= limit (mod 2^64); limit divides 2^64.
 * I3: what lies in [head.index, tail.index) is the consumer's, all else the
 *     producer's; index i lies at i mod limit.
 * I4: nothing of [head.index, tail.index) changes.                         */
typedef struct shmi_lane_shm {
    shmi_ring_head_shm ring;        /* constant                             */
    shmi_end_shm  tail;             /* W producer (R1)  R consumer (A1)     */
    shmi_end_shm  head;             /* W consumer (R2)  R producer (A2)     */
    shmi_bell_shm readable;         /* W producer rings, consumer sleeps    */
    shmi_bell_shm writable;         /* W consumer rings, producer sleeps    */
    uint64_t long_note[SHMI_LONG_NOTE_WORDS]; /* as tail.note               */
    uint8_t  pad[SHMC_LINE - 64];
} shmi_lane_shm;                    /* slots follow                         */
SHMC_LAYOUT_AT(shmi_lane_shm, tail, 1 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_lane_shm, head, 2 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_lane_shm, readable, 3 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_lane_shm, writable, 4 * SHMC_LINE);
SHMC_LAYOUT_AT(shmi_lane_shm, long_note, 5 * SHMC_LINE);
SHMC_LAYOUT_SIZE(shmi_lane_shm, 6 * SHMC_LINE);

/* ---- handles: private memory, no thread but its own may use one -------- */

/* What a ring waits with, in private memory.  A death is told once: the
 * next wait after SHMC_EPEERDEAD waits for that peer's successor.         */
typedef struct shmi_peer_watch {
    const shmc_segment *segment;    /* NULL: nobody is ever found dead      */
    const uint64_t *word;           /* the peer's role word, shared         */
    uint64_t told;                  /* owner whose death was told           */
    uint64_t look_ns;               /* when to look next                    */
} shmi_peer_watch;

/* One side of a lane.  What a push touches is the first 64 bytes; the size
 * keeps two handles that lie side by side from sharing a line.            */
typedef struct shmi_lane {
    uint64_t mine;                  /* this side's index                    */
    uint64_t seen;                  /* the peer's, when last looked; so that
                                       [head, tail] by these two holds I2   */
    uint64_t gate;                  /* role << 32 | bytes; 0: let none in   */
    uint8_t *slots;
    shmi_lane_shm *shm;             /* NULL = closed                        */
    uint32_t limit, mask;           /* of I2; limit - 1                     */
    uint32_t stride_bytes;
    uint32_t epoch;
    uint32_t flags;                 /* SHMI_RING_...                        */
    uint32_t ahead;                 /* index steps to fetch ahead; or never */
    uint64_t hold;                  /* role << 32 | slots or bytes on loan or
                                       borrowed; 0: nothing is              */
    uint64_t open_gate;             /* what `gate` is when nothing is held  */
    uint64_t hold_at;               /* recq: where the held record is       */
    uint32_t idle;                  /* fruitless looks, up to SHMI_LANE_IDLE */
    uint32_t role, slot_bytes, max_bytes;
    shmc_segment *segment;          /* NULL: memory of the caller's own     */
    shmc_object object;             /* .mem NULL: not from the directory    */
    shmi_peer_watch watch;
    uint8_t  apart[SHMC_LINE];
} shmi_lane;

typedef struct shmc_spsc { shmi_lane lane; } shmc_spsc;

typedef struct shmc_spsc_stats {
    uint64_t pushed, popped;        /* since format, or where it started    */
    uint32_t used, slot_count, slot_bytes;
    int32_t  producer_pid, consumer_pid;        /* 0 = nobody               */
    bool     producer_alive, consumer_alive, waitable;
} shmc_spsc_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- spsc: slots of one size, one producer, one consumer --------------- */

/* Tell the bytes that a queue with this desc takes, or why it cannot be.
 * Units   bytes, a multiple of 128.  Errors  SHMC_EINVAL.                 */
SHMC_API int64_t shmc_spsc_size_for(const shmc_spsc_desc *desc);

/* Lay an empty queue out in memory of the caller: zero or garbage, 128-byte
 * aligned, >= shmc_spsc_size_for.  Nobody may be using it.
 * Errors  SHMC_EINVAL; SHMC_ENOSPC.                                       */
SHMC_API int shmc_spsc_format(void *mem, uint64_t bytes,
                              const shmc_spsc_desc *desc);

/* Open a handle on such memory, for a thread or a process that shares it.
 * Owner   the memory stays the caller's and outlives the handle.
 * Safety  the caller sees to it that each role has one holder, and that a
 *         forked child maps anew; shmc_spsc_open does both by itself.
 * Errors  SHMC_ETYPE no queue there; SHMC_EVERSION; SHMC_EBYTEORDER;
 *         SHMC_ECORRUPT; SHMC_EINVAL.                                     */
SHMC_API int shmc_spsc_map(shmc_spsc *q, void *mem, uint64_t bytes,
                           uint32_t role);

/* Create the queue `name` in a segment, or attach to it (an SHMC_OBSERVER
 * only attaches), and take one of its two roles.
 * Safety  any process may come first; the handle is one thread's.
 * Crash   a dead side's role is free at once; its successor goes on at the
 *         shared indices: what was published is there, what was borrowed
 *         and not released is seen again, an uncommitted loan is gone.
 * Errors  SHMC_EBUSY a live holder (its pid is in shmc_last_error);
 *         SHMC_EMISMATCH a desc field that is not 0 differs from what
 *         exists; SHMC_EROFS; those of shmc_object_open.                  */
SHMC_API int shmc_spsc_open(shmc_spsc *q, shmc_segment *s, const char *name,
                            const shmc_spsc_desc *desc, uint32_t role);

/* Give the role up.  A loan is aborted, a borrowed slot is not released.
 * Safety  in a forked child it forgets the handle and touches nothing.
 * Errors  SHMC_ECLOSED it was not open.                                   */
SHMC_API int shmc_spsc_close(shmc_spsc *q);

/* Take a snapshot for people.  Safety  any role, also read-only.  Cost  two
 * system calls.  Errors  SHMC_ECLOSED; SHMC_EFORKED.                      */
SHMC_API int shmc_spsc_stats_get(const shmc_spsc *q, shmc_spsc_stats *out);

/* Push, waiting for room.
 * Units   timeout_ns: 0 = try, negative = for ever, else of the whole call.
 * Cost    blocks: spins, yields, sleeps.
 * Errors  SHMC_ETIMEDOUT; SHMC_EAGAIN (timeout 0); SHMC_EPEERDEAD the
 *         consumer died: told once, within 10 ms; the next call waits for
 *         its successor; SHMC_ENOTSUP not waitable; those of push.        */
SHMC_API int shmc_spsc_push_wait(shmc_spsc *q, const void *msg,
                                 uint32_t bytes, int64_t timeout_ns);

/* Pop, waiting for a message; the rest as shmc_spsc_push_wait.            */
SHMC_API int shmc_spsc_pop_wait(shmc_spsc *q, void *msg, uint32_t bytes,
                                int64_t timeout_ns);

/* Name the queue to shmc_poll: SHMC_POLLIN for its consumer, SHMC_POLLOUT
 * (room for one message) for its producer, SHMC_POLLDEAD when the other one
 * died, told once.  Errors  SHMC_ENOTSUP not waitable; SHMC_EINVAL the event
 * is the other role's; SHMC_ECORRUPT; SHMC_EFORKED; SHMC_ECLOSED.         */
SHMC_API shmc_pollable shmc_spsc_pollable(shmc_spsc *q);

/* ---- private: for headers that carve rings out of their own objects ---- */

/* As the map functions, with the segment whose participants are the peers. */
SHMC_API int shmi_spsc_bind(shmc_spsc *q, shmc_segment *s, void *mem,
                            uint64_t bytes, uint32_t role);

/* Say why the gate is closed: SHMC_ECLOSED, SHMC_EINVAL or SHMC_EMSGSIZE. */
SHMC_API int shmi_lane_refuse(const shmi_lane *l, uint32_t role);

/* Look at the other side's line: how many slots are free, or filled?  Out of
 * line, so that push and pop stay short and are inlined.  A consumer that
 * finds nothing over and over asks for notes; one that finds several messages
 * at once does without.  Errors  SHMC_EAGAIN none; SHMC_ECORRUPT I2.      */
SHMC_API int64_t shmi_spsc_look_room(shmi_lane *l);
SHMC_API int64_t shmi_spsc_look_filled(shmi_lane *l);

/* ---- private: the shared ground ---------------------------------------- */

SHMC_INLINE bool
shmi_is_pow2(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* Write a ring's first line; its magic comes last (R0 -> A0), so that a
 * reader that sees it sees everything the creator wrote before.           */
SHMC_API void shmi_ring_publish(shmi_ring_head_shm *shm,
                                const shmi_ring_head_shm *head);

/* Load each field once, check G2, G3 and that it is such a ring, copy it out.
 * `what` is the noun for texts ("fixed-slot queue").  What lies beyond the first
 * line and the slots is for the ring's own code to check.
 * Errors  SHMC_EINVAL not 128-byte aligned; SHMC_ETYPE; SHMC_EBYTEORDER;
 *         SHMC_EVERSION; SHMC_ECORRUPT.                                   */
SHMC_API int shmi_ring_check(const void *mem, uint64_t bytes, uint32_t magic,
                             uint32_t version, const char *what,
                             shmi_ring_head_shm *private_copy);

/* A field of a descriptor: what is asked for (0: whatever there is), and
 * what exists.                                                            */
typedef struct shmi_ask {
    const char *field;
    uint64_t asked, exists;
} shmi_ask;

/* The first row where they differ; NULL: there is none.                   */
SHMC_API const shmi_ask *shmi_ask_differs(const shmi_ask *row, size_t count);

/* SHMC_EMISMATCH, with both values, if there is one.                      */
SHMC_API int shmi_ring_same(const char *what, const shmi_ask *row, size_t count);

/* Flags for a new ring in `s`; NULL: memory of the caller's own.          */
SHMC_API uint32_t shmi_ring_flags(const shmc_segment *s, uint32_t waitable);

/* Check memory handed to a format function.  Errors  SHMC_EINVAL NULL or not
 * 128-byte aligned; SHMC_ENOSPC smaller than `needed`.                    */
SHMC_API int shmi_ring_memory(const void *mem, uint64_t bytes,
                              uint64_t needed, const char *what);

/* Create or attach the object of a ring.  `attach_only` for who must not
 * create (observers, read-only segments).                                 */
SHMC_API int shmi_ring_object(shmc_segment *s, const char *name,
                              const shmc_object_desc *desc,
                              bool attach_only, shmc_object *out);

/* SHMC_EAGAIN, or SHMC_EPEERDEAD if the watched peer's owner has died and
 * that was not told before.  Looks every SHMC_PEER_CHECK_NS at most.      */
SHMC_API int shmi_peer_look(shmi_peer_watch *watch);

/* The longest sleep that lets shmi_peer_look tell a death in time.        */
SHMC_API uint64_t shmi_peer_slice(const shmi_peer_watch *watch);

/* ---- inline: what spsc and recq share ---------------------------------- */

/* Role and size in one number, so that the hot path has one comparison for
 * "open, as this side, nothing held, right size".                         */
SHMC_INLINE uint64_t
shmi_gate(uint32_t role, uint32_t bytes) { return (uint64_t)role << 32 | bytes; }

/* Look where the consumer is.  SHMC_OK, or SHMC_ECORRUPT against I2.      */
SHMC_INLINE int
shmi_lane_see_head(shmi_lane *l)
{
    /* A2 <- R2: the consumer's reads of a slot happen before its reuse.  An
     * old `seen` is safe: it only under-counts the room.                  */
    const uint64_t head = shmi_load_acq_64(&l->shm->head.index);
    if (SHMI_UNLIKELY(l->mine - head > l->limit)) return SHMC_ECORRUPT;
    l->seen = head;
    return SHMC_OK;
}

/* Look where the producer is.  SHMC_OK, or SHMC_ECORRUPT against I2.      */
SHMC_INLINE int
shmi_lane_see_tail(shmi_lane *l)
{
    /* A1 <- R1: the producer's writes happen before they are read here.   */
    const uint64_t tail = shmi_load_acq_64(&l->shm->tail.index);
    if (SHMI_UNLIKELY(tail - l->mine > l->limit)) return SHMC_ECORRUPT;
    l->seen = tail;
    return SHMC_OK;
}

SHMC_HOT void
shmi_lane_publish_tail(shmi_lane *l, uint64_t tail)
{
    l->mine = tail;
    /* R1 -> A1: the bytes below tail happen before the consumer's reads.  */
    shmi_store_rel_64(&l->shm->tail.index, tail);
    if (SHMI_UNLIKELY(l->flags & SHMI_RING_WAITABLE))
        shmi_bell_ring(&l->shm->readable,
                       (l->flags & SHMI_RING_ASYMMETRIC) != 0);
}

SHMC_HOT void
shmi_lane_publish_head(shmi_lane *l, uint64_t head)
{
    l->mine = head;
    /* R2 -> A2: the reads below head happen before the slots' reuse.      */
    shmi_store_rel_64(&l->shm->head.index, head);
    if (SHMI_UNLIKELY(l->flags & SHMI_RING_WAITABLE))
        shmi_bell_ring(&l->shm->writable,
                       (l->flags & SHMI_RING_ASYMMETRIC) != 0);
}

/* How much of the lane is in use, as far as one look can tell.            */
SHMC_INLINE uint32_t
shmi_lane_used(const shmi_lane *l)
{
    if (SHMI_UNLIKELY(!l->shm)) return 0;
    /* Relaxed: a number, not a permission.  The two loads are apart in time,
     * so the difference may be off; it is kept inside [0, limit].         */
    const uint64_t head = shmi_load_rlx_64(&l->shm->head.index);
    const uint64_t used = shmi_load_rlx_64(&l->shm->tail.index) - head;
    return used < l->limit ? (uint32_t)used : l->limit;
}

/* ---- inline: spsc ------------------------------------------------------- */

/* Where a slot lies; `stride` is stride_bytes, perhaps a constant.         */
SHMC_INLINE uint8_t *
shmi_spsc_slot(const shmi_lane *l, uint64_t index, uint32_t stride)
{
    return l->slots + (index & l->mask) * stride;
}

SHMC_INLINE uint32_t
shmi_spsc_stride(uint32_t bytes) { return (bytes + 7) & ~(uint32_t)7; } /* G4 */

/* Ask for the lines of the slot `ahead` slots on, so that many are under way
 * at once: the producer's to write them, the consumer's to read them.  Only
 * slots that are this side's by I3 are asked for: another would be taken out
 * of the peer's hands.  A hint; it changes no byte and reads none.        */
SHMC_HOT void
shmi_spsc_fetch_free(const shmi_lane *l, uint64_t index, uint32_t stride)
{
    if (l->limit - (index - l->seen) <= l->ahead) return;
    const uint8_t *slot = shmi_spsc_slot(l, index + l->ahead, stride);
    for (uint32_t k = 0; k < stride; k += SHMI_LANE_CPU_LINE)
        shmi_prefetch_w(slot + k);
}

SHMC_HOT void
shmi_spsc_fetch_filled(const shmi_lane *l, uint64_t index, uint32_t stride)
{
    if (l->seen - index <= l->ahead) return;
    const uint8_t *slot = shmi_spsc_slot(l, index + l->ahead, stride);
    for (uint32_t k = 0; k < stride; k += SHMI_LANE_CPU_LINE)
        shmi_prefetch_r(slot + k);
}

/* Whether a message is short enough for a note: whole words, few of them.  */
SHMC_INLINE bool
shmi_spsc_noted(uint32_t bytes)
{
    return bytes <= SHMI_LONG_NOTE_WORDS * 8 && bytes % 8 == 0;
}

/* Where the note of a message of so many bytes is.                         */
SHMC_HOT uint64_t *
shmi_spsc_note_words(const shmi_lane *l, uint32_t bytes)
{
    return bytes <= SHMI_NOTE_WORDS * 8 ? l->shm->tail.note : l->shm->long_note;
}

/* Copy whole words, one by one.  Relaxed: R1 publishes them, and A3 tells of
 * a note that was overwritten; plain stores would be merged.              */
SHMC_HOT void
shmi_spsc_put_words(uint64_t *to, const void *msg, uint32_t bytes)
{
    for (uint32_t k = 0; k < bytes / 8; k++) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)msg + k * 8, sizeof word);
        shmi_store_rlx_64(&to[k], word);
    }
}

/* Copy a message into its slot: a short one word by word, as a load that is
 * wider than the stores just made to the message waits until they have left
 * the store buffer, behind lines that are still to come.                  */
SHMC_HOT void
shmi_spsc_fill(uint8_t *slot, const void *msg, uint32_t bytes)
{
    /* Plain in effect: by I3 and A2 nobody else touches the slot till R1.  */
    if (bytes > SHMI_LANE_WORDS_BYTES || bytes % 8 != 0)
        memcpy(slot, msg, bytes);
    else
        shmi_spsc_put_words((uint64_t *)(void *)slot, msg, bytes);
}

/* Note down the message that is about to be published as number tail.     */
SHMC_HOT void
shmi_spsc_note(shmi_lane *l, uint64_t tail, const void *msg, uint32_t bytes)
{
    shmi_store_rlx_64(&l->shm->tail.note_of, tail + 1);
    /* R3 -> A3: the note says of which message it is before it changes.   */
    shmi_fence_rel();
    shmi_spsc_put_words(shmi_spsc_note_words(l, bytes), msg, bytes);
}

/* Take message number head from the note, after A1 has seen it published.
 * False: the note is of another message, and *msg is garbage.             */
SHMC_HOT bool
shmi_spsc_read_note(const shmi_lane *l, uint64_t head, void *msg,
                    uint32_t bytes)
{
    const uint64_t *note = shmi_spsc_note_words(l, bytes);
    uint8_t *to = (uint8_t *)msg;
    for (uint32_t k = 0; k < bytes / 8; k++) {
        /* Relaxed: by A1 not older than the message; A3 tells if newer.   */
        const uint64_t word = shmi_load_rlx_64(&note[k]);
        memcpy(to + k * 8, &word, sizeof word);
    }
    /* A3 <- R3: had a word been of a later message, so were note_of.      */
    shmi_fence_acq();
    return shmi_load_rlx_64(&l->shm->tail.note_of) == head + 1;
}

/* Of a loan of n slots so many are fetched, which keeps it O(1); and of small
 * slots one a line, `ahead` being 16 lines of them.                       */
SHMC_INLINE uint32_t
shmi_spsc_fetches(int n)
{
    return n < SHMI_LANE_FETCH_MAX ? (uint32_t)n : (uint32_t)SHMI_LANE_FETCH_MAX;
}

SHMC_INLINE uint32_t
shmi_spsc_step(const shmi_lane *l)
{
    const uint32_t in_line = l->ahead / (SHMI_LANE_AHEAD_BYTES /
                                         SHMI_LANE_CPU_LINE);
    return in_line != 0 ? in_line : 1;
}

/* Copy in one message of exactly slot_bytes bytes.
 * Safety  one producer thread, one consumer thread, in any processes.
 * Cost    wait-free, O(bytes); reads the consumer's line only if the queue
 *         looks full.  A constant `bytes` makes the copy a few moves.
 * Crash   dying before R1 loses this message only.
 * Errors  SHMC_EAGAIN full; SHMC_EMSGSIZE; SHMC_ECORRUPT peer broke I2;
 *         SHMC_EINVAL no producer, or a loan is open; SHMC_ECLOSED;
 *         SHMC_EFORKED.
 * Source  Lamport 1983; cached peer index as in rigtorp's SPSCQueue.      */
SHMC_HOT int
shmc_spsc_push(shmc_spsc *q, const void *msg, uint32_t bytes)
{
    shmi_lane *l = &q->lane;
    const uint64_t tail = l->mine;
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate != shmi_gate(SHMC_PRODUCER, bytes)))
        return shmi_lane_refuse(l, SHMC_PRODUCER);
    if (SHMI_UNLIKELY(tail - l->seen == l->limit)) {
        const int64_t room = shmi_spsc_look_room(l);
        if (SHMI_UNLIKELY(room < 0)) return (int)room;
    }
    const uint32_t stride = shmi_spsc_stride(bytes);
    shmi_spsc_fetch_free(l, tail, stride);
    shmi_spsc_fill(shmi_spsc_slot(l, tail, stride), msg, bytes);
    /* Relaxed: a hint.                                                    */
    if (shmi_spsc_noted(bytes) && shmi_load_rlx_32(&l->shm->head.notes))
        shmi_spsc_note(l, tail, msg, bytes);
    shmi_lane_publish_tail(l, tail + 1);
    return SHMC_OK;
}

/* Copy out the oldest message, of exactly slot_bytes bytes.
 * Safety, Cost, Source  as shmc_spsc_push.
 * Crash   dying before R2: the successor sees this message again.
 * Errors  SHMC_EAGAIN empty; the others as shmc_spsc_push.                */
SHMC_HOT int
shmc_spsc_pop(shmc_spsc *q, void *msg, uint32_t bytes)
{
    shmi_lane *l = &q->lane;
    const uint64_t head = l->mine;
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate != shmi_gate(SHMC_CONSUMER, bytes)))
        return shmi_lane_refuse(l, SHMC_CONSUMER);
    if (SHMI_UNLIKELY(l->seen == head)) {
        const int64_t filled = shmi_spsc_look_filled(l);
        if (SHMI_UNLIKELY(filled < 0)) return (int)filled;
        if (shmi_spsc_noted(bytes) && filled == 1 && l->idle != 0 &&
            shmi_spsc_read_note(l, head, msg, bytes)) {
            shmi_lane_publish_head(l, head + 1);
            return SHMC_OK;
        }
    }
    const uint32_t stride = shmi_spsc_stride(bytes);
    shmi_spsc_fetch_filled(l, head, stride);
    /* A plain copy: by I3 and A1 nobody else touches the slot till R2.    */
    memcpy(msg, shmi_spsc_slot(l, head, stride), bytes);
    shmi_lane_publish_head(l, head + 1);
    return SHMC_OK;
}

/* Slots that may be written now: up to `want`, and at most 2^30.          */
SHMC_HOT int
shmi_spsc_room(shmi_lane *l, uint32_t want)
{
    const uint64_t tail = l->mine;
    if (want > SHMI_RING_MAX_GRANT) want = SHMI_RING_MAX_GRANT;
    if (SHMI_UNLIKELY(l->limit - (tail - l->seen) < want)) {
        const int64_t room = shmi_spsc_look_room(l);
        if (room < 0) return (int)room;
        if ((uint64_t)room < want) want = (uint32_t)room;
    }
    return (int)want;
}

/* Slots that may be read now: up to `want`, and at most 2^30.             */
SHMC_HOT int
shmi_spsc_filled(shmi_lane *l, uint32_t want)
{
    const uint64_t head = l->mine;
    if (want > SHMI_RING_MAX_GRANT) want = SHMI_RING_MAX_GRANT;
    if (SHMI_UNLIKELY(l->seen - head < want)) {
        const int64_t filled = shmi_spsc_look_filled(l);
        if (filled < 0) return (int)filled;
        if ((uint64_t)filled < want) want = (uint32_t)filled;
    }
    return (int)want;
}

/* Copy in up to `count` messages that lie one after the other; they are
 * published together.  Returns how many, at least 1.
 * Safety  as shmc_spsc_push.  Cost  wait-free, O(bytes * count).
 * Crash   all of them or none.  Errors  as shmc_spsc_push; count 0.       */
SHMC_HOT int
shmc_spsc_push_n(shmc_spsc *q, const void *msgs, uint32_t bytes,
                 uint32_t count)
{
    shmi_lane *l = &q->lane;
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate != shmi_gate(SHMC_PRODUCER, bytes)))
        return shmi_lane_refuse(l, SHMC_PRODUCER);
    if (SHMI_UNLIKELY(count == 0)) return SHMC_EINVAL;
    const int n = shmi_spsc_room(l, count);
    if (n < 0) return n;
    const uint8_t *from = (const uint8_t *)msgs;
    const uint32_t stride = shmi_spsc_stride(bytes);
    const uint64_t end = l->mine + (uint32_t)n;
    for (uint64_t i = l->mine; i != end; i++, from += bytes) {
        shmi_spsc_fetch_free(l, i, stride);
        memcpy(shmi_spsc_slot(l, i, stride), from, bytes);
    }
    shmi_lane_publish_tail(l, end);
    return n;
}

/* Copy out up to `count` messages, one after the other; their slots are
 * given back together.  Returns how many, at least 1.
 * Safety, Cost, Errors  as shmc_spsc_push_n.  Crash  all are seen again.  */
SHMC_HOT int
shmc_spsc_pop_n(shmc_spsc *q, void *msgs, uint32_t bytes, uint32_t count)
{
    shmi_lane *l = &q->lane;
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate != shmi_gate(SHMC_CONSUMER, bytes)))
        return shmi_lane_refuse(l, SHMC_CONSUMER);
    if (SHMI_UNLIKELY(count == 0)) return SHMC_EINVAL;
    const int n = shmi_spsc_filled(l, count);
    if (n < 0) return n;
    uint8_t *to = (uint8_t *)msgs;
    const uint32_t stride = shmi_spsc_stride(bytes);
    const uint64_t end = l->mine + (uint32_t)n;
    for (uint64_t i = l->mine; i != end; i++, to += bytes) {
        shmi_spsc_fetch_filled(l, i, stride);
        memcpy(to, shmi_spsc_slot(l, i, stride), bytes);
    }
    shmi_lane_publish_head(l, end);
    return n;
}

/* Open or close the gate around a loan or a borrow.                       */
SHMC_INLINE void
shmi_lane_hold(shmi_lane *l, uint32_t role, uint32_t held)
{
    l->hold = shmi_gate(role, held);
    l->gate = 0;
}

SHMC_INLINE void
shmi_lane_unhold(shmi_lane *l)
{
    l->hold = 0;
    l->gate = l->open_gate;
}

/* Whether this side may take a loan or borrow; its gate tells.            */
SHMC_INLINE int
shmi_lane_may_hold(const shmi_lane *l, uint32_t role)
{
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->gate >> 32 != role)) return shmi_lane_refuse(l, role);
    return SHMC_OK;
}

/* What a commit or a release must be: of this side, after a loan.         */
SHMC_INLINE int
shmi_lane_may_unhold(const shmi_lane *l, uint32_t role)
{
    if (SHMI_UNLIKELY(l->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(l->hold >> 32 != role))
        return l->shm ? SHMC_EINVAL : SHMC_ECLOSED;
    return SHMC_OK;
}

/* Of `want` slots from this side's index on, those that lie in one piece. */
SHMC_INLINE uint32_t
shmi_spsc_piece(const shmi_lane *l, uint32_t want)
{
    if (want == 1) return want;     /* folds away where `want` is constant  */
    const uint32_t piece = l->limit - (uint32_t)(l->mine & l->mask);
    return want < piece ? want : piece;
}

/* Borrow up to `want` free slots to write in place, slot k at *slots plus
 * k times the slot size rounded up to 8.  Returns how many, at least 1; they
 * lie in one piece, so fewer are granted where the ring wraps.
 * Owner   the slots are the caller's until commit or abort; push refuses.
 * Cost    wait-free, O(1).  Crash  as if the loan had never been.
 * Errors  as shmc_spsc_push; want 0.                                      */
SHMC_HOT int
shmc_spsc_loan(shmc_spsc *q, void **slots, uint32_t want)
{
    shmi_lane *l = &q->lane;
    *slots = NULL;
    const int rc = shmi_lane_may_hold(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(want == 0)) return SHMC_EINVAL;
    const int n = shmi_spsc_room(l, shmi_spsc_piece(l, want));
    if (n < 0) return n;
    const uint64_t tail = l->mine;
    *slots = shmi_spsc_slot(l, tail, l->stride_bytes);
    shmi_lane_hold(l, SHMC_PRODUCER, (uint32_t)n);
    uint32_t k = 0;
    do {                            /* once, where `want` is a constant 1   */
        shmi_spsc_fetch_free(l, tail + k, l->stride_bytes);
        k += shmi_spsc_step(l);
    } while (want != 1 && k < shmi_spsc_fetches(n));
    return n;
}

/* Publish the first `count` loaned slots; the rest is given back.
 * Cost    wait-free.  Errors  SHMC_EINVAL no loan, or count too large (the
 *         loan stays); SHMC_EFORKED; SHMC_ECLOSED.                        */
SHMC_HOT int
shmc_spsc_commit(shmc_spsc *q, uint32_t count)
{
    shmi_lane *l = &q->lane;
    const int rc = shmi_lane_may_unhold(l, SHMC_PRODUCER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(count > (uint32_t)l->hold)) return SHMC_EINVAL;
    shmi_lane_unhold(l);
    if (count != 0) shmi_lane_publish_tail(l, l->mine + count);
    return SHMC_OK;
}

/* Give a loan back unpublished.  Errors  as shmc_spsc_commit.             */
SHMC_INLINE int
shmc_spsc_abort(shmc_spsc *q) { return shmc_spsc_commit(q, 0); }

/* Borrow up to `want` messages where they lie, laid out as in a loan.
 * Returns how many, at least 1.
 * Owner   the slots stay the caller's until release: the producer does not
 *         overwrite them, however long it takes.
 * Cost    wait-free, O(1).  Crash  the successor sees them again.
 * Errors  as shmc_spsc_pop; want 0.                                       */
SHMC_HOT int
shmc_spsc_borrow(shmc_spsc *q, const void **slots, uint32_t want)
{
    shmi_lane *l = &q->lane;
    *slots = NULL;
    const int rc = shmi_lane_may_hold(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(want == 0)) return SHMC_EINVAL;
    const int n = shmi_spsc_filled(l, shmi_spsc_piece(l, want));
    if (n < 0) return n;
    const uint64_t head = l->mine;
    *slots = shmi_spsc_slot(l, head, l->stride_bytes);
    shmi_lane_hold(l, SHMC_CONSUMER, (uint32_t)n);
    uint32_t k = 0;
    do {                            /* once, where `want` is a constant 1   */
        shmi_spsc_fetch_filled(l, head + k, l->stride_bytes);
        k += shmi_spsc_step(l);
    } while (want != 1 && k < shmi_spsc_fetches(n));
    return n;
}

/* Give the first `count` borrowed slots back to the producer; the rest is
 * seen again by the next borrow or pop.  Errors  as shmc_spsc_commit.     */
SHMC_HOT int
shmc_spsc_release(shmc_spsc *q, uint32_t count)
{
    shmi_lane *l = &q->lane;
    const int rc = shmi_lane_may_unhold(l, SHMC_CONSUMER);
    if (rc != SHMC_OK) return rc;
    if (SHMI_UNLIKELY(count > (uint32_t)l->hold)) return SHMC_EINVAL;
    shmi_lane_unhold(l);
    if (count != 0) shmi_lane_publish_head(l, l->mine + count);
    return SHMC_OK;
}

/* Count the messages in the queue, or the free slots, about now.
 * Safety  any role.  Cost  wait-free; reads both sides' lines.            */
SHMC_INLINE uint32_t
shmc_spsc_used(const shmc_spsc *q) { return shmi_lane_used(&q->lane); }

SHMC_INLINE uint32_t
shmc_spsc_free(const shmc_spsc *q)
{
    return q->lane.limit - shmi_lane_used(&q->lane);
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_RING_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_RING_IMPLEMENTED)
#define SHMCOMM_RING_IMPLEMENTED

/* >>ground ---------------------------------------------------------------- */

SHMC_API void
shmi_ring_publish(shmi_ring_head_shm *shm, const shmi_ring_head_shm *head)
{
    /* The bytes may be another ring's that is being formatted anew: it is
     * no ring from here on.  Relaxed: whoever uses it then has lost anyway. */
    shmi_store_rlx_32(&shm->magic, 0);
    memcpy((uint8_t *)shm + sizeof shm->magic,
           (const uint8_t *)head + sizeof head->magic,
           sizeof *head - sizeof head->magic);
    /* R0 -> A0: the whole ring happens before anybody takes it for one.    */
    shmi_store_rel_32(&shm->magic, head->magic);
}

static uint32_t
shmi_ring_swapped_32(uint32_t v)
{
    return v >> 24 | (v >> 8 & 0xff00u) | (v & 0xff00u) << 8 | v << 24;
}

SHMC_API int
shmi_ring_check(const void *mem, uint64_t bytes, uint32_t magic,
                uint32_t version, const char *what,
                shmi_ring_head_shm *private_copy)
{
    const shmi_ring_head_shm *shm = (const shmi_ring_head_shm *)mem;
    shmi_ring_head_shm h;
    memset(private_copy, 0, sizeof *private_copy);
    if (!mem || (uintptr_t)mem % SHMC_LINE != 0)
        return shmi_fail(SHMC_EINVAL, "map a %s: memory at %p is not %u-byte"
                         " aligned", what, mem, SHMC_LINE);
    if (bytes < sizeof *shm)
        return shmi_fail(SHMC_ECORRUPT, "map a %s: %llu bytes do not hold its"
                         " first line", what, (unsigned long long)bytes);
    memset(&h, 0, sizeof h);
    /* A0 <- R0: the creator wrote all the rest before.                     */
    h.magic = shmi_load_acq_32(&shm->magic);
    if (h.magic == shmi_ring_swapped_32(magic))
        return shmi_fail(SHMC_EBYTEORDER, "map a %s: it was written with the"
                         " other byte order", what);
    if (h.magic != magic)
        return shmi_fail(SHMC_ETYPE, "map a %s: the memory holds none (magic"
                         " %08x, not %08x); format it first", what,
                         (unsigned)h.magic, (unsigned)magic);
    /* Relaxed: constant after R0 (G1), and checked below if a peer lies.   */
    h.version      = shmi_load_rlx_32(&shm->version);
    h.total_bytes  = shmi_load_rlx_64(&shm->total_bytes);
    h.slot_bytes   = shmi_load_rlx_32(&shm->slot_bytes);
    h.slot_count   = shmi_load_rlx_32(&shm->slot_count);
    h.stride_bytes = shmi_load_rlx_32(&shm->stride_bytes);
    h.flags        = shmi_load_rlx_32(&shm->flags);
    h.seats        = shmi_load_rlx_32(&shm->seats);
    h.mode         = shmi_load_rlx_32(&shm->mode);
    for (unsigned i = 0; i < sizeof h.aux / sizeof h.aux[0]; i++)
        h.aux[i] = shmi_load_rlx_64(&shm->aux[i]);
    if (h.version != version)
        return shmi_fail(SHMC_EVERSION, "map a %s: its layout has version %u,"
                         " this program knows %u", what, (unsigned)h.version,
                         (unsigned)version);
    /* No overflow: a product of two 32-bit numbers fits 64 bits, and
     * total_bytes >= 128 is made sure of before it is subtracted from.     */
    if (h.total_bytes < sizeof h || h.total_bytes > bytes ||
        h.slot_bytes == 0 || h.slot_bytes > SHMI_RING_MAX_BYTES ||
        h.stride_bytes == 0 || h.stride_bytes % 8 != 0 ||
        !shmi_is_pow2(h.slot_count) || h.slot_count > SHMI_RING_MAX_COUNT ||
        (uint64_t)h.stride_bytes * h.slot_count > h.total_bytes - sizeof h)
        return shmi_fail(SHMC_ECORRUPT, "map a %s: %u slots of %u bytes every"
                         " %u do not fit its %llu bytes in %llu", what,
                         (unsigned)h.slot_count, (unsigned)h.slot_bytes,
                         (unsigned)h.stride_bytes,
                         (unsigned long long)h.total_bytes,
                         (unsigned long long)bytes);
    *private_copy = h;
    return SHMC_OK;
}

SHMC_API const shmi_ask *
shmi_ask_differs(const shmi_ask *row, size_t count)
{
    for (; count > 0; row++, count--)
        if (row->asked != 0 && row->asked != row->exists) return row;
    return NULL;
}

SHMC_API int
shmi_ring_same(const char *what, const shmi_ask *row, size_t count)
{
    row = shmi_ask_differs(row, count);
    if (row == NULL) return SHMC_OK;
    return shmi_fail(SHMC_EMISMATCH, "open a %s: it exists with %s %llu, not"
                     " %llu; ask for that, for 0 (take what exists), or remove"
                     " it first", what, row->field,
                     (unsigned long long)row->exists,
                     (unsigned long long)row->asked);
}

SHMC_API uint32_t
shmi_ring_flags(const shmc_segment *s, uint32_t waitable)
{
    uint32_t flags = 0;
    if (waitable) flags |= SHMI_RING_WAITABLE;
    if (s && s->wake == SHMC_WAKE_ASYMMETRIC) flags |= SHMI_RING_ASYMMETRIC;
    return flags;
}

SHMC_API int
shmi_ring_memory(const void *mem, uint64_t bytes, uint64_t needed,
                 const char *what)
{
    if (!mem || (uintptr_t)mem % SHMC_LINE != 0)
        return shmi_fail(SHMC_EINVAL, "format a %s: memory at %p is not"
                         " %u-byte aligned", what, mem, SHMC_LINE);
    if (bytes < needed)
        return shmi_fail(SHMC_ENOSPC, "format a %s: it takes %llu bytes, the"
                         " memory has %llu", what, (unsigned long long)needed,
                         (unsigned long long)bytes);
    return SHMC_OK;
}

SHMC_API int
shmi_ring_object(shmc_segment *s, const char *name,
                 const shmc_object_desc *desc, bool attach_only,
                 shmc_object *out)
{
    if (!s || !name || !out)
        return shmi_fail(SHMC_EINVAL, "open a ring: no segment or no name");
    return attach_only || s->read_only
         ? shmc_object_attach(s, name, desc, out)
         : shmc_object_open(s, name, desc, out);
}

SHMC_API int
shmi_peer_look(shmi_peer_watch *watch)
{
    if (!watch->segment) return SHMC_EAGAIN;
    const uint64_t now_ns = shmi_now_ns();
    if (now_ns < watch->look_ns) return SHMC_EAGAIN;
    watch->look_ns = now_ns + SHMC_PEER_CHECK_NS;
    /* Relaxed: the word alone is judged, and the kernel knows who lives.   */
    const uint64_t owner = shmi_load_rlx_64(watch->word);
    if (owner == 0 || owner == watch->told) return SHMC_EAGAIN;
    if (shmi_owner_alive(watch->segment, owner)) return SHMC_EAGAIN;
    watch->told = owner;
    return SHMC_EPEERDEAD;
}

SHMC_API uint64_t
shmi_peer_slice(const shmi_peer_watch *watch)
{
    if (!watch->segment) return SHMC_RECHECK_NS;
    const uint64_t owner = shmi_load_rlx_64(watch->word);
    return owner != 0 && owner == watch->told ? SHMC_RECHECK_NS
                                              : SHMC_PEER_CHECK_NS;
}

/* >>lane ------------------------------------------------------------------ */

/* What tells spsc and recq apart where they are opened.                   */
typedef struct shmi_lane_plan {
    const char *what, *count_field, *type_name;
    uint32_t magic, version, kind;
    uint32_t unit;                  /* index steps a slot: 1, or 8 bytes    */
    uint32_t min_count;
    uint32_t slot_bytes, slot_count, waitable;  /* as asked; 0 = whatever   */
    shmi_ring_head_shm head;        /* of a new one                         */
} shmi_lane_plan;

static void
shmi_lane_plan_head(shmi_lane_plan *p, uint32_t slot_bytes,
                    uint32_t slot_count)
{
    shmi_ring_head_shm *h = &p->head;
    memset(h, 0, sizeof *h);
    h->magic = p->magic;
    h->version = p->version;
    h->slot_bytes = slot_bytes;
    h->slot_count = slot_count;
    h->stride_bytes = (uint32_t)shmi_round_up(slot_bytes, 8);
    h->flags = shmi_ring_flags(NULL, p->waitable);
    /* No overflow: at most 2^30 * 2^31, and a little.                      */
    h->total_bytes = shmi_round_up(
        sizeof(shmi_lane_shm) + (uint64_t)h->stride_bytes * slot_count,
        SHMC_LINE);
}

static int
shmi_waitable_check(const char *what, uint32_t waitable)
{
    if (waitable <= 1) return SHMC_OK;
    return shmi_fail(SHMC_EINVAL, "%s: waitable is %u, not 0 or 1", what,
                     (unsigned)waitable);
}

static int
shmi_spsc_plan(shmi_lane_plan *p, const shmc_spsc_desc *desc)
{
    static const shmc_spsc_desc none;
    const shmc_spsc_desc *d = desc ? desc : &none;
    memset(p, 0, sizeof *p);
    p->what = "fixed-slot queue";
    p->count_field = "slot_count";
    p->type_name = d->type_name;
    p->magic = SHMI_SPSC_MAGIC;
    p->version = SHMI_SPSC_VERSION;
    p->kind = SHMC_KIND_SPSC;
    p->unit = 1;
    p->min_count = 1;
    p->slot_bytes = d->slot_bytes;
    p->slot_count = d->slot_count;
    p->waitable = d->waitable;
    if (d->slot_bytes > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_EINVAL, "%s: slot_bytes is %u, more than %u",
                         p->what, (unsigned)d->slot_bytes,
                         SHMI_RING_MAX_BYTES);
    if (d->slot_count != 0 && !shmi_is_pow2(d->slot_count))
        return shmi_fail(SHMC_EINVAL, "%s: slot_count is %u, not a power of"
                         " two", p->what, (unsigned)d->slot_count);
    shmi_lane_plan_head(p, d->slot_bytes ? d->slot_bytes : 64,
                        d->slot_count ? d->slot_count : 1024);
    return shmi_waitable_check(p->what, d->waitable);
}

static int
shmi_lane_format(void *mem, uint64_t bytes, const shmi_lane_plan *p)
{
    const int rc = shmi_ring_memory(mem, bytes, p->head.total_bytes, p->what);
    if (rc != SHMC_OK) return rc;
    /* The first line comes last.  The slots may stay garbage: nobody reads
     * one that was not pushed.                                            */
    memset((uint8_t *)mem + sizeof p->head, 0,
           sizeof(shmi_lane_shm) - sizeof p->head);
    shmi_ring_publish((shmi_ring_head_shm *)mem, &p->head);
    return SHMC_OK;
}

static int
shmi_lane_init(void *mem, uint64_t bytes, const void *plan)
{
    return shmi_lane_format(mem, bytes, (const shmi_lane_plan *)plan);
}

/* Check geometry (G2, G3, and what this kind adds) and what was asked for. */
static int
shmi_lane_check(const void *mem, uint64_t bytes, const shmi_lane_plan *p,
                shmi_ring_head_shm *h)
{
    const int rc = shmi_ring_check(mem, bytes, p->magic, p->version, p->what, h);
    if (rc != SHMC_OK) return rc;
    const uint64_t slots = (uint64_t)h->stride_bytes * h->slot_count;
    const bool records = p->unit != 1;
    if (h->total_bytes < sizeof(shmi_lane_shm) + slots ||
        h->slot_count < p->min_count ||
        (uint64_t)h->slot_count * p->unit > SHMI_RING_MAX_COUNT ||
        h->stride_bytes != shmi_round_up(h->slot_bytes, 8) ||       /* G4 */
        (records && h->slot_bytes != p->unit))
        return shmi_fail(SHMC_ECORRUPT, "map a %s: %u slots of %u bytes every"
                         " %u cannot be", p->what, (unsigned)h->slot_count,
                         (unsigned)h->slot_bytes, (unsigned)h->stride_bytes);
    const shmi_ask row[] = {
        { "slot_bytes", p->slot_bytes, h->slot_bytes },
        { p->count_field, (uint64_t)p->slot_count * p->unit,
          (uint64_t)h->slot_count * p->unit },
        { "waitable", p->waitable, h->flags & SHMI_RING_WAITABLE }
    };
    return shmi_ring_same(p->what, row, sizeof row / sizeof row[0]);
}

/* Take the role and the indices of whoever had it before.                 */
static int
shmi_lane_claim(shmi_lane *l, const shmi_lane_plan *p)
{
    shmi_lane_shm *shm = l->shm;
    if (l->role == SHMC_OBSERVER) return SHMC_OK;
    const bool producer = l->role == SHMC_PRODUCER;
    shmi_end_shm *own = producer ? &shm->tail : &shm->head;
    shmi_end_shm *peer = producer ? &shm->head : &shm->tail;
    const int rc = shmi_role_claim(l->segment, &own->owner,
                                   producer ? "producer" : "consumer");
    if (rc != SHMC_OK) return rc;
    /* Relaxed: the claim comes after all that its forerunner did.  The
     * peer's: A1 <- R1 and A2 <- R2, as on the hot path.                   */
    l->mine = shmi_load_rlx_64(&own->index);
    l->seen = shmi_load_acq_64(&peer->index);
    const uint64_t used = producer ? l->mine - l->seen : l->seen - l->mine;
    if (used > l->limit || l->mine % p->unit != 0) {
        shmi_role_drop(l->segment, &own->owner);
        return shmi_fail(SHMC_ECORRUPT, "map a %s: its indices %llu and %llu"
                         " are not within %u; format it anew", p->what,
                         (unsigned long long)l->mine,
                         (unsigned long long)l->seen, (unsigned)l->limit);
    }
    /* I6: what a forerunner left in the note is of no message of this queue;
     * what it asked for is asked anew.                                    */
    if (p->unit == 1 && producer)
        shmi_store_rlx_64(&own->note_of, l->mine + (UINT64_MAX >> 1));
    else if (p->unit == 1)
        shmi_store_rlx_32(&own->notes, 0);
    l->watch.segment = l->segment;
    l->watch.word = &peer->owner;
    l->open_gate = shmi_gate(l->role, p->unit == 1 ? l->slot_bytes : 0);
    l->gate = l->open_gate;
    return SHMC_OK;
}

static int
shmi_lane_bind(shmi_lane *l, shmc_segment *s, void *mem, uint64_t bytes,
               uint32_t role, const shmi_lane_plan *p)
{
    shmi_ring_head_shm h;
    memset(l, 0, sizeof *l);
    if (role > SHMC_CONSUMER)
        return shmi_fail(SHMC_EINVAL, "map a %s: role %u is none", p->what,
                         (unsigned)role);
    int rc = shmi_lane_check(mem, bytes, p, &h);
    if (rc != SHMC_OK) return rc;
    l->shm = (shmi_lane_shm *)mem;
    l->slots = (uint8_t *)mem + sizeof(shmi_lane_shm);
    l->limit = h.slot_count * p->unit;
    l->mask = l->limit - 1;
    l->stride_bytes = h.stride_bytes;
    l->slot_bytes = h.slot_bytes;
    l->max_bytes = p->unit == 1 ? h.slot_bytes
                                : l->limit / 2 - p->unit;
    l->flags = h.flags;
    l->ahead = SHMI_LANE_NEVER;
    if (p->unit == 1 && l->stride_bytes <= SHMI_LANE_AHEAD_BYTES)
        l->ahead = SHMI_LANE_AHEAD_BYTES / l->stride_bytes;
    l->epoch = shmi_fork_epoch;
    l->role = role;
    l->segment = s;
    rc = shmi_lane_claim(l, p);
    if (rc != SHMC_OK) memset(l, 0, sizeof *l);
    return rc;
}

static int
shmi_lane_open(shmi_lane *l, shmc_segment *s, const char *name,
               uint32_t role, shmi_lane_plan *p)
{
    shmc_object object;
    shmc_object_desc d;
    memset(l, 0, sizeof *l);
    if (!s || !name || role > SHMC_CONSUMER)
        return shmi_fail(SHMC_EINVAL, "open a %s: no segment, no name, or role"
                         " %u", p->what, (unsigned)role);
    if (s->read_only && role != SHMC_OBSERVER)
        return shmi_fail(SHMC_EROFS, "open the %s \"%s\": the segment is open"
                         " read-only; only an observer can be", p->what, name);
    memset(&d, 0, sizeof d);
    p->head.flags = shmi_ring_flags(s, p->waitable);
    d.bytes = p->head.total_bytes;
    d.kind = p->kind;
    d.version = p->version;
    d.type_name = p->type_name;
    d.type_hash = p->type_name ? shmc_type_hash(p->type_name) : 0;
    d.init = shmi_lane_init;
    d.user = p;
    int rc = shmi_ring_object(s, name, &d, role == SHMC_OBSERVER, &object);
    if (rc != SHMC_OK) return rc;
    rc = shmi_lane_bind(l, s, object.mem, object.bytes, role, p);
    if (rc != SHMC_OK) {
        shmc_object_close(s, &object);
        return rc;
    }
    l->object = object;
    return SHMC_OK;
}

static int
shmi_lane_close(shmi_lane *l)
{
    int rc = SHMC_OK;
    if (!l->shm) return SHMC_ECLOSED;
    if (l->epoch == shmi_fork_epoch) {
        if (l->role == SHMC_PRODUCER)
            shmi_role_drop(l->segment, &l->shm->tail.owner);
        if (l->role == SHMC_CONSUMER)
            shmi_role_drop(l->segment, &l->shm->head.owner);
        if (l->object.mem) rc = shmc_object_close(l->segment, &l->object);
    }
    memset(l, 0, sizeof *l);
    return rc;
}

SHMC_API int
shmi_lane_refuse(const shmi_lane *l, uint32_t role)
{
    if (!l->shm) return SHMC_ECLOSED;
    if (l->role != role || l->hold != 0) return SHMC_EINVAL;
    return SHMC_EMSGSIZE;
}

/* Fill in who holds a role.                                               */
static void
shmi_ring_holder(const shmc_segment *s, const uint64_t *word, int32_t *pid,
                 bool *alive)
{
    const uint64_t owner = shmi_load_rlx_64(word);
    *pid = owner ? shmi_owner_pid(s, owner) : 0;
    *alive = shmi_owner_alive(s, owner);
}

/* One wait of one side.                                                   */
typedef struct shmi_lane_wait shmi_lane_wait;
struct shmi_lane_wait {
    int (*try_once)(const shmi_lane_wait *w);
    shmi_lane *lane;
    void *queue;                    /* that the lane belongs to             */
    const void *from;               /* push this,                           */
    void *to;                       /* or pop to here                       */
    uint32_t bytes;
};

static int
shmi_lane_try_or_look(void *ctx)
{
    const shmi_lane_wait *w = (const shmi_lane_wait *)ctx;
    int rc = w->try_once(w);
    if (rc != SHMC_EAGAIN) return rc;
    if (shmi_peer_look(&w->lane->watch) != SHMC_EPEERDEAD) return SHMC_EAGAIN;
    /* What the peer did last comes first; its death is told after it.      */
    rc = w->try_once(w);
    if (rc == SHMC_EAGAIN) return SHMC_EPEERDEAD;
    w->lane->watch.told = 0;
    return rc;
}

static int
shmi_lane_wait_for(uint32_t role, shmi_lane_wait *w, int64_t timeout_ns)
{
    shmi_lane *l = w->lane;
    if (l->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (!l->shm || l->role != role) return shmi_lane_refuse(l, role);
    if (!(l->flags & SHMI_RING_WAITABLE))
        return shmi_fail(SHMC_ENOTSUP, "wait on a queue that was created"
                         " without waitable = 1");
    const int rc = w->try_once(w);
    if (rc != SHMC_EAGAIN || timeout_ns == 0) return rc;
    return shmi_bell_wait(role == SHMC_PRODUCER ? &l->shm->writable
                                                : &l->shm->readable,
                          (l->flags & SHMI_RING_ASYMMETRIC) != 0,
                          shmi_lane_try_or_look, w, timeout_ns,
                          shmi_peer_slice(&l->watch));
}

/* What a poller asks of both kinds of queue; `has` tells whether there is
 * something to pop, or room: more than 0, SHMC_EAGAIN, or why not.        */
static int
shmi_lane_poll(shmi_lane *l, uint32_t events, bool thorough,
               shmi_poll_spot *spot, int64_t (*has)(shmi_lane *l))
{
    if (l->epoch != shmi_fork_epoch) return l->shm ? SHMC_EFORKED : SHMC_ECLOSED;
    if (!l->shm) return SHMC_ECLOSED;
    const bool pops = l->role == SHMC_CONSUMER;
    const uint32_t mine = pops ? SHMC_POLLIN
                        : l->role == SHMC_PRODUCER ? SHMC_POLLOUT : 0u;
    if ((events & ~mine) != 0)
        return shmi_fail(SHMC_EINVAL, "poll a queue for 0x%x: a consumer asks "
                         "for SHMC_POLLIN, a producer for SHMC_POLLOUT", events);
    if (!(l->flags & SHMI_RING_WAITABLE))
        return shmi_fail(SHMC_ENOTSUP, "poll a queue that was created without"
                         " waitable = 1");
    spot->bell[0] = pops ? &l->shm->readable : &l->shm->writable;
    spot->asymmetric = (l->flags & SHMI_RING_ASYMMETRIC) != 0;
    spot->slice_ns = shmi_peer_slice(&l->watch);
    spot->progress = l->mine;
    if (l->hold != 0) return 0;     /* the calls are refused until then      */
    int64_t r = has(l);
    if (r == SHMC_EAGAIN && thorough &&
        shmi_peer_look(&l->watch) == SHMC_EPEERDEAD) {
        /* What the peer did last comes first; its death is told after it. */
        r = has(l);
        if (r == SHMC_EAGAIN) return SHMC_POLLDEAD;
        l->watch.told = 0;
    }
    if (r == SHMC_EAGAIN) return 0;
    return r < 0 ? (int)r : (int)(events & mine);
}

/* >>spsc ------------------------------------------------------------------ */

SHMC_API int64_t
shmi_spsc_look_room(shmi_lane *l)
{
    if (shmi_lane_see_head(l) != SHMC_OK) return SHMC_ECORRUPT;
    const uint64_t room = l->limit - (l->mine - l->seen);
    return room != 0 ? (int64_t)room : SHMC_EAGAIN;
}

SHMC_API int64_t
shmi_spsc_look_filled(shmi_lane *l)
{
    if (shmi_lane_see_tail(l) != SHMC_OK) return SHMC_ECORRUPT;
    const uint64_t filled = l->seen - l->mine;
    /* Relaxed: a hint; without a note the message is in its slot.         */
    if (filled == 0) {
        /* Index and long note then travel together.                       */
        if (l->slot_bytes > SHMI_NOTE_WORDS * 8 &&
            shmi_spsc_noted(l->slot_bytes))
            shmi_prefetch_r(l->shm->long_note);
        if (l->idle < SHMI_LANE_IDLE && ++l->idle == SHMI_LANE_IDLE)
            shmi_store_rlx_32(&l->shm->head.notes, 1);
        return SHMC_EAGAIN;
    }
    if (filled > 1) {
        if (l->idle == SHMI_LANE_IDLE) shmi_store_rlx_32(&l->shm->head.notes, 0);
        l->idle = 0;
    }
    return (int64_t)filled;
}

SHMC_API int64_t
shmc_spsc_size_for(const shmc_spsc_desc *desc)
{
    shmi_lane_plan p;
    const int rc = shmi_spsc_plan(&p, desc);
    return rc == SHMC_OK ? (int64_t)p.head.total_bytes : rc;
}

SHMC_API int
shmc_spsc_format(void *mem, uint64_t bytes, const shmc_spsc_desc *desc)
{
    shmi_lane_plan p;
    const int rc = shmi_spsc_plan(&p, desc);
    return rc == SHMC_OK ? shmi_lane_format(mem, bytes, &p) : rc;
}

SHMC_API int
shmi_spsc_bind(shmc_spsc *q, shmc_segment *s, void *mem, uint64_t bytes,
               uint32_t role)
{
    shmi_lane_plan p;
    const int rc = shmi_spsc_plan(&p, NULL);
    return rc == SHMC_OK ? shmi_lane_bind(&q->lane, s, mem, bytes, role, &p)
                         : rc;
}

SHMC_API int
shmc_spsc_map(shmc_spsc *q, void *mem, uint64_t bytes, uint32_t role)
{
    return shmi_spsc_bind(q, NULL, mem, bytes, role);
}

SHMC_API int
shmc_spsc_open(shmc_spsc *q, shmc_segment *s, const char *name,
               const shmc_spsc_desc *desc, uint32_t role)
{
    shmi_lane_plan p;
    memset(q, 0, sizeof *q);
    const int rc = shmi_spsc_plan(&p, desc);
    return rc == SHMC_OK ? shmi_lane_open(&q->lane, s, name, role, &p) : rc;
}

SHMC_API int
shmc_spsc_close(shmc_spsc *q) { return shmi_lane_close(&q->lane); }

SHMC_API int
shmc_spsc_stats_get(const shmc_spsc *q, shmc_spsc_stats *out)
{
    const shmi_lane *l = &q->lane;
    memset(out, 0, sizeof *out);
    if (!l->shm) return SHMC_ECLOSED;
    if (l->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    out->popped = shmi_load_rlx_64(&l->shm->head.index);
    out->pushed = shmi_load_rlx_64(&l->shm->tail.index);
    out->used = shmi_lane_used(l);
    out->slot_count = l->limit;
    out->slot_bytes = l->slot_bytes;
    out->waitable = (l->flags & SHMI_RING_WAITABLE) != 0;
    shmi_ring_holder(l->segment, &l->shm->tail.owner, &out->producer_pid,
                     &out->producer_alive);
    shmi_ring_holder(l->segment, &l->shm->head.owner, &out->consumer_pid,
                     &out->consumer_alive);
    return SHMC_OK;
}

static int
shmi_spsc_try(const shmi_lane_wait *w)
{
    shmc_spsc *q = (shmc_spsc *)w->queue;
    return w->lane->role == SHMC_CONSUMER
         ? shmc_spsc_pop(q, w->to, w->bytes)
         : shmc_spsc_push(q, w->from, w->bytes);
}

SHMC_API int
shmc_spsc_push_wait(shmc_spsc *q, const void *msg, uint32_t bytes,
                    int64_t timeout_ns)
{
    shmi_lane_wait w = { shmi_spsc_try, &q->lane, q, msg, NULL, bytes };
    return shmi_lane_wait_for(SHMC_PRODUCER, &w, timeout_ns);
}

SHMC_API int
shmc_spsc_pop_wait(shmc_spsc *q, void *msg, uint32_t bytes,
                   int64_t timeout_ns)
{
    shmi_lane_wait w = { shmi_spsc_try, &q->lane, q, NULL, msg, bytes };
    return shmi_lane_wait_for(SHMC_CONSUMER, &w, timeout_ns);
}

static int
shmi_spsc_look(void *queue, uint32_t events, bool thorough,
               shmi_poll_spot *spot)
{
    shmi_lane *l = &((shmc_spsc *)queue)->lane;

    return shmi_lane_poll(l, events, thorough, spot,
                          l->role == SHMC_CONSUMER ? shmi_spsc_look_filled
                                                   : shmi_spsc_look_room);
}

SHMC_API shmc_pollable
shmc_spsc_pollable(shmc_spsc *q)
{
    return (shmc_pollable){ shmi_spsc_look, q };
}

#endif /* SHMCOMM_IMPLEMENTATION */
