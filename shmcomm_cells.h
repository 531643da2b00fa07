/* shmcomm_cells.h - the cells of the MPMC queue: how they are claimed, and who
 * judges and takes over what the dead claimed; private to shmcomm.
 *
 * Manual: docs/shmcomm_mpmc.md, proof: docs/algorithms.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_CELLS_H
#define SHMCOMM_CELLS_H

#include "shmcomm_ring.h"

/* ---- constants --------------------------------------------------------- */

enum {
    SHMI_MPMC_VERSION = 1,
    SHMI_MPMC_MAX_HANDLES = 4096,
    SHMI_MPMC_MAX_BATCH = 4096,     /* fits the 14 bits of an intent        */
    SHMI_MPMC_TRIES = 4096,         /* lost races before giving up a call   */
    SHMI_MPMC_STUCK_TRIES = 64,     /* meets of one position, then inspect  */
    SHMI_MPMC_RESCUE_TRIES = 1024,  /* ... then look for orphans            */
    SHMI_MPMC_PATROL = 4096,        /* pops between two looks for orphans   */
    SHMI_MPMC_WARY = 64,            /* right guesses before one is trusted  */
    SHMI_MPMC_STRETCH = 2048,       /* bytes of cells between two looks ... */
    SHMI_MPMC_STRETCH_CELLS = 32,   /* ... at most so many cells            */
    SHMI_MPMC_STEP_BACK = 400,      /* ... and turns of a loop to wait      */
    SHMI_MPMC_ORPHANS = 64
};
#define SHMI_MPMC_MAGIC 0x434d504du /* "MPMC" in memory                     */

/* A cell's word: position modulo 2^48, times a message was taken over from
 * a dead consumer (14 bits), state (2 bits).  The position is part of every
 * state, so that even with one slot no two states are equal.              */
enum { SHMI_MPMC_FREE = 0, SHMI_MPMC_FULL = 1, SHMI_MPMC_TOMB = 2 };
#define SHMI_MPMC_POSITION UINT64_C(0x0000ffffffffffff)
#define SHMI_MPMC_AGAIN    UINT64_C(0x000000000000fffc)

/* ---- shared layout, version 1 ------------------------------------------
 * shmc_mpmc_shm | seats | cells, each `u64 word; payload`, stride_bytes
 * apart | rooms beside the cells, if any, each at a multiple of 128.
 * N is slot_count; position P lives in cell P mod N, and in that one's room.
 * I1: 0 <= tail - head <= N (mod 2^64).
 * I2: a cell goes  FREE(P) -> FULL(P,0) or TOMB(P);
 *     FULL(P,n) -> FULL(P,n+1) or FREE(P+N);  TOMB(P) -> FREE(P+N).
 * I3: while tail > P and the cell is FREE(P), the claimer of P covers P with
 *     its seat's intent, or is dead.
 * I4: while head > P and the cell is FULL(P,n), the holder of P (who claimed
 *     it if n is 0, else the n-th to take it over) covers P with its seat's
 *     word[0], or is dead.
 * I5: only the holder changes a held cell with a plain store; whoever else
 *     changes a cell does so by CAS, from a state whose holder is dead, or
 *     from TOMB(P) with head > P, which nobody holds.
 *
 * Why an unchanged cell without a live cover has a dead holder.  A claimer
 * stores its intent (R5) before the CAS of tail (R1).  A checker that loads
 * tail > P (A1) has the claimer's CAS, or a later one of the chain of CASes
 * behind it, before its own next loads; so it reads that intent or a later
 * word (A5).  A later word was stored after the claimer published P (R3), so
 * that the checker's CAS of the cell, which comes last, fails.  If it
 * succeeds, the checker had read the intent itself, and its owner was dead;
 * or the word of who got the seat after that owner's death.  In the same
 * way for head, word[0] and freeing (R4); and for an adopter, whose CAS
 * FULL(P,n) -> FULL(P,n+1) takes the place of the CAS of head, and the
 * checker's load of the cell (A3) that of its load of head.
 *
 * Why a cover that is not the holder's misleads nobody.  Covers of P by dead
 * ones prove nothing and are not asked.  A live one has won and finished P:
 * then the cell has gone on from the state that was judged, for good (I2).
 * Or it lost the race for P: then it delays those who wait for P's dead
 * holder.  Neither for long: whoever makes a claim replaces or clears its
 * word before its call returns, but for what it holds.
 * W = only writer, R = reader, (..) = ordering edge named in the code.     */
