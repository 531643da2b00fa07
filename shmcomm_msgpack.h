/* shmcomm_msgpack.h - MessagePack written into a loan, read where it lies.
 *
 *     shmc_pub_loan(&pub, 200, &room, SHMC_FOREVER);    // or any other loan
 *     shmc_msgpack_begin(&w, room, 200);
 *     msgpack_pack_int(&w.packer, 42);                  // msgpack-c's calls
 *     int bytes = shmc_msgpack_end(&w);
 *     if (bytes < 0) shmc_pub_abort(&pub);              // it did not fit
 *     else shmc_pub_commit(&pub, (uint32_t)bytes, SHMC_FOREVER);
 *
 * Optional: needs msgpack-c's msgpack.h, and -lmsgpackc to read.
 * Manual: docs/shmcomm_msgpack.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_MSGPACK_H
#define SHMCOMM_MSGPACK_H

#include "shmcomm_base.h"

#if defined(__has_include)
#if !__has_include(<msgpack.h>)
#error "shmcomm_msgpack.h needs msgpack-c: install libmsgpack-dev"
#endif
#endif
#include <msgpack.h>

#include <string.h>

/* ---- constants --------------------------------------------------------- */

enum { SHMC_MSGPACK_ZONE_BYTES = 2048 };    /* of a reader, at first        */

/* ---- handles: their address must not change while in use --------------- */

typedef struct shmc_msgpack_writer {
    msgpack_packer packer;          /* give it to msgpack_pack_...          */
    uint8_t *room;
    uint64_t bytes;                 /* packed so far, also what had no room */
    uint32_t room_bytes;
} shmc_msgpack_writer;

typedef struct shmc_msgpack_reader {
    msgpack_zone *zone;             /* of arrays and maps; NULL = closed    */
} shmc_msgpack_reader;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- API: writing ------------------------------------------------------ */

/* For the packer: no byte is written behind the room.                     */
SHMC_INLINE int
shmi_msgpack_write(void *writer, const char *data, size_t bytes)
{
    shmc_msgpack_writer *w = (shmc_msgpack_writer *)writer;
    const uint64_t at = w->bytes;

    w->bytes = at + bytes;
    if (at > w->room_bytes || bytes > w->room_bytes - at) return -1;
    if (bytes != 0) memcpy(w->room + at, data, bytes);
    return 0;
}

/* Pack into this room: a loan, or any memory.  Then call msgpack_pack_... on
 * &w->packer.  What does not fit is counted and not written; these calls say
 * so (-1), and shmc_msgpack_end does, so that they need not be asked.
 * Owner   the caller, of room and handle; there is nothing to close.
 * Safety  a handle belongs to one thread.
 * Cost    wait-free, no allocation.
 * Crash   it only writes into the room: as for the loan.                  */
SHMC_INLINE void
shmc_msgpack_begin(shmc_msgpack_writer *w, void *room, uint32_t room_bytes)
{
    w->room = (uint8_t *)room;
    w->bytes = 0;
    w->room_bytes = room_bytes;
    msgpack_packer_init(&w->packer, w, shmi_msgpack_write);
}

/* Tell how many bytes were packed, to commit so many.  After an error give
 * the loan back (abort).
 * Errors  SHMC_EMSGSIZE the room is too small: w->bytes would have been
 *         needed (at least, where msgpack_pack_object stopped there).     */
SHMC_INLINE int
shmc_msgpack_end(const shmc_msgpack_writer *w)
{
    if (SHMI_LIKELY(w->bytes <= w->room_bytes && w->bytes <= INT32_MAX))
        return (int)w->bytes;
    return shmi_fail(SHMC_EMSGSIZE, "pack a message: it has %llu bytes, the room "
                     "%u; give the loan back, and take a larger one",
                     (unsigned long long)w->bytes, (unsigned)w->room_bytes);
}

/* ---- API: reading ------------------------------------------------------ */

/* Prepare to read: memory for arrays and maps, kept from message to message.
 * Errors  SHMC_ENOMEM no memory.                                          */
SHMC_INLINE int
shmc_msgpack_open(shmc_msgpack_reader *r)
{
    r->zone = msgpack_zone_new(SHMC_MSGPACK_ZONE_BYTES);
    if (r->zone != NULL) return SHMC_OK;
    return shmi_fail(SHMC_ENOMEM, "read MessagePack: no memory");
}

/* Forget all that was read.                                               */
SHMC_INLINE int
shmc_msgpack_close(shmc_msgpack_reader *r)
{
    if (r->zone == NULL)
        return shmi_fail(SHMC_ECLOSED, "close a MessagePack reader: it is not "
                         "open");
    msgpack_zone_free(r->zone);
    r->zone = NULL;
    return SHMC_OK;
}

/* How many bytes behind the first say how long it is, or what it is; and
 * where an array's or a map's members begin.                              */
