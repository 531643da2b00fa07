/* model_explore.h - one execution after the other, until none is left.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_EXPLORE_H
#define SHMC_MODEL_EXPLORE_H

/* ---- choices ----------------------------------------------------------- */

static uint64_t
model_random(void)
{
    M.seed ^= M.seed << 13;
    M.seed ^= M.seed >> 7;
    M.seed ^= M.seed << 17;
    return M.seed;
}

static bool
model_is_enabled(const model_thread *t)
{
    if (t->status != MODEL_READY) return false;
    if (t->op.kind != MODEL_AWAIT) return true;
    const uint8_t other = M.thread[t->op.target].status;
    return other == MODEL_ENDED || other == MODEL_KILLED;
}

static uint8_t
model_enabled(void)
{
    unsigned mask = 0;

    for (int i = 0; i < M.threads; i++)
        if (model_is_enabled(&M.thread[i])) mask |= 1u << i;
    return (uint8_t)mask;
}

/* Thread q slept at `before`, having been tried there; what of that remains
 * after `done` was executed: nothing if it depends on q's next step.      */
static uint16_t
model_still_asleep(uint16_t before, const model_op *done, const model_op *next)
{
    if (before == 0) return 0;
    if (done->kind == MODEL_MEMBARRIER || next->kind == MODEL_MEMBARRIER)
        return 0;
    /* The load was tried with what was there then; this may be older.     */
    if (next->kind == MODEL_LOAD && done->loc == next->loc && M.inserted)
        return 0;
    if (done->kind == MODEL_LOAD || next->kind == MODEL_LOAD ||
        done->loc != next->loc)
        return before;
    return done->kind == MODEL_ALIVE && next->kind == MODEL_ALIVE ? before : 0;
}

/* Thread chosen next: the last one if it can go on, else the first.       */
static int8_t
model_first_of(unsigned mask, int last)
{
    if (last >= 0 && (mask & (1u << last))) return (int8_t)last;
    return (int8_t)__builtin_ctz(mask);
}

static uint16_t
model_preempted(int32_t i, int thread)
{
    if (i == 0) return 0;
    const model_node *n = &M.node[i], *before = n - 1;
    const bool free_choice = before->thread == thread ||
                             !(n->enabled & (1u << before->thread));
    return (uint16_t)(before->preempted + (free_choice ? 0 : 1));
}

/* Those of the mask that keep to the bound of preemptions.                */
static unsigned
model_within_bound(int32_t i, unsigned mask)
{
    if (M.c->preemptions == 0) return mask;
    for (int t = 0; t < M.threads; t++)
        if ((mask & (1u << t)) && model_preempted(i, t) > M.c->preemptions)
            mask &= ~(1u << t);
    return mask;
}

/* Begin a node that was never here.  False: all that could go on from it
 * was explored elsewhere.                                                 */
static bool
model_node_begin(int32_t i, uint8_t enabled, const model_op *done)
{
    model_node *n = &M.node[i];
    const model_node *before = i > 0 ? n - 1 : NULL;
    unsigned awake = 0;

    n->enabled = enabled;
    n->backtrack = n->done = 0;
    n->choice = 0;
    for (int q = 0; q < M.threads; q++) {
        const model_op *next = &M.thread[q].op;
        n->sleep[q] = before == NULL || before->thread == q || M.random ||
                      M.c->every_order
                    ? 0 : model_still_asleep(before->sleep[q], done, next);
        if (!(enabled & (1u << q))) continue;
        if (n->sleep[q] == 0 ||
            (n->sleep[q] != MODEL_ASLEEP && next->loc->count > n->sleep[q]))
            awake |= 1u << q;
    }
    n->awake = (uint8_t)awake;
    const unsigned mask = model_within_bound(i, awake);
    M.states++;
    if (mask == 0) return false;
    n->thread = model_first_of(mask, before ? before->thread : -1);
    if (M.random && model_random() % 4 == 0) {
        do n->thread = (int8_t)(model_random() % MODEL_THREADS);
        while (!(mask & (1u << n->thread)));
    }
    n->backtrack = M.c->every_order ? enabled : (uint8_t)(1u << n->thread);
    n->preempted = model_preempted(i, n->thread);
    return true;
}

/* Move on to what is next in depth-first order.  False: that was all.     */
static bool
model_advance(void)
{
    for (int32_t i = M.depth - 1; i >= 0; i--) {
        model_node *n = &M.node[i];
        M.fixed = i + 1;
        if (++n->choice < n->choices) return true;
        n->done |= (uint8_t)(1u << n->thread);
        if (!M.c->every_order) n->sleep[n->thread] = n->bound;
        const unsigned left = model_within_bound(
            i, (unsigned)n->backtrack & n->awake & ~(unsigned)n->done);
        if (left == 0) continue;
        n->thread = (int8_t)__builtin_ctz(left);
        n->choice = 0;
        n->preempted = model_preempted(i, n->thread);
        return true;
    }
    return false;
}

