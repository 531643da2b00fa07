/* model_shim.h - what the shim and the cases call, as steps of the engine.
 *
 * In setup all of it goes to plain memory; in threads it is modelled; in
 * checks it sees the newest stores.  Memory outside the arena is private.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_SHIM_H
#define SHMC_MODEL_SHIM_H

static inline bool
model_is_direct(const void *p)
{
    return M.phase <= MODEL_SETUP || !model_in_arena(p);
}

static inline uint64_t
model_raw_get(const void *p, uint32_t size)
{
    uint64_t v = 0;
    __builtin_memcpy(&v, p, size);
    return v;
}

static inline void
model_raw_put(void *p, uint32_t size, uint64_t v)
{
    __builtin_memcpy(p, &v, size);
}

/* After the threads ended: the newest store, and new ones behind it.      */
static inline uint64_t
model_after_get(const model_loc *l) { return model_newest(l)->value; }

static void
model_after_put(model_loc *l, uint64_t v)
{
    (void)model_store_add(l, v, -1, NULL);
}

/* ---- atomics ----------------------------------------------------------- */

static uint64_t
model_load(model_site *site, const void *p, uint32_t size)
{
    if (model_is_direct(p)) return model_raw_get(p, size);
    model_loc *l = model_loc_find(p, size);
    if (M.phase == MODEL_CHECK) return model_after_get(l);
    const model_op op = { .site = site, .loc = l, .kind = MODEL_LOAD,
                          .order = site->order };
    return model_step(&op);
}

static void
model_store(model_site *site, void *p, uint32_t size, uint64_t v)
{
    if (model_is_direct(p)) {
        model_raw_put(p, size, v);
        return;
    }
    model_loc *l = model_loc_find(p, size);
    if (M.phase == MODEL_CHECK) {
        model_after_put(l, v);
        return;
    }
    const model_op op = { .site = site, .loc = l, .kind = MODEL_STORE,
                          .order = site->order, .value = v };
    (void)model_step(&op);
}

static bool
model_cas(model_site *site, void *p, uint32_t size, uint64_t *expected,
          uint64_t desired)
{
    const uint64_t want = *expected;

    if (model_is_direct(p)) {
        *expected = model_raw_get(p, size);
        if (*expected == want) model_raw_put(p, size, desired);
        return *expected == want;
    }
    model_loc *l = model_loc_find(p, size);
    if (M.phase == MODEL_CHECK) {
        *expected = model_after_get(l);
        if (*expected == want) model_after_put(l, desired);
        return *expected == want;
    }
    const model_op op = { .site = site, .loc = l, .kind = MODEL_CAS,
                          .order = site->order, .value = desired,
                          .expected = want };
    *expected = model_step(&op);
    return *expected == want;
}

static uint64_t
model_rmw(model_site *site, void *p, uint32_t size, uint64_t v)
{
    const bool add = site->kind == MODEL_FAA;
    uint64_t was;

    if (model_is_direct(p)) {
        was = model_raw_get(p, size);
        model_raw_put(p, size, add ? was + v : v);
        return was;
    }
    model_loc *l = model_loc_find(p, size);
    if (M.phase == MODEL_CHECK) {
        was = model_after_get(l);
        model_after_put(l, add ? was + v : v);
        return was;
    }
    const model_op op = { .site = site, .loc = l, .kind = site->kind,
                          .order = site->order, .value = v };
    return model_step(&op);
}

static void
model_fence(model_site *site)
{
    if (M.phase != MODEL_RUN || M.current < 0) return;
    const model_op op = { .site = site, .kind = MODEL_FENCE,
                          .loc = model_loc_touch(&M.loc[MODEL_LOC_SC]),
                          .order = site->order };
    if (op.order & MODEL_SC) {
        (void)model_step(&op);
        return;
    }
    /* Others notice nothing of it: no step.                               */
    site->hits++;
    model_do_fence(&M.thread[M.current], op.order);
    model_tick((uint32_t)M.current);
    if (M.tracing) model_trace(&op, NULL, 0, -1, "");
}

/* ---- copies ------------------------------------------------------------ */

/* The word that a byte of the arena lies in, and where in it.  It has 8
 * bytes, unless one of its halves is used by itself.                      */
static model_loc *
model_piece(const void *p, size_t bytes, uint32_t *skip, uint32_t *count)
{
    const uint32_t offset = model_offset(p), word = offset & ~7u;
    const uint16_t a = M.where[word / 4], b = M.where[word / 4 + 1];
    const bool whole = a == b && (a == 0 || M.loc[a].size == 8);
    const uint32_t size = whole ? 8 : 4;

    *skip = offset % size;
    *count = size - *skip < bytes ? size - *skip : (uint32_t)bytes;
    return model_loc_find(M.arena + (offset - *skip), size);
}