SHMC_INLINE uint32_t
shmi_msgpack_head(uint8_t type)
{
    static const uint8_t heads[32] = {
        0, 0, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8,     /* c0 .. cf     */
        1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4     /* d0 .. df     */
    };

    return type >= 0xc0 && type < 0xe0 ? heads[type - 0xc0] : 0;
}

/* What a length of so many bytes says.                                    */
SHMC_INLINE uint64_t
shmi_msgpack_length(const uint8_t *at, uint32_t bytes)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < bytes; i++) n = n << 8 | at[i];
    return n;
}

/* Bytes that follow the head of a value, and values that follow it.       */
SHMC_INLINE void
shmi_msgpack_size(uint8_t type, const uint8_t *at, uint64_t *bytes,
                  uint64_t *values)
{
    *bytes = *values = 0;
    if (type >= 0x80 && type < 0x90) *values = 2u * (type & 15u);
    else if (type >= 0x90 && type < 0xa0) *values = type & 15u;
    else if (type >= 0xa0 && type < 0xc0) *bytes = type & 31u;
    else if (type >= 0xc4 && type < 0xc7)
        *bytes = shmi_msgpack_length(at, 1u << (type - 0xc4));
    else if (type >= 0xc7 && type < 0xca)       /* and a byte of its type   */
        *bytes = shmi_msgpack_length(at, 1u << (type - 0xc7));
    else if (type >= 0xd9 && type < 0xdc)
        *bytes = shmi_msgpack_length(at, 1u << (type - 0xd9));
    else if (type == 0xdc || type == 0xdd)
        *values = shmi_msgpack_length(at, 2u << (type - 0xdc));
    else if (type == 0xde || type == 0xdf)
        *values = 2 * shmi_msgpack_length(at, 2u << (type - 0xde));
}

/* Is there a whole value?  msgpack-c takes memory for as many members as an
 * array says that it has; here none has more than there are bytes.        */
SHMC_INLINE bool
shmi_msgpack_whole(const uint8_t *at, uint64_t left)
{
    uint64_t pending = 1;

    while (pending != 0) {
        uint64_t bytes, values;
        if (pending > left) return false;
        const uint8_t type = *at;
        const uint32_t head = shmi_msgpack_head(type);
        if (head >= left || type == 0xc1) return false;
        shmi_msgpack_size(type, at + 1, &bytes, &values);
        if (bytes > left - 1 - head) return false;
        at += 1 + head + bytes;
        left -= 1 + head + bytes;
        pending += values - 1;
    }
    return true;
}

/* Read the value at data[*at], and move *at behind it.  Returns 1, or 0 where
 * *at is `bytes`: the end.  Strings and binaries of the object point into
 * `data`: they end when that does, by release; all of the object ends with
 * the reader's next shmc_msgpack_read, too.  In a lossy topic, or where a
 * peer may be hostile, receive a copy and read that: nobody may write here.
 * Safety  a handle belongs to one thread.
 * Cost    O(bytes); allocates only what exceeds SHMC_MSGPACK_ZONE_BYTES.
 * Errors  SHMC_ECORRUPT no MessagePack, or cut short; SHMC_ENOMEM no memory,
 *         or arrays and maps over 32 deep; SHMC_ECLOSED.                  */
SHMC_INLINE int
shmc_msgpack_next(shmc_msgpack_reader *r, const void *data, uint32_t bytes,
                  uint32_t *at, msgpack_object *out)
{
    const char *from = (const char *)data;
    size_t off = 0;

    if (r->zone == NULL) return SHMC_ECLOSED;
    if (*at >= bytes) return 0;
    from += *at;
    const uint32_t left = bytes - *at;
    if (!shmi_msgpack_whole((const uint8_t *)from, left)) return SHMC_ECORRUPT;
    switch (msgpack_unpack(from, left, &off, r->zone, out)) {
    case MSGPACK_UNPACK_SUCCESS:
    case MSGPACK_UNPACK_EXTRA_BYTES: break;
    case MSGPACK_UNPACK_NOMEM_ERROR: return SHMC_ENOMEM;
    default:                         return SHMC_ECORRUPT;
    }
    *at += (uint32_t)off;
    return 1;
}

/* Read a message that is one value.  What was read before is forgotten.
 * Rest as shmc_msgpack_next; SHMC_ECORRUPT also where something follows.  */
SHMC_INLINE int
shmc_msgpack_read(shmc_msgpack_reader *r, const void *data, uint32_t bytes,
                  msgpack_object *out)
{
    uint32_t at = 0;

    if (r->zone == NULL) return SHMC_ECLOSED;
    msgpack_zone_clear(r->zone);
    const int found = shmc_msgpack_next(r, data, bytes, &at, out);
    if (found < 0) return found;
    return found == 1 && at == bytes ? SHMC_OK : SHMC_ECORRUPT;
}

#ifdef __cplusplus
}
#endif

#endif /* SHMCOMM_MSGPACK_H */