typedef struct shmc_mpmc_shm {
    shmi_ring_head_shm ring;        /* W creator (R0)   R attacher (A0)     */
    uint64_t tail;                  /* W producers, CAS (R1)  R all (A1)    */
    uint8_t  pad0[SHMC_LINE - 8];
    uint64_t head;                  /* W consumers, CAS (R2)  R all (A2)    */
    uint8_t  pad1[SHMC_LINE - 8];
    shmi_bell_shm readable;         /* W producers ring  R consumers sleep  */
    shmi_bell_shm writable;         /* W consumers ring  R producers sleep  */
    uint64_t tombs;                 /* W whoever makes one, faa   R stats   */
    uint64_t skipped;               /* W consumers, faa           R stats   */
    uint64_t redelivered;           /* W adopters, faa            R stats   */
    uint64_t dropped;               /* W whoever drops, faa       R stats   */
    uint64_t poisoned;              /* W whoever drops, faa       R stats   */
    uint8_t  pad2[SHMC_LINE - 40];
    uint64_t orphans[SHMI_MPMC_ORPHANS]; /* W settlers, CAS (R6) R all (A6)  */
} shmc_mpmc_shm;                    /* seats and cells follow               */
SHMC_LAYOUT_AT(shmc_mpmc_shm, ring, 0);
SHMC_LAYOUT_AT(shmc_mpmc_shm, tail, 1 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_mpmc_shm, head, 2 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_mpmc_shm, readable, 3 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_mpmc_shm, writable, 4 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_mpmc_shm, tombs, 5 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_mpmc_shm, skipped, 5 * SHMC_LINE + 8);
SHMC_LAYOUT_AT(shmc_mpmc_shm, redelivered, 5 * SHMC_LINE + 16);
SHMC_LAYOUT_AT(shmc_mpmc_shm, dropped, 5 * SHMC_LINE + 24);
SHMC_LAYOUT_AT(shmc_mpmc_shm, poisoned, 5 * SHMC_LINE + 32);
SHMC_LAYOUT_AT(shmc_mpmc_shm, orphans, 6 * SHMC_LINE);
SHMC_LAYOUT_SIZE(shmc_mpmc_shm, 10 * SHMC_LINE);

/* An intent, in seat.intent (push) or seat.word[0] (pop) or an orphan: first
 * position modulo 2^48, how many (14 bits), kind (2 bits); 0 = none.      */
#define SHMI_MPMC_ENQ   (UINT64_C(1) << 62)
#define SHMI_MPMC_DEQ   (UINT64_C(2) << 62)
#define SHMI_MPMC_COUNT UINT64_C(0x3fff)

/* Words of ring.aux.                                                       */
enum { SHMI_MPMC_AUX_AGAIN = 0, SHMI_MPMC_AUX_BESIDE = 1 };

/* ---- handles ----------------------------------------------------------- */

/* One thread's view of a queue.  Private: use the functions below.        */
typedef struct shmc_mpmc {
    shmc_mpmc_shm *shm;             /* NULL = closed                        */
    shmi_bell_shm *writable;        /* the queue's, or one of several queues*/
    uint8_t *cells;
    uint64_t mask;                  /* slot_count - 1                       */
    shmi_seat_shm *seat;            /* NULL for an observer                 */
    uint64_t push_gate, pop_gate;   /* shmi_gate(role, slot_bytes), 0: shut */
    uint32_t slot_bytes, epoch;
    bool     waitable, asymmetric;
    bool     loaned, borrowed;
    bool     look;                  /* inspect at the next obstacle         */
    uint32_t push_wary, pop_wary;   /* 0: trust the guesses below           */
    uint64_t push_next, pop_next;   /* behind what we claimed last          */
    uint64_t stretch;               /* cells of one, less 1; or UINT64_MAX  */
    uint32_t full_tries, idle_tries;
    uint64_t full_pos, idle_pos;    /* where the tries above were made      */
    uint64_t patrol_pos;            /* where to look for orphans next       */
    uint64_t loan_pos, borrow_pos;
    shmi_seat_shm *seats;
    uint32_t seat_count, role, drop;
    uint32_t max_again;             /* 0: no limit                          */
    uint32_t beside_bytes;
    uint64_t beside_stride;
    uint8_t *beside;
    shmc_segment *segment;          /* NULL: nobody is ever found dead      */
    shmc_object object;
} shmc_mpmc;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- private: slow paths ----------------------------------------------- */

enum { SHMI_MPMC_RETRY = 1 };

/* Judge an obstacle at `pos`: SHMI_MPMC_RETRY from *next, or a code.      */
SHMC_API int shmi_mpmc_push_stuck(shmc_mpmc *q, uint64_t pos, uint32_t tries,
                                  uint64_t *next);

/* The same for a consumer; SHMC_OK: *next is a dead one's message, ours.  */
SHMC_API int shmi_mpmc_pop_stuck(shmc_mpmc *q, uint64_t pos, uint32_t tries,
                                 uint64_t *next);

/* Take over a dead consumer's message: true and where, or false.          */
SHMC_API bool shmi_mpmc_patrol(shmc_mpmc *q, uint64_t pos, uint64_t *found);

/* Claim one position, whatever stands in the way.                         */
SHMC_API int shmi_mpmc_push_slow(shmc_mpmc *q, uint64_t *pos);
SHMC_API int shmi_mpmc_pop_slow(shmc_mpmc *q, uint64_t *pos);

/* The oldest message's cell, which nobody has claimed yet, or NULL.  Takes
 * nothing: what is read there may have gone to another meanwhile.         */
SHMC_API const uint64_t *shmi_mpmc_peek(const shmc_mpmc *q, uint64_t *pos);

/* Take what was peeked at, and throw it away: it is of no use to anybody.
 * False: it has gone.  The handle has nothing borrowed.
 * Crash   as a pop: who gets the message then throws it away, too.        */
SHMC_API bool shmi_mpmc_discard(shmc_mpmc *q, uint64_t pos);

/* Settle what a dead owner's intents covered (shmi_settle_fn).            */
SHMC_API int shmi_mpmc_settle(void *queue, uint32_t seat);

