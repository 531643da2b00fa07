/* model_main.h - cases one after the other; schedules of failures; replay;
 * sites and mutants.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_MAIN_H
#define SHMC_MODEL_MAIN_H

extern model_site *const __start_model_sites[], *const __stop_model_sites[];

static const char *const model_kind_names[] = {
    "load", "store", "cas", "faa", "swap", "fence", "copy_in", "copy_out",
    "plain_read", "plain_write", "wait", "wake", "membarrier", "alive", "die",
    "await", ""
};

static const char *
model_order_name(int kind, int order)
{
    if (kind == MODEL_FENCE && (order & MODEL_SC)) return "_sc";
    switch (order & MODEL_ACQ_REL) {
    case MODEL_ACQ: return "_acq";
    case MODEL_REL: return "_rel";
    case MODEL_ACQ_REL: return kind == MODEL_FENCE ? "_acq_rel" : "";
    default: return kind <= MODEL_SWAP ? "_rlx" : "";
    }
}

/* ---- schedules --------------------------------------------------------- */

static void
model_trace(const model_op *op, const model_loc *l, uint64_t value,
            int32_t from, const char *note)
{
    const int thread = M.current;

    printf("  %4d  T%d  ", M.depth, thread);
    if (op == NULL || op->site == NULL || op->kind == MODEL_DIE) {
        printf("%s\n", note);
        return;
    }
    const char *file = strrchr(op->site->file, '/');
    printf("%s%s ", model_kind_names[op->kind],
           model_order_name(op->kind, op->order));
    if (l != NULL)
        printf("%s%s+0x%x = 0x%llx", l->name ? l->name : "",
               l->name ? " " : "", l->offset, (unsigned long long)value);
    else if (op->kind >= MODEL_ALIVE)
        printf("of T%u = %llu", op->target, (unsigned long long)value);
    printf("%s", note);
    if (l != NULL && from >= 0 && op->kind != MODEL_STORE) {
        const model_store_record *s = model_store_at(l, (uint32_t)from);
        if (s->event >= 0) printf("  (from step %d", s->event);
        else printf("  (%s", s->site ? "from a plain write" : "initial");
        printf(from == l->count - 1 || op->kind >= MODEL_CAS
               ? ")" : ", NOT the newest)");
    }
    printf("   %s %s:%u\n", op->site->function,
           file ? file + 1 : op->site->file, op->site->line);
}

/* The choices as text: a digit for each thread, then a letter if it did not
 * take the first of its values: "001b1".                                  */
static void
model_replay_print(int32_t depth)
{
    printf("  replay: SHMC_MODEL_REPLAY=%s@%d:", M.c->name,
           M.stop_armed ? (int)M.stop_at : -1);
    for (int32_t i = 0; i < depth; i++) {
        printf("%d", M.node[i].thread);
        if (M.node[i].choice > 25) printf("+%d.", M.node[i].choice);
        else if (M.node[i].choice > 0) printf("%c", 'a' + M.node[i].choice);
    }
    printf("\n");
}

/* Do the execution that just failed once more, and say what happens.      */
static void
model_explain(void)
{
    const int32_t depth = M.depth + (M.depth < M.fixed ? 1 : 0);
    char text[sizeof M.text];

    __builtin_memcpy(text, M.text, sizeof text);
    printf("%s: FAILED: %s\n", M.c->name, text);
    M.fixed = depth;
    M.tracing = true;
    model_execution();
    M.tracing = false;
    if (!M.failed || strcmp(M.text, text) != 0)
        printf("  BUT the same choices gave: %s\n",
               M.failed ? M.text : "no failure");
    model_replay_print(M.depth);
    M.failed = true;
}

/* ---- one case ---------------------------------------------------------- */

static void
model_on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)context;
    (void)signal(SIGSEGV, SIG_DFL);
    if (!model_in_arena(info->si_addr) || M.tracing) {
        printf("%s: FAILED: fault at %p\n", M.c ? M.c->name : "",
               info->si_addr);
    } else {
        printf("%s: FAILED: thread %d touches +0x%x other than by the shim"
               " or memcpy\n", M.c->name, M.current,
               model_offset(info->si_addr));
        model_replay_print(M.depth);
    }
    (void)fflush(stdout);
    _exit(1);
}

