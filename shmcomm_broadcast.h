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

#include "shmcomm_bcast.h"

/* ---- constants --------------------------------------------------------- */

/* Every so many fruitless looks in a row, a subscriber looks at tail, or at
 * the cell behind, and a publisher asks the kernel who is alive.          */
enum { SHMI_BCAST_IDLE = 1024, SHMI_BCAST_PEEK = 256, SHMI_BCAST_FULL = 16 };
/* The longest record whose successor's lines are asked for early.         */
enum { SHMI_BCAST_AHEAD = 1024 + SHMI_RECORD_BYTES };
/* How many cells ahead a publisher asks for.                              */
enum { SHMI_BCAST_FETCH = 8 };
/* How long a subscriber takes a publisher that is in its way for alive.   */
enum { SHMI_BCAST_TRUST_NS = 200000 };
/* No call goes round more often, whatever the shared bytes say.           */
enum { SHMI_BCAST_ROUNDS = 1 << 16 };

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: slow parts of the calls below -------------------------------- */

SHMC_API int shmi_bcast_send_any(shmc_bcast *h, const void *data,
                                 uint32_t bytes);
SHMC_API int shmi_bcast_claim(shmc_bcast *h, uint64_t *record);
SHMC_API int shmi_bcast_next(shmc_bcast *h);
SHMC_API int shmi_bcast_recv_any(shmc_bcast *h, void *buf, uint32_t cap);
SHMC_API int shmi_bcast_loan_any(shmc_bcast *h, uint32_t bytes, void **data);
SHMC_API int shmi_bcast_commit_any(shmc_bcast *h, uint32_t bytes);
SHMC_API int shmi_bcast_borrow_any(shmc_bcast *h, const void **data);
SHMC_API int shmi_bcast_release_any(shmc_bcast *h);

/* Send, and receive, a message whose first `first_bytes` (of a send: no more
 * than a cell holds) lie elsewhere.  What is received counts without them. */
SHMC_API int shmi_bcast_send_pair(shmc_bcast *h, const void *first,
                                  uint32_t first_bytes, const void *data,
                                  uint32_t bytes);
SHMC_API int shmi_bcast_recv_pair(shmc_bcast *h, void *first,
                                  uint32_t first_bytes, void *buf,
                                  uint32_t cap);
SHMC_API void shmi_bcast_room(shmc_bcast *h);

/* Overwrite nothing that is in the ring now, as if a subscriber that has read
 * none of it sat there; or no longer.  Of a reliable ring's publisher.    */
SHMC_API void shmi_bcast_hold(shmc_bcast *h, bool on);

/* ---- API: publishers --------------------------------------------------- */

/* A small loan or borrow, or its end: the gate that was open is closed, and
 * the other one opened.                                                   */
SHMC_INLINE void
shmi_bcast_swap(shmc_bcast *h, bool lent)
{
    h->lent = lent;
    if (lent) {
        h->back = h->ready;
        h->ready = 0;
    } else {
        h->ready = h->back;
        h->back = 0;
    }
}

/* In a reliable ring, where subscribers may be in a hurry: ask to own the
 * lines of a cell that a message of this length will fill soon, if everybody
 * is through with it.  Asked for only as it is written, each would be waited
 * for.  A hint; it changes no byte.                                       */
SHMC_INLINE void
shmi_bcast_fetch(const shmc_bcast *h, uint64_t position, uint32_t bytes)
{
    const shmi_bcast_cell_shm *cell = &h->cells[position & h->mask];

    if (!h->reliable || (int64_t)(position - h->gate) >= h->slot_count)
        return;
    shmi_prefetch_w(cell);
    if (bytes <= SHMC_BCAST_INLINE_BYTES &&
        bytes > SHMI_LANE_CPU_LINE - offsetof(shmi_bcast_cell_shm, data))
        shmi_prefetch_w((const uint8_t *)cell + SHMI_LANE_CPU_LINE);
}