/* Let the peer get ahead.  Cost  0.1 to 0.2 us.                           */
SHMC_API void shmi_mpmc_step_back(void);

/* Say why a gate is shut: SHMC_ECLOSED, SHMC_EINVAL or SHMC_EMSGSIZE.     */
SHMC_API int shmi_mpmc_refuse(const shmc_mpmc *q, uint32_t role);

/* ---- inline: claiming -------------------------------------------------- */

SHMC_INLINE uint64_t
shmi_mpmc_word(uint64_t pos, unsigned state) { return pos << 16 | state; }

SHMC_INLINE uint64_t
shmi_mpmc_intent(uint64_t kind, uint64_t pos, uint32_t count)
{
    return kind | (uint64_t)count << 48 | (pos & SHMI_MPMC_POSITION);
}

/* One cell's size.  From a constant slot size comes a constant.           */
SHMC_INLINE uint64_t
shmi_mpmc_stride(uint32_t slot_bytes)
{
    return 8 + (((uint64_t)slot_bytes + 7) & ~UINT64_C(7));
}

/* Position P's cell.  In bounds whatever P is, since it is masked.        */
SHMC_INLINE uint64_t *
shmi_mpmc_cell(const shmc_mpmc *q, uint64_t stride, uint64_t pos)
{
    return (uint64_t *)(void *)(q->cells + (pos & q->mask) * stride);
}

/* Say in our seat what we are about to claim, before the claim can be seen
 * (I3, I4); or by 0 that no claim is open.  R5 -> A5: and after all that we
 * published before: who reads this has those publications, too.           */
SHMC_INLINE void
shmi_mpmc_intend(uint64_t *word, uint64_t intent)
{
    shmi_store_rel_64(word, intent);
}

/* Where to look first.  While nobody else claims, that is behind our last
 * claim, which made tail (or head) so: so A1 and A2 hold, and to know it
 * without loading what the locked instruction has just changed saves a third
 * of its time.  After a wrong guess we load, until 64 would have been right. */
SHMC_INLINE uint64_t
shmi_mpmc_guess(const uint64_t *index, uint64_t next, uint32_t *wary)
{
    if (SHMI_LIKELY(*wary == 0)) return next;
    /* Relaxed: the cell's word and the CAS tell whether it is right.      */
    const uint64_t pos = shmi_load_rlx_64(index);
    *wary = pos == next ? *wary - 1 : (uint32_t)SHMI_MPMC_WARY;
    return pos;
}

/* Two that work on the same cache lines by turns are three times as slow as
 * two that are a few lines apart.  So at the first cell of each stretch we
 * look at the last of the next one, and step back if the peer is not through
 * with it.  If it is, all of that stretch is ours to use, and we ask to own
 * its lines at once: not one by one, nor first to read and then to write.
 * Relaxed: nothing but our pace hangs on it.                              */
SHMC_INLINE bool
shmi_mpmc_close_by(const shmc_mpmc *q, uint64_t stride, uint64_t pos,
                   unsigned state)
{
    if (SHMI_LIKELY((pos & q->stretch) != 0)) return false;
    const uint64_t next = pos + q->stretch + 1, far = next + q->stretch;
    const uint8_t *line = (const uint8_t *)shmi_mpmc_cell(q, stride, next);
    const uint64_t *last = shmi_mpmc_cell(q, stride, far);
    if (shmi_load_rlx_64(last) != shmi_mpmc_word(far, state)) return true;
    for (; line < (const uint8_t *)(last + 1); line += 64)
        shmi_prefetch_w(line);
    return false;
}

/* The same for a batch, where it begins a stretch or runs into one.       */
SHMC_INLINE bool
shmi_mpmc_batch_close_by(const shmc_mpmc *q, uint64_t stride, uint64_t pos,
                         uint32_t n, unsigned state)
{
    const uint64_t first = (pos + n - 1) & ~q->stretch;
    return first - pos < n && shmi_mpmc_close_by(q, stride, first, state);
}

/* Claim 1..want positions from *pos on: free ones for this producer (`push`,
 * a constant), or full ones for this consumer.                            */
