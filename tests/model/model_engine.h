/* model_engine.h - steps, their effect on the memory, and the exploration.
 *
 * Each thread runs until it is about to touch shared memory; then the engine
 * picks who goes on, and which store a load reads.  Executions are repeated
 * from the start; of those that differ only in the order of steps that do not
 * depend on each other one is run (dynamic partial-order reduction, with
 * sleep sets).
 * Source  source sets and sleep sets: Abdulla et al., POPL 2014; views: Kang
 *         et al., POPL 2017, without promises.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_ENGINE_H
#define SHMC_MODEL_ENGINE_H

static void model_trace(const model_op *op, const model_loc *l,
                        uint64_t value, int32_t from, const char *note);
static uint64_t model_random(void);

/* ---- threads, seen from inside ----------------------------------------- */

/* Take note of the first failure and leave this execution.                */
static void
model_fail(const char *format, ...)
{
    if (!M.failed) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(M.text, sizeof M.text, format, args);
        va_end(args);
    }
    M.failed = true;
    if (M.phase == MODEL_CHECK) longjmp(M.out, 1);
    if (M.inside)
        model_switch(&M.thread[M.current].context, M.main);
    if (M.phase == MODEL_IDLE || M.phase == MODEL_SETUP) {
        fprintf(stderr, "model: %s\n", M.text);
        exit(1);
    }
}

/* The victim may stop here.  True: it dies here.                          */
static bool
model_point(void)
{
    model_thread *t = &M.thread[M.current];

    if (!M.stop_armed || (uint32_t)M.current != M.c->victim) return false;
    if (t->points++ != M.stop_at) return false;
    M.hit_stop = true;
    if (M.c->stop == MODEL_KILL) return true;
    t->status = MODEL_FROZEN;
    if (M.tracing) model_trace(NULL, NULL, 0, -1, "stops for ever");
    model_switch(&t->context, M.main);
    return false;
}

/* Have the engine do a step of this thread, in its own time.              */
static uint64_t
model_step(const model_op *op)
{
    const int self = M.current;
    model_thread *t = &M.thread[self];

    t->op = *op;
    if (model_point()) {
        t->op.kind = MODEL_DIE;
        t->op.loc = model_loc_touch(&M.loc[MODEL_LOC_LIFE + self]);
    }
    model_switch(&t->context, M.main);
    return t->result;
}

static void
model_thread_main(void)
{
    const int self = M.current;

    M.c->thread[self](M.c->state);
    M.thread[self].status = MODEL_ENDED;
    for (;;) model_switch(&M.thread[self].context, M.main);
}

static void
model_resume(int i)
{
    M.current = i;
    M.inside = true;
    model_switch(&M.main, M.thread[i].context);
    M.inside = false;
    M.current = -1;
}

static inline void
model_clock_max(int32_t *to, const int32_t *from)
{
    for (int k = 0; k < MODEL_THREADS; k++)
        if (from[k] > to[k]) to[k] = from[k];
}

/* ---- what a step does to the memory ------------------------------------ */

static inline bool
model_kind_writes(const model_op *op)
{
    return op->kind != MODEL_LOAD && op->kind != MODEL_ALIVE;
}

static inline void
model_acquire(model_thread *t, const model_store_record *s, bool acquire)
{
    if (s->bare) return;
    model_view_join(acquire ? &t->view : &t->pending, &s->view);
}

/* Put a store at `ts`; `read` is what an RMW read: its release goes on.   */
static void
model_put(model_thread *t, const model_op *op, uint32_t ts, uint64_t value,
          bool release, const model_store_record *read)
{
    model_loc *l = op->loc;
    model_store_record *s = model_store_insert(l, ts, value, M.depth, op->site);

    if (M.failed) return;
    model_view_set(&t->view, l, (int32_t)ts);
    s->bare = false;
    s->bound = read != NULL;
    model_view_copy(&s->view, release ? &t->view : &t->released);
    if (read != NULL && !read->bare) model_view_join(&s->view, &read->view);
    model_view_set(&s->view, l, (int32_t)ts);
}

/* What a thread releases from here on is later than what it released.     */
static inline void
model_tick(uint32_t i)
{
    M.thread[i].view.vc[i / 4][i % 4]++;
}

/* The store that choice number `choice` of a load reads; *choices tells how
 * many there are.  Newest first.                                          */
static uint32_t
model_choose_load(const model_loc *l, int32_t oldest, model_node *n)
{
    n->choices = (uint16_t)(l->count - oldest);
    return l->count - 1u - n->choice;
}

/* Where a store goes: behind all others, or before some that its thread
 * does not know of, but not between an RMW and what that read.            */
