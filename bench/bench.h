/* bench.h - a benchmark program: its arguments, its table of subjects, its run.
 *
 *     static void lamport_round(bench_round *r)
 *     {
 *         const bench_group g = { produce, consume, 1, 1, ring, 64,
 *                                 r->messages };
 *         bench_rate(r, r->messages, bench_group_run(&g));
 *     }
 *     static const bench_case table[] = {
 *         { "throughput", "shmc_spsc", 64, spsc_round, .ours = 1 },
 *         { "throughput", "lamport", 64, lamport_round, .ours = 0 } };
 *     int main(int argc, char **argv)
 *     {
 *         bench_args a = { .rounds = 15, .messages = 4000000 };
 *         bench_begin(&a, argc, argv);
 *         return bench_run(&a, table, sizeof table / sizeof table[0]);
 *     }
 *
 * The rounds of all cases are interleaved, after one of each that is not
 * counted; the table is begun one case later in each round.  Printed are each
 * figure, and its ratio of each case that is ours to each that is not, of the
 * same work, bytes and processes.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_H
#define SHMCOMM_BENCH_H

#include "bench_stats.h"
#include "bench_group.h"

#include <regex.h>

typedef struct bench_args {         /* set the defaults, then bench_begin   */
    int rounds;                     /* of each case                         */
    uint64_t messages;              /* of a round, where they are small     */
    uint64_t budget_bytes;          /* of a round, at most [512 MiB]        */
    int json, quick, list;
    const char *program;
    regex_t filter;
    int filtered;
} bench_args;

typedef struct bench_case bench_case;
typedef struct bench_round bench_round;

struct bench_case {
    const char *work, *subject;
    unsigned bytes;                 /* of a message                         */
    void (*round)(bench_round *r);  /* runs one, and reports its figures    */
    const void *arg;                /* the case's own                       */
    int producers, consumers;       /* 0: one                               */
    int ours;                       /* compare it with each that is not     */
    unsigned slower;                /* so many times fewer messages [1]     */
    unsigned pauses;                /* between two tries; see bench_idle [1] */
};

struct bench_round {
    const bench_case *c;
    const bench_args *args;
    uint64_t messages;              /* to send                              */
    int number;                     /* -1: the one that is not counted      */
};

enum { BENCH_METRICS = 8 };

typedef struct bench_figures {      /* of one case                          */
    bench_series *series[BENCH_METRICS];
    int chosen;
} bench_figures;

static bench_figures *bench_figures_now;    /* of the round that runs       */

/* ---- a round's figures ------------------------------------------------- */

/* Report one figure of a round; `metric` must outlive the run.            */
static inline void
bench_report(bench_round *r, const char *metric, double value)
{
    bench_series **s = bench_figures_now->series;
    int i = 0;

    if (r->number < 0) return;
    while (i < BENCH_METRICS && s[i] != NULL &&
           strcmp(s[i]->metric, metric) != 0) i++;
    if (i == BENCH_METRICS) bench_die("too many metrics");
    if (s[i] == NULL) {
        s[i] = calloc(1, sizeof **s);
        if (s[i] == NULL) bench_die("no memory");
        s[i]->work = r->c->work;
        s[i]->subject = r->c->subject;
        s[i]->bytes = r->c->bytes;
        s[i]->producers = r->c->producers;
        s[i]->consumers = r->c->consumers;
        s[i]->ours = r->c->ours;
        s[i]->metric = metric;
    }
    bench_add(s[i], value);
}

static inline void
bench_rate(bench_round *r, uint64_t messages, double ns)
{
    bench_report(r, "Mmsg/s", (double)messages / ns * 1e3);
}

/* Samples of a latency, in ticks, in memory that the processes share.     */
typedef struct bench_samples {
    size_t count, room;
    uint64_t ticks[];
} bench_samples;

