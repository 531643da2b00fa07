/* fuzz_input.h - what the fuzz targets share: numbers from the input, memory
 * with guards, messages that say who they are.
 *
 *     fuzz_input in = { data, size };
 *     while (fuzz_more(&in)) operation(&x, fuzz_u8(&in));
 *     FUZZ_REQUIRE(shmc_spsc_used(&q) == model.used);
 *
 * Include it behind the header of the library that is fuzzed.
 * SPDX-License-Identifier: MIT                                            */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif
#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

/* End the process, with the place, unless the condition holds.            */
#define FUZZ_REQUIRE(cond)                                                    \
    do {                                                                      \
        if (!(cond)) fuzz_failed(__FILE__, __LINE__, #cond);                  \
    } while (0)

/* The same for two integers, which are shown.                             */
#define FUZZ_EQUAL(is, should)                                                \
    do {                                                                      \
        const int64_t is_ = (int64_t)(is), should_ = (int64_t)(should);       \
        if (is_ != should_)                                                   \
            fuzz_unequal(__FILE__, __LINE__, #is, is_, should_);              \
    } while (0)

_Noreturn static inline void
fuzz_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

_Noreturn static inline void
fuzz_unequal(const char *file, int line, const char *what, int64_t is,
             int64_t should)
{
    fprintf(stderr, "%s:%d: %s is %lld, should be %lld\n", file, line, what,
            (long long)is, (long long)should);
    abort();
}

/* ---- numbers ----------------------------------------------------------- */

typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline int
fuzz_more(const fuzz_input *in) { return in->size != 0; }

/* Take a byte; 0 where there is no more.                                  */
static inline uint8_t
fuzz_u8(fuzz_input *in)
{
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

static inline uint32_t
fuzz_u16(fuzz_input *in)
{
    const uint32_t low = fuzz_u8(in);
    return low | (uint32_t)fuzz_u8(in) << 8;
}

static inline uint64_t
fuzz_u64(fuzz_input *in)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 64; i += 8) v |= (uint64_t)fuzz_u8(in) << i;
    return v;
}

/* Where a ring begins: at 0, or a little below a place where something may
 * wrap: a 32-bit number, an MPMC cell's 48 bits, a stamp's 62, 64.        */
static inline uint64_t
fuzz_start(fuzz_input *in)
{
    static const uint8_t bits[] = { 16, 31, 32, 48, 61, 62, 63 };
    const unsigned how = fuzz_u8(in);
    const uint64_t below = how >> 4;

    switch (how & 15) {
    case 7:  return 0 - below;
    case 8:  return fuzz_u64(in);
    case 0: case 1: case 2: case 3: case 4: case 5: case 6:
        return (UINT64_C(1) << bits[how & 15]) - below;
    default: return 0;
    }
}

/* ---- memory ------------------------------------------------------------ */

/* Exactly this many bytes, 128-byte aligned, of garbage; free it.         */
static inline void *
fuzz_memory(uint64_t bytes)
{
    void *p = NULL;
    FUZZ_REQUIRE(posix_memalign(&p, 128, (size_t)bytes) == 0);
    memset(p, 0xa5, (size_t)bytes);
    return p;
}

enum { FUZZ_PAGE = 4096, FUZZ_ROOM_BYTES = 64 * FUZZ_PAGE };

/* Room for one thing that processes share, made once: a page that nobody may
 * touch, the room, and another such page.                                 */
static inline uint8_t *
fuzz_room_base(void)
{
    static uint8_t *base;
    const size_t all = FUZZ_ROOM_BYTES + 2 * FUZZ_PAGE;

    if (base != NULL) return base;
    void *p = mmap(NULL, all, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FUZZ_REQUIRE(p != MAP_FAILED);
    base = (uint8_t *)p + FUZZ_PAGE;
    FUZZ_REQUIRE(mprotect(base, FUZZ_ROOM_BYTES, PROT_READ | PROT_WRITE) == 0);
    return base;
}

/* So many bytes of garbage in that room, 128-byte aligned: they end where
 * the second page begins, or begin where the first one ends.  Under ASan the
 * bytes on the other side are forbidden, too.  The next call takes them.  */
static inline uint8_t *
fuzz_room(uint64_t bytes, bool at_end)
{
    uint8_t *base = fuzz_room_base(), *p = base;

    FUZZ_REQUIRE(bytes <= FUZZ_ROOM_BYTES);
    if (at_end) p += (FUZZ_ROOM_BYTES - bytes) / 128 * 128;
    ASAN_UNPOISON_MEMORY_REGION(base, FUZZ_ROOM_BYTES);
    memset(p, 0xa5, (size_t)bytes);
    ASAN_POISON_MEMORY_REGION(base, (size_t)(p - base));
    ASAN_POISON_MEMORY_REGION(p + bytes, FUZZ_ROOM_BYTES - (size_t)bytes -
                                         (size_t)(p - base));
    return p;
}

/* Is [p, p + n) inside the memory?                                        */
static inline int
fuzz_inside(const void *mem, uint64_t bytes, const void *p, uint64_t n)
{
    const uintptr_t from = (uintptr_t)mem, at = (uintptr_t)p;
    return at >= from && at - from <= bytes && n <= bytes - (at - from);
}

/* ---- messages ---------------------------------------------------------- */

/* Byte i of message `id`.                                                 */
static inline uint8_t
fuzz_byte(uint64_t id, uint64_t i) { return (uint8_t)((id >> (i % 4 * 8)) + i); }

/* Write the bytes that message `id` has.                                  */
static inline void
fuzz_write(void *to, uint64_t bytes, uint64_t id)
{
    uint8_t *at = (uint8_t *)to;
    for (uint64_t i = 0; i < bytes; i++) at[i] = fuzz_byte(id, i);
}

/* Does the memory hold all bytes of message `id`?                         */
static inline int
fuzz_reads(const void *from, uint64_t bytes, uint64_t id)
{
    const uint8_t *at = (const uint8_t *)from;
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i] != fuzz_byte(id, i)) return 0;
    return 1;
}

/* The same of a message that begins with its id, so that who receives it can
 * tell which it is; `bytes` is at least that of the id.                   */
static inline void
fuzz_put(void *to, uint64_t bytes, uint64_t id)
{
    FUZZ_REQUIRE(bytes >= sizeof id);
    fuzz_write(to, bytes, id);
    memcpy(to, &id, sizeof id);
}

/* Does the memory hold that message?                                      */
static inline int
fuzz_says(const void *from, uint64_t bytes, uint64_t id)
{
    const uint8_t *at = (const uint8_t *)from;

    FUZZ_REQUIRE(bytes >= sizeof id);
    for (uint64_t i = sizeof id; i < bytes; i++)
        if (at[i] != fuzz_byte(id, i)) return 0;
    return memcmp(from, &id, sizeof id) == 0;
}

#endif /* FUZZ_INPUT_H */
