/* Fuzzes descs: what a ring, a cell or a segment may be made of is judged as
 * by a plain reading of the rules; what can be made has the size asked for,
 * shows itself as asked, is not taken for anything else, and is refused to
 * whoever asks for it with another desc.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_recq.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SPSC, RECQ, MPMC, LATEST, BCAST, NOUNS, FIELDS = 7 };

typedef struct numbers {            /* of a desc, in its order              */
    uint64_t f[FIELDS];
    const char *type;
} numbers;

typedef union handle {
    shmc_spsc spsc;
    shmc_recq recq;
    shmc_mpmc mpmc;
    shmc_latest latest;
    shmc_bcast bcast;
} handle;

typedef union desc {
    shmc_spsc_desc spsc;
    shmc_recq_desc recq;
    shmc_mpmc_desc mpmc;
    shmc_latest_desc latest;
    shmc_bcast_desc bcast;
} desc;

static bool
is_pow2(uint64_t n, uint64_t from, uint64_t to)
{
    return n >= from && n <= to && (n & (n - 1)) == 0;
}

/* ---- what each of them is ---------------------------------------------- */

static desc
desc_of(int noun, const numbers *n)
{
    const uint32_t a = (uint32_t)n->f[0], b = (uint32_t)n->f[1];
    const uint32_t c = (uint32_t)n->f[2], d = (uint32_t)n->f[3];
    desc to;

    memset(&to, 0, sizeof to);
    switch (noun) {
    case SPSC:   to.spsc = (shmc_spsc_desc){ a, b, c, n->type }; break;
    case RECQ:   to.recq = (shmc_recq_desc){ a, b, n->type }; break;
    case MPMC:
        to.mpmc = (shmc_mpmc_desc){ a, b, c, d, (uint32_t)n->f[4], n->type,
                                    (uint32_t)n->f[5], (uint32_t)n->f[6] };
        break;
    case LATEST: to.latest = (shmc_latest_desc){ a, b, c, n->type }; break;
    default:
        to.bcast = (shmc_bcast_desc){ .slot_count = a, .max_bytes = b,
            .max_publishers = c, .max_subscribers = d, .arena_bytes = n->f[4],
            .mode = (uint32_t)n->f[5], .waitable = (uint32_t)n->f[6] };
    }
    return to;
}

static uint64_t
or_default(uint64_t n, uint64_t instead) { return n != 0 ? n : instead; }

static uint64_t
record_of(uint64_t bytes) { return 64 + (bytes + 63) / 64 * 64; }

/* The numbers with the defaults in the place of zeros.                    */
static numbers
filled(int noun, const numbers *n)
{
    static const uint64_t instead[NOUNS][FIELDS] = {
        { 64, 1024 }, { 65536 }, { 8, 1024, 64 }, { 64, 4 },
        { 1024, 65536, 16, 0, 0, SHMC_LOSSY }
    };
    numbers full = *n;

    for (int i = 0; i < FIELDS; i++)
        full.f[i] = or_default(n->f[i], instead[noun][i]);
    if (noun != BCAST) return full;
    full.f[3] = or_default(full.f[3], 64);
    const uint64_t four = 4 * record_of(full.f[1]);
    if (full.f[1] > 96) full.f[4] = or_default(full.f[4], four > 262144
                                                          ? four : 262144);
    return full;
}

/* By the ranges that the descs' comments give.                            */
static bool
is_good(int noun, const numbers *full)
{
    const uint64_t *f = full->f, most = UINT64_C(1) << 30;
    const uint64_t many = UINT64_C(1) << 31;

    switch (noun) {
    case SPSC:   return f[0] <= most && is_pow2(f[1], 1, many) && f[2] <= 1;
    case RECQ:   return is_pow2(f[0], 256, many) && f[1] <= 1;
    case MPMC:   return f[0] <= most && is_pow2(f[1], 1, many) && f[2] <= 4096 &&
                        f[3] <= SHMC_DROP && f[4] <= 1 && f[5] < 16384 &&
                        f[6] <= most;
    case LATEST: return f[0] <= most && is_pow2(f[1], 2, many) && f[2] <= 1;
    default:
        return is_pow2(f[0], 2, 1 << 24) && f[1] <= most && f[2] <= 1024 &&
               f[3] <= 4096 && f[4] % 128 == 0 &&
               f[4] <= UINT64_C(1) << 40 && f[6] <= 1 &&
               (f[1] <= 96 || f[4] >= 2 * record_of(f[1])) &&
               (f[5] == SHMC_LOSSY || f[5] == SHMC_RELIABLE);
    }
}