/* A value with some of its bytes replaced.                                */
static uint64_t
model_merge(uint64_t old, const void *from, uint32_t skip, uint32_t count)
{
    __builtin_memcpy((uint8_t *)&old + skip, from, count);
    return old;
}

static void
model_plain_put(model_site *site, model_loc *l, uint64_t v)
{
    model_op op = { .site = site, .loc = l, .kind = MODEL_PLAIN_WRITE };

    if (M.phase == MODEL_CHECK) {
        model_after_put(l, v);
        return;
    }
    model_mark_plain_write(l);
    model_put(&M.thread[M.current], &op, l->count, v, false, NULL);
    model_newest(l)->event = -1;
    if (M.tracing) model_trace(&op, l, v, -1, "");
}

static uint64_t
model_plain_get(model_site *site, model_loc *l)
{
    const model_op op = { .site = site, .loc = l, .kind = MODEL_PLAIN_READ };

    if (M.phase == MODEL_RUN) {
        model_mark_plain_read(l);
        model_view_set(&M.thread[M.current].view, l, l->count - 1);
        if (M.tracing)
            model_trace(&op, l, model_newest(l)->value, l->count - 1, "");
    }
    return model_newest(l)->value;
}

/* In the middle of a copy: the victim may stop there.                     */
static void
model_copy_point(void)
{
    model_op op = { .kind = MODEL_DIE, .site = NULL };

    if (M.phase != MODEL_RUN || !model_point()) return;
    op.loc = model_loc_touch(&M.loc[MODEL_LOC_LIFE + M.current]);
    M.thread[M.current].op = op;
    model_switch(&M.thread[M.current].context, M.main);
}

static uint8_t *
model_copy_to_arena(model_site *site, uint8_t *to, const uint8_t *from,
                    size_t bytes, bool atomic)
{
    for (uint32_t skip, n; bytes > 0; bytes -= n, to += n, from += n) {
        model_loc *l = model_piece(to, bytes, &skip, &n);
        const uint64_t v = model_merge(model_newest(l)->value, from, skip, n);
        const model_op op = { .site = site, .loc = l, .kind = MODEL_STORE,
                              .order = MODEL_RLX, .value = v };
        if (!atomic) model_copy_point();
        if (atomic && M.phase == MODEL_RUN) (void)model_step(&op);
        else model_plain_put(site, l, v);
    }
    return to;
}

static void
model_copy_from_arena(model_site *site, uint8_t *to, const uint8_t *from,
                      size_t bytes, bool atomic)
{
    for (uint32_t skip, n; bytes > 0; bytes -= n, to += n, from += n) {
        model_loc *l = model_piece(from, bytes, &skip, &n);
        const model_op op = { .site = site, .loc = l, .kind = MODEL_LOAD,
                              .order = MODEL_RLX };
        const uint64_t v = atomic && M.phase == MODEL_RUN
                         ? model_step(&op) : model_plain_get(site, l);
        __builtin_memcpy(to, (const uint8_t *)&v + skip, n);
    }
}

static void
model_copy_any(model_site *site, void *dst, const void *src, size_t bytes,
               bool atomic)
{
    uint8_t *to = (uint8_t *)dst;
    const uint8_t *from = (const uint8_t *)src;
    const bool in = !model_is_direct(dst), out = !model_is_direct(src);

    if (!in && !out) {
        __builtin_memcpy(dst, src, bytes);
    } else if (in && out) {
        uint8_t word[8];
        for (size_t n; bytes > 0; bytes -= n, to += n, from += n) {
            n = bytes < 8 ? bytes : 8;
            model_copy_from_arena(site, word, from, n, atomic);
            (void)model_copy_to_arena(site, to, word, n, atomic);
        }
    } else if (in) {
        (void)model_copy_to_arena(site, to, from, bytes, atomic);
    } else {
        model_copy_from_arena(site, to, from, bytes, atomic);
    }
    site->hits++;
}

static void
model_copy(model_site *site, void *dst, const void *src, size_t bytes)
{
    model_copy_any(site, dst, src, bytes, true);
}

static void *
model_memcpy(model_site *site, void *dst, const void *src, size_t bytes)
{
    model_copy_any(site, dst, src, bytes, false);
    return dst;
}

static void *
model_memset(model_site *site, void *dst, int byte, size_t bytes)
{
    uint8_t word[8], *to = (uint8_t *)dst;

    if (model_is_direct(dst)) return __builtin_memset(dst, byte, bytes);
    __builtin_memset(word, byte, sizeof word);
    for (size_t n; bytes > 0; bytes -= n) {
        n = bytes < 8 ? bytes : 8;
        to = model_copy_to_arena(site, to, word, n, false);
    }
    return dst;
}

static uint64_t
model_read_64(const void *p)
{
    uint64_t v;
    model_memcpy(MODEL_SITE(MODEL_PLAIN_READ, MODEL_RLX), &v, p, 8);
    return v;
}