static uint32_t
model_choose_place(const model_loc *l, int32_t oldest, model_node *n)
{
    uint32_t found = l->count;

    n->choices = 1;
    for (int32_t ts = l->count - 1; ts > oldest; ts--) {
        if (model_store_at(l, (uint32_t)ts)->bound) continue;
        if (n->choices++ == n->choice) found = (uint32_t)ts;
    }
    return found;
}

static inline bool
model_rmw_writes(const model_op *op, uint64_t was)
{
    return op->kind != MODEL_CAS || was == op->expected;
}

/* What an RMW reads: any store not too old; its own comes right behind it,
 * so that it must not be one that another RMW read.                       */
static uint32_t
model_choose_rmw(const model_loc *l, const model_op *op, int32_t oldest,
                 model_node *n)
{
    uint32_t found = l->count - 1u;

    n->choices = 0;
    for (int32_t ts = l->count - 1; ts >= oldest; ts--) {
        if (ts + 1 < l->count && model_store_at(l, (uint32_t)ts + 1)->bound &&
            model_rmw_writes(op, model_store_at(l, (uint32_t)ts)->value))
            continue;
        if (n->choices++ == n->choice) found = (uint32_t)ts;
    }
    return found;
}

/* In a random walk: is another than the first choice taken?               */
static bool
model_pick(model_node *n)
{
    if (!M.random || M.depth < M.fixed || n->choices < 2) return false;
    if (model_random() % 3 != 0) return false;
    n->choice = (uint16_t)(model_random() % n->choices);
    return true;
}

static void
model_do_load(model_thread *t, model_op *op, model_node *n)
{
    model_loc *l = op->loc;
    const uint32_t self = (uint32_t)n->thread;
    int32_t oldest = model_view_ts(&t->view, l);

    if (n->sleep[self] != 0 && n->sleep[self] > oldest)
        oldest = n->sleep[self];
    const uint32_t ts = model_choose_load(l, oldest, n);
    const model_store_record *s = model_store_at(l, ts);
    n->bound = l->count;
    model_mark_atomic_read(l);
    model_view_set(&t->view, l, (int32_t)ts);
    model_acquire(t, s, (op->order & MODEL_ACQ) != 0);
    t->result = s->value;
    if (M.tracing) model_trace(op, l, s->value, (int32_t)ts, "");
}

static void
model_do_store(model_thread *t, model_op *op, model_node *n)
{
    model_loc *l = op->loc;
    const int32_t oldest = model_view_ts(&t->view, l);
    uint32_t ts = model_choose_place(l, oldest, n);

    if (model_pick(n)) ts = model_choose_place(l, oldest, n);
    model_mark_atomic_write(l);
    model_put(t, op, ts, op->value, (op->order & MODEL_REL) != 0, NULL);
    if (M.tracing)
        model_trace(op, l, op->value, (int32_t)ts,
                    M.inserted ? " before newer ones" : "");
}

static void
model_do_rmw(model_thread *t, model_op *op, model_node *n)
{
    model_loc *l = op->loc;
    const int32_t oldest = model_view_ts(&t->view, l);
    uint32_t ts = model_choose_rmw(l, op, oldest, n);

    if (model_pick(n)) ts = model_choose_rmw(l, op, oldest, n);
    const model_store_record *s = model_store_at(l, ts);
    const uint64_t was = s->value;
    const bool done = model_rmw_writes(op, was);
    const int acquire = done ? op->order & MODEL_ACQ
                             : op->order & MODEL_FAIL_ACQ;
    uint64_t value = op->kind == MODEL_FAA ? was + op->value : op->value;
    if (l->size == 4) value &= UINT32_MAX;
    model_mark_atomic_read(l);
    if (done) model_mark_atomic_write(l);
    model_view_set(&t->view, l, (int32_t)ts);
    model_acquire(t, s, acquire != 0);
    if (done)
        model_put(t, op, ts + 1, value, (op->order & MODEL_REL) != 0, s);
    t->result = was;
    if (M.tracing)
        model_trace(op, l, done ? value : was, (int32_t)ts,
                    op->kind != MODEL_CAS ? "" : !done ? " failed" :
                    M.inserted ? " done before newer ones" : " done");
}

/* A fence of one thread; of SC: all have one order, that of execution.    */
static void
model_do_fence(model_thread *t, int order)
{
    if (order & MODEL_ACQ) model_view_join(&t->view, &t->pending);
    if (order & MODEL_SC) {
        model_view_join_ts(&t->view, &M.sc);
        model_view_join_ts(&M.sc, &t->view);
    }
    if (order & MODEL_REL) model_view_copy(&t->released, &t->view);
}

static void
model_do_membarrier(void)
{
    for (int i = 0; i < M.threads; i++)
        model_do_fence(&M.thread[i], MODEL_SC | MODEL_ACQ_REL);
    for (int i = 0; i < M.threads; i++) {
        model_do_fence(&M.thread[i], MODEL_SC | MODEL_ACQ_REL);
        model_tick((uint32_t)i);
    }
}