SHMC_HOT int
shmi_mpmc_claim(shmc_mpmc *q, bool push, uint64_t stride, uint32_t want,
                uint64_t *pos)
{
    uint64_t *const index = push ? &q->shm->tail : &q->shm->head;
    const unsigned state = push ? SHMI_MPMC_FREE : SHMI_MPMC_FULL;
    /* A1 <- R1, A2 <- R2: P - N was claimed, from FREE(P - N) or FULL(P - N),
     * before the index became P; so the cell's word that we load next is not
     * older than that.                                                    */
    uint64_t p = shmi_load_acq_64(index);
    for (uint32_t tries = 0;; tries++) {
        uint64_t next = 0;
        uint32_t n = 0;
        /* A4 <- R4: its consumer's reads happen before we write the cell; or
         * A3 <- R3: the payload was written before we read it.            */
        while (n < want &&
               shmi_load_acq_64(shmi_mpmc_cell(q, stride, p + n)) ==
               shmi_mpmc_word(p + n, state))
            n++;
        if (SHMI_LIKELY(n != 0 && tries < SHMI_MPMC_TRIES)) {
            /* Under steady load nobody finds the queue empty, so that every
             * 4096 positions, and at first, we look for orphans.          */
            if (!push && SHMI_UNLIKELY((int64_t)(p - q->patrol_pos) >= 0) &&
                shmi_mpmc_patrol(q, p, &next)) {
                *pos = next;
                return 1;
            }
            if (want > 1 && (push || q->idle_pos != p) &&
                shmi_mpmc_batch_close_by(q, stride, p, n, state))
                shmi_mpmc_step_back();
            shmi_mpmc_intend(push ? &q->seat->intent : &q->seat->word[0],
                             shmi_mpmc_intent(push ? SHMI_MPMC_ENQ
                                                   : SHMI_MPMC_DEQ, p, n));
            *pos = p;
            /* R1 -> A1, R2 -> A2: the intent happens before what sees the
             * claim.                                                      */
            if (SHMI_LIKELY(shmi_cas_rel_64(index, &p, p + n))) {
                *(push ? &q->push_next : &q->pop_next) = *pos + n;
                return (int)n;
            }
            p = shmi_load_acq_64(index);        /* A1, A2, as above         */
        } else {
            const int r = push ? shmi_mpmc_push_stuck(q, p, tries, &next)
                               : shmi_mpmc_pop_stuck(q, p, tries, &next);
            if (r == SHMC_OK) {     /* a dead consumer's                    */
                *pos = next;
                return 1;
            }
            if (r != SHMI_MPMC_RETRY) return r;
            p = next;
        }
    }
}

SHMC_INLINE int
shmi_mpmc_claim_tail(shmc_mpmc *q, uint64_t stride, uint32_t want,
                     uint64_t *pos)
{
    return shmi_mpmc_claim(q, true, stride, want, pos);
}

SHMC_INLINE int
shmi_mpmc_claim_head(shmc_mpmc *q, uint64_t stride, uint32_t want,
                     uint64_t *pos)
{
    return shmi_mpmc_claim(q, false, stride, want, pos);
}

/* Nothing is in the middle any more; then wake who waits for a message.
 * R5 -> A5: what was published happens before the cleared word.            */
SHMC_INLINE void
shmi_mpmc_pushed(shmc_mpmc *q)
{
    shmi_mpmc_intend(&q->seat->intent, 0);
    if (q->waitable) shmi_bell_ring(&q->shm->readable, q->asymmetric);
}

SHMC_INLINE void
shmi_mpmc_popped(shmc_mpmc *q)
{
    shmi_mpmc_intend(&q->seat->word[0], 0);
    if (q->waitable) shmi_bell_ring(q->writable, q->asymmetric);
}

/* Position P's room beside its cell.                                       */
SHMC_INLINE uint8_t *
shmi_mpmc_beside(const shmc_mpmc *q, uint64_t pos)
{
    return q->beside + (pos & q->mask) * q->beside_stride;
}

/* How often the message of this cell, which we hold, was taken over.  That
 * anybody else scribbled there would mislead no one but us.                */
SHMC_INLINE uint32_t
shmi_mpmc_again(const uint64_t *cell)
{
    return (uint32_t)((shmi_load_rlx_64(cell) & SHMI_MPMC_AGAIN) >> 2);
}

/* Claim the next position for this producer: as guessed, or whatever stands
 * in the way.  All that is needed behind the locked instruction comes before
 * it.                                                                      */
SHMC_HOT int
shmi_mpmc_take_tail(shmc_mpmc *q, uint64_t stride, uint64_t *at,
                    uint64_t **its_cell)
{
    shmc_mpmc_shm *const shm = q->shm;
    uint64_t pos = shmi_mpmc_guess(&shm->tail, q->push_next, &q->push_wary);
    uint64_t *cell = shmi_mpmc_cell(q, stride, pos);
    uint64_t seen = pos;
    /* A4 <- R4: its consumer's reads happen before we write the cell.     */
    bool mine = shmi_load_acq_64(cell) == shmi_mpmc_word(pos, SHMI_MPMC_FREE);
    if (SHMI_LIKELY(mine)) {
        if (shmi_mpmc_close_by(q, stride, pos, SHMI_MPMC_FREE))
            shmi_mpmc_step_back();
        shmi_mpmc_intend(&q->seat->intent,
                         shmi_mpmc_intent(SHMI_MPMC_ENQ, pos, 1));
        /* R1 -> A1: the intent happens before what sees the claim.        */
        mine = shmi_cas_rel_64(&shm->tail, &seen, pos + 1);
    }
    if (SHMI_UNLIKELY(!mine)) {
        const int r = shmi_mpmc_push_slow(q, &seen);
        if (r < 0) return r;
        pos = seen;
        cell = shmi_mpmc_cell(q, stride, pos);
    } else {
        q->push_next = pos + 1;
    }
    *at = pos;
    *its_cell = cell;
    return SHMC_OK;
}

