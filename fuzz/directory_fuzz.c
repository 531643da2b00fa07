/* Fuzzes a segment's directory: objects and counters that several handles, in
 * memory or on a file, create, find, hold and remove must be where a plain
 * model says, whole, and refused when it says so.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_counter.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HANDLES = 3, NAMES = 5, COUNTER = NAMES, ALL = NAMES + 1, MOST = 4,
       HELD = 3, HEAP = 8192 };

static const char *const names[ALL] = { "a", "b/c", "d", "e", "f", "count" };

typedef struct handle {
    shmc_segment s;
    bool open, read_only, inspect;
    shmc_object held[ALL][HELD];
    uint32_t holds[ALL];
    shmc_counter counter;           /* holds[COUNTER] is 1 with it          */
} handle;

typedef struct world {
    uint8_t *mem;
    uint64_t bytes;
    bool     file;                  /* else in memory                       */
    handle   h[HANDLES];
    struct {
        bool exists, kept;          /* kept: by who left without closing it */
        uint64_t at, bytes, hash, id;
        uint32_t kind, version, elem;
    } o[ALL];                       /* the model                            */
    uint64_t count, next_id;
    int      writer;                /* handle that writes the counter, or -1 */
} world;

/* ---- the model --------------------------------------------------------- */

static uint32_t
objects(const world *w)
{
    uint32_t n = 0;
    for (int k = 0; k < ALL; k++) n += w->o[k].exists;
    return n;
}

static bool
is_held(const world *w, int k)
{
    if (w->o[k].kept) return true;
    for (int i = 0; i < HANDLES; i++)
        if (w->h[i].open && !w->h[i].inspect && w->h[i].holds[k] != 0)
            return true;
    return false;
}

static bool
is_free(const world *w, uint64_t at, uint64_t bytes)
{
    if (at > HEAP || bytes > HEAP - at) return false;
    for (int k = 0; k < ALL; k++)
        if (w->o[k].exists && at < w->o[k].at + w->o[k].bytes &&
            w->o[k].at < at + bytes) return false;
    return true;
}

/* The lowest gap: it begins with the heap, or where another object ends.   */
static bool
place(const world *w, uint64_t bytes, uint64_t *at)
{
    bool found = is_free(w, 0, bytes);

    *at = 0;
    for (int k = 0; !found && k < ALL; k++) {
        if (!w->o[k].exists) continue;
        const uint64_t end = (w->o[k].at + w->o[k].bytes + 127) / 128 * 128;
        if (!is_free(w, end, bytes) || (*at != 0 && *at < end)) continue;
        *at = end;
    }
    return found || *at != 0;
}

/* What a search for `k` by this desc answers.                             */
static int
suits(const world *w, int k, const shmc_object_desc *d)
{
    if (w->o[k].kind != d->kind) return SHMC_ETYPE;
    if (w->o[k].version != d->version) return SHMC_EVERSION;
    if (d->type_hash != 0 && w->o[k].hash != d->type_hash) return SHMC_ETYPE;
    if (d->elem_bytes != 0 && w->o[k].elem != d->elem_bytes) return SHMC_ETYPE;
    if (d->kind == SHMC_KIND_RAW && w->o[k].bytes < d->bytes)
        return SHMC_EMISMATCH;
    return SHMC_OK;
}

static int
would_create(const world *w, const handle *h, const shmc_object_desc *d,
             uint64_t *at)
{
    if (h->read_only) return SHMC_EROFS;
    if (objects(w) == MOST) return SHMC_ELIMIT;
    return place(w, d->bytes, at) ? SHMC_OK : SHMC_ENOSPC;
}

static void
born(world *w, int k, const shmc_object_desc *d, uint64_t at, uint64_t id)
{
    w->o[k].exists = true;
    w->o[k].kept = false;
    w->o[k].at = at;
    w->o[k].bytes = d->bytes;
    w->o[k].hash = d->type_hash;
    w->o[k].kind = d->kind;
    w->o[k].version = d->version;
    w->o[k].elem = d->elem_bytes;
    w->o[k].id = id;
}

/* ---- objects ----------------------------------------------------------- */

typedef struct maker { uint64_t id; int code; } maker;

/* The memory is zeroed; leave something there that says who it is.        */
static int
make(void *mem, uint64_t bytes, const void *user)
{
    const maker *m = user;

    for (uint64_t i = 0; i < bytes; i++)
        FUZZ_REQUIRE(((const uint8_t *)mem)[i] == 0);
    fuzz_write(mem, bytes, m->id);
    return m->code;
}