static void
model_unqueue(model_thread *t)
{
    for (int i = 0; i < MODEL_LOCATIONS / 64; i++) t->queue[i] = 0;
    t->rung = false;
}

/* Compare and fall asleep.  The kernel's lock of the word's queue orders it
 * with each wake: no older value is read than an earlier wake knew.       */
static void
model_do_wait(model_thread *t, model_op *op, model_node *n)
{
    model_loc *l = op->loc;
    int32_t oldest = model_view_ts(&t->view, l);

    if (l->wake_ts > oldest) oldest = l->wake_ts;
    const uint32_t ts = model_choose_load(l, oldest, n);
    model_view_set(&t->view, l, (int32_t)ts);
    const uint64_t seen = model_store_at(l, ts)->value;
    const bool same = seen == op->expected;
    /* Of several words, it is in the queue of each before it sleeps, and
     * leaves all of them together.                                        */
    if (same) t->queue[l->id / 64] |= UINT64_C(1) << l->id % 64;
    else model_unqueue(t);
    if (same && !op->more && !t->rung) t->status = MODEL_BLOCKED;
    else if (!op->more) model_unqueue(t);
    if (l->wake_ts < (int32_t)ts) l->wake_ts = (int32_t)ts;
    t->result = same ? 0 : MODEL_DIFFERS;
    if (M.tracing)
        model_trace(op, l, seen, (int32_t)ts,
                    t->status == MODEL_BLOCKED ? " asleep"
                    : same ? " in the queue" : " differs");
}

static void
model_do_wake(model_thread *t, model_op *op, const int32_t *clock)
{
    model_loc *l = op->loc;
    const int32_t known = model_view_ts(&t->view, l);
    uint32_t woken = 0;

    if (l->wake_ts < known) l->wake_ts = known;
    for (int i = 0; i < M.threads && woken < op->target; i++) {
        model_thread *w = &M.thread[i];
        const bool queued = w->queue[l->id / 64] >> l->id % 64 & 1;
        if (!queued || w->rung) continue;
        if (w->status == MODEL_BLOCKED) {
            w->status = MODEL_READY;
            w->woken = true;
            model_unqueue(w);
        } else if (w->status == MODEL_READY) {
            w->rung = true;
        } else {
            continue;
        }
        woken++;
        model_clock_max(w->clock, clock);
    }
    if (M.tracing) model_trace(op, l, woken, -1, "");
}

/* What a thread did until it died happens before whoever is told so.      */
static void
model_do_life(model_thread *t, model_op *op)
{
    model_loc *l = op->loc;

    if (op->kind == MODEL_DIE) {
        model_put(t, op, l->count, 1, true, NULL);
        t->status = MODEL_KILLED;
        if (M.tracing) model_trace(op, NULL, 0, -1, "is killed");
        return;
    }
    const model_store_record *s = model_newest(l);
    model_thread *other = &M.thread[op->target];
    if (op->kind == MODEL_AWAIT) {
        model_view_join(&t->view, &other->view);
        t->result = other->status == MODEL_KILLED;
    } else {
        model_acquire(t, s, true);
        t->result = s->value == 0;
    }
    model_view_set(&t->view, l, l->count - 1);
    if (M.tracing) model_trace(op, NULL, t->result, (int32_t)op->target, "");
}

/* ---- which steps depend on each other ---------------------------------- */

static inline void
model_clock_join(int32_t *to, int32_t event)
{
    if (event >= 0) model_clock_max(to, M.node[event].clock);
}

/* What comes before a step of thread p, by its clock and what it touches.  */
static void
model_clock_before(int32_t *clock, const model_op *op, int p)
{
    const model_loc *l = op->loc;

    __builtin_memcpy(clock, M.thread[p].clock, sizeof M.thread[p].clock);
    model_clock_join(clock, M.last_global);
    if (op->kind == MODEL_MEMBARRIER)
        for (int32_t j = 0; j < M.depth; j++) model_clock_join(clock, j);
    if (l == NULL || op->kind == MODEL_LOAD) return;
    model_clock_join(clock, l->last_write);
    /* Who asks if somebody lives gets the answer of the moment.           */
    if (l->id < MODEL_LOC_FIRST && op->kind == MODEL_DIE)
        for (int q = 0; q < M.threads; q++)
            model_clock_join(clock, l->last_load[q]);
    if (op->kind == MODEL_AWAIT)
        model_clock_max(clock, M.thread[op->target].clock);
}

/* Does a step with this clock come after none of these: each thread's steps
 * from from[] on (-1: none)?                                              */
static bool
model_is_initial(const int32_t *clock, const int32_t *from)
{
    for (int q = 0; q < M.threads; q++)
        if (from[q] >= 0 && clock[q] > from[q]) return false;
    return true;
}

