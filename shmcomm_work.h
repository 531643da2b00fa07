/* shmcomm_work.h - the queue of work behind PUSH/PULL sockets; private to
 * shmcomm.
 *
 * One ring that all workers share; or, dealt by turns, one for each of them:
 * its share.  Whose worker is gone, that share's messages any other one takes.
 *
 * Manual: docs/algorithms.md, bytes: docs/layout.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_WORK_H
#define SHMCOMM_WORK_H

#include "shmcomm_endpoint.h"
#include "shmcomm_mpmc.h"

/* ---- constants --------------------------------------------------------- */

enum {
    SHMI_SHARES_VERSION = 1,
    SHMI_SHARES_MAX = 64,           /* bits of a word                       */
    SHMI_SHARES_PATROL = 64         /* calls between two looks at the clock */
};
#define SHMI_SHARES_MAGIC 0x52414853u           /* "SHAR" in memory         */

/* ---- shared layout, version 1 ------------------------------------------
 * The object "work" is a shmc_mpmc; or shmi_shares_shm | a seat for the
 * worker of each share | the shares, each a shmc_mpmc of the same shape.
 * Slots begin with this word: where the message is (SHMI_WORK_...) << 32 |
 * its bytes.  W pusher before its R3, R worker after its A3.
 *
 * S1: a worker's seat of a share changes by one store or CAS: 0 or a dead
 *     owner -> a worker that comes; a worker -> 0 when it leaves; a dead
 *     owner -> 0 by whoever finds it dead.
 * S2: that seat says no more than where pushers deal.  All sockets have seats
 *     in all rings, and any worker may take from any ring: so a wrong guess,
 *     by who was stopped between its look and its push, misplaces a message
 *     but loses none.
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */
enum {
    SHMI_WORK_HERE = 0,             /* behind the word                      */
    SHMI_WORK_BESIDE = 1,           /* in the room beside the slot          */
    SHMI_WORK_INLINE_BYTES = 112    /* at most behind the word: 128 in all  */
};

typedef struct shmi_shares_shm {
    shmi_ring_head_shm head;        /* W creator; constant.  seats: shares;
                                       aux[0]: bytes of each                */
    shmi_bell_shm room;             /* W workers ring  R pushers sleep      */
} shmi_shares_shm;                  /* seats and shares follow              */
SHMC_LAYOUT_AT(shmi_shares_shm, room, SHMC_LINE);
SHMC_LAYOUT_SIZE(shmi_shares_shm, 2 * SHMC_LINE);

/* In a ring's seat, word[1]: the role of its owner.  W owner, R who asks
 * whether anybody of that role is there.                                  */
enum { SHMI_WORK_ROLE = 1 };

/* ---- handles ----------------------------------------------------------- */

/* A ring from either side.  Private.                                      */
typedef struct shmi_work {
    shmc_mpmc ring;                 /* closed while the queue is awaited    */
    uint64_t stride;                /* of its cells                         */
    uint64_t done, end;             /* all before `done` is done with; `end`
                                       is what a drain waits for            */
    uint32_t here_bytes;            /* what fits behind a cell's first word */
    uint32_t max_bytes;
} shmi_work;

typedef struct shmi_shares {
    shmi_shares_shm *shm;           /* NULL: one ring, which all share      */
    shmi_seat_shm *seats;           /* of the workers                       */
    shmi_work *work;                /* one for each share; ours             */
    uint32_t count, epoch;
    uint64_t look_ns;
    shmc_segment *segment;
    shmc_object object;
} shmi_shares;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API ---------------------------------------------------------------- */

/* Tell how many bytes of a segment's heap a queue takes; shares 0: one ring.
 * Errors  SHMC_EINVAL.                                                    */
SHMC_API int64_t shmi_work_size_for(const shmc_mpmc_desc *ring,
                                    uint32_t shares);

