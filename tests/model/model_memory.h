/* model_memory.h - the memory of the model: locations with all stores ever
 * made to them, and what each thread has seen.
 *
 * A view says for each location which is the oldest store that may still be
 * read, and for each thread how much of it happened before.  A store carries
 * the view that its reader acquires.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_MEMORY_H
#define SHMC_MODEL_MEMORY_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MODEL_LOC_STORES = 512, MODEL_LANES = 8 };
enum { MODEL_LOC_SC, MODEL_LOC_LIFE, MODEL_LOC_FIRST = MODEL_LOC_LIFE +
       MODEL_THREADS };

typedef int16_t model_ts __attribute__((vector_size(16)));
typedef int32_t model_vc __attribute__((vector_size(16)));

typedef struct model_view {
    model_vc vc[MODEL_THREADS / 4];             /* of each thread           */
    model_ts ts[MODEL_LOCATIONS / MODEL_LANES]; /* of each location         */
} model_view;

typedef struct model_store_record {
    uint64_t value;
    int32_t  event;                 /* step that made it; -1 initial        */
    bool     bare;                  /* its view is empty                    */
    bool     bound;                 /* an RMW's: the one before stays so    */
    const model_site *site;
    model_view view;                /* what an acquire of it gives          */
} model_store_record;

typedef struct model_loc {
    uint64_t run;                   /* execution that it was reset for      */
    uint32_t offset, size;
    uint16_t id;
    uint16_t count;                 /* of stores                            */
    int32_t  wake_ts;               /* newest that a wake or wait knew      */
    int32_t  last_write;            /* step; -1 none                        */
    int32_t  last_load[MODEL_THREADS];
    int32_t  plain_write[MODEL_THREADS], plain_read[MODEL_THREADS];
    int32_t  atomic_write[MODEL_THREADS], atomic_read[MODEL_THREADS];
    const char *name;
    uint16_t stores[MODEL_LOC_STORES];
} model_loc;

typedef struct model_op {
    model_site *site;
    model_loc *loc;                 /* NULL: none                           */
    uint64_t value, expected;
    uint8_t  kind, order;
    uint32_t target;                /* thread asked about; wakes            */
    bool     may_time_out;
    bool     more;                  /* a wait on several words: not the last */
} model_op;

enum { MODEL_DIFFERS = 2 };         /* what the step of a wait gives, too   */
enum { MODEL_READY, MODEL_BLOCKED, MODEL_ENDED, MODEL_FROZEN, MODEL_KILLED };

typedef struct model_thread {
    model_context context;
    void    *stack;
    model_op op;                    /* the next step                        */
    uint64_t result;
    uint8_t  status;
    bool     woken;                 /* and not resumed yet                  */
    uint64_t queue[MODEL_LOCATIONS / 64];   /* words that it waits on so far */
    bool     rung;                  /* one of them, before it fell asleep   */
    uint32_t points;                /* where it could have been stopped     */
    uint64_t until;                 /* deadline of a wait that may time out */
    model_view view, pending, released;
    int32_t  clock[MODEL_THREADS];  /* steps of others that come before     */
} model_thread;

/* One step of the execution, and what is left to try there.               */
typedef struct model_node {
    int8_t   thread;
    uint8_t  enabled, awake, backtrack, done;
    uint16_t choice, choices, preempted;
    uint16_t bound;                 /* sleep entry of `thread` when done    */
    uint16_t sleep[MODEL_THREADS];  /* 0 awake, ALL, or loads of so many    */
    int32_t  clock[MODEL_THREADS];  /* with the step itself                 */
} model_node;
enum { MODEL_ASLEEP = 0xffff };

enum { MODEL_IDLE, MODEL_SETUP, MODEL_RUN, MODEL_CHECK };

typedef struct model_engine {
    const model_case *c;
    int      phase, current, threads;
    bool     failed, tracing, random, redundant, hit_stop, stop_armed;
    bool     inside;                /* a thread of the case runs            */
    bool     inserted;              /* the last step put a store before others */
    char     text[512];
    jmp_buf  out;                   /* of a check                           */
    model_context main;
    model_thread thread[MODEL_THREADS];
    /* memory */
    uint8_t *arena, *shadow;
    size_t   arena_used;
    void    *state_copy;
    uint16_t where[MODEL_ARENA_BYTES / 4];
    model_loc loc[MODEL_LOCATIONS];
    uint32_t locs, lanes;
    model_store_record *stores;
    uint32_t stores_used;
    model_view sc;
    uint64_t now_ns;
    /* exploration */
    model_node node[MODEL_STEPS];
    int32_t  depth, fixed, last_global;
    uint32_t stop_at, step_limit;
    uint32_t dead;                  /* bits: of model_dead                  */
    uint64_t seed, run, outcomes;
    uint64_t executions, complete, steps, states;
} model_engine;