static shmc_object_desc
desc_in(fuzz_input *in)
{
    const uint8_t a = fuzz_u8(in), b = fuzz_u8(in);
    shmc_object_desc d;

    memset(&d, 0, sizeof d);
    d.bytes = (uint64_t)(a & 31) * (a & 32 ? 128 : a & 64 ? 700 : 13);
    d.kind = a >> 7 ? SHMC_KIND_SPSC : SHMC_KIND_RAW;
    d.version = b & 3 ? 0 : 1;
    d.elem_bytes = (b >> 2 & 3) * 4;
    d.type_hash = b >> 4 & 3;
    d.type_name = b >> 6 & 1 ? "a type" : NULL;
    return d;
}

static void
open_object(world *w, handle *h, int k, fuzz_input *in, bool create)
{
    const uint8_t how = fuzz_u8(in);
    maker m = { ++w->next_id, how & 16 && how & 32 ? -1000 - (how & 7) : 3 };
    shmc_object_desc d = desc_in(in);
    shmc_object o;
    uint64_t at = 0;
    int should;

    d.init = make;
    d.user = &m;
    if (h->holds[k] == HELD) return;
    if (create && d.bytes == 0) should = SHMC_EINVAL;
    else if (w->o[k].exists) should = suits(w, k, &d);
    else if (!create) should = SHMC_ENOENT;
    else should = would_create(w, h, &d, &at);
    const bool makes = create && should == SHMC_OK && !w->o[k].exists;
    if (makes && m.code < 0) should = m.code;
    FUZZ_EQUAL(create ? shmc_object_open(&h->s, names[k], &d, &o)
                      : shmc_object_attach(&h->s, names[k], &d, &o), should);
    FUZZ_REQUIRE((o.mem != NULL) == (should == SHMC_OK));
    if (should != SHMC_OK) return;
    if (makes) born(w, k, &d, at, m.id);
    FUZZ_EQUAL(o.created, makes);
    FUZZ_EQUAL((uint8_t *)o.mem - h->s.base - (ptrdiff_t)h->s.heap_at,
               w->o[k].at);
    FUZZ_EQUAL(o.bytes, w->o[k].bytes);
    FUZZ_REQUIRE(fuzz_reads(o.mem, o.bytes, w->o[k].id));
    h->held[k][h->holds[k]++] = o;
}

static void
close_object(handle *h, int k)
{
    shmc_object none;

    memset(&none, 0, sizeof none);
    FUZZ_EQUAL(shmc_object_close(&h->s, &none), SHMC_ECLOSED);
    if (h->holds[k] == 0) return;
    shmc_object *o = &h->held[k][--h->holds[k]];
    shmc_object again = *o;
    FUZZ_EQUAL(shmc_object_close(&h->s, o), SHMC_OK);
    FUZZ_REQUIRE(o->mem == NULL);
    if (h->holds[k] == 0)
        FUZZ_EQUAL(shmc_object_close(&h->s, &again), SHMC_EINVAL);
}

static void
remove_object(world *w, handle *h, int k)
{
    const int should = h->read_only ? SHMC_EROFS
                     : !w->o[k].exists ? SHMC_ENOENT
                     : is_held(w, k) ? SHMC_EBUSY : SHMC_OK;

    FUZZ_EQUAL(shmc_object_remove(&h->s, names[k]), should);
    if (should == SHMC_OK) w->o[k].exists = w->o[k].kept = false;
}

/* ---- the counter ------------------------------------------------------- */

static void
open_counter(world *w, int i, bool writer)
{
    static const shmc_object_desc d = { sizeof(shmc_counter_shm), 0,
                                        SHMC_KIND_COUNTER, 1, 8, NULL, NULL,
                                        NULL };
    handle *h = &w->h[i];
    uint64_t at = 0;
    int should = SHMC_OK;

    if (h->holds[COUNTER] != 0) return;
    const bool makes = !w->o[COUNTER].exists;
    if (makes && h->read_only) should = SHMC_ENOENT;
    else if (makes) should = would_create(w, h, &d, &at);
    if (makes && should == SHMC_OK) born(w, COUNTER, &d, at, 0), w->count = 0;
    if (should == SHMC_OK && writer)
        should = h->read_only ? SHMC_EROFS : w->writer >= 0 ? SHMC_EBUSY : SHMC_OK;
    FUZZ_EQUAL(shmc_counter_open(&h->counter, &h->s, names[COUNTER], writer),
               should);
    if (should != SHMC_OK) {
        FUZZ_EQUAL(shmc_counter_get(&h->counter), 0);
        return;
    }
    h->holds[COUNTER] = 1;
    if (writer) w->writer = i;
}