/* Create the queue, or (ring NULL) attach to what is there, of either kind:
 * in *one, or in *s where it is dealt by turns.
 * Errors  those of shmc_mpmc_open and shmc_object_open; SHMC_ENOMEM.      */
SHMC_API int shmi_work_open(shmi_work *one, shmi_shares *s, shmc_segment *seg,
                            const shmc_mpmc_desc *ring, uint32_t shares,
                            uint32_t role);

/* Have done with it, and wake who may have waited for that.               */
SHMC_API void shmi_work_close(shmi_work *one, shmi_shares *s);

/* The same of one whose file is gone.                                     */
SHMC_API void shmi_shares_forget(shmi_shares *s);

/* Its rings: *count of them.                                              */
SHMC_API shmi_work *shmi_work_rings(shmi_work *one, const shmi_shares *s,
                                    uint32_t *count);

/* Look on at the i-th ring of a queue, of either kind, without a seat in it:
 * a handle as of shmc_mpmc_map.
 * Errors  SHMC_ENOENT there is none; SHMC_ECORRUPT.                       */
SHMC_API int shmi_work_observe(const shmc_segment *s, uint32_t i, shmc_mpmc *q);

/* Add what one ring of a queue counted to what others did; each socket is a
 * handle in all of them.                                                  */
SHMC_API void shmi_work_stats_add(shmc_mpmc_stats *sum,
                                  const shmc_mpmc_stats *one);

/* Must the file stay, as there are messages in it?                        */
SHMC_API bool shmi_work_keep(const shmc_segment *s);
extern const shmi_endpoint_kind shmi_work_kind;

/* Is anybody alive in this role?  Cost  a system call for each seat that was
 * taken in it, until one is.                                              */
SHMC_API bool shmi_work_present(const shmc_mpmc *q, uint32_t role);

/* Is all before w->end done with: SHMC_OK, SHMC_EAGAIN, or SHMC_ECORRUPT. */
SHMC_API int shmi_work_done(shmi_work *w);

/* The same of all rings; `begin`: of all that was pushed before this call. */
SHMC_API int shmi_work_all_done(shmi_work *one, const shmi_shares *s,
                                bool begin);

/* Next time that something is in the way, look for the dead.              */
SHMC_API void shmi_work_look(shmi_work *one, shmi_shares *s);

/* Give the seats of workers that died back, if it is time for system calls.
 * True: it was, so that it is time to look at vacant shares, too.         */
SHMC_API bool shmi_shares_patrol(shmi_shares *s);

/* Wake all workers: somebody else's message may be theirs.                */
SHMC_API void shmi_shares_ring(const shmi_shares *s);

/* Sit down as the worker of a share.  Returns which.  Errors  SHMC_ELIMIT. */
SHMC_API int shmi_share_claim(const shmi_shares *s);

/* ---- inline: shares ---------------------------------------------------- */

/* Relaxed: see S2.                                                        */
SHMC_INLINE bool
shmi_share_taken(const shmi_shares *s, uint32_t i)
{
    return shmi_load_rlx_64(&s->seats[i].owner) != 0;
}

/* Those to deal to, as bits: whose workers are there, as far as memory tells;
 * the first one where nobody is, as who comes first finds it.             */
SHMC_INLINE uint64_t
shmi_shares_open_to(const shmi_shares *s)
{
    uint64_t set = 0;
    for (uint32_t i = 0; i < s->count; i++)
        set |= (uint64_t)shmi_share_taken(s, i) << i;
    return set ? set : 1;
}

/* The first one of a set behind `turn`, or else the first of all.         */
SHMC_INLINE uint32_t
shmi_shares_next(uint64_t set, uint32_t turn)
{
    const uint64_t behind = set & ~UINT64_C(1) << turn;
    return (uint32_t)__builtin_ctzll(behind ? behind : set);
}

/* ---- inline: messages -------------------------------------------------- */

/* Write a message into a cell, and into the room beside it, which are ours
 * until R3.                                                               */
