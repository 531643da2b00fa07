/* bench_stats.h - ticks, series of figures, their spread, lines of output.
 *
 * A figure is what one round of one subject came to.  The rounds of a figure
 * are a series; what is printed is its median with the quartiles.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_STATS_H
#define SHMCOMM_BENCH_STATS_H

#include "shmcomm_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_MAX_ROUNDS = 101 };

typedef struct bench_series {       /* one figure of one subject            */
    const char *work, *subject, *metric;
    unsigned bytes;
    int producers, consumers;       /* 0: one of each                       */
    int ours;                       /* not somebody else's, nor a reference */
    const char *way;                /* how it ran, or NULL                  */
    int rounds;
    double value[BENCH_MAX_ROUNDS];
} bench_series;

typedef struct bench_spread { double low, median, high; } bench_spread;

/* ---- ticks ------------------------------------------------------------- */

/* Read the machine's own counter; bench_tick_ns converts.  It is read when
 * all loads before are done: without the fence the CPU, guessing that what a
 * loop looks for is there now, would read it before it is.                */
static inline uint64_t
bench_ticks(void)
{
#if defined(__x86_64__)
    __builtin_ia32_lfence();
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return shmi_now_ns();
#endif
}

/* How long a tick is.  The first call takes 50 ms: make it before forking. */
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

/* ---- series ------------------------------------------------------------ */

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

/* ---- lines ------------------------------------------------------------- */

static inline int
bench_some(int count)
{
    return count > 0 ? count : 1;
}

/* Print ,"key":"value" with the value escaped.                            */
static inline void
bench_json_text(const char *key, const char *value)
{
    printf(",\"%s\":\"", key);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') printf("\\%c", *c);
        else if ((unsigned char)*c < ' ') printf(" ");
        else putchar(*c);
    }
    putchar('"');
}

static inline void
bench_json_line(const bench_series *s, const char *to, bench_spread v)
{
    printf("{\"work\":\"%s\",\"subject\":\"%s\",\"bytes\":%u,\"producers\":%d,"
           "\"consumers\":%d,\"ours\":%s,\"metric\":\"%s\"", s->work, s->subject,
           s->bytes, bench_some(s->producers), bench_some(s->consumers),
           s->ours ? "true" : "false", s->metric);
    if (to != NULL) printf(",\"to\":\"%s\"", to);
    if (s->way != NULL && to == NULL) bench_json_text("way", s->way);
    printf(",\"rounds\":%d,\"median\":%.6g,\"low\":%.6g,\"high\":%.6g}\n",
           s->rounds, v.median, v.low, v.high);
}

static inline void
bench_print(const bench_series *s, int json)
{
    const bench_spread v = bench_spread_of(s->value, s->rounds);

    if (json) bench_json_line(s, NULL, v);
    else printf("%-12s %-18s %8u B %2dx%-2d %-10s %12.2f  (%.2f .. %.2f)%s%s\n",
                s->work, s->subject, s->bytes, bench_some(s->producers),
                bench_some(s->consumers), s->metric, v.median, v.low, v.high,
                s->way != NULL ? "  " : "", s->way != NULL ? s->way : "");
}

/* Print the ratio of two series, taken round by round.                    */
static inline void
bench_print_ratio(const bench_series *s, const bench_series *to, int json)
{
    double ratio[BENCH_MAX_ROUNDS];
    const int n = s->rounds < to->rounds ? s->rounds : to->rounds;

    for (int i = 0; i < n; i++) ratio[i] = s->value[i] / to->value[i];
    const bench_spread v = bench_spread_of(ratio, n);
    if (json) bench_json_line(s, to->subject, v);
    else printf("%-12s %-18s / %-18s %8u B %2dx%-2d %-8s %8.3f  (%.3f .. %.3f)\n",
                s->work, s->subject, to->subject, s->bytes,
                bench_some(s->producers), bench_some(s->consumers), s->metric,
                v.median, v.low, v.high);
}

/* ---- the machine ------------------------------------------------------- */

static inline void
bench_cpu_model(char *out, size_t bytes)
{
    struct utsname os;
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");

    uname(&os);
    snprintf(out, bytes, "%s", os.machine);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *const colon = strstr(line, ": ");

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        snprintf(out, bytes, "%s", colon + 2);
        break;
    }
    if (f != NULL) fclose(f);
}

/* Print the machine, the compiler and the date, as one line.              */
static inline void
bench_print_machine(const char *program, int cpus, int json)
{
    struct utsname os;
    struct tm tm;
    char cpu[128], date[32], compiler[96];
    const time_t now = time(NULL);

    uname(&os);
    bench_cpu_model(cpu, sizeof cpu);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y-%m-%d", &tm);
#if defined(__clang__)
    snprintf(compiler, sizeof compiler, "%s", __VERSION__);
#else
    snprintf(compiler, sizeof compiler, "gcc %s", __VERSION__);
#endif
    if (!json) {
        printf("# %s, %d CPUs; Linux %s; %s; back end %s; %s; %s\n", cpu, cpus,
               os.release, compiler, SHMI_BACKEND_NAME, program, date);
        return;
    }
    printf("{\"work\":\"machine\"");
    bench_json_text("program", program);
    bench_json_text("cpu", cpu);
    printf(",\"cpus\":%d", cpus);
    bench_json_text("kernel", os.release);
    bench_json_text("compiler", compiler);
    bench_json_text("backend", SHMI_BACKEND_NAME);
    bench_json_text("date", date);
    printf("}\n");
}

#endif /* SHMCOMM_BENCH_STATS_H */