static void
use_counter(world *w, int i, uint64_t n)
{
    handle *h = &w->h[i];

    if (h->holds[COUNTER] == 0) {
        FUZZ_EQUAL(shmc_counter_add(&h->counter, n), SHMC_EROFS);
        FUZZ_EQUAL(shmc_counter_close(&h->counter), SHMC_ECLOSED);
        return;
    }
    FUZZ_EQUAL(shmc_counter_add(&h->counter, n), w->writer == i ? SHMC_OK
                                                                : SHMC_EROFS);
    if (w->writer == i) w->count += n;
    FUZZ_REQUIRE(shmc_counter_get(&h->counter) == w->count);
    if (w->writer != i) return;
    shmi_fork_epoch++;
    FUZZ_EQUAL(shmc_counter_add(&h->counter, 1), SHMC_EFORKED);
    shmi_fork_epoch--;
}

static void
close_counter(world *w, int i)
{
    handle *h = &w->h[i];

    if (h->holds[COUNTER] == 0) return;
    FUZZ_EQUAL(shmc_counter_close(&h->counter), SHMC_OK);
    FUZZ_EQUAL(shmc_counter_close(&h->counter), SHMC_ECLOSED);
    h->holds[COUNTER] = 0;
    if (w->writer == i) w->writer = -1;
}

/* ---- handles ----------------------------------------------------------- */

static void
open_handle(world *w, int i, uint32_t flags)
{
    handle *h = &w->h[i];
    const shmc_segment_desc d = { .dir = fuzz_folder(),
                                  .flags = flags, .label = "fuzz" };

    memset(h, 0, sizeof *h);
    if (w->file) {
        FUZZ_EQUAL(shmc_segment_attach(&h->s, "d", &d), SHMC_OK);
        h->inspect = (flags & SHMC_INSPECT) != 0;
        h->read_only = h->inspect || (flags & SHMC_READ_ONLY) != 0;
    } else {
        FUZZ_EQUAL(shmc_segment_map(&h->s, w->mem, w->bytes), SHMC_OK);
    }
    h->open = true;
}

/* Leave: with everything closed, or as who dies.                          */
static void
close_handle(world *w, int i, bool dies)
{
    handle *h = &w->h[i];

    if (!dies) close_counter(w, i);
    for (int k = 0; !dies && k < NAMES; k++)
        while (h->holds[k] != 0) close_object(h, k);
    for (int k = 0; k < ALL; k++)
        if (h->holds[k] != 0 && !w->file) w->o[k].kept = true;
    if (w->writer == i) w->writer = -1;
    FUZZ_EQUAL(shmc_segment_close(&h->s), SHMC_OK);
    FUZZ_EQUAL(shmc_segment_close(&h->s), SHMC_ECLOSED);
    h->open = false;
}

static void
look_at_objects(const world *w, const handle *h)
{
    shmc_object_info o;
    uint32_t seen = 0;

    for (uint32_t i = 0; i < MOST; i++) {
        const int r = shmc_object_info_get(&h->s, i, &o);
        if (r == SHMC_ENOENT) continue;
        FUZZ_EQUAL(r, SHMC_OK);
        int k = 0;
        while (k < ALL && strcmp(o.name, names[k]) != 0) k++;
        FUZZ_REQUIRE(k < ALL && w->o[k].exists);
        FUZZ_EQUAL(o.offset - h->s.heap_at, w->o[k].at);
        FUZZ_REQUIRE(o.bytes == w->o[k].bytes && o.kind == w->o[k].kind &&
                     o.version == w->o[k].version && o.index == i &&
                     o.type_hash == w->o[k].hash && o.elem_bytes == w->o[k].elem);
        seen++;
    }
    FUZZ_EQUAL(seen, objects(w));
    FUZZ_EQUAL(shmc_object_info_get(&h->s, MOST, &o), SHMC_EINVAL);
}

static void
look(world *w, handle *h)
{
    shmc_participant_info p;
    shmc_segment_info info;
    uint32_t people = 0, alive = 0;

    look_at_objects(w, h);
    for (int i = 0; i < HANDLES; i++)
        people += w->h[i].open && !w->h[i].read_only;
    FUZZ_EQUAL(shmc_segment_info_get(&h->s, &info), SHMC_OK);
    FUZZ_REQUIRE(info.objects == objects(w) && info.participants == people &&
                 info.max_objects == MOST && info.max_participants == HANDLES &&
                 info.heap_bytes == HEAP && info.wake == SHMC_WAKE_FENCE);
    for (uint32_t i = 0; i < HANDLES; i++)
        if (shmc_participant_info_get(&h->s, i, &p) == SHMC_OK) alive += p.alive;
    FUZZ_EQUAL(alive, people);
    FUZZ_EQUAL(shmc_participant_info_get(&h->s, HANDLES, &p), SHMC_EINVAL);
    FUZZ_EQUAL(shmc_segment_linked(&h->s), w->file);
}