SHMC_INLINE void
shmi_work_put(shmi_work *w, uint64_t pos, uint64_t *cell, const void *data,
              uint32_t bytes)
{
    if (SHMI_LIKELY(bytes <= w->here_bytes)) {
        shmi_store_rlx_64(cell + 1, bytes);
        shmi_copy_in(cell + 2, data, bytes);
    } else {
        shmi_store_rlx_64(cell + 1, (uint64_t)SHMI_WORK_BESIDE << 32 | bytes);
        shmi_copy_in(shmi_mpmc_beside(&w->ring, pos), data, bytes);
    }
    /* R3 -> A3: the message happens before a worker reads it.             */
    shmi_store_rel_64(cell, shmi_mpmc_word(pos, SHMI_MPMC_FULL));
    shmi_mpmc_pushed(&w->ring);
}

/* Where the message in the room beside our cell is, by its note, which was
 * loaded once; or NULL: damaged.                                          */
SHMC_INLINE uint8_t *
shmi_work_beside(const shmi_work *w, uint64_t pos, uint64_t note)
{
    return note >> 32 == SHMI_WORK_BESIDE &&
           (uint32_t)note <= w->ring.beside_bytes
         ? shmi_mpmc_beside(&w->ring, pos) : NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_WORK_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_WORK_IMPLEMENTED)
#define SHMCOMM_WORK_IMPLEMENTED

#include <string.h>

#define SHMI_WORK_OBJECT "work"
#define SHMI_WORK_TYPE "shmcomm PUSH/PULL"

/* >>work: shape */

/* Each share on lines of its own.                                          */
static uint64_t
shmi_share_bytes(const shmc_mpmc_desc *ring)
{
    return shmi_round_up((uint64_t)shmc_mpmc_size_for(ring), SHMC_LINE);
}

static uint64_t
shmi_shares_at(uint32_t count)
{
    return sizeof(shmi_shares_shm) + (uint64_t)count * sizeof(shmi_seat_shm);
}

SHMC_API int64_t
shmi_work_size_for(const shmc_mpmc_desc *ring, uint32_t shares)
{
    const int64_t one = shmc_mpmc_size_for(ring);

    if (one < 0 || shares == 0) return one;
    if (shares > SHMI_SHARES_MAX)
        return shmi_fail(SHMC_EINVAL, "queue of work: round_robin %u, at most "
                         "%d", shares, SHMI_SHARES_MAX);
    return (int64_t)(shmi_shares_at(shares) + shares * shmi_share_bytes(ring));
}

/* Check the first line, which is untrusted: how many shares of how many bytes,
 * or SHMC_ECORRUPT ...                                                     */
static int
shmi_shares_check(const void *mem, uint64_t bytes, uint32_t *count,
                  uint64_t *each)
{
    shmi_ring_head_shm h;
    const int r = shmi_ring_check(mem, bytes, SHMI_SHARES_MAGIC,
                                  SHMI_SHARES_VERSION, "queue of work", &h);

    if (r != SHMC_OK) return r;
    *count = h.seats;
    *each = h.aux[0];
    if (h.seats == 0 || h.seats > SHMI_SHARES_MAX || *each % SHMC_LINE != 0 ||
        h.total_bytes < shmi_shares_at(h.seats) ||
        *each > (h.total_bytes - shmi_shares_at(h.seats)) / h.seats)
        return shmi_fail(SHMC_ECORRUPT, "queue of work: %u shares of %llu bytes "
                         "do not fit: damaged", h.seats,
                         (unsigned long long)*each);
    return SHMC_OK;
}

/* >>work: the file */

/* Is there a message in the ring that somebody should get?  Asked when nobody
 * uses it; the geometry is checked.                                        */
