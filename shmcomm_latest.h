/* shmcomm_latest.h - a cell in shared memory that holds the latest value: one
 * writer that never waits, any number of readers that never see half a value.
 *
 *     shmc_latest pose;
 *     shmc_latest_desc d = { .value_bytes = sizeof p };
 *     shmc_latest_open(&pose, &segment, "pose", &d, SHMC_PRODUCER);
 *     shmc_latest_write(&pose, &p, sizeof p);
 *                                               // elsewhere, SHMC_CONSUMER:
 *     if (shmc_latest_read(&pose, &p, sizeof p, NULL) == SHMC_OK) steer(&p);
 *
 * Manual: docs/shmcomm_ring.md, bytes: docs/layout.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_LATEST_H
#define SHMCOMM_LATEST_H

#include "shmcomm_ring.h"

/* ---- configuration: none of these changes a shared byte ---------------- */

#ifndef SHMC_LATEST_TRIES           /* laps a reader stands before EAGAIN   */
#define SHMC_LATEST_TRIES 64u
#endif

/* ---- constants --------------------------------------------------------- */

enum { SHMI_LATEST_MAGIC = 0x5453544c, SHMI_LATEST_VERSION = 1 }; /* "LTST" */

/* ---- descs: zero selects the default, or what exists ------------------- */

typedef struct shmc_latest_desc {
    uint32_t value_bytes;           /* bytes of the value, 1..2^30 [64]     */
    uint32_t slot_count;            /* power of two, 2..2^31 [4]            */
    uint32_t waitable;              /* 1: _wait works, writing rings [0]    */
    const char *type_name;          /* of the value, checked; NULL: not     */
} shmc_latest_desc;

/* ---- shared layout, version 1 ------------------------------------------
 * Version v lies in slot v mod slot_count: the value, up to a multiple of 8,
 * then a 64-bit stamp, up to a line.
 * I6: slot v mod slot_count holds the whole of v from writer.index == v until
 *     its stamp becomes v + slot_count.  0 = no value was ever written.
 * I7: a slot's stamp names the version that it holds or is about to hold.  */
typedef struct shmc_latest_shm {
    shmi_ring_head_shm ring;        /* constant                             */
    shmi_end_shm  writer;           /* W writer (R3)  R readers (A3)        */
    shmi_bell_shm readable;         /* W writer rings, readers sleep        */
} shmc_latest_shm;                  /* slots follow                         */
SHMC_LAYOUT_AT(shmc_latest_shm, writer, 1 * SHMC_LINE);
SHMC_LAYOUT_AT(shmc_latest_shm, readable, 2 * SHMC_LINE);
SHMC_LAYOUT_SIZE(shmc_latest_shm, 3 * SHMC_LINE);

/* ---- handles: private memory, no thread but its own may use one -------- */

typedef struct shmc_latest {
    uint64_t last;                  /* writer: newest version; reader: the
                                       newest that it has returned          */
    uint64_t gate;                  /* as in shmi_lane                      */
    uint8_t *slots;
    shmc_latest_shm *shm;           /* NULL = closed                        */
    uint32_t mask, stride_bytes, value_bytes, stamp_at;
    uint32_t epoch, flags, role;
    bool     holding;
    shmc_segment *segment;
    shmc_object object;
    shmi_peer_watch watch;
    uint8_t  apart[SHMC_LINE];
} shmc_latest;

typedef struct shmc_latest_stats {
    uint64_t version;               /* values written so far                */
    uint32_t value_bytes, slot_count;
    int32_t  writer_pid;
    bool     writer_alive, waitable;
} shmc_latest_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- latest: one value, one writer, any number of readers -------------- */

/* The same as for spsc.  SHMC_PRODUCER writes; the others read, claim no
 * role and write nothing, so that a read-only segment will do; a CONSUMER
 * creates the cell where it is missing, an OBSERVER does not.
 * Crash   a writer that dies inside a write leaves the value before it; its
 *         successor goes on with the next version.                        */
SHMC_API int64_t shmc_latest_size_for(const shmc_latest_desc *desc);
SHMC_API int shmc_latest_format(void *mem, uint64_t bytes,
                                const shmc_latest_desc *desc);