/* No fewer bytes than what must lie in there, and not many more.          */
static void
check_size(int noun, const numbers *full, int64_t size)
{
    const uint64_t *f = full->f, is = (uint64_t)size;
    uint64_t least;

    switch (noun) {
    case SPSC:   least = 768 + (f[0] + 7) / 8 * 8 * f[1]; break;
    case RECQ:   least = 768 + f[0]; break;
    case MPMC:   least = 1280 + f[2] * 128 + (8 + (f[0] + 7) / 8 * 8) * f[1] +
                         (f[6] + 127) / 128 * 128 * f[1];
                 break;
    case LATEST: least = 384 + ((f[0] + 7) / 8 * 8 + 8 + 127) / 128 * 128 * f[1];
                 break;
    default:     least = 640 + 2 * 128 * f[2] + 128 * f[0] + f[2] * f[4] +
                         128 * f[3] * (f[5] == SHMC_RELIABLE ? 2 : 1);
    }
    FUZZ_REQUIRE(is >= least && is - least < 128);
}

/* ---- calls on any of them ---------------------------------------------- */

static int64_t
size_for(int noun, const desc *d)
{
    switch (noun) {
    case SPSC:   return shmc_spsc_size_for(&d->spsc);
    case RECQ:   return shmc_recq_size_for(&d->recq);
    case MPMC:   return shmc_mpmc_size_for(&d->mpmc);
    case LATEST: return shmc_latest_size_for(&d->latest);
    default:     return shmc_bcast_size_for(&d->bcast);
    }
}

static int
format(int noun, void *mem, uint64_t bytes, const desc *d)
{
    switch (noun) {
    case SPSC:   return shmc_spsc_format(mem, bytes, &d->spsc);
    case RECQ:   return shmc_recq_format(mem, bytes, &d->recq);
    case MPMC:   return shmc_mpmc_format(mem, bytes, &d->mpmc);
    case LATEST: return shmc_latest_format(mem, bytes, &d->latest);
    default:     return shmc_bcast_format(mem, bytes, &d->bcast);
    }
}

static int
map(int noun, handle *h, void *mem, uint64_t bytes, uint32_t role)
{
    switch (noun) {
    case SPSC:   return shmc_spsc_map(&h->spsc, mem, bytes, role);
    case RECQ:   return shmc_recq_map(&h->recq, mem, bytes, role);
    case MPMC:   return shmc_mpmc_map(&h->mpmc, mem, bytes, role);
    case LATEST: return shmc_latest_map(&h->latest, mem, bytes, role);
    default:     return shmc_bcast_map(&h->bcast, mem, bytes, role, 0);
    }
}

static int
open_in(int noun, handle *h, shmc_segment *s, const desc *d, uint32_t role)
{
    switch (noun) {
    case SPSC:   return shmc_spsc_open(&h->spsc, s, "x", &d->spsc, role);
    case RECQ:   return shmc_recq_open(&h->recq, s, "x", &d->recq, role);
    case MPMC:   return shmc_mpmc_open(&h->mpmc, s, "x", &d->mpmc, role);
    case LATEST: return shmc_latest_open(&h->latest, s, "x", &d->latest, role);
    default:     return shmc_bcast_open(&h->bcast, s, "x", &d->bcast, role);
    }
}

static int
close_it(int noun, handle *h)
{
    switch (noun) {
    case SPSC:   return shmc_spsc_close(&h->spsc);
    case RECQ:   return shmc_recq_close(&h->recq);
    case MPMC:   return shmc_mpmc_close(&h->mpmc);
    case LATEST: return shmc_latest_close(&h->latest);
    default:     return shmc_bcast_close(&h->bcast);
    }
}