static void
model_begin(const model_case *c)
{
    M.c = c;
    M.phase = MODEL_SETUP;
    M.current = -1;
    M.step_limit = c->step_limit ? c->step_limit : 1000;
    if (M.step_limit > MODEL_STEPS) M.step_limit = MODEL_STEPS;
    for (M.threads = 0; M.threads < MODEL_THREADS; M.threads++)
        if (c->thread[M.threads] == NULL) break;
    (void)mprotect(M.arena, MODEL_ARENA_BYTES, PROT_READ | PROT_WRITE);
    __builtin_memset(M.arena, 0, MODEL_ARENA_BYTES);
    __builtin_memset(M.where, 0, sizeof M.where);
    __builtin_memset(M.loc, 0, sizeof M.loc);
    M.arena_used = 0;
    M.dead = 0;
    M.stores_used = 0;
    M.locs = MODEL_LOC_FIRST;
    M.lanes = 0;
    M.failed = false;
    M.run++;
    for (uint16_t i = 0; i < MODEL_LOC_FIRST; i++) M.loc[i].id = i;
    model_views_grow();
    M.outcomes = M.executions = M.complete = M.steps = M.states = 0;
    if (c->state_bytes != 0) __builtin_memset(c->state, 0, c->state_bytes);
    if (c->setup) c->setup(c->state);
    free(M.state_copy);
    M.state_copy = malloc(c->state_bytes + 1);
    if (M.state_copy == NULL) exit(1);
    if (c->state_bytes != 0)
        __builtin_memcpy(M.state_copy, c->state, c->state_bytes);
    __builtin_memcpy(M.shadow, M.arena, MODEL_ARENA_BYTES);
    (void)mprotect(M.arena, MODEL_ARENA_BYTES, PROT_NONE);
}

static uint64_t
model_setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Depth-first, then at random if that was too much.  True: all was seen.  */
static bool
model_explore(uint64_t limit)
{
    const uint64_t before = M.executions;
    bool all = false;

    M.random = false;
    M.fixed = 0;
    do {
        if (M.executions - before >= limit) break;
        model_execution();
        if (M.failed) return false;
        all = !model_advance();
    } while (!all);
    M.random = !all;
    for (uint64_t i = 0; M.random && i < limit / 4; i++) {
        M.fixed = 0;
        model_execution();
        if (M.failed) return false;
    }
    return all;
}

static double
model_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What a case has to come to, beside its checks.                          */
static bool
model_judge(bool all)
{
    const model_case *c = M.c;

    if (c->fails_with != NULL) {
        if (M.failed && strstr(M.text, c->fails_with)) return true;
        printf("%s: FAILED: it should have failed with \"%s\"%s%s\n", c->name,
               c->fails_with, M.failed ? ", not with: " : "",
               M.failed ? M.text : "");
        return false;
    }
    if (M.failed) {
        model_explain();
        return false;
    }
    if (c->outcomes == 0 || c->outcomes == M.outcomes) return true;
    if (!all && (M.outcomes & ~c->outcomes) == 0) return true;
    printf("%s: FAILED: outcomes 0x%llx, not 0x%llx\n", c->name,
           (unsigned long long)M.outcomes, (unsigned long long)c->outcomes);
    return false;
}

static bool
model_run_case(const model_case *c)
{
    const double start = model_seconds();
    const uint64_t limit = model_setting("SHMC_MODEL_EXECUTIONS",
                                         c->executions ? c->executions
                                                       : 100000);
    uint32_t partial = 0, stops = 0;

    model_begin(c);
    M.stop_armed = c->stop != MODEL_NO_STOP;
    do {
        M.stop_at = stops++;
        M.hit_stop = false;
        if (!model_explore(limit) && !M.failed) partial++;
    } while (!M.failed && M.hit_stop);
    const bool good = model_judge(partial == 0);
    const double seconds = model_seconds() - start;
    printf("%-28s %s %9llu executions (%llu redundant), %llu states, ",
           c->name, good ? "ok    " : "FAILED",
           (unsigned long long)M.executions,
           (unsigned long long)(M.executions - M.complete),
           (unsigned long long)M.states);
    if (M.stop_armed) printf("%u stops, ", stops - 1);
    if (c->preemptions != 0) printf("<= %u preemptions, ", c->preemptions);
    if (c->fails_with != NULL) printf("fails as it should");
    else if (partial == 0) printf("exhaustive");
    else printf("NOT exhaustive in %u of %u", partial, stops);
    printf(", %.2f s\n", seconds);
    return good;
}