SHMC_API int shmc_latest_map(shmc_latest *c, void *mem, uint64_t bytes,
                             uint32_t role);
SHMC_API int shmc_latest_open(shmc_latest *c, shmc_segment *s,
                              const char *name, const shmc_latest_desc *desc,
                              uint32_t role);
SHMC_API int shmc_latest_close(shmc_latest *c);
SHMC_API int shmc_latest_stats_get(const shmc_latest *c,
                                   shmc_latest_stats *out);

/* Read a value newer than any that this handle has returned, waiting for it.
 * Cost    blocks.  A read-only handle looks every millisecond.
 * Errors  SHMC_ETIMEDOUT; SHMC_EAGAIN (timeout 0); SHMC_EPEERDEAD the
 *         writer died: told once, within 10 ms; SHMC_ENOTSUP not waitable;
 *         those of read.                                                  */
SHMC_API int shmc_latest_read_wait(shmc_latest *c, void *out, uint32_t bytes,
                                   uint64_t *version, int64_t timeout_ns);

/* Name the cell to shmc_poll: SHMC_POLLIN when there is another version than
 * the one read last, SHMC_POLLDEAD when the writer died, told once.
 * Errors  SHMC_ENOTSUP not waitable; SHMC_EINVAL; SHMC_ECORRUPT;
 *         SHMC_EFORKED; SHMC_ECLOSED.                                     */
SHMC_API shmc_pollable shmc_latest_pollable(shmc_latest *c);

/* ---- private: for headers that carve rings out of their own objects ---- */

/* As shmc_latest_map, with the segment whose participants are the peers.  */
SHMC_API int shmi_latest_bind(shmc_latest *c, shmc_segment *s, void *mem,
                              uint64_t bytes, uint32_t role);

/* Say why the gate is closed: SHMC_ECLOSED, SHMC_EINVAL or SHMC_EMSGSIZE. */
SHMC_API int shmi_latest_refuse(const shmc_latest *c);

/* ---- inline: latest ----------------------------------------------------- */

SHMC_INLINE uint8_t *
shmi_latest_slot(const shmc_latest *c, uint64_t version)
{
    return c->slots + (version & c->mask) * c->stride_bytes;
}

SHMC_INLINE uint64_t *
shmi_latest_stamp(const shmc_latest *c, uint64_t version)
{
    return (uint64_t *)(void *)(shmi_latest_slot(c, version) + c->stamp_at);
}

/* Stamp the next slot for the next version: from here on no reader takes
 * what it holds for the version that it held (I6, I7).                    */
SHMC_HOT uint8_t *
shmi_latest_begin(shmc_latest *c)
{
    const uint64_t version = c->last + 1;
    /* R5 -> A5: writer.index == version - 1 happens before this stamp, so a
     * reader that was lapped finds that the index has moved.              */
    shmi_store_rel_64(shmi_latest_stamp(c, version), version);
    /* R4 -> A4: the stamp happens before any byte of the new value: who
     * reads such a byte finds the stamp changed.                          */
    shmi_fence_rel();
    return shmi_latest_slot(c, version);
}

SHMC_HOT void
shmi_latest_end(shmc_latest *c)
{
    /* R3 -> A3: the whole value happens before anybody looks for it.      */
    shmi_store_rel_64(&c->shm->writer.index, ++c->last);
    if (SHMI_UNLIKELY(c->flags & SHMI_RING_WAITABLE))
        shmi_bell_ring(&c->shm->readable,
                       (c->flags & SHMI_RING_ASYMMETRIC) != 0);
}

/* Write the next value, of exactly value_bytes bytes.
 * Safety  one writer thread; any number of readers in any processes.
 * Cost    wait-free, O(bytes); readers are never waited for.
 * Crash   dying before R3 leaves the value before.
 * Errors  SHMC_EMSGSIZE; SHMC_EINVAL no writer, or a loan is open;
 *         SHMC_ECLOSED; SHMC_EFORKED.
 * Source  sequence locks (Boehm 2012), with a slot per recent version.    */