/* The same for a consumer.                                                 */
SHMC_HOT int
shmi_mpmc_take_head(shmc_mpmc *q, uint64_t stride, uint64_t *at,
                    uint64_t **its_cell)
{
    shmc_mpmc_shm *const shm = q->shm;
    uint64_t pos = shmi_mpmc_guess(&shm->head, q->pop_next, &q->pop_wary);
    uint64_t *cell = shmi_mpmc_cell(q, stride, pos);
    uint64_t seen = pos;
    /* A3 <- R3: the payload was written before we read it.                */
    bool mine = shmi_load_acq_64(cell) == shmi_mpmc_word(pos, SHMI_MPMC_FULL)
             && (int64_t)(pos - q->patrol_pos) < 0;
    if (SHMI_LIKELY(mine)) {
        /* Who has waited for this very message gets it at once.           */
        if (shmi_mpmc_close_by(q, stride, pos, SHMI_MPMC_FULL) &&
            q->idle_pos != pos)
            shmi_mpmc_step_back();
        shmi_mpmc_intend(&q->seat->word[0],
                         shmi_mpmc_intent(SHMI_MPMC_DEQ, pos, 1));
        /* R2 -> A2: the intent happens before what sees the claim.        */
        mine = shmi_cas_rel_64(&shm->head, &seen, pos + 1);
    }
    if (SHMI_UNLIKELY(!mine)) {
        const int r = shmi_mpmc_pop_slow(q, &seen);
        if (r < 0) return r;
        pos = seen;
        cell = shmi_mpmc_cell(q, stride, pos);
    } else {
        q->pop_next = pos + 1;
    }
    *at = pos;
    *its_cell = cell;
    return SHMC_OK;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_CELLS_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_CELLS_IMPLEMENTED)
#define SHMCOMM_CELLS_IMPLEMENTED

/* >>cells: judging */

static uint64_t *
shmi_mpmc_at(const shmc_mpmc *q, uint64_t pos)
{
    return shmi_mpmc_cell(q, shmi_mpmc_stride(q->slot_bytes), pos);
}

/* Is it FULL(pos,n), for any n?                                            */
static bool
shmi_mpmc_full(uint64_t word, uint64_t pos)
{
    return (word & ~SHMI_MPMC_AGAIN) == shmi_mpmc_word(pos, SHMI_MPMC_FULL);
}

/* Does a live process cover `pos`?  The caller has seen that it is claimed
 * (A1, A2, or A3 for a message taken over), and CASes the cell's word of
 * before this call afterwards: see the proof at the layout.                */
static bool
shmi_mpmc_covered(const shmc_mpmc *q, bool push, uint64_t pos)
{
    for (uint32_t i = 0; i < q->seat_count; i++) {
        const shmi_seat_shm *seat = &q->seats[i];
        /* The owner first: the claimer sat down before it claimed, so that
         * it, or who sat there later, is who we read; and if it left since,
         * we have what it published.                                       */
        const uint64_t owner = shmi_load_acq_64(&seat->owner);
        /* A5 <- R5: what its owner published before happens before.        */
        const uint64_t intent = shmi_load_acq_64(push ? &seat->intent
                                                      : &seat->word[0]);
        if (((pos - intent) & SHMI_MPMC_POSITION) <
                (intent >> 48 & SHMI_MPMC_COUNT) &&
            shmi_owner_alive(q->segment, owner))
            return true;
    }
    return false;
}

/* Free a tomb with head > pos.  Whoever meets it may, and may die here.    */
static void
shmi_mpmc_untomb(shmc_mpmc *q, uint64_t pos)
{
    uint64_t seen = shmi_mpmc_word(pos, SHMI_MPMC_TOMB);
    if (shmi_cas_rel_64(shmi_mpmc_at(q, pos), &seen,
                    shmi_mpmc_word(pos + q->mask + 1, SHMI_MPMC_FREE)) &&
        q->waitable)
        shmi_bell_ring(q->writable, q->asymmetric);
}

/* Make a tomb of pos == head if its producer is dead.  SHMI_MPMC_RETRY if
 * the cell has changed, SHMC_EAGAIN if it may yet.                         */
static int
shmi_mpmc_bury(shmc_mpmc *q, uint64_t pos)
{
    uint64_t seen = shmi_mpmc_word(pos, SHMI_MPMC_FREE);
    /* A1 <- R1: the claimer's intent happens before our look at the seats. */
    const uint64_t ahead = shmi_load_acq_64(&q->shm->tail) - pos;
    if (ahead == 0) return SHMC_EAGAIN;
    if (ahead > q->mask + 1)        /* I1, unless head has moved: tail knows */
        return shmi_load_rlx_64(&q->shm->head) == pos ? SHMC_ECORRUPT
                                                      : SHMI_MPMC_RETRY;
    if (shmi_mpmc_covered(q, true, pos)) return SHMC_EAGAIN;
    if (shmi_cas_rel_64(shmi_mpmc_at(q, pos), &seen,
                    shmi_mpmc_word(pos, SHMI_MPMC_TOMB)))
        (void)shmi_faa_rlx_64(&q->shm->tombs, 1);
    return SHMI_MPMC_RETRY;
}

/* >>cells: taking over */

enum { SHMI_MPMC_LEFT, SHMI_MPMC_DROPPED, SHMI_MPMC_ADOPTED };

/* Has the message of this cell been taken over as often as it may be?       */
static bool
shmi_mpmc_is_poison(const shmc_mpmc *q, uint64_t word)
{
    return q->max_again != 0 && (word & SHMI_MPMC_AGAIN) >> 2 >= q->max_again;
}