/* ---- checks ------------------------------------------------------------ */

/* As a handle sees it.                                                    */
static void
check_seen(int noun, handle *h, const numbers *full)
{
    const uint64_t *f = full->f;
    shmc_spsc_stats spsc;
    shmc_recq_stats recq;
    shmc_mpmc_stats mpmc;
    shmc_latest_stats latest;
    shmc_bcast_stats bcast;

    switch (noun) {
    case SPSC:
        FUZZ_EQUAL(shmc_spsc_stats_get(&h->spsc, &spsc), SHMC_OK);
        FUZZ_REQUIRE(spsc.slot_bytes == f[0] && spsc.slot_count == f[1] &&
                     spsc.waitable == f[2] && spsc.used == 0);
        break;
    case RECQ:
        FUZZ_EQUAL(shmc_recq_stats_get(&h->recq, &recq), SHMC_OK);
        FUZZ_REQUIRE(recq.capacity_bytes == f[0] && recq.waitable == f[1] &&
                     recq.max_bytes == f[0] / 2 - 8 && recq.used_bytes == 0);
        break;
    case MPMC:
        FUZZ_EQUAL(shmc_mpmc_stats_get(&h->mpmc, &mpmc), SHMC_OK);
        FUZZ_REQUIRE(mpmc.slot_count == f[1] && mpmc.max_handles == f[2] &&
                     mpmc.used == 0 && h->mpmc.slot_bytes == f[0]);
        break;
    case LATEST:
        FUZZ_EQUAL(shmc_latest_stats_get(&h->latest, &latest), SHMC_OK);
        FUZZ_REQUIRE(latest.value_bytes == f[0] && latest.slot_count == f[1] &&
                     latest.waitable == f[2] && latest.version == 0);
        break;
    default:
        FUZZ_EQUAL(shmc_bcast_stats_get(&h->bcast, &bcast), SHMC_OK);
        FUZZ_REQUIRE(h->bcast.slot_count == f[0] && h->bcast.max_bytes == f[1] &&
                     bcast.sent == 0 && h->bcast.arena_bytes == f[4]);
    }
}

/* In memory of its own.                                                   */
static void
check_map(int noun, const desc *d, const numbers *full, uint64_t bytes,
          fuzz_input *in)
{
    uint8_t *mem = fuzz_room(bytes, in->size & 1);
    shmi_ring_head_shm *head = (shmi_ring_head_shm *)(void *)mem;
    handle h;

    FUZZ_EQUAL(format(noun, NULL, bytes, d), SHMC_EINVAL);
    FUZZ_EQUAL(format(noun, mem + 8, bytes, d), SHMC_EINVAL);
    FUZZ_EQUAL(format(noun, mem, bytes - 1, d), SHMC_ENOSPC);
    FUZZ_EQUAL(format(noun, mem, bytes, d), SHMC_OK);
    FUZZ_EQUAL(map(noun, &h, mem + 8, bytes, SHMC_OBSERVER), SHMC_EINVAL);
    FUZZ_EQUAL(map(noun, &h, NULL, bytes, SHMC_OBSERVER), SHMC_EINVAL);
    FUZZ_EQUAL(map(noun, &h, mem, bytes - 128, SHMC_OBSERVER), SHMC_ECORRUPT);
    FUZZ_EQUAL(map(noun, &h, mem, 64, SHMC_OBSERVER), SHMC_ECORRUPT);
    FUZZ_EQUAL(map(noun, &h, mem, bytes, 8), SHMC_EINVAL);
    FUZZ_EQUAL(close_it(noun, &h), SHMC_ECLOSED);
    const uint32_t role = fuzz_u8(in) % 3;
    FUZZ_EQUAL(map(noun, &h, mem, bytes, role), SHMC_OK);
    check_seen(noun, &h, full);
    FUZZ_EQUAL(close_it(noun, &h), SHMC_OK);
    for (int other = 0; other < NOUNS; other++)
        if (other != noun)
            FUZZ_EQUAL(map(other, &h, mem, bytes, role), SHMC_ETYPE);
    const uint32_t magic = head->magic;
    head->version++;
    FUZZ_EQUAL(map(noun, &h, mem, bytes, role), SHMC_EVERSION);
    head->magic = magic >> 24 | (magic >> 8 & 0xff00u) | (magic & 0xff00u) << 8 |
                  magic << 24;
    FUZZ_EQUAL(map(noun, &h, mem, bytes, role), SHMC_EBYTEORDER);
}

