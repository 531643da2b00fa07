/* bench.h - what the benchmarks share: pinning, clock, statistics, output.
 *
 * Every measurement is a round; the rounds of all subjects are interleaved in
 * one run, and what is reported is the median round with its quartiles.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_H
#define SHMCOMM_BENCH_H

#include "shmcomm_platform.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BENCH_MAX_ROUNDS = 101 };

typedef struct bench_series {       /* one figure of one subject            */
    const char *work, *subject, *metric;
    unsigned bytes;
    int rounds;
    double value[BENCH_MAX_ROUNDS];
} bench_series;

typedef struct bench_spread { double low, median, high; } bench_spread;

static inline void
bench_die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* Run on the nth of the cores that the program was started on.            */
static inline void
bench_pin(int nth)
{
    static cpu_set_t all;           /* as it was before the first pinning   */
    static int count;
    cpu_set_t one;
    int seen = 0;

    if (count == 0 && sched_getaffinity(0, sizeof all, &all) != 0)
        bench_die("no affinity");
    count = CPU_COUNT(&all);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        if (seen++ != nth % count) continue;
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/* Ticks of the machine's own counter; bench_tick_ns converts.             */
static inline uint64_t
bench_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return shmi_now_ns();
#endif
}

static inline double
bench_tick_ns(void)
{
    static double ns;

    if (ns > 0) return ns;
    const uint64_t t0 = shmi_now_ns(), c0 = bench_ticks();
    while (shmi_now_ns() - t0 < 50000000) { }
    const uint64_t t1 = shmi_now_ns(), c1 = bench_ticks();
    ns = (double)(t1 - t0) / (double)(c1 - c0);
    return ns;
}

static inline int
bench_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline bench_spread
bench_spread_of(const double *value, int n)
{
    double sorted[BENCH_MAX_ROUNDS];
    bench_spread s = { 0, 0, 0 };

    if (n <= 0) return s;
    memcpy(sorted, value, (size_t)n * sizeof *value);
    qsort(sorted, (size_t)n, sizeof *sorted, bench_compare);
    s.low = sorted[n / 4];
    s.median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    s.high = sorted[n - 1 - n / 4];
    return s;
}

static inline void
bench_add(bench_series *s, double value)
{
    if (s->rounds < BENCH_MAX_ROUNDS) s->value[s->rounds++] = value;
}

static inline void
bench_print(const bench_series *s, int json)
{
    const bench_spread v = bench_spread_of(s->value, s->rounds);

    if (json)
        printf("{\"work\":\"%s\",\"subject\":\"%s\",\"bytes\":%u,\"metric\":"
               "\"%s\",\"median\":%.3f,\"low\":%.3f,\"high\":%.3f}\n", s->work,
               s->subject, s->bytes, s->metric, v.median, v.low, v.high);
    else
        printf("%-12s %-12s %6u B  %-10s %10.2f  (%.2f .. %.2f)\n", s->work,
               s->subject, s->bytes, s->metric, v.median, v.low, v.high);
}

/* Print the ratio of two series, taken round by round.                    */
static inline void
bench_print_ratio(const bench_series *s, const bench_series *to, int json)
{
    double ratio[BENCH_MAX_ROUNDS];
    const int n = s->rounds < to->rounds ? s->rounds : to->rounds;

    for (int i = 0; i < n; i++) ratio[i] = s->value[i] / to->value[i];
    const bench_spread v = bench_spread_of(ratio, n);
    if (json)
        printf("{\"work\":\"%s\",\"subject\":\"%s\",\"bytes\":%u,\"metric\":"
               "\"%s\",\"to\":\"%s\",\"median\":%.3f,\"low\":%.3f,\"high\":"
               "%.3f}\n", s->work, s->subject, s->bytes, s->metric, to->subject,
               v.median, v.low, v.high);
    else
        printf("%-12s %-12s / %-12s %-8s %7.3f  (%.3f .. %.3f)\n", s->work,
               s->subject, to->subject, s->metric, v.median, v.low, v.high);
}

static inline void *
bench_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) bench_die("no memory");
    return p;
}

/* Run `there` in a child on the second core and `here` on the first, and
 * see that the child ends well.                                           */
static inline void
bench_pair(void (*here)(void *), void (*there)(void *), void *ctx)
{
    int status = 0;

    bench_pin(0);
    const pid_t child = fork();
    if (child < 0) bench_die("fork failed");
    if (child == 0) {
        bench_pin(1);
        there(ctx);
        _exit(0);
    }
    here(ctx);
    if (waitpid(child, &status, 0) != child || status != 0)
        bench_die("the other process failed");
}

#endif /* SHMCOMM_BENCH_H */