static bool
shmi_work_left(const shmc_mpmc *q)
{
    /* Relaxed: who was here last let go of the file's lock before.         */
    const uint64_t tail = shmi_load_rlx_64(&q->shm->tail);
    const uint64_t head = shmi_load_rlx_64(&q->shm->head);

    for (uint64_t pos = tail - q->mask - 1; pos != tail; pos++) {
        const uint64_t word = shmi_load_rlx_64(shmi_mpmc_at(q, pos));
        if (shmi_mpmc_full(word, pos) &&
            !((int64_t)(head - pos) > 0 &&
              (q->drop || shmi_mpmc_is_poison(q, word)))) return true;
    }
    return false;
}

/* Is there one in an object of either kind?  What is not what it says it is
 * counts as such, too.                                                     */
static bool
shmi_work_left_in(uint8_t *mem, const shmc_object_info *info)
{
    uint32_t count = 1;
    uint64_t each = info->bytes;
    shmc_mpmc_desc is;
    shmc_mpmc q;

    if (info->kind == SHMC_KIND_SHARES) {
        if (shmi_shares_check(mem, info->bytes, &count, &each) != SHMC_OK)
            return true;
        mem += shmi_shares_at(count);
    }
    for (uint32_t i = 0; i < count; i++, mem += each) {
        memset(&q, 0, sizeof q);
        if (shmi_mpmc_point(&q, mem, each, &is) != SHMC_OK ||
            shmi_work_left(&q)) return true;
    }
    return false;
}

static bool
shmi_work_find(const shmc_segment *s, shmc_object_info *info)
{
    for (uint32_t i = 0; i < s->max_objects; i++)
        if (shmc_object_info_get(s, i, info) == SHMC_OK &&
            strcmp(info->name, SHMI_WORK_OBJECT) == 0) return true;
    return false;
}

SHMC_API void
shmi_work_stats_add(shmc_mpmc_stats *sum, const shmc_mpmc_stats *one)
{
    sum->pushed += one->pushed;
    sum->popped += one->popped;
    sum->tombs += one->tombs;
    sum->redelivered += one->redelivered;
    sum->dropped += one->dropped;
    sum->poisoned += one->poisoned;
    sum->used += one->used;
    sum->slot_count += one->slot_count;
    sum->handles = one->handles;
    sum->max_handles = one->max_handles;
}

SHMC_API int
shmi_work_observe(const shmc_segment *s, uint32_t i, shmc_mpmc *q)
{
    shmc_object_info info;
    uint32_t count = 1;

    if (!shmi_work_find(s, &info)) return SHMC_ENOENT;
    uint8_t *mem = s->base + info.offset;
    uint64_t each = info.bytes;
    if (info.kind == SHMC_KIND_SHARES) {
        const int r = shmi_shares_check(mem, info.bytes, &count, &each);
        if (r != SHMC_OK) return r;
        mem += shmi_shares_at(count);
    }
    return i < count ? shmc_mpmc_map(q, mem + i * each, each, SHMC_OBSERVER)
                     : SHMC_ENOENT;
}

SHMC_API bool
shmi_work_keep(const shmc_segment *s)
{
    shmc_object_info info;

    return !shmi_work_find(s, &info) ||
           (info.kind != SHMC_KIND_MPMC && info.kind != SHMC_KIND_SHARES) ||
           info.type_hash != shmc_type_hash(SHMI_WORK_TYPE) ||
           shmi_work_left_in(s->base + info.offset, &info);
}

const shmi_endpoint_kind shmi_work_kind = {
    "queue", SHMI_WORK_OBJECT, shmi_work_keep, false
};

/* >>work: open and close */