/* Threads that could begin what came after step j and does not depend on
 * it, and then this step of p.  Trying one of them in place of j is enough. */
static unsigned
model_initials(int32_t j, int p, const int32_t *clock)
{
    int32_t from[MODEL_THREADS];    /* first such step of each thread       */
    const int q = M.node[j].thread;
    unsigned found = 0;

    for (int i = 0; i < MODEL_THREADS; i++) from[i] = -1;
    for (int32_t k = j + 1; k < M.depth; k++) {
        const model_node *n = &M.node[k];
        if (n->clock[q] > j || from[n->thread] >= 0) continue;
        if (model_is_initial(n->clock, from)) found |= 1u << n->thread;
        from[n->thread] = k;
    }
    if (from[p] < 0 && model_is_initial(clock, from)) found |= 1u << p;
    return found;
}

/* Step j was done before step M.depth, which depends on it: unless it had
 * to be, try the other order.                                             */
static void
model_depends(int32_t j, int p, const int32_t *clock)
{
    if (j < 0) return;
    model_node *n = &M.node[j];
    const int q = n->thread;
    if (q == p || M.thread[p].clock[q] > j) return;
    const unsigned first = model_initials(j, p, clock) & n->enabled;
    if (first == 0) n->backtrack = n->enabled;
    else if ((first & n->backtrack) == 0)
        n->backtrack |= (uint8_t)(first & (1u << p) ? 1u << p
                                                    : first & (~first + 1));
}

/* Find earlier steps that this one could come before.  A load needs none:
 * where it is, it may read all that it could have read earlier.           */
static void
model_find_races(const model_op *op, int p)
{
    const model_loc *l = op->loc;
    int32_t clock[MODEL_THREADS];

    if (M.depth < M.fixed - 1 || M.random || M.c->every_order) return;
    model_clock_before(clock, op, p);
    model_depends(M.last_global, p, clock);
    if (op->kind == MODEL_MEMBARRIER)
        for (int32_t j = M.depth - 1; j >= 0; j--) model_depends(j, p, clock);
    if (l == NULL || op->kind == MODEL_LOAD) return;
    model_depends(l->last_write, p, clock);
    if (!model_kind_writes(op)) return;
    for (int q = 0; q < M.threads; q++)
        model_depends(l->last_load[q], p, clock);
}

/* Bring the clock of thread p up to date with its step M.depth.           */
static void
model_order_step(const model_op *op, int p, int32_t read_event)
{
    model_loc *l = op->loc;
    int32_t *clock = M.thread[p].clock;
    int32_t before[MODEL_THREADS];

    model_clock_before(before, op, p);
    __builtin_memcpy(clock, before, sizeof before);
    model_clock_join(clock, read_event);
    if (op->kind == MODEL_MEMBARRIER) M.last_global = M.depth;
    else if (!model_kind_writes(op)) l->last_load[p] = M.depth;
    else l->last_write = M.depth;
    clock[p] = M.depth + 1;
    __builtin_memcpy(M.node[M.depth].clock, clock, sizeof M.node[0].clock);
}

/* Do the next step of the thread that the node chose.                     */
static void
model_execute(model_node *n)
{
    const int p = n->thread;
    model_thread *t = &M.thread[p];
    model_op *op = &t->op;
    int32_t read_event = -1;

    n->choices = 1;
    n->bound = MODEL_ASLEEP;
    M.inserted = false;
    M.steps++;
    if (op->site) op->site->hits++;
    model_find_races(op, p);
    M.current = p;
    switch (op->kind) {
    case MODEL_LOAD:
        model_do_load(t, op, n);
        read_event = model_store_at(op->loc, (uint32_t)model_view_ts(
                                                 &t->view, op->loc))->event;
        break;
    case MODEL_STORE: model_do_store(t, op, n); break;
    case MODEL_CAS:
    case MODEL_FAA:
    case MODEL_SWAP: model_do_rmw(t, op, n); break;
    case MODEL_FENCE:
        model_do_fence(t, op->order);
        if (M.tracing) model_trace(op, NULL, 0, -1, "");
        break;
    case MODEL_MEMBARRIER:
        model_do_membarrier();
        if (M.tracing) model_trace(op, NULL, 0, -1, "");
        break;
    case MODEL_WAIT: model_do_wait(t, op, n); break;
    case MODEL_WAKE: break;         /* below: it needs its own clock        */
    default: model_do_life(t, op); break;
    }
    model_order_step(op, p, read_event);
    if (op->kind == MODEL_WAKE) model_do_wake(t, op, t->clock);
    model_tick((uint32_t)p);
    M.current = -1;
}

#endif /* SHMC_MODEL_ENGINE_H */