/* Begin to write the cell of a position that is ours (I1).                */
SHMC_HOT shmi_bcast_cell_shm *
shmi_bcast_begin(shmc_bcast *h, uint64_t position, uint32_t bytes)
{
    shmi_bcast_cell_shm *cell = &h->cells[position & h->mask];

    shmi_bcast_fetch(h, position + SHMI_BCAST_FETCH, bytes);
    /* R7 -> A7: who finds himself lapped finds tail at least here.        */
    shmi_store_rel_64(&cell->stamp, shmi_stamp(position, SHMI_BUSY));
    /* R0 -> A0: BUSY is visible before any byte of the new message, so that
     * a reader that copied one of these bytes fails its recheck.          */
    shmi_fence_rel();
    shmi_store_rlx_32(&cell->bytes, bytes);
    return cell;
}

/* Publish it: its message is written.                                     */
SHMC_HOT void
shmi_bcast_end(shmi_bcast_cell_shm *cell, uint64_t position)
{
    /* R1 -> A1: the whole message happens before it is read.              */
    shmi_store_rel_64(&cell->stamp, shmi_stamp(position, SHMI_DONE));
}

/* Both, with a message that is copied in, or lies in an arena at `at`.    */
SHMC_HOT void
shmi_bcast_fill(shmc_bcast *h, uint64_t position, const void *data,
                uint32_t bytes, uint64_t at)
{
    shmi_bcast_cell_shm *cell = shmi_bcast_begin(h, position, bytes);

    if (bytes <= SHMC_BCAST_INLINE_BYTES) {
        if (bytes != 0) shmi_copy_in(cell->data, data, bytes);
    } else {
        shmi_store_rlx_32(&cell->seat, h->seat);
        shmi_store_rlx_64(&cell->at, at);
    }
    shmi_bcast_end(cell, position);
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
SHMC_HOT int
shmc_bcast_loan(shmc_bcast *h, uint32_t bytes, void **data)
{
    if (SHMI_UNLIKELY(h->ready != shmi_bcast_out()) || bytes >= h->small)
        return shmi_bcast_loan_any(h, bytes, data);
    *data = h->stage;               /* copied into the cell at commit       */
    h->lent_bytes = bytes;
    shmi_bcast_swap(h, true);
    return SHMC_OK;
}

SHMC_HOT int
shmc_bcast_commit(shmc_bcast *h, uint32_t bytes)
{
    if (SHMI_UNLIKELY(h->back != shmi_bcast_out()) || bytes > h->lent_bytes)
        return shmi_bcast_commit_any(h, bytes);
    if (!h->quick) {
        const int r = shmi_bcast_claim(h, NULL);
        if (SHMI_UNLIKELY(r != SHMC_OK)) return r;
    }
    shmi_bcast_cell_shm *cell = shmi_bcast_begin(h, h->next, bytes);
    /* Word by word, as shmi_spsc_fill: it was written a moment ago.  Up to
     * seven bytes behind it come along, which were in a loan before.      */
    shmi_spsc_put_words((uint64_t *)(void *)cell->data, h->stage,
                        (bytes + 7) & ~7u);
    shmi_bcast_end(cell, h->next);
    shmi_bcast_tell(h);
    shmi_bcast_swap(h, false);
    return SHMC_OK;
}

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
    if ((h->next & h->note) == 0) shmi_bcast_room(h);
    return (int)bytes;
}

/* The same, waiting for a message.  Errors  also SHMC_ETIMEDOUT;
 * SHMC_ENOTSUP the ring is not waitable.                                  */
SHMC_API int shmc_bcast_recv_wait(shmc_bcast *h, void *buf, uint32_t cap,
                                  int64_t timeout_ns);

/* Point at the next message where it lies.  Returns its bytes.  Neither they
 * nor anything in it may be believed before shmc_bcast_release says SHMC_OK.
 * Owner   the ring; valid until release.  One borrow at a time.
 * Errors  as recv; SHMC_EBUSY there is a borrow already.                  */
SHMC_HOT int
shmc_bcast_borrow(shmc_bcast *h, const void **data)
{
    if (SHMI_UNLIKELY(h->ready != shmi_bcast_in())) return shmi_bcast_refuse(h);
    const shmi_bcast_cell_shm *cell = &h->cells[h->next & h->mask];
    /* A1 <- R1: the cell is whole, and `bytes` its own, if the stamp is still
     * the same at release.                                                */
    if (shmi_load_acq_64(&cell->stamp) != shmi_stamp(h->next, SHMI_DONE))
        return shmi_bcast_borrow_any(h, data);
    const uint32_t bytes = shmi_load_rlx_32(&cell->bytes);
    if (bytes > SHMC_BCAST_INLINE_BYTES) return shmi_bcast_borrow_any(h, data);
    *data = cell->data;
    h->lent_bytes = bytes;
    shmi_bcast_swap(h, true);
    return (int)bytes;
}