static void
model_write_64(void *p, uint64_t v)
{
    model_memcpy(MODEL_SITE(MODEL_PLAIN_WRITE, MODEL_RLX), p, &v, 8);
}

/* ---- waits ------------------------------------------------------------- */

SHMC_API uint64_t shmi_now_ns(void) { return M.now_ns; }
SHMC_API void shmi_yield(void) { }
SHMC_API int shmi_membarrier_register(void) { return 0; }
SHMC_API bool shmi_membarrier_supported(void) { return true; }

/* Time passes only when everybody sleeps; a nap is not worth a step.      */
SHMC_API void shmi_sleep_until(uint64_t deadline_ns) { (void)deadline_ns; }

SHMC_API int
shmi_membarrier(void)
{
    if (M.phase != MODEL_RUN) return 0;
    const model_op op = { .site = MODEL_SITE(MODEL_MEMBARRIER, MODEL_RLX),
                          .kind = MODEL_MEMBARRIER };
    (void)model_step(&op);
    return 0;
}

/* What a wait's last step gave; MODEL_DIFFERS is for the step alone.      */
static int
model_wait_end(uint64_t result)
{
    return result == MODEL_DIFFERS ? 0 : (int)result;
}

SHMC_API int
shmi_wait_32(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    if (M.phase != MODEL_RUN) return 0;
    const model_op op = { .site = MODEL_SITE(MODEL_WAIT, MODEL_RLX),
                          .kind = MODEL_WAIT, .expected = expected,
                          .loc = model_loc_find(word, 4),
                          .may_time_out = deadline_ns != SHMI_FOREVER };
    M.thread[M.current].until = deadline_ns;
    return model_wait_end(model_step(&op));
}

/* A step for each word: the kernel locks one queue at a time.             */
SHMC_API int
shmi_wait_many(const shmi_wait_word *words, uint32_t count,
               uint64_t deadline_ns)
{
    if (M.phase != MODEL_RUN) return 0;
    for (uint32_t i = 0; i < count; i++) {
        const model_op op = { .site = MODEL_SITE(MODEL_WAIT, MODEL_RLX),
                              .kind = MODEL_WAIT, .more = i + 1 < count,
                              .expected = words[i].expected,
                              .loc = model_loc_find(words[i].word, 4),
                              .may_time_out = deadline_ns != SHMI_FOREVER };
        M.thread[M.current].until = deadline_ns;
        const uint64_t r = model_step(&op);
        if (r != 0 || i + 1 == count) return model_wait_end(r);
    }
    return 0;
}

SHMC_API void
shmi_wake_32(uint32_t *word, int count)
{
    if (M.phase != MODEL_RUN) return;
    const model_op op = { .site = MODEL_SITE(MODEL_WAKE, MODEL_RLX),
                          .kind = MODEL_WAKE, .target = (uint32_t)count,
                          .loc = model_loc_find(word, 4) };
    (void)model_step(&op);
}

/* ---- cases ------------------------------------------------------------- */

static void *
model_alloc(size_t bytes)
{
    void *p = M.arena + M.arena_used;

    M.arena_used += (bytes + 127) & ~(size_t)127;
    if (M.phase != MODEL_SETUP || M.arena_used > MODEL_ARENA_BYTES)
        model_fail("model_alloc: not in setup, or no room");
    return p;
}

static void
model_name_word(const void *word, uint32_t size, const char *name)
{
    model_loc_find(word, size)->name = name;
}

static uint32_t model_self(void) { return (uint32_t)M.current; }

static uint64_t
model_life(uint8_t kind, uint32_t thread)
{
    const model_op op = { .site = MODEL_SITE(MODEL_ALIVE, MODEL_ACQ),
                          .kind = kind, .target = thread,
                          .loc = model_loc_touch(
                              &M.loc[MODEL_LOC_LIFE + thread % MODEL_THREADS]) };
    return model_step(&op);
}

static bool
model_await_end(uint32_t thread) { return model_life(MODEL_AWAIT, thread); }

static int
model_lock_probe(int fd, uint64_t offset)
{
    (void)fd;
    if (offset >= MODEL_THREADS) return 0;
    if (offset >= (uint64_t)M.threads) return !(M.dead >> offset & 1);
    if (M.phase != MODEL_RUN) return M.thread[offset].status != MODEL_KILLED;
    return (int)model_life(MODEL_ALIVE, (uint32_t)offset);
}

static void model_dead(uint32_t participant) { M.dead |= 1u << participant; }

static bool
model_ended(uint32_t thread)
{
    return M.thread[thread].status == MODEL_ENDED;
}

static void
model_outcome(unsigned outcome)
{
    if (outcome > 63) model_fail("outcome %u", outcome);
    M.outcomes |= UINT64_C(1) << (outcome & 63);
}

#endif /* SHMC_MODEL_SHIM_H */