SHMC_HOT int
shmc_latest_write(shmc_latest *c, const void *value, uint32_t bytes)
{
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(c->gate != shmi_gate(SHMC_PRODUCER, bytes)))
        return shmi_latest_refuse(c);
    shmi_copy_in(shmi_latest_begin(c), value, bytes);
    shmi_latest_end(c);
    return SHMC_OK;
}

/* Borrow the next slot, 128-byte aligned, to write the value in place.  It
 * holds some old value.  Owner  the caller's until commit or abort.
 * Cost  wait-free, O(1).  Crash, Errors  as shmc_latest_write.            */
SHMC_INLINE int
shmc_latest_loan(shmc_latest *c, void **value)
{
    *value = NULL;
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(c->gate != shmi_gate(SHMC_PRODUCER, c->value_bytes)))
        return shmi_latest_refuse(c);
    *value = shmi_latest_begin(c);
    c->holding = true;
    c->gate = 0;
    return SHMC_OK;
}

/* Give a loan back; the slot is not seen and is used by the next write.
 * Errors  SHMC_EINVAL no loan; SHMC_ECLOSED; SHMC_EFORKED.                */
SHMC_INLINE int
shmc_latest_abort(shmc_latest *c)
{
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!c->holding)) return c->shm ? SHMC_EINVAL : SHMC_ECLOSED;
    c->holding = false;
    c->gate = shmi_gate(SHMC_PRODUCER, c->value_bytes);
    return SHMC_OK;
}

/* Make the loaned slot the latest value.  Errors  as shmc_latest_abort.   */
SHMC_INLINE int
shmc_latest_commit(shmc_latest *c)
{
    const int rc = shmc_latest_abort(c);
    if (rc == SHMC_OK) shmi_latest_end(c);
    return rc;
}

/* Look which version is the latest.  SHMC_EAGAIN none; SHMC_ECORRUPT older
 * than one that was returned before.                                      */
SHMC_HOT int
shmi_latest_look(const shmc_latest *c, uint64_t *version)
{
    /* A3 <- R3: the value of that version was written before.             */
    const uint64_t v = shmi_load_acq_64(&c->shm->writer.index);
    if (SHMI_UNLIKELY(v < c->last)) return SHMC_ECORRUPT;
    if (SHMI_UNLIKELY(v == 0)) return SHMC_EAGAIN;
    *version = v;
    return SHMC_OK;
}

/* SHMC_OK if the slot still held `version` when it was read, SHMC_ELAPPED if
 * it was written anew, SHMC_ECORRUPT if that cannot have happened.        */
SHMC_HOT int
shmi_latest_recheck(const shmc_latest *c, uint64_t version)
{
    /* A4 <- R4: if a byte of a newer value was read, so is its stamp.     */
    shmi_fence_acq();
    if (SHMI_LIKELY(shmi_load_rlx_64(shmi_latest_stamp(c, version)) == version))
        return SHMC_OK;
    /* A5 <- R5: a lap means that the index has moved, by I6 and I7.       */
    shmi_fence_acq();
    return shmi_load_rlx_64(&c->shm->writer.index) == version
         ? SHMC_ECORRUPT : SHMC_ELAPPED;
}

/* Copy out the latest value, of exactly value_bytes bytes, and its version
 * (1 for the first; NULL: not wanted).  Never an older one than before.
 * Safety  any role, also read-only; a handle is one thread's.
 * Cost    lock-free, O(bytes); read again when lapped while copying, at most
 *         SHMC_LATEST_TRIES times.
 * Crash   a dead writer, wherever it died, holds no reader up.
 * Errors  SHMC_EAGAIN no value yet, or lapped in each try (more slots help);
 *         `out` is then undefined; SHMC_EMSGSIZE; SHMC_ECORRUPT;
 *         SHMC_ECLOSED; SHMC_EFORKED.                                     */