/* Give the view back.  Errors  SHMC_ELAPPED it was overwritten meanwhile:
 * what was read may be torn; it counts as lost.  (A seated subscriber's
 * view cannot be, unless of history from before it sat down.)             */
SHMC_HOT int
shmc_bcast_release(shmc_bcast *h)
{
    if (SHMI_UNLIKELY(h->back != shmi_bcast_in())) return shmi_bcast_release_any(h);
    /* A0 <- R0: if a byte that was read was a later one's, so is the stamp. */
    shmi_fence_acq();
    if (SHMI_UNLIKELY(shmi_load_rlx_64(&h->cells[h->next & h->mask].stamp) !=
                      shmi_stamp(h->next, SHMI_DONE)))
        return shmi_bcast_release_any(h);
    shmi_bcast_swap(h, false);
    h->next++;
    h->idle = 0;
    if ((h->next & h->note) == 0) shmi_bcast_room(h);
    return SHMC_OK;
}

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

/* >>publishing */

/* Is there a loan, or a borrow, for `call` to end?                        */
static int
shmi_bcast_ends(const shmc_bcast *h, const char *call, bool loan)
{
    const int r = shmi_bcast_usable(h);

    if (r != SHMC_OK || (h->lent && loan == (h->role == SHMC_PRODUCER))) return r;
    return shmi_fail(SHMC_EINVAL, "%s on a broadcast ring: there is no %s", call,
                     loan ? "loan" : "borrow");
}

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
    if (h->holding)
        least = tail - h->hold > h->slot_count ? tail - h->slot_count : h->hold;
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

SHMC_API void
shmi_bcast_hold(shmc_bcast *h, bool on)
{
    /* Relaxed, as the stamps behind it: what is stale holds more.         */
    const uint64_t tail = shmi_load_rlx_64(&h->shm->tail);

    h->holding = on;
    if (!on) return;
    h->hold = shmi_bcast_first(h, tail, SHMC_BCAST_ALL);
    h->gate = tail - h->slot_count;                 /* look before trusting */
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
shmi_bcast_loan_any(shmc_bcast *h, uint32_t bytes, void **data)
{
    int r = shmi_bcast_may_send(h, bytes);

    if (r == SHMC_OK && h->lent) r = SHMC_EBUSY;
    if (r != SHMC_OK) return r;
    r = shmi_bcast_reserve(h, shmi_bcast_record_span(bytes));
    if (r != SHMC_OK) return r;
    *data = shmi_bcast_record(h, h->offset) + 1;
    shmi_bcast_lend(h, true);
    h->lent_bytes = bytes;
    return SHMC_OK;
}

SHMC_API int
shmi_bcast_commit_any(shmc_bcast *h, uint32_t bytes)
{
    int r = shmi_bcast_may_send(h, bytes);

    if (r == SHMC_OK) r = shmi_bcast_ends(h, "commit", true);
    if (r != SHMC_OK) return r;
    if (bytes > h->lent_bytes) return SHMC_EMSGSIZE;
    r = bytes > SHMC_BCAST_INLINE_BYTES
      ? shmi_bcast_publish_record(h, bytes)
      : shmi_bcast_publish(h, shmi_bcast_record(h, h->offset) + 1, bytes, NULL, 0);
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
    shmi_bcast_note(h);
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
    if (h->guest && (thorough || h->idle == 1)) shmi_bcast_note(h);
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

/* Tell how far a subscriber is.  Publishers look at a seated one: ring for a
 * sleeping one each quarter of a lap.                                     */
SHMC_API void
shmi_bcast_room(shmc_bcast *h)
{
    const uint64_t quarter = h->slot_count / 4 ? h->slot_count / 4 : 1;

    if (!h->seated) {
        shmi_bcast_note(h);
        return;
    }
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
    if ((h->next & h->note) == 0) shmi_bcast_room(h);
    if (!h->seated) return;
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
shmi_bcast_borrow_any(shmc_bcast *h, const void **data)
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
shmi_bcast_release_any(shmc_bcast *h)
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
    if (thorough && r != 1) shmi_bcast_note(h);
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