/* In a segment: made by one desc, asked for with another.                 */
static void
check_open(int noun, const numbers *is, const numbers *asked, uint64_t bytes,
           fuzz_input *in)
{
    const shmc_segment_desc sd = { .heap_bytes = bytes < 8192 ? 4096 : bytes,
                                   .max_objects = 1, .max_participants = 2 };
    const uint64_t all = (uint64_t)shmc_segment_size_for(&sd);
    const desc first = desc_of(noun, is), second = desc_of(noun, asked);
    const numbers full = filled(noun, is), want = filled(noun, asked);
    shmc_segment s;
    handle h, other;
    int should = SHMC_OK;

    if (all > FUZZ_ROOM_BYTES) return;
    uint8_t *mem = fuzz_room(all, in->size & 1);
    FUZZ_EQUAL(shmc_segment_format(mem, all, &sd), SHMC_OK);
    FUZZ_EQUAL(shmc_segment_map(&s, mem, all), SHMC_OK);
    FUZZ_EQUAL(open_in(noun, &h, &s, &first, SHMC_OBSERVER), SHMC_ENOENT);
    const int r = open_in(noun, &h, &s, &first, SHMC_PRODUCER);
    FUZZ_EQUAL(r, bytes > s.heap_bytes ? SHMC_ENOSPC : SHMC_OK);
    if (r == SHMC_OK) {
        for (int i = 0; i < FIELDS; i++)
            if (asked->f[i] != 0 && asked->f[i] != full.f[i] &&
                !(noun == BCAST && i == 3 && full.f[5] == SHMC_LOSSY))
                should = SHMC_EMISMATCH;
        if (noun != BCAST && asked->type != NULL && asked->type != is->type)
            should = SHMC_ETYPE;
        if (!is_good(noun, &want)) should = SHMC_EINVAL;
        FUZZ_EQUAL(open_in(noun, &other, &s, &second, SHMC_OBSERVER), should);
        check_seen(noun, &h, &full);
        if (should == SHMC_OK) check_seen(noun, &other, &full);
        FUZZ_EQUAL(shmc_object_remove(&s, "x"), SHMC_EBUSY);
        FUZZ_EQUAL(close_it(noun, &other), should == SHMC_OK ? SHMC_OK
                                                             : SHMC_ECLOSED);
        FUZZ_EQUAL(close_it(noun, &h), SHMC_OK);
        FUZZ_EQUAL(shmc_object_remove(&s, "x"), SHMC_OK);
    }
    FUZZ_EQUAL(shmc_segment_close(&s), SHMC_OK);
}