SHMC_HOT int
shmc_latest_read(shmc_latest *c, void *out, uint32_t bytes,
                 uint64_t *version)
{
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!c->shm)) return SHMC_ECLOSED;
    if (SHMI_UNLIKELY(bytes != c->value_bytes)) return SHMC_EMSGSIZE;
    for (uint32_t i = 0; i < SHMC_LATEST_TRIES; i++) {
        uint64_t v = 0;
        int rc = shmi_latest_look(c, &v);
        if (rc != SHMC_OK) return rc;
        shmi_copy_out(out, shmi_latest_slot(c, v), bytes);
        rc = shmi_latest_recheck(c, v);
        if (SHMI_UNLIKELY(rc == SHMC_ELAPPED)) continue;
        if (rc != SHMC_OK) return rc;
        if (c->role != SHMC_PRODUCER) c->last = v;
        if (version) *version = v;
        return SHMC_OK;
    }
    return SHMC_EAGAIN;
}

/* Borrow the latest value where it lies, 128-byte aligned.  It may change
 * under the reader's eyes: only shmc_latest_release tells if it was whole.
 * After an error *value is NULL and *version is 0.
 * Cost  wait-free, O(1).  Errors  as shmc_latest_read.                    */
SHMC_INLINE int
shmc_latest_borrow(const shmc_latest *c, const void **value,
                   uint64_t *version)
{
    *value = NULL;
    *version = 0;
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!c->shm)) return SHMC_ECLOSED;
    const int rc = shmi_latest_look(c, version);
    if (rc == SHMC_OK) *value = shmi_latest_slot(c, *version);
    return rc;
}

/* Tell if the borrowed value was that of `version` all the time.
 * Cost  wait-free.  Errors  SHMC_ELAPPED it was not: forget what was read;
 * SHMC_ECORRUPT; SHMC_ECLOSED; SHMC_EFORKED.                              */