/* Take part in a ring that is open.                                        */
static int
shmi_work_enter(shmi_work *w, const shmc_segment *s, uint32_t role)
{
    w->stride = shmi_mpmc_stride(w->ring.slot_bytes);
    w->here_bytes = w->ring.slot_bytes - 8;
    w->max_bytes = w->ring.beside_bytes ? w->ring.beside_bytes : w->here_bytes;
    if (w->ring.slot_bytes < 16 || w->max_bytes < w->here_bytes ||
        !w->ring.waitable)
        return shmi_fail(SHMC_ECORRUPT, "queue '%s': slots of %u bytes with %u "
                         "beside: damaged", s->name, w->here_bytes + 8,
                         w->max_bytes);
    /* Relaxed: until our open returns, either answer is right.             */
    shmi_store_rlx_64(&w->ring.seat->word[SHMI_WORK_ROLE], role);
    return SHMC_OK;
}

typedef struct shmi_shares_birth {
    shmc_mpmc_desc ring;
    uint64_t total, each;
    uint32_t count, flags;
} shmi_shares_birth;

static int
shmi_shares_init(void *mem, uint64_t bytes, const void *user)
{
    const shmi_shares_birth *b = user;
    uint8_t *at = (uint8_t *)mem + shmi_shares_at(b->count);
    shmi_ring_head_shm head;

    (void)bytes;                    /* it is zeroed: no share has a worker  */
    for (uint32_t i = 0; i < b->count; i++, at += b->each)
        shmi_mpmc_lay_out(at, b->each, &b->ring, b->flags);
    memset(&head, 0, sizeof head);
    head.magic = SHMI_SHARES_MAGIC;
    head.version = SHMI_SHARES_VERSION;
    head.total_bytes = b->total;
    head.slot_bytes = head.stride_bytes = SHMC_LINE;
    head.slot_count = 1;
    head.flags = b->flags;
    head.seats = b->count;
    head.aux[0] = b->each;
    shmi_ring_publish(mem, &head);
    return SHMC_OK;
}

/* Point at the shares, and sit down in each; all must be of one shape.     */
static int
shmi_shares_enter(shmi_shares *s, uint32_t role)
{
    uint8_t *mem = s->object.mem;
    shmc_mpmc_desc first, is;
    uint64_t each;
    int r = shmi_shares_check(mem, s->object.bytes, &s->count, &each);

    if (r != SHMC_OK) return r;
    s->work = shmi_alloc(s->count * sizeof *s->work);
    if (s->work == NULL)
        return shmi_fail(SHMC_ENOMEM, "queue '%s': no memory for %u handles",
                         s->segment->name, s->count);
    s->shm = (void *)mem;
    s->seats = (void *)(mem + sizeof *s->shm);
    mem += shmi_shares_at(s->count);
    memset(&first, 0, sizeof first);
    memset(&is, 0, sizeof is);
    for (uint32_t i = 0; r == SHMC_OK && i < s->count; i++, mem += each) {
        shmc_mpmc *q = &s->work[i].ring;
        r = shmi_mpmc_point(q, mem, each, i == 0 ? &first : &is);
        /* Both ways, since 0 in the first counts as any.                   */
        if (r == SHMC_OK && i > 0) r = shmi_mpmc_same(&first, &is);
        if (r == SHMC_OK && i > 0) r = shmi_mpmc_same(&is, &first);
        if (r != SHMC_OK) return r;
        q->segment = s->segment;
        q->writable = &s->shm->room;
        r = shmi_mpmc_sit(q, role);
        if (r == SHMC_OK) r = shmi_work_enter(&s->work[i], s->segment, role);
    }
    return r;
}