/* ---- replay, sites, mutants -------------------------------------------- */

static bool
model_replay(const model_case *c, const char *text)
{
    int32_t n = 0;

    model_begin(c);
    const long stop = strtol(text, (char **)(uintptr_t)&text, 10);
    M.stop_armed = stop >= 0;
    M.stop_at = (uint32_t)stop;
    for (text++; *text >= '0' && *text <= '7' && n < MODEL_STEPS; n++) {
        M.node[n].thread = (int8_t)(*text++ - '0');
        M.node[n].choice = 0;
        M.node[n].sleep[M.node[n].thread] = 0;
        if (*text >= 'a' && *text <= 'z')
            M.node[n].choice = (uint16_t)(*text++ - 'a');
        else if (*text == '+')
            M.node[n].choice = (uint16_t)strtol(text + 1,
                                                (char **)(uintptr_t)&text, 10);
        if (*text == '.') text++;
    }
    M.fixed = n;
    M.tracing = true;
    model_execution();
    M.tracing = false;
    printf("%s: %s\n", c->name, M.failed ? M.text : "no failure");
    return !M.failed;
}

static const char *
model_base(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

/* Sites of the same kind in one function are numbered in source order.    */
static void
model_number_sites(void)
{
    for (model_site *const *a = __start_model_sites; a < __stop_model_sites; a++)
        for (model_site *const *b = __start_model_sites; b < a; b++)
            if ((*a)->kind == (*b)->kind &&
                (*a)->declared == (*b)->declared &&
                strcmp((*a)->function, (*b)->function) == 0 &&
                strcmp((*a)->file, (*b)->file) == 0) {
                if ((*a)->line >= (*b)->line) (*a)->nth++;
                else (*b)->nth++;
            }
}

typedef struct model_mutant {
    int kind, declared;             /* of the site                          */
    const char *name;
    int order;                      /* in place of the declared one         */
} model_mutant;

enum { MODEL_CAS_ORDER = MODEL_ACQ_REL | MODEL_FAIL_ACQ,
       MODEL_SC_ORDER = MODEL_SC | MODEL_ACQ_REL };

static const model_mutant model_mutants[] = {
    { MODEL_LOAD, MODEL_ACQ, "rlx", MODEL_RLX },
    { MODEL_STORE, MODEL_REL, "rlx", MODEL_RLX },
    { MODEL_FENCE, MODEL_ACQ, "none", MODEL_RLX },
    { MODEL_FENCE, MODEL_REL, "none", MODEL_RLX },
    { MODEL_FENCE, MODEL_SC_ORDER, "acq_rel", MODEL_ACQ_REL },
    { MODEL_FENCE, MODEL_SC_ORDER, "none", MODEL_RLX },
    { MODEL_CAS, MODEL_ACQ, "rlx", MODEL_RLX },
    { MODEL_CAS, MODEL_REL, "rlx", MODEL_RLX },
    { MODEL_CAS, MODEL_CAS_ORDER, "acq", MODEL_ACQ | MODEL_FAIL_ACQ },
    { MODEL_CAS, MODEL_CAS_ORDER, "rel", MODEL_REL | MODEL_FAIL_ACQ },
    { MODEL_CAS, MODEL_CAS_ORDER, "fail_rlx", MODEL_ACQ_REL },
    { MODEL_FAA, MODEL_ACQ_REL, "acq", MODEL_ACQ },
    { MODEL_FAA, MODEL_ACQ_REL, "rel", MODEL_REL },
    { MODEL_SWAP, MODEL_ACQ_REL, "acq", MODEL_ACQ },
    { MODEL_SWAP, MODEL_ACQ_REL, "rel", MODEL_REL },
};
enum { MODEL_MUTANTS = sizeof model_mutants / sizeof model_mutants[0] };

/* "file:function:kind:n" names a site through changes of its line.        */
static void
model_site_id(const model_site *s, char *out, size_t bytes)
{
    (void)snprintf(out, bytes, "%s:%s:%s%s:%u", model_base(s->file),
                   s->function, model_kind_names[s->kind],
                   model_order_name(s->kind, s->declared), s->nth);
}

/* One line for each mutant: id:weaker, line, hits.                        */
static void
model_list_sites(void)
{
    char id[256];

    for (model_site *const *s = __start_model_sites; s < __stop_model_sites; s++)
        for (int i = 0; i < MODEL_MUTANTS; i++) {
            const model_mutant *m = &model_mutants[i];
            if (m->kind != (*s)->kind || m->declared != (*s)->declared) continue;
            model_site_id(*s, id, sizeof id);
            printf("%s:%s %u %llu\n", id, m->name, (*s)->line,
                   (unsigned long long)(*s)->hits);
        }
}

/* Weaken the one site that is named.                                      */
static bool
model_mutate(const char *text)
{
    char id[256], full[300];

    for (model_site *const *s = __start_model_sites; s < __stop_model_sites; s++)
        for (int i = 0; i < MODEL_MUTANTS; i++) {
            const model_mutant *m = &model_mutants[i];
            if (m->kind != (*s)->kind || m->declared != (*s)->declared) continue;
            model_site_id(*s, id, sizeof id);
            (void)snprintf(full, sizeof full, "%s:%s", id, m->name);
            if (strcmp(full, text) != 0) continue;
            (*s)->order = (uint8_t)m->order;
            return true;
        }
    return false;
}

/* ---- the program ------------------------------------------------------- */

static void
model_prepare(void)
{
    struct sigaction act;
    static uint8_t fault_stack[1 << 16];
    stack_t alt = { .ss_sp = fault_stack, .ss_size = sizeof fault_stack };
    const size_t guard = 4096;

    M.arena = (uint8_t *)mmap(NULL, MODEL_ARENA_BYTES, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    M.shadow = (uint8_t *)calloc(1, MODEL_ARENA_BYTES);
    M.stores = (model_store_record *)aligned_alloc(
        64, MODEL_STORES * sizeof(model_store_record));
    if (M.arena == MAP_FAILED || !M.shadow || !M.stores) exit(1);
    for (int i = 0; i < MODEL_THREADS; i++) {
        uint8_t *p = (uint8_t *)mmap(NULL, MODEL_STACK_BYTES + guard, PROT_NONE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + guard, MODEL_STACK_BYTES,
                                        PROT_READ | PROT_WRITE) != 0)
            exit(1);
        M.thread[i].stack = p + guard;
    }
    M.current = -1;
    M.seed = model_setting("SHMC_MODEL_SEED", 1) | 1;
    (void)sigaltstack(&alt, NULL);
    __builtin_memset(&act, 0, sizeof act);
    act.sa_sigaction = model_on_fault;
    act.sa_flags = SA_SIGINFO | SA_ONSTACK;
    (void)sigaction(SIGSEGV, &act, NULL);
    (void)sigaction(SIGBUS, &act, NULL);
}

/* Run one case if its name matches.  Returns how many failed: 0 or 1.     */
static int
model_main_case(const model_case *c, const char *only, const char *replay)
{
    if (replay != NULL) {
        const size_t n = strlen(c->name);
        if (strncmp(replay, c->name, n) != 0 || replay[n] != '@') return 0;
        return model_replay(c, replay + n + 1) ? 0 : 1;
    }
    if (only != NULL && strstr(c->name, only) == NULL) return 0;
    return model_run_case(c) ? 0 : 1;
}

/* Arguments: --list-sites (before anything ran), --sites (with hits, after
 * all), or a part of the names of cases.                                  */
static int
model_main(int argc, char **argv, const model_case *cases, size_t count)
{
    const char *mutant = getenv("SHMC_MODEL_MUTANT");
    const char *replay = getenv("SHMC_MODEL_REPLAY");
    const bool sites = argc > 1 && strcmp(argv[1], "--sites") == 0;
    const char *only = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
    int failed = 0;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    model_number_sites();
    if (argc > 1 && strcmp(argv[1], "--list-sites") == 0) {
        model_list_sites();
        return 0;
    }
    if (mutant != NULL && !model_mutate(mutant)) {
        printf("no site %s\n", mutant);
        return 2;
    }
    model_prepare();
    for (size_t i = 0; i < count; i++) {
        /* A case that fails in any event tells nothing of a mutant.       */
        if (mutant != NULL && cases[i].fails_with != NULL) continue;
        failed += model_main_case(&cases[i], only, replay);
        if (failed != 0 && mutant != NULL) break;
    }
    if (sites) model_list_sites();
    if (failed != 0) printf("%d failed\n", failed);
    return failed != 0;
}

#endif /* SHMC_MODEL_MAIN_H */