/* A segment's own desc.                                                   */
static void
check_segment(fuzz_input *in, const numbers *n)
{
    shmc_segment_desc d = { .heap_bytes = n->f[4], .max_objects = (uint32_t)
                            n->f[0], .max_participants = (uint32_t)n->f[1],
                            .mode = (uint32_t)n->f[2], .gid = (uint32_t)n->f[3],
                            .flags = (uint32_t)n->f[5], .wake =
                            (uint32_t)n->f[6] };
    const bool good = n->f[0] <= 4096 && n->f[1] <= 4096 && n->f[2] <= 0777 &&
                      n->f[4] <= UINT64_C(1) << 46 && n->f[5] < 256 &&
                      n->f[6] <= 1 && (n->f[5] & SHMC_SET_GID
                                       ? n->f[3] != UINT32_MAX : n->f[3] == 0);
    const uint64_t objects = or_default(n->f[0], 64);
    const uint64_t people = or_default(n->f[1], 64);
    const int64_t size = shmc_segment_size_for(&d);
    shmc_segment_info info;
    shmc_segment s;

    FUZZ_EQUAL(size > 0, good);
    if (!good) {
        FUZZ_EQUAL(size, SHMC_EINVAL);
        FUZZ_EQUAL(shmc_segment_format(NULL, 0, &d), SHMC_EINVAL);
        return;
    }
    const uint64_t heap = (or_default(n->f[4], 1 << 20) + 4095) / 4096 * 4096;
    const uint64_t front = (512 + people * 128 + objects * 256 + 4095) / 4096;
    FUZZ_EQUAL(size, front * 4096 + heap);
    const uint64_t bytes = (uint64_t)size;
    if (bytes > FUZZ_ROOM_BYTES) return;
    uint8_t *mem = fuzz_room(bytes, in->size & 1);
    FUZZ_EQUAL(shmc_segment_format(mem + 8, bytes, &d), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_segment_format(mem, bytes - 1, &d), SHMC_ENOSPC);
    FUZZ_EQUAL(shmc_segment_format(mem, bytes, &d), SHMC_OK);
    FUZZ_EQUAL(shmc_segment_map(&s, mem, bytes - 1), SHMC_ECORRUPT);
    FUZZ_EQUAL(shmc_segment_map(&s, mem, 100), SHMC_ECORRUPT);
    FUZZ_EQUAL(shmc_segment_map(&s, mem + 8, bytes), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_segment_map(&s, mem, bytes), SHMC_OK);
    FUZZ_EQUAL(shmc_segment_info_get(&s, &info), SHMC_OK);
    FUZZ_REQUIRE(info.total_bytes == bytes && info.heap_bytes == heap &&
                 info.max_objects == objects && info.wake == n->f[6] &&
                 info.max_participants == people && info.participants == 1 &&
                 info.objects == 0 && info.heap_used_bytes == 0);
    FUZZ_EQUAL(shmc_segment_close(&s), SHMC_OK);
}

/* A number: none, small, a power of two and what is next to it, any.      */
static uint64_t
number(fuzz_input *in, bool wide)
{
    const uint8_t how = fuzz_u8(in);
    const uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
    uint64_t v = how & 31;

    switch (how >> 5) {
    case 0: return 0;
    case 1: case 2: return v;
    case 3: return ((UINT64_C(1) << v) - (fuzz_u8(in) & 1)) & mask;
    case 4: return (UINT64_C(1) << v) & mask;
    case 5: return 128 * (uint64_t)fuzz_u8(in);
    case 6: return fuzz_u16(in);
    default: return fuzz_u64(in) & mask;
    }
}

static numbers
numbers_in(int noun, fuzz_input *in)
{
    static const char *const types[] = { NULL, "this", "that", NULL };
    static const int fields[] = { 3, 2, 5, 3, 7, 7 };
    numbers n;

    memset(&n, 0, sizeof n);
    for (int i = 0; i < fields[noun]; i++) n.f[i] = number(in, i == 4 &&
                                                           noun >= BCAST);
    n.type = types[fuzz_u8(in) & 3];
    return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    const int noun = fuzz_u8(&in) % (NOUNS + 1);
    const numbers n = numbers_in(noun, &in);

    shmc_log_set(NULL, NULL, 0);
    if (noun == NOUNS) {
        check_segment(&in, &n);
        return 0;
    }
    const numbers full = filled(noun, &n);
    const desc d = desc_of(noun, &n);
    const int64_t bytes = size_for(noun, &d);
    if (!is_good(noun, &full)) {
        FUZZ_EQUAL(bytes, SHMC_EINVAL);
        FUZZ_EQUAL(format(noun, NULL, 0, &d), SHMC_EINVAL);
        return 0;
    }
    FUZZ_REQUIRE(bytes > 0);
    check_size(noun, &full, bytes);
    if (bytes > FUZZ_ROOM_BYTES) return 0;
    check_map(noun, &d, &full, (uint64_t)bytes, &in);
    numbers asked = numbers_in(noun, &in);
    if (fuzz_u8(&in) & 1)           /* differ in one field at most          */
        for (int i = 1; i < FIELDS; i++)
            if (i != (int)(in.size % FIELDS)) asked.f[i] = n.f[i];
    check_open(noun, &n, &asked, (uint64_t)bytes, &in);
    return 0;
}