/* Ring and what is in it, of a queue that is dealt by turns.               */
static int
shmi_shares_open(shmi_shares *s, shmc_segment *seg, const shmc_mpmc_desc *ring,
                 uint32_t count, uint32_t role)
{
    shmi_shares_birth b;
    shmc_object_desc od;
    int r = SHMC_OK;

    memset(s, 0, sizeof *s);
    memset(&od, 0, sizeof od);
    od.kind = SHMC_KIND_SHARES;
    od.version = SHMI_SHARES_VERSION;
    od.type_name = SHMI_WORK_TYPE;
    od.type_hash = shmc_type_hash(SHMI_WORK_TYPE);
    if (ring != NULL) {
        const int64_t total = shmi_work_size_for(ring, count);
        if (total < 0) return (int)total;
        (void)shmi_mpmc_plan(ring, &b.ring);
        b.total = od.bytes = (uint64_t)total;
        b.each = shmi_share_bytes(ring);
        b.count = count;
        b.flags = shmi_ring_flags(seg, 1);
        od.init = shmi_shares_init;
        od.user = &b;
    }
    r = shmi_ring_object(seg, SHMI_WORK_OBJECT, &od, ring == NULL, &s->object);
    if (r != SHMC_OK) return r;
    s->segment = seg;
    s->epoch = shmi_fork_epoch;
    return shmi_shares_enter(s, role);
}

SHMC_API int
shmi_work_open(shmi_work *one, shmi_shares *s, shmc_segment *seg,
               const shmc_mpmc_desc *ring, uint32_t shares, uint32_t role)
{
    shmc_object_info info;
    shmc_mpmc_desc any;
    int r;

    memset(&any, 0, sizeof any);
    any.type_name = SHMI_WORK_TYPE;
    const bool dealt = ring != NULL ? shares != 0
                     : shmi_work_find(seg, &info) &&
                       info.kind == SHMC_KIND_SHARES;
    if (dealt) {
        r = shmi_shares_open(s, seg, ring, shares, role);
    } else {
        r = shmc_mpmc_open(&one->ring, seg, SHMI_WORK_OBJECT,
                           ring != NULL ? ring : &any, role);
        if (r == SHMC_OK) r = shmi_work_enter(one, seg, role);
    }
    if (r != SHMC_OK) shmi_work_close(one, s);
    return r;
}

SHMC_API void
shmi_work_close(shmi_work *one, shmi_shares *s)
{
    uint32_t count;
    shmi_work *w = shmi_work_rings(one, s, &count);
    const bool ours = (s->object.mem != NULL ? s->epoch : one->ring.epoch) ==
                      shmi_fork_epoch;

    for (uint32_t i = 0; i < count; i++) {
        shmc_mpmc *q = &w[i].ring;
        shmi_bell_shm *bell = q->shm != NULL ? &q->shm->readable : NULL;
        const bool asymmetric = q->asymmetric;
        (void)shmc_mpmc_close(q);
        /* Who waits for the end, or for what we had, may have waited for us. */
        if (ours && bell != NULL) shmi_bell_ring(bell, asymmetric);
    }
    if (ours && s->object.mem != NULL)
        (void)shmc_object_close(s->segment, &s->object);
    shmi_shares_forget(s);
    memset(one, 0, sizeof *one);
}

SHMC_API void
shmi_shares_forget(shmi_shares *s)
{
    shmi_free(s->work);
    memset(s, 0, sizeof *s);
}

SHMC_API shmi_work *
shmi_work_rings(shmi_work *one, const shmi_shares *s, uint32_t *count)
{
    const bool dealt = s->object.mem != NULL;

    *count = !dealt ? 1 : s->work != NULL ? s->count : 0;
    return dealt ? s->work : one;
}

/* >>work: shares */

SHMC_API void
shmi_work_look(shmi_work *one, shmi_shares *s)
{
    uint32_t count;
    shmi_work *w = shmi_work_rings(one, s, &count);

    for (uint32_t i = 0; i < count; i++) w[i].ring.look = true;
}

SHMC_API void
shmi_shares_ring(const shmi_shares *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        shmi_bell_ring(&s->work[i].ring.shm->readable,
                       s->work[i].ring.asymmetric);
}

SHMC_API bool
shmi_shares_patrol(shmi_shares *s)
{
    const uint64_t now = shmi_now_ns();
    bool found = false;

    if (now < s->look_ns) return false;
    s->look_ns = now + SHMC_PEER_CHECK_NS;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t *word = &s->seats[i].owner;
        /* Relaxed: the kernel knows who is alive; the CAS, whose seat it is. */
        uint64_t owner = shmi_load_rlx_64(word);
        if (owner != 0 && !shmi_owner_alive(s->segment, owner) &&
            shmi_cas_rlx_64(word, &owner, 0)) found = true;
    }
    if (found) shmi_shares_ring(s);
    return true;
}