static model_engine M;

/* ---- views ------------------------------------------------------------- */

static inline void
model_view_clear(model_view *v)
{
    for (uint32_t i = 0; i < MODEL_THREADS / 4; i++) v->vc[i] = (model_vc){ 0 };
    for (uint32_t i = 0; i < M.lanes; i++) v->ts[i] = (model_ts){ 0 };
}

static inline void
model_view_copy(model_view *to, const model_view *from)
{
    for (uint32_t i = 0; i < MODEL_THREADS / 4; i++) to->vc[i] = from->vc[i];
    for (uint32_t i = 0; i < M.lanes; i++) to->ts[i] = from->ts[i];
}

/* Fences of SC give order, but no happens-before: locations only.         */
static inline void
model_view_join_ts(model_view *to, const model_view *from)
{
    for (uint32_t i = 0; i < M.lanes; i++) {
        const model_ts more = from->ts[i] > to->ts[i];
        to->ts[i] = (from->ts[i] & more) | (to->ts[i] & ~more);
    }
}

static inline void
model_view_join(model_view *to, const model_view *from)
{
    for (uint32_t i = 0; i < MODEL_THREADS / 4; i++) {
        const model_vc more = from->vc[i] > to->vc[i];
        to->vc[i] = (from->vc[i] & more) | (to->vc[i] & ~more);
    }
    model_view_join_ts(to, from);
}

static inline int32_t
model_view_ts(const model_view *v, const model_loc *l)
{
    return v->ts[l->id / MODEL_LANES][l->id % MODEL_LANES];
}

static inline void
model_view_set(model_view *v, const model_loc *l, int32_t ts)
{
    int16_t *at = (int16_t *)&v->ts[l->id / MODEL_LANES] + l->id % MODEL_LANES;
    if (ts > *at) *at = (int16_t)ts;
}

static inline int32_t
model_view_clock(const model_view *v, uint32_t thread)
{
    return v->vc[thread / 4][thread % 4];
}

/* ---- locations --------------------------------------------------------- */

static inline bool
model_in_arena(const void *p)
{
    return (uintptr_t)p - (uintptr_t)M.arena < MODEL_ARENA_BYTES;
}

static inline uint32_t
model_offset(const void *p)
{
    return (uint32_t)((uintptr_t)p - (uintptr_t)M.arena);
}

static inline model_store_record *
model_newest(const model_loc *l)
{
    return &M.stores[l->stores[l->count - 1]];
}

/* The store record of a timestamp.                                        */
static inline model_store_record *
model_store_at(const model_loc *l, uint32_t ts)
{
    return &M.stores[l->stores[ts]];
}

static model_store_record *
model_store_add(model_loc *l, uint64_t value, int32_t event,
                const model_site *site)
{
    if (l->count == MODEL_LOC_STORES || M.stores_used == MODEL_STORES) {
        model_fail("too many stores in one execution");
        M.stores_used = 0;          /* it ends here in any case             */
        l->count = 1;
    }
    l->stores[l->count++] = (uint16_t)M.stores_used;
    model_store_record *s = &M.stores[M.stores_used++];
    s->value = value;
    s->event = event;
    s->site = site;
    s->bare = true;
    s->bound = false;
    return s;
}

/* One view after a store was put in at `ts`.                              */
static inline void
model_view_shift(model_view *v, const model_loc *l, int32_t ts)
{
    const int32_t is = model_view_ts(v, l);
    if (is >= ts) model_view_set(v, l, is + 1);
}

/* Add a store at `ts`, before those that are there and later.             */
static model_store_record *
model_store_insert(model_loc *l, uint32_t ts, uint64_t value, int32_t event,
                   const model_site *site)
{
    model_store_record *s = model_store_add(l, value, event, site);

    if (M.failed || ts + 1u >= l->count) return s;
    for (uint32_t i = l->count - 1u; i > ts; i--) l->stores[i] = l->stores[i - 1];
    l->stores[ts] = (uint16_t)(s - M.stores);
    for (uint32_t i = 0; i + 1 < M.stores_used; i++)
        if (!M.stores[i].bare)
            model_view_shift(&M.stores[i].view, l, (int32_t)ts);
    for (int i = 0; i < M.threads; i++) {
        model_view_shift(&M.thread[i].view, l, (int32_t)ts);
        model_view_shift(&M.thread[i].pending, l, (int32_t)ts);
        model_view_shift(&M.thread[i].released, l, (int32_t)ts);
    }
    model_view_shift(&M.sc, l, (int32_t)ts);
    if (l->wake_ts >= (int32_t)ts) l->wake_ts++;
    M.inserted = true;
    return s;
}