/* Take over the message of pos < head if its holder is dead, or drop it.
 * LEFT: gone, or held by somebody alive, or who moves on it just now.
 * Crash   before the CAS nothing has happened; after it we are the holder,
 *         dead, and our intent says so (I4).                               */
static int
shmi_mpmc_adopt(shmc_mpmc *q, uint64_t pos)
{
    uint64_t *cell = shmi_mpmc_at(q, pos);
    /* A3 <- R3, or the CAS below of who took it over before us: then that
     * adopter's intent happens before our look at the seats.               */
    uint64_t seen = shmi_load_acq_64(cell);
    if (!shmi_mpmc_full(seen, pos)) return SHMI_MPMC_LEFT;
    if (shmi_mpmc_covered(q, false, pos)) return SHMI_MPMC_LEFT;
    const bool poison = shmi_mpmc_is_poison(q, seen);
    if (q->drop || poison) {
        if (!shmi_cas_rel_64(cell, &seen, shmi_mpmc_word(pos + q->mask + 1,
                                                     SHMI_MPMC_FREE)))
            return SHMI_MPMC_LEFT;
        (void)shmi_faa_rlx_64(poison ? &q->shm->poisoned : &q->shm->dropped, 1);
        if (q->waitable) shmi_bell_ring(q->writable, q->asymmetric);
        return SHMI_MPMC_DROPPED;
    }
    /* R5 -> A5, before the CAS (I4).                                       */
    shmi_store_rel_64(&q->seat->word[0],
                      shmi_mpmc_intent(SHMI_MPMC_DEQ, pos, 1));
    if (!shmi_cas_rel_64(cell, &seen, (seen & ~SHMI_MPMC_AGAIN) |
                                  ((seen + 4) & SHMI_MPMC_AGAIN))) {
        shmi_store_rel_64(&q->seat->word[0], 0);
        return SHMI_MPMC_LEFT;
    }
    (void)shmi_faa_rlx_64(&q->shm->redelivered, 1);
    return SHMI_MPMC_ADOPTED;
}

/* Find the next message, from the i-th on, that an intent covers, that was
 * claimed, and that is still there.                                        */
static bool
shmi_mpmc_pending(const shmc_mpmc *q, uint64_t intent, uint32_t *i,
                  uint64_t *pos)
{
    const uint64_t lap = q->mask + 1;
    uint64_t count = intent >> 48 & SHMI_MPMC_COUNT;
    if (count > SHMI_MPMC_MAX_BATCH) count = SHMI_MPMC_MAX_BATCH;
    if (count > lap) count = lap;
    /* A2 <- R2: how far behind head each position lies.  Not behind it: not
     * claimed by this intent.  More than a lap: freed since.               */
    const uint64_t head = shmi_load_acq_64(&q->shm->head);
    for (; *i < count; ++*i) {
        const uint64_t back = (head - intent - *i) & SHMI_MPMC_POSITION;
        if (back == 0 || back > lap) continue;
        *pos = head - back;
        /* Relaxed: a look only; shmi_mpmc_adopt loads it again.            */
        if (shmi_mpmc_full(shmi_load_rlx_64(shmi_mpmc_at(q, *pos)), *pos))
            return true;
    }
    return false;
}

/* Take over one message that a dead consumer's intent covers, if one is
 * left that nobody alive holds.                                            */
static bool
shmi_mpmc_adopt_one(shmc_mpmc *q, uint64_t intent, uint64_t *found)
{
    for (uint32_t i = 0; shmi_mpmc_pending(q, intent, &i, found); i++)
        if (shmi_mpmc_adopt(q, *found) == SHMI_MPMC_ADOPTED) return true;
    return false;
}

/* Look for messages of dead consumers, in the orphans and in their seats.
 * Cost  O(orphans + seats), a system call for each live one with a message. */
static bool
shmi_mpmc_rescue(shmc_mpmc *q, uint64_t *found)
{
    for (uint32_t i = 0; i < SHMI_MPMC_ORPHANS; i++) {
        /* Relaxed: only to find.  One that is done with stays until another
         * takes its place.                                                 */
        const uint64_t intent = shmi_load_rlx_64(&q->shm->orphans[i]);
        if (intent != 0 && shmi_mpmc_adopt_one(q, intent, found)) return true;
    }
    for (uint32_t i = 0; i < q->seat_count; i++) {
        const shmi_seat_shm *seat = &q->seats[i];
        /* Relaxed: only to find; shmi_mpmc_adopt asks all seats again.      */
        const uint64_t owner = shmi_load_rlx_64(&seat->owner);
        const uint64_t intent = shmi_load_rlx_64(&seat->word[0]);
        uint32_t at = 0;
        if (owner == 0 || intent == 0 ||
            !shmi_mpmc_pending(q, intent, &at, found) ||
            shmi_owner_alive(q->segment, owner))
            continue;
        if (shmi_mpmc_adopt_one(q, intent, found)) return true;
    }
    return false;
}

/* A dead owner's seat is about to be taken.  What its intent to push covered
 * needs no settling: a position without a live cover is a dead one's, with
 * or without a word that says so.  A popped message that nobody finished is
 * noted as an orphan, since nobody would look for it once word[0] is gone;
 * so it is, if all places are taken, found by who meets it one lap later.
 * Idempotent: noting it twice, or too late, is harmless; adopting decides.  */