SHMC_API int
shmi_share_claim(const shmi_shares *s)
{
    return shmi_seat_claim(s->segment, s->seats, s->count, NULL, NULL);
}

/* >>work: who is there, and what is done */

SHMC_API bool
shmi_work_present(const shmc_mpmc *q, uint32_t role)
{
    for (uint32_t i = 0; i < q->seat_count; i++) {
        /* Acquire: the kernel says who is alive; of who left in order, or of
         * who died before somebody else sat there, all that it pushed is
         * seen with the seat (shmi_seat_drop, shmi_seat_claim).  The role
         * relaxed: a newcomer in whose seat the last one's is still found has
         * not returned from its open.                                      */
        const uint64_t owner = shmi_load_acq_64(&q->seats[i].owner);
        const uint64_t is = shmi_load_rlx_64(&q->seats[i].word[SHMI_WORK_ROLE]);
        if (owner != 0 && (is & role) && shmi_owner_alive(q->segment, owner))
            return true;
    }
    return false;
}

/* Look for a position from w->done up to w->end, which is claimed, that is not
 * free again: SHMC_OK there is none; SHMC_EAGAIN w->done is; SHMC_ECORRUPT
 * tail went back.  What dead workers held is dropped on the way, where that is
 * its lot.
 * Cost    O(positions), and of the seats at each that is dropped.          */
SHMC_API int
shmi_work_done(shmi_work *w)
{
    shmc_mpmc *q = &w->ring;
    const uint64_t lap = q->mask + 1, end = w->end;
    uint64_t pos = w->done;

    /* What lies more than a lap behind was free before its cell was used
     * again.                                                               */
    if ((int64_t)(end - lap - pos) > 0) pos = end - lap;
    if (end - pos > lap) return SHMC_ECORRUPT;      /* tail went back       */
    for (; pos != end; pos++) {
        w->done = pos;
        /* A4 <- R4: what its worker did happens before we say so.          */
        const uint64_t word = shmi_load_acq_64(shmi_mpmc_at(q, pos));
        const uint64_t ahead = ((word >> 16) - pos) & SHMI_MPMC_POSITION;
        if (ahead != 0 && ahead <= SHMI_MPMC_POSITION >> 1) continue;
        /* A2 <- R2: the claimer's intent happens before our look at the
         * seats.                                                           */
        if ((int64_t)(shmi_load_acq_64(&q->shm->head) - pos) <= 0)
            return SHMC_EAGAIN;
        if (word == shmi_mpmc_word(pos, SHMI_MPMC_TOMB))
            shmi_mpmc_untomb(q, pos);
        else if (!(q->drop || shmi_mpmc_is_poison(q, word)) ||
                 shmi_mpmc_adopt(q, pos) != SHMI_MPMC_DROPPED)
            return SHMC_EAGAIN;
    }
    w->done = end;
    return SHMC_OK;
}

SHMC_API int
shmi_work_all_done(shmi_work *one, const shmi_shares *s, bool begin)
{
    uint32_t count;
    shmi_work *w = shmi_work_rings(one, s, &count);
    int r = SHMC_OK;

    /* Relaxed: what was pushed before we were called is before tail; and what
     * those did who have gone came with their seats, or with the kernel's
     * word.                                                                */
    for (uint32_t i = 0; begin && i < count; i++)
        w[i].end = shmi_load_rlx_64(&w[i].ring.shm->tail);
    for (uint32_t i = 0; r == SHMC_OK && i < count; i++)
        r = shmi_work_done(&w[i]);
    return r;
}

#endif /* SHMCOMM_IMPLEMENTATION */