static inline bench_samples *
bench_samples_new(size_t room)
{
    bench_samples *s = bench_shared(sizeof *s + room * sizeof s->ticks[0]);

    s->room = room;
    return s;
}

static inline void
bench_sample(bench_samples *s, uint64_t ticks)
{
    if (s->count < s->room) s->ticks[s->count++] = ticks;
}

static inline int
bench_compare_ticks(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Report p50, p99, p99.9 and max of the samples, each divided by `parts` (2:
 * one way of a round trip), and empty them.                               */
static inline void
bench_latency(bench_round *r, bench_samples *s, double parts)
{
    const double ns = bench_tick_ns() / parts;
    const size_t n = s->count;

    if (n == 0) bench_die("no sample");
    qsort(s->ticks, n, sizeof s->ticks[0], bench_compare_ticks);
    bench_report(r, "p50_ns", (double)s->ticks[n / 2] * ns);
    bench_report(r, "p99_ns", (double)s->ticks[n * 99 / 100] * ns);
    bench_report(r, "p99.9_ns", (double)s->ticks[n * 999 / 1000] * ns);
    bench_report(r, "max_ns", (double)s->ticks[n - 1] * ns);
    s->count = 0;
}

/* ---- arguments --------------------------------------------------------- */

static inline void
bench_usage(const bench_args *a, FILE *out)
{
    fprintf(out, "usage: %s [--json] [--quick] [--list] [--rounds 1..%d]\n"
            "       [--messages N] [--filter REGEX]\n\n"
            "  --json      one JSON object per line\n"
            "  --quick     3 rounds, a fiftieth of the messages\n"
            "  --list      print the cases, run nothing\n"
            "  --filter    only cases whose WORK/SUBJECT/BYTES/PxC matches\n",
            a->program, BENCH_MAX_ROUNDS);
}

static inline void
bench_usage_error(const bench_args *a)
{
    bench_usage(a, stderr);
    exit(2);
}

static inline uint64_t
bench_number(const bench_args *a, const char *text, uint64_t most)
{
    char *end = NULL;
    const unsigned long long v = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || v == 0 || v > most)
        bench_usage_error(a);
    return v;
}

/* Read the command line over the defaults, and measure a tick.            */
static inline void
bench_begin(bench_args *a, int argc, char **argv)
{
    uint64_t rounds = 0, messages = 0;

    const char *const slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    a->program = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "bench";
    for (int i = 1; i < argc; i++) {
        const char *const value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--json") == 0) a->json = 1;
        else if (strcmp(argv[i], "--quick") == 0) a->quick = 1;
        else if (strcmp(argv[i], "--list") == 0) a->list = 1;
        else if (strcmp(argv[i], "--help") == 0) bench_usage(a, stdout), exit(0);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = bench_number(a, value, BENCH_MAX_ROUNDS), i++;
        else if (strcmp(argv[i], "--messages") == 0)
            messages = bench_number(a, value, 1ull << 40), i++;
        else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            if (regcomp(&a->filter, value, REG_EXTENDED | REG_NOSUB) != 0)
                bench_usage_error(a);
            a->filtered = 1;
            i++;
        } else bench_usage_error(a);
    }
    if (a->budget_bytes == 0) a->budget_bytes = 512u << 20;
    if (a->quick) {
        a->rounds = a->rounds < 3 ? a->rounds : 3;
        a->messages = a->messages / 50 + 1;
        a->budget_bytes /= 50;
    }
    if (rounds > 0) a->rounds = (int)rounds;
    if (messages > 0) a->messages = messages;
    bench_cores();
    bench_tick_ns();
}

/* ---- the run ----------------------------------------------------------- */

static inline void
bench_case_name(const bench_case *c)
{
    snprintf(bench_round_name, sizeof bench_round_name, "%s/%s/%u/%dx%d",
             c->work, c->subject, c->bytes, bench_some(c->producers),
             bench_some(c->consumers));
}