SHMC_API int
shmi_mpmc_settle(void *ctx, uint32_t i)
{
    shmc_mpmc *q = (shmc_mpmc *)ctx;
    uint64_t pos = 0;
    uint32_t at = 0;
    /* Relaxed: the owner was found dead, and the kernel saw its lock go after
     * its last store, so that this word, and head below, are its last.     */
    const uint64_t intent = shmi_load_rlx_64(&q->seats[i].word[0]);
    if (!shmi_mpmc_pending(q, intent, &at, &pos)) return SHMC_OK;
    for (uint32_t k = 0; k < SHMI_MPMC_ORPHANS; k++) {
        uint64_t *orphan = &q->shm->orphans[k];
        /* A6 <- R6: head was beyond its positions when it was put here, so
         * that we do not take it for done with.                            */
        uint64_t seen = shmi_load_acq_64(orphan);
        at = 0;
        if (seen == intent) break;
        if (seen != 0 && shmi_mpmc_pending(q, seen, &at, &pos)) continue;
        /* R6 -> A6: our load of head happens before the next settler's.    */
        if (shmi_cas_rel_64(orphan, &seen, intent)) break;
    }
    return SHMC_OK;
}

SHMC_API bool
shmi_mpmc_patrol(shmc_mpmc *q, uint64_t pos, uint64_t *found)
{
    q->patrol_pos = pos + SHMI_MPMC_PATROL;
    return q->segment && shmi_mpmc_rescue(q, found);
}

/* >>cells: obstacles */

/* Count tries at one position; true when it is time to inspect it.         */
static bool
shmi_mpmc_due(shmc_mpmc *q, uint64_t pos, uint64_t *last, uint32_t *tries)
{
    const bool look = q->look;
    if (pos != *last) *tries = 0;
    *last = pos;
    ++*tries;
    q->look = false;
    return q->segment && (look || *tries % SHMI_MPMC_STUCK_TRIES == 0);
}

/* Clear what a lost race left in our own word, which nobody else writes.    */
static void
shmi_mpmc_disarm(uint64_t *intent)
{
    if (shmi_load_rlx_64(intent) != 0) shmi_store_rel_64(intent, 0);
}

SHMC_API int
shmi_mpmc_push_stuck(shmc_mpmc *q, uint64_t pos, uint32_t tries, uint64_t *next)
{
    const uint64_t lap = q->mask + 1, old = pos - lap;
    uint64_t *cell = shmi_mpmc_at(q, pos);
    shmi_mpmc_disarm(&q->seat->intent);
    *next = pos;
    if (tries >= SHMI_MPMC_TRIES) return SHMC_EAGAIN;
    const uint64_t seen = shmi_load_acq_64(cell);   /* A4 <- R4              */
    if (seen == shmi_mpmc_word(pos, SHMI_MPMC_FREE)) return SHMI_MPMC_RETRY;
    /* A1 <- R1: had a producer claimed pos, or later ones, we would see it,
     * since we saw its word.                                               */
    *next = shmi_load_acq_64(&q->shm->tail);
    if (*next != pos) return SHMI_MPMC_RETRY;
    const bool full = shmi_mpmc_full(seen, old);
    const bool tomb = seen == shmi_mpmc_word(old, SHMI_MPMC_TOMB);
    if (!full && !tomb && seen != shmi_mpmc_word(old, SHMI_MPMC_FREE))
        return SHMC_ECORRUPT;       /* I2                                   */
    if (!tomb && !shmi_mpmc_due(q, pos, &q->full_pos, &q->full_tries))
        return SHMC_EAGAIN;
    /* A2 <- R2: the claimer's intent happens before our look at the seats. */
    const uint64_t claimed = shmi_load_acq_64(&q->shm->head) - old;
    if (claimed == 0) return SHMC_EAGAIN;
    if (claimed > lap) {            /* I1, unless tail has moved: head knows */
        *next = shmi_load_rlx_64(&q->shm->tail);
        return *next == pos ? SHMC_ECORRUPT : SHMI_MPMC_RETRY;
    }
    if (tomb) {
        shmi_mpmc_untomb(q, old);
        return SHMI_MPMC_RETRY;
    }
    if (!full)                      /* I2: head knows that it was full      */
        return shmi_load_rlx_64(cell) == seen ? SHMC_ECORRUPT
                                              : SHMI_MPMC_RETRY;
    if (q->drop || shmi_mpmc_is_poison(q, seen)) {
        q->look = shmi_mpmc_adopt(q, old) == SHMI_MPMC_DROPPED;
        return q->look ? SHMI_MPMC_RETRY : SHMC_EAGAIN;
    }
    /* A consumer must deliver it first; wake one.                          */
    if (q->waitable && !shmi_mpmc_covered(q, false, old))
        shmi_bell_ring(&q->shm->readable, q->asymmetric);
    return SHMC_EAGAIN;
}

