/* shmcomm_ring.h - queues and cells in shared memory: the ground they share.
 *
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

/* ---- the first line of every ring --------------------------------------
 * G1: after R0 no field of it changes until somebody formats the memory.
 * G2: 128 + stride_bytes * slot_count <= total_bytes <= the object's bytes.
 * G3: slot_count is a power of two.
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

#ifdef __cplusplus
extern "C" {
#endif

/* ---- private: the shared ground ---------------------------------------- */

SHMC_INLINE bool
shmi_is_pow2(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* Round up to a power of two's multiple.  The caller keeps it from wrapping. */
SHMC_INLINE uint64_t
shmi_round_up(uint64_t n, uint64_t pow2) { return (n + pow2 - 1) & ~(pow2 - 1); }

/* What a ring waits with, in private memory.  A death is told once: the
 * next wait after SHMC_EPEERDEAD waits for that peer's successor.         */
typedef struct shmi_peer_watch {
    const shmc_segment *segment;    /* NULL: nobody is ever found dead      */
    const uint64_t *word;           /* the peer's role word, shared         */
    uint64_t told;                  /* owner whose death was told           */
    uint64_t look_ns;               /* when to look next                    */
} shmi_peer_watch;

/* Write a ring's first line; its magic comes last (R0 -> A0), so that a
 * reader that sees it sees everything the creator wrote before.           */
SHMC_API void shmi_ring_publish(shmi_ring_head_shm *shm,
                                const shmi_ring_head_shm *head);

/* Load each field once, check G2, G3 and that it is such a ring, copy it out.
 * `what` is the noun for texts ("SPSC queue").  What lies beyond the first
 * line and the slots is for the ring's own code to check.
 * Errors  SHMC_EINVAL not 128-byte aligned; SHMC_ETYPE; SHMC_EBYTEORDER;
 *         SHMC_EVERSION; SHMC_ECORRUPT.                                   */
SHMC_API int shmi_ring_check(const void *mem, uint64_t bytes, uint32_t magic,
                             uint32_t version, const char *what,
                             shmi_ring_head_shm *private_copy);

/* SHMC_EMISMATCH, with both values, if a field that was asked for (is not 0)
 * differs from what exists.                                               */
SHMC_API int shmi_ring_same(const char *what, const char *field,
                            uint64_t asked, uint64_t exists);

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

SHMC_API int
shmi_ring_same(const char *what, const char *field, uint64_t asked,
               uint64_t exists)
{
    if (asked == 0 || asked == exists) return SHMC_OK;
    return shmi_fail(SHMC_EMISMATCH, "open a %s: it exists with %s %llu, not"
                     " %llu; ask for that, for 0 (take what exists), or remove"
                     " it first", what, field, (unsigned long long)exists,
                     (unsigned long long)asked);
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

#endif /* SHMCOMM_IMPLEMENTATION */