/* Calls that must be refused, on an open handle and on one that is not.   */
static void
misuse(world *w, handle *h)
{
    static char longer[SHMC_TYPE_NAME_BYTES + 1];
    shmc_object_desc d = { .bytes = 1 };
    shmc_object o;
    shmc_object_info info;
    shmc_segment_info about;
    shmc_participant_info p;
    const int code = h->open ? SHMC_EFORKED : SHMC_ECLOSED;

    if (h->open) {
        memset(longer, 'x', sizeof longer - 1);
        FUZZ_EQUAL(shmc_object_open(&h->s, "..", &d, &o), SHMC_ENAME);
        FUZZ_EQUAL(shmc_object_remove(&h->s, "no\nname"), SHMC_ENAME);
        d.type_name = longer;
        FUZZ_EQUAL(shmc_object_open(&h->s, names[0], &d, &o), SHMC_EINVAL);
        shmi_fork_epoch++;
    }
    FUZZ_EQUAL(shmc_object_open(&h->s, names[0], NULL, &o), code);
    FUZZ_EQUAL(shmc_object_attach(&h->s, names[0], NULL, &o), code);
    FUZZ_EQUAL(shmc_object_remove(&h->s, names[0]), code);
    FUZZ_EQUAL(shmc_object_info_get(&h->s, 0, &info), code);
    FUZZ_EQUAL(shmc_segment_info_get(&h->s, &about), code);
    FUZZ_EQUAL(shmc_participant_info_get(&h->s, 0, &p), code);
    if (h->open) shmi_fork_epoch--;
    if (w->file && h->open && shmc_segment_shared(&h->s)) {
        const shmc_segment_desc sd = { .dir = fuzz_folder() };
        shmc_segment other;
        FUZZ_EQUAL(shmc_segment_unlink("d", &sd), SHMC_EBUSY);
        FUZZ_EQUAL(shmc_segment_create(&other, "d", &sd), SHMC_EEXIST);
    }
}

/* ---- steps ------------------------------------------------------------- */

static void
step(world *w, fuzz_input *in)
{
    static const uint32_t flags[] = { 0, SHMC_READ_ONLY, SHMC_INSPECT,
                                      SHMC_PREFAULT };
    const uint8_t op = fuzz_u8(in);
    const int i = (op >> 4 & 3) % HANDLES, k = fuzz_u8(in) % NAMES;
    handle *h = &w->h[i];

    if (!h->open) {
        misuse(w, h);
        open_handle(w, i, flags[k & 3]);
        return;
    }
    switch (op & 15) {
    case 0: case 1: case 2: open_object(w, h, k, in, true); break;
    case 3:  open_object(w, h, k, in, false); break;
    case 4: case 5: case 6: close_object(h, k); break;
    case 7: case 8: remove_object(w, h, k); break;
    case 9:  open_counter(w, i, k & 1); break;
    case 10: use_counter(w, i, fuzz_u8(in)); break;
    case 11: close_counter(w, i); break;
    case 12: remove_object(w, h, COUNTER); break;
    case 13: look(w, h); break;
    case 14: misuse(w, h); break;
    default: if (i != 0) close_handle(w, i, k & 1); break;
    }
}

static void
create(world *w)
{
    shmc_segment_desc d = { .heap_bytes = HEAP, .max_objects = MOST,
                            .max_participants = HANDLES };

    w->writer = -1;
    if (!w->file) {
        w->bytes = (uint64_t)shmc_segment_size_for(&d);
        w->mem = fuzz_room(w->bytes, true);
        FUZZ_EQUAL(shmc_segment_format(w->mem, w->bytes, &d), SHMC_OK);
        open_handle(w, 0, 0);
        return;
    }
    d.dir = fuzz_folder();
    d.flags = SHMC_FORCE;
    (void)shmc_segment_unlink("d", &d);
    d.flags = 0;
    FUZZ_EQUAL(shmc_segment_open(&w->h[0].s, "d", &d), SHMC_OK);
    w->h[0].open = true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    w.file = (fuzz_u8(&in) & 7) == 7;
    create(&w);
    while (fuzz_more(&in)) step(&w, &in);
    look(&w, &w.h[0]);
    for (int i = 0; i < HANDLES; i++)
        if (w.h[i].open) close_handle(&w, i, false);
    if (w.file) {
        const shmc_segment_desc d = { .dir = fuzz_folder() };
        FUZZ_EQUAL(shmc_segment_unlink("d", &d), SHMC_OK);
        FUZZ_EQUAL(shmc_segment_unlink("d", &d), SHMC_ENOENT);
    }
    return 0;
}