SHMC_API int
shmi_mpmc_pop_stuck(shmc_mpmc *q, uint64_t pos, uint32_t tries, uint64_t *next)
{
    const uint64_t old = pos - q->mask - 1;
    shmi_mpmc_disarm(&q->seat->word[0]);
    *next = pos;
    if (tries >= SHMI_MPMC_TRIES) return SHMC_EAGAIN;
    const uint64_t seen = shmi_load_acq_64(shmi_mpmc_at(q, pos));  /* A3    */
    if (seen == shmi_mpmc_word(pos, SHMI_MPMC_FULL)) return SHMI_MPMC_RETRY;
    if (seen == shmi_mpmc_word(pos, SHMI_MPMC_TOMB)) {
        /* No intent: nothing can be lost; who dies here leaves a tomb with
         * head beyond it, which anybody may free (I5).                     */
        if (!shmi_cas_rel_64(&q->shm->head, next, pos + 1)) {
            *next = shmi_load_acq_64(&q->shm->head);    /* A2, as below     */
            return SHMI_MPMC_RETRY;
        }
        *next = pos + 1;
        (void)shmi_faa_rlx_64(&q->shm->skipped, 1);
        shmi_mpmc_untomb(q, pos);
        return SHMI_MPMC_RETRY;
    }
    /* A2 <- R2, as for tail in shmi_mpmc_push_stuck.                       */
    *next = shmi_load_acq_64(&q->shm->head);
    if (*next != pos) return SHMI_MPMC_RETRY;
    const bool empty = seen == shmi_mpmc_word(pos, SHMI_MPMC_FREE);
    const bool full = shmi_mpmc_full(seen, old);
    if (seen == shmi_mpmc_word(old, SHMI_MPMC_TOMB)) {
        shmi_mpmc_untomb(q, old);
        return SHMI_MPMC_RETRY;
    }
    if (!empty && !full) return SHMC_ECORRUPT;      /* I2                    */
    const bool look = q->look;
    if (!shmi_mpmc_due(q, pos, &q->idle_pos, &q->idle_tries))
        return SHMC_EAGAIN;
    int r = SHMC_EAGAIN;
    if (empty) {
        r = shmi_mpmc_bury(q, pos);
    } else {
        const int got = shmi_mpmc_adopt(q, old);
        *next = got == SHMI_MPMC_ADOPTED ? old : pos;
        if (got == SHMI_MPMC_ADOPTED) r = SHMC_OK;
        if (got == SHMI_MPMC_DROPPED) r = SHMI_MPMC_RETRY;
    }
    /* One death, and maybe a whole batch: inspect the next one at once.    */
    q->look = r == SHMI_MPMC_RETRY;
    if (r == SHMC_EAGAIN &&
        (look || q->idle_tries % SHMI_MPMC_RESCUE_TRIES == 0) &&
        shmi_mpmc_rescue(q, next))
        r = SHMC_OK;
    return r;
}

SHMC_API int
shmi_mpmc_push_slow(shmc_mpmc *q, uint64_t *pos)
{
    const uint64_t guess = q->push_next;
    const int r = shmi_mpmc_claim_tail(q, shmi_mpmc_stride(q->slot_bytes), 1,
                                       pos);
    if (r > 0 && *pos != guess) q->push_wary = SHMI_MPMC_WARY;
    return r;
}

SHMC_API int
shmi_mpmc_pop_slow(shmc_mpmc *q, uint64_t *pos)
{
    const uint64_t guess = q->pop_next;
    const int r = shmi_mpmc_claim_head(q, shmi_mpmc_stride(q->slot_bytes), 1,
                                       pos);
    if (r > 0 && *pos != guess) q->pop_wary = SHMI_MPMC_WARY;
    return r;
}

SHMC_API void
shmi_mpmc_step_back(void)
{
    shmi_relax();
    for (int i = 0; i < SHMI_MPMC_STEP_BACK; i++) shmi_fence_compiler();
}

SHMC_API int
shmi_mpmc_refuse(const shmc_mpmc *q, uint32_t role)
{
    if (!q->shm) return SHMC_ECLOSED;
    if (!(q->role & role)) return SHMC_EINVAL;
    return (role == SHMC_PRODUCER ? q->loaned : q->borrowed) ? SHMC_EINVAL
                                                             : SHMC_EMSGSIZE;
}

/* >>cells: looking */

SHMC_API const uint64_t *
shmi_mpmc_peek(const shmc_mpmc *q, uint64_t *pos)
{
    /* Relaxed: shmi_mpmc_discard finds out whether it is head yet.         */
    *pos = shmi_load_rlx_64(&q->shm->head);
    const uint64_t *cell = shmi_mpmc_at(q, *pos);
    return shmi_load_acq_64(cell) == shmi_mpmc_word(*pos, SHMI_MPMC_FULL)
         ? cell : NULL;                                 /* A3, as above     */
}

SHMC_API bool
shmi_mpmc_discard(shmc_mpmc *q, uint64_t pos)
{
    uint64_t seen = pos;
    shmi_mpmc_intend(&q->seat->word[0],
                     shmi_mpmc_intent(SHMI_MPMC_DEQ, pos, 1));
    /* R2 -> A2, R4 -> A4: as in a pop.                                     */
    const bool mine = shmi_cas_rel_64(&q->shm->head, &seen, pos + 1);
    if (mine)
        shmi_store_rel_64(shmi_mpmc_at(q, pos),
                          shmi_mpmc_word(pos + q->mask + 1, SHMI_MPMC_FREE));
    shmi_mpmc_popped(q);
    return mine;
}

#endif /* SHMCOMM_IMPLEMENTATION */