static void
model_loc_reset(model_loc *l)
{
    uint64_t value = 0;

    if (l->size != 0) __builtin_memcpy(&value, M.shadow + l->offset, l->size);
    l->run = M.run;
    l->count = 0;
    l->wake_ts = 0;
    l->last_write = -1;
    for (int i = 0; i < MODEL_THREADS; i++) {
        l->last_load[i] = -1;
        l->plain_write[i] = l->plain_read[i] = 0;
        l->atomic_write[i] = l->atomic_read[i] = 0;
    }
    (void)model_store_add(l, value, -1, NULL);
}

/* The views that exist have no room for this location yet: make it.       */
static void
model_views_grow(void)
{
    const uint32_t lanes = (M.locs + MODEL_LANES - 1) / MODEL_LANES;

    for (; M.lanes < lanes; M.lanes++) {
        const model_ts none = { 0 };
        for (uint32_t i = 0; i < M.stores_used; i++)
            M.stores[i].view.ts[M.lanes] = none;
        for (uint32_t t = 0; t < MODEL_THREADS; t++) {
            M.thread[t].view.ts[M.lanes] = none;
            M.thread[t].pending.ts[M.lanes] = none;
            M.thread[t].released.ts[M.lanes] = none;
        }
        M.sc.ts[M.lanes] = none;
    }
}

static inline model_loc *
model_loc_touch(model_loc *l)
{
    if (l->run != M.run) model_loc_reset(l);
    return l;
}

static void
model_loc_check(uint32_t offset, uint32_t size)
{
    const uint32_t words = size / 4, at = offset / 4;

    for (uint32_t i = 0; i < words; i++)
        if (M.where[at + i] != 0)
            model_fail("word +0x%x is used with %u and with %u bytes", offset,
                       M.loc[M.where[at + i]].size, size);
}

/* The location of an aligned word of 4 or 8 bytes.                        */
static model_loc *
model_loc_find(const void *p, uint32_t size)
{
    const uint32_t offset = model_offset(p), at = offset / 4;
    const uint16_t id = M.where[at];

    if (__builtin_expect(id != 0 && M.loc[id].offset == offset &&
                         M.loc[id].size == size, 1))
        return model_loc_touch(&M.loc[id]);
    if (offset % size != 0) model_fail("+0x%x is not aligned", offset);
    model_loc_check(offset, size);
    if (M.locs == MODEL_LOCATIONS) {
        model_fail("more than %d words in use", MODEL_LOCATIONS);
        return model_loc_touch(&M.loc[MODEL_LOC_FIRST]);
    }
    model_loc *l = &M.loc[M.locs];
    l->id = (uint16_t)M.locs++;
    l->offset = offset;
    l->size = size;
    l->run = 0;
    for (uint32_t i = 0; i < size / 4; i++) M.where[at + i] = l->id;
    model_views_grow();
    return model_loc_touch(l);
}

/* ---- data races -------------------------------------------------------- */

/* Fail if another thread's last access of this kind does not come before. */
static void
model_race(const model_loc *l, const int32_t *last, const char *theirs,
           const char *ours)
{
    const uint32_t self = (uint32_t)M.current;
    const model_view *v = &M.thread[self].view;

    for (uint32_t i = 0; i < (uint32_t)M.threads; i++)
        if (i != self && last[i] > model_view_clock(v, i))
            model_fail("data race on %s+0x%x: %s of thread %u, %s of thread"
                       " %u", l->name ? l->name : "", l->offset, theirs, i,
                       ours, self);
}

static inline void
model_mark(int32_t *last)
{
    const uint32_t self = (uint32_t)M.current;
    last[self] = model_view_clock(&M.thread[self].view, self);
}

static inline void
model_mark_atomic_read(model_loc *l)
{
    model_race(l, l->plain_write, "plain write", "load");
    model_mark(l->atomic_read);
}

static inline void
model_mark_atomic_write(model_loc *l)
{
    model_race(l, l->plain_write, "plain write", "store");
    model_race(l, l->plain_read, "plain read", "store");
    model_mark(l->atomic_write);
}

static inline void
model_mark_plain_read(model_loc *l)
{
    model_race(l, l->plain_write, "plain write", "plain read");
    model_race(l, l->atomic_write, "store", "plain read");
    model_mark(l->plain_read);
}

static inline void
model_mark_plain_write(model_loc *l)
{
    model_race(l, l->plain_write, "plain write", "plain write");
    model_race(l, l->plain_read, "plain read", "plain write");
    model_race(l, l->atomic_write, "store", "plain write");
    model_race(l, l->atomic_read, "load", "plain write");
    model_mark(l->plain_write);
}

#endif /* SHMC_MODEL_MEMORY_H */