SHMC_INLINE int
shmc_latest_release(shmc_latest *c, uint64_t version)
{
    if (SHMI_UNLIKELY(c->epoch != shmi_fork_epoch)) return SHMC_EFORKED;
    if (SHMI_UNLIKELY(!c->shm)) return SHMC_ECLOSED;
    const int rc = shmi_latest_recheck(c, version);
    if (rc == SHMC_OK && version > c->last) c->last = version;
    return rc;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_LATEST_H */

#if defined(SHMCOMM_IMPLEMENTATION) && !defined(SHMCOMM_LATEST_IMPLEMENTED)
#define SHMCOMM_LATEST_IMPLEMENTED

/* >>latest ---------------------------------------------------------------- */

typedef struct shmi_latest_plan {
    shmc_latest_desc asked;
    shmi_ring_head_shm head;        /* of a new one                         */
} shmi_latest_plan;

/* A slot: the value up to a multiple of 8, its stamp, up to a line.        */
static uint32_t
shmi_latest_stride(uint32_t value_bytes)
{
    return (uint32_t)shmi_round_up(
        shmi_round_up(value_bytes, 8) + sizeof(uint64_t), SHMC_LINE);
}

static int
shmi_latest_plan_for(shmi_latest_plan *p, const shmc_latest_desc *desc)
{
    shmi_ring_head_shm *h = &p->head;
    memset(p, 0, sizeof *p);
    if (desc) p->asked = *desc;
    const shmc_latest_desc *d = &p->asked;
    if (d->value_bytes > SHMI_RING_MAX_BYTES)
        return shmi_fail(SHMC_EINVAL, "latest-value cell: value_bytes is %u,"
                         " more than %u", (unsigned)d->value_bytes,
                         SHMI_RING_MAX_BYTES);
    if (d->slot_count != 0 &&
        (d->slot_count < 2 || !shmi_is_pow2(d->slot_count)))
        return shmi_fail(SHMC_EINVAL, "latest-value cell: slot_count is %u,"
                         " not a power of two from 2",
                         (unsigned)d->slot_count);
    h->magic = SHMI_LATEST_MAGIC;
    h->version = SHMI_LATEST_VERSION;
    h->slot_bytes = d->value_bytes ? d->value_bytes : 64;
    h->slot_count = d->slot_count ? d->slot_count : 4;
    h->stride_bytes = shmi_latest_stride(h->slot_bytes);
    h->flags = shmi_ring_flags(NULL, d->waitable);
    h->total_bytes = sizeof(shmc_latest_shm)
                   + (uint64_t)h->stride_bytes * h->slot_count;
    return shmi_waitable_check("latest-value cell", d->waitable);
}

static int
shmi_latest_init(void *mem, uint64_t bytes, const void *plan)
{
    const shmi_ring_head_shm *h = &((const shmi_latest_plan *)plan)->head;
    const int rc = shmi_ring_memory(mem, bytes, h->total_bytes,
                                    "latest-value cell");
    if (rc != SHMC_OK) return rc;
    memset(mem, 0, sizeof(shmc_latest_shm));
    /* Stamp 0 names no version (I7); the values may stay garbage.          */
    uint8_t *stamp = (uint8_t *)mem + sizeof(shmc_latest_shm)
                   + shmi_round_up(h->slot_bytes, 8);
    for (uint32_t i = 0; i < h->slot_count; i++, stamp += h->stride_bytes)
        memset(stamp, 0, sizeof(uint64_t));
    shmi_ring_publish((shmi_ring_head_shm *)mem, h);
    return SHMC_OK;
}

SHMC_API int64_t
shmc_latest_size_for(const shmc_latest_desc *desc)
{
    shmi_latest_plan p;
    const int rc = shmi_latest_plan_for(&p, desc);
    return rc == SHMC_OK ? (int64_t)p.head.total_bytes : rc;
}

SHMC_API int
shmc_latest_format(void *mem, uint64_t bytes, const shmc_latest_desc *desc)
{
    shmi_latest_plan p;
    const int rc = shmi_latest_plan_for(&p, desc);
    return rc == SHMC_OK ? shmi_latest_init(mem, bytes, &p) : rc;
}

static int
shmi_latest_check(const void *mem, uint64_t bytes,
                  const shmc_latest_desc *asked, shmi_ring_head_shm *h)
{
    const char *what = "latest-value cell";
    const int rc = shmi_ring_check(mem, bytes, SHMI_LATEST_MAGIC,
                                   SHMI_LATEST_VERSION, what, h);
    if (rc != SHMC_OK) return rc;
    if (h->slot_count < 2 ||
        h->stride_bytes != shmi_latest_stride(h->slot_bytes) ||
        h->total_bytes < sizeof(shmc_latest_shm)
                       + (uint64_t)h->stride_bytes * h->slot_count)
        return shmi_fail(SHMC_ECORRUPT, "map a %s: %u slots of %u bytes every"
                         " %u cannot be", what, (unsigned)h->slot_count,
                         (unsigned)h->slot_bytes, (unsigned)h->stride_bytes);
    const shmi_ask row[] = {
        { "value_bytes", asked->value_bytes, h->slot_bytes },
        { "slot_count", asked->slot_count, h->slot_count },
        { "waitable", asked->waitable, h->flags & SHMI_RING_WAITABLE }
    };
    return shmi_ring_same(what, row, sizeof row / sizeof row[0]);
}

static int
shmi_latest_bind_as(shmc_latest *c, shmc_segment *s, void *mem,
                    uint64_t bytes, uint32_t role,
                    const shmc_latest_desc *asked)
{
    shmi_ring_head_shm h;
    memset(c, 0, sizeof *c);
    if (role > SHMC_CONSUMER)
        return shmi_fail(SHMC_EINVAL, "map a latest-value cell: role %u is"
                         " none", (unsigned)role);
    int rc = shmi_latest_check(mem, bytes, asked, &h);
    if (rc != SHMC_OK) return rc;
    shmc_latest_shm *shm = (shmc_latest_shm *)mem;
    if (role == SHMC_PRODUCER) {
        rc = shmi_role_claim(s, &shm->writer.owner, "writer");
        if (rc != SHMC_OK) return rc;
        /* Relaxed: claiming the role acquired all that the last writer did.*/
        c->last = shmi_load_rlx_64(&shm->writer.index);
        c->gate = shmi_gate(SHMC_PRODUCER, h.slot_bytes);
    }
    c->shm = shm;
    c->slots = (uint8_t *)mem + sizeof(shmc_latest_shm);
    c->mask = h.slot_count - 1;
    c->stride_bytes = h.stride_bytes;
    c->value_bytes = h.slot_bytes;
    c->stamp_at = (uint32_t)shmi_round_up(h.slot_bytes, 8);
    c->epoch = shmi_fork_epoch;
    c->flags = h.flags;
    c->role = role;
    c->segment = s;
    c->watch.segment = role == SHMC_PRODUCER ? NULL : s;
    c->watch.word = &shm->writer.owner;
    return SHMC_OK;
}

SHMC_API int
shmi_latest_bind(shmc_latest *c, shmc_segment *s, void *mem, uint64_t bytes,
                 uint32_t role)
{
    static const shmc_latest_desc any;
    return shmi_latest_bind_as(c, s, mem, bytes, role, &any);
}

SHMC_API int
shmc_latest_map(shmc_latest *c, void *mem, uint64_t bytes, uint32_t role)
{
    return shmi_latest_bind(c, NULL, mem, bytes, role);
}

SHMC_API int
shmc_latest_open(shmc_latest *c, shmc_segment *s, const char *name,
                 const shmc_latest_desc *desc, uint32_t role)
{
    shmi_latest_plan p;
    shmc_object object;
    shmc_object_desc d;
    memset(c, 0, sizeof *c);
    int rc = shmi_latest_plan_for(&p, desc);
    if (rc != SHMC_OK) return rc;
    if (!s || !name || role > SHMC_CONSUMER)
        return shmi_fail(SHMC_EINVAL, "open a latest-value cell: no segment,"
                         " no name, or role %u", (unsigned)role);
    if (s->read_only && role == SHMC_PRODUCER)
        return shmi_fail(SHMC_EROFS, "open the latest-value cell \"%s\" to"
                         " write: the segment is open read-only", name);
    p.head.flags = shmi_ring_flags(s, p.asked.waitable);
    memset(&d, 0, sizeof d);
    d.bytes = p.head.total_bytes;
    d.kind = SHMC_KIND_LATEST;
    d.version = SHMI_LATEST_VERSION;
    d.type_name = p.asked.type_name;
    d.type_hash = d.type_name ? shmc_type_hash(d.type_name) : 0;
    d.init = shmi_latest_init;
    d.user = &p;
    rc = shmi_ring_object(s, name, &d, role == SHMC_OBSERVER, &object);
    if (rc != SHMC_OK) return rc;
    rc = shmi_latest_bind_as(c, s, object.mem, object.bytes, role, &p.asked);
    if (rc != SHMC_OK) {
        shmc_object_close(s, &object);
        return rc;
    }
    c->object = object;
    return SHMC_OK;
}

SHMC_API int
shmc_latest_close(shmc_latest *c)
{
    int rc = SHMC_OK;
    if (!c->shm) return SHMC_ECLOSED;
    if (c->epoch == shmi_fork_epoch) {
        if (c->role == SHMC_PRODUCER)
            shmi_role_drop(c->segment, &c->shm->writer.owner);
        if (c->object.mem) rc = shmc_object_close(c->segment, &c->object);
    }
    memset(c, 0, sizeof *c);
    return rc;
}

SHMC_API int
shmi_latest_refuse(const shmc_latest *c)
{
    if (!c->shm) return SHMC_ECLOSED;
    if (c->role != SHMC_PRODUCER || c->holding) return SHMC_EINVAL;
    return SHMC_EMSGSIZE;
}

SHMC_API int
shmc_latest_stats_get(const shmc_latest *c, shmc_latest_stats *out)
{
    memset(out, 0, sizeof *out);
    if (!c->shm) return SHMC_ECLOSED;
    if (c->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    out->version = shmi_load_rlx_64(&c->shm->writer.index);
    out->value_bytes = c->value_bytes;
    out->slot_count = c->mask + 1;
    out->waitable = (c->flags & SHMI_RING_WAITABLE) != 0;
    shmi_ring_holder(c->segment, &c->shm->writer.owner, &out->writer_pid,
                     &out->writer_alive);
    return SHMC_OK;
}

typedef struct shmi_latest_wait {
    shmc_latest *cell;
    void *out;
    uint64_t *version;
    uint32_t bytes;
} shmi_latest_wait;

static int
shmi_latest_try(const shmi_latest_wait *w)
{
    shmc_latest *c = w->cell;
    /* Relaxed: only "is it another one?"; the read orders what it reads.   */
    if (shmi_load_rlx_64(&c->shm->writer.index) == c->last) return SHMC_EAGAIN;
    return shmc_latest_read(c, w->out, w->bytes, w->version);
}

static int
shmi_latest_try_or_look(void *ctx)
{
    const shmi_latest_wait *w = (const shmi_latest_wait *)ctx;
    int rc = shmi_latest_try(w);
    if (rc != SHMC_EAGAIN) return rc;
    if (shmi_peer_look(&w->cell->watch) != SHMC_EPEERDEAD) return SHMC_EAGAIN;
    /* What the writer did last comes first; its death is told after it.    */
    rc = shmi_latest_try(w);
    if (rc == SHMC_EAGAIN) return SHMC_EPEERDEAD;
    w->cell->watch.told = 0;
    return rc;
}

SHMC_API int
shmc_latest_read_wait(shmc_latest *c, void *out, uint32_t bytes,
                      uint64_t *version, int64_t timeout_ns)
{
    shmi_latest_wait w = { c, out, version, bytes };
    if (c->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if (!c->shm) return SHMC_ECLOSED;
    if (bytes != c->value_bytes) return SHMC_EMSGSIZE;
    if (!(c->flags & SHMI_RING_WAITABLE))
        return shmi_fail(SHMC_ENOTSUP, "wait on a latest-value cell that was"
                         " created without waitable = 1");
    const int rc = shmi_latest_try(&w);
    if (rc != SHMC_EAGAIN || timeout_ns == 0) return rc;
    /* A reader of a read-only segment cannot say that it sleeps.           */
    const bool deaf = c->segment && c->segment->read_only;
    return shmi_bell_wait(deaf ? NULL : &c->shm->readable,
                          (c->flags & SHMI_RING_ASYMMETRIC) != 0,
                          shmi_latest_try_or_look, &w, timeout_ns,
                          shmi_peer_slice(&c->watch));
}

static int
shmi_latest_news(const shmc_latest *c)
{
    uint64_t version = 0;
    const int rc = shmi_latest_look(c, &version);

    return rc == SHMC_OK && version == c->last ? SHMC_EAGAIN : rc;
}

static int
shmi_latest_poll(void *cell, uint32_t events, bool thorough,
                 shmi_poll_spot *spot)
{
    shmc_latest *c = (shmc_latest *)cell;

    if (!c->shm) return SHMC_ECLOSED;
    if (c->epoch != shmi_fork_epoch) return SHMC_EFORKED;
    if ((events & ~(uint32_t)SHMC_POLLIN) != 0 || c->role == SHMC_PRODUCER)
        return shmi_fail(SHMC_EINVAL, "poll a latest-value cell for 0x%x: "
                         "readers ask for SHMC_POLLIN, a writer never waits",
                         events);
    if (!(c->flags & SHMI_RING_WAITABLE))
        return shmi_fail(SHMC_ENOTSUP, "poll a latest-value cell that was"
                         " created without waitable = 1");
    /* A reader of a read-only segment cannot say that it sleeps.           */
    const bool deaf = c->segment && c->segment->read_only;
    spot->bell[0] = deaf ? NULL : &c->shm->readable;
    spot->asymmetric = (c->flags & SHMI_RING_ASYMMETRIC) != 0;
    spot->slice_ns = deaf ? SHMI_DEAF_NS : shmi_peer_slice(&c->watch);
    spot->progress = c->last;
    int rc = shmi_latest_news(c);
    if (rc == SHMC_EAGAIN && thorough &&
        shmi_peer_look(&c->watch) == SHMC_EPEERDEAD) {
        /* What the writer did last comes first.                            */
        rc = shmi_latest_news(c);
        if (rc == SHMC_EAGAIN) return SHMC_POLLDEAD;
        c->watch.told = 0;
    }
    if (rc == SHMC_EAGAIN) return 0;
    return rc < 0 ? rc : (int)(events & SHMC_POLLIN);
}

SHMC_API shmc_pollable
shmc_latest_pollable(shmc_latest *c)
{
    return (shmc_pollable){ shmi_latest_poll, c };
}

#endif /* SHMCOMM_IMPLEMENTATION */