static inline void
bench_one_round(const bench_args *a, const bench_case *c, bench_figures *f,
                int number)
{
    bench_round r = { .c = c, .args = a, .number = number };
    const uint64_t bytes = c->bytes > 0 ? c->bytes : 1;

    r.messages = a->messages;
    if (r.messages * bytes > a->budget_bytes)
        r.messages = a->budget_bytes / bytes;
    if (c->slower > 1) r.messages /= c->slower;
    if (r.messages < 16) r.messages = 16;
    bench_case_name(c);
    bench_pauses = c->pauses > 0 ? c->pauses : 1;
    bench_figures_now = f;
    c->round(&r);
}

static inline int
bench_comparable(const bench_series *s, const bench_series *to)
{
    return s != NULL && to != NULL && strcmp(s->metric, to->metric) == 0 &&
           strcmp(s->work, to->work) == 0 && s->bytes == to->bytes &&
           bench_some(s->producers) == bench_some(to->producers) &&
           bench_some(s->consumers) == bench_some(to->consumers) &&
           strcmp(s->metric, "max_ns") != 0 &&
           strcmp(s->metric, "p99.9_ns") != 0;
}

static inline void
bench_print_all(const bench_case *table, const bench_figures *f, size_t n,
                int json)
{
    for (size_t k = 0; k < n; k++)
        for (int m = 0; m < BENCH_METRICS && f[k].series[m] != NULL; m++)
            bench_print(f[k].series[m], json);
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < n && table[k].ours; j++)
            for (int m = 0; m < BENCH_METRICS * BENCH_METRICS; m++) {
                const bench_series *const s = f[k].series[m / BENCH_METRICS];
                const bench_series *const to = f[j].series[m % BENCH_METRICS];

                if (!table[j].ours && bench_comparable(s, to))
                    bench_print_ratio(s, to, json);
            }
}

/* Run the table and print its figures.  Returns the program's status.     */
static inline int
bench_run(const bench_args *a, const bench_case *table, size_t n)
{
    bench_figures *const f = calloc(n > 0 ? n : 1, sizeof *f);
    size_t chosen = 0;

    if (f == NULL) bench_die("no memory");
    for (size_t k = 0; k < n; k++) {
        bench_case_name(&table[k]);
        f[k].chosen = !a->filtered ||
            regexec(&a->filter, bench_round_name, 0, NULL, 0) == 0;
        chosen += (size_t)f[k].chosen;
        if (a->list && f[k].chosen) puts(bench_round_name);
    }
    bench_round_name[0] = '\0';
    if (a->list) return 0;
    if (chosen == 0) bench_die("no case matches the filter");
    bench_print_machine(a->program, bench_cores(), a->json);
    for (int round = -1; round < a->rounds; round++)
        for (size_t k = 0; k < n; k++) {
            const size_t at = (k + (size_t)(round + 1)) % n;

            if (f[at].chosen) bench_one_round(a, &table[at], &f[at], round);
        }
    bench_print_all(table, f, n, a->json);
    return 0;
}

/* ---- two processes ----------------------------------------------------- */

typedef struct bench_two { void (*here)(void *), (*there)(void *), *ctx; }
    bench_two;

static inline void
bench_two_here(bench_worker *w)
{
    const bench_two *const two = w->ctx;
    two->here(two->ctx);
}

static inline void
bench_two_there(bench_worker *w)
{
    const bench_two *const two = w->ctx;
    two->there(two->ctx);
}

/* Run `here` and `there` in processes on two cores; what they tell the
 * caller is in shared memory behind ctx.                                  */
static inline void
bench_pair(void (*here)(void *), void (*there)(void *), void *ctx)
{
    bench_two two = { here, there, ctx };
    const bench_group g = { bench_two_here, bench_two_there, 1, 1, &two, 0, 0, 0 };

    (void)bench_group_run(&g);
}

#endif /* SHMCOMM_BENCH_H */