/* ---- one execution ----------------------------------------------------- */

static void
model_reset(void)
{
    M.run++;
    M.stores_used = 0;
    M.depth = 0;
    M.last_global = -1;
    M.failed = M.redundant = false;
    M.now_ns = 1000000000;
    model_view_clear(&M.sc);
    if (M.c->state_bytes != 0)
        __builtin_memcpy(M.c->state, M.state_copy, M.c->state_bytes);
    for (int i = 0; i < M.threads; i++) {
        model_thread *t = &M.thread[i];
        t->status = MODEL_READY;
        t->woken = false;
        model_unqueue(t);
        t->points = 0;
        t->op.kind = MODEL_KINDS;
        model_view_clear(&t->view);
        model_view_clear(&t->pending);
        model_view_clear(&t->released);
        model_tick((uint32_t)i);
        for (int k = 0; k < MODEL_THREADS; k++) t->clock[k] = 0;
        model_context_make(&t->context, t->stack, model_thread_main);
    }
    for (int i = 0; i < MODEL_LOC_FIRST; i++) (void)model_loc_touch(&M.loc[i]);
}

/* All sleep: let the time pass until the first deadline.                  */
static bool
model_time_out(void)
{
    model_thread *first = NULL;

    if (!M.c->timeouts) return false;
    for (int i = 0; i < M.threads; i++) {
        model_thread *t = &M.thread[i];
        if (t->status == MODEL_BLOCKED && t->op.may_time_out &&
            (first == NULL || t->until < first->until))
            first = t;
    }
    if (first == NULL) return false;
    if (M.now_ns < first->until) M.now_ns = first->until;
    first->status = MODEL_READY;
    first->result = SHMI_TIMEOUT;
    model_unqueue(first);
    model_resume((int)(first - M.thread));
    return true;
}

/* Nobody can go on: that is right only if nobody wanted to.               */
static void
model_all_stopped(void)
{
    for (int i = 0; i < M.threads && !M.failed; i++) {
        if (M.thread[i].status == MODEL_BLOCKED)
            model_fail("lost wake-up: thread %d sleeps for ever", i);
        if (M.thread[i].status == MODEL_READY)
            model_fail("thread %d waits for ever for the end of another", i);
    }
}

/* Choose a value at random among those of the node, mostly the newest.    */
static void
model_choose_random(model_node *n, const model_op *op)
{
    n->choice = 0;
    if (op->kind == MODEL_LOAD || op->kind == MODEL_WAIT) {
        const int32_t oldest = model_view_ts(
            &M.thread[n->thread].view, op->loc);
        const int32_t from = op->kind == MODEL_WAIT &&
                             op->loc->wake_ts > oldest
                           ? op->loc->wake_ts : oldest;
        if (model_random() % 3 == 0)
            n->choice = (uint16_t)(model_random() %
                                   (uint64_t)(op->loc->count - from));
    }
}

static void
model_run_threads(void)
{
    model_op done = { .kind = MODEL_KINDS };

    M.phase = MODEL_RUN;
    for (int i = 0; i < M.threads && !M.failed; i++) model_resume(i);
    while (!M.failed) {
        const uint8_t enabled = model_enabled();
        if (enabled == 0) {
            if (model_time_out()) continue;
            model_all_stopped();
            break;
        }
        if ((uint32_t)M.depth >= M.step_limit) {
            model_fail("livelock: more than %u steps", M.step_limit);
            break;
        }
        model_node *n = &M.node[M.depth];
        if (M.depth >= M.fixed && !model_node_begin(M.depth, enabled, &done)) {
            M.redundant = true;
            break;
        }
        if (!(enabled & (1u << n->thread))) {
            model_fail("replay goes another way at step %d", M.depth);
            break;
        }
        done = M.thread[n->thread].op;
        if (M.random && M.depth >= M.fixed) model_choose_random(n, &done);
        model_execute(n);
        M.depth++;
        if (M.failed) break;
        if (M.thread[n->thread].status == MODEL_READY) model_resume(n->thread);
        /* Who was woken goes on to its next step.                         */
        for (int i = 0; i < M.threads && !M.failed; i++) {
            if (!M.thread[i].woken) continue;
            M.thread[i].woken = false;
            model_resume(i);
        }
    }
}

static void
model_run_check(void)
{
    M.phase = MODEL_CHECK;
    if (setjmp(M.out) == 0) M.c->check(M.c->state);
}

static void
model_execution(void)
{
    model_reset();
    model_run_threads();
    M.executions++;
    if (!M.failed && !M.redundant) {
        M.complete++;
        if (M.c->check) model_run_check();
    }
    M.phase = MODEL_IDLE;
}

#endif /* SHMC_MODEL_EXPLORE_H */
