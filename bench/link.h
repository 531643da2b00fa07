/* link.h - one way from a sender to receivers, by whatever means; and the work
 * that is done over links, the same for all of them.
 *
 * A kind of link K has a struct K and, for LINK_KIND to build the work from,
 *     void K_open(K *, const link_way *, int back, int sender)
 *     bool K_send(K *, uint64_t number)     makes a message and sends it;
 *                                           false: no room now
 *     bool K_recv(K *, link_got *)          false: nothing there now
 * K_open ends the process by link_die where it fails.  If way->sleep, send and
 * recv block, without looking again and again; else they do not.  Of an
 * attempt to send that found no room nothing is left: the same number follows.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_H
#define SHMCOMM_BENCH_LINK_H

#include "bench.h"

#include <stdarg.h>
#include <sys/resource.h>

enum {
    LINK_MAX_RECEIVERS = 64,
    LINK_MAX_BYTES = 4 << 20,
    LINK_WINDOW = 32,               /* messages in a row to many receivers  */
    LINK_TRIES = 1024,              /* fruitless ones before it yields      */
    LINK_HELLO_APART = 1000,        /* 0.1 ms, at most: queues hold few     */
    LINK_SAMPLES = 1 << 18,
    LINK_SOCKET_BYTES = 4 << 20,    /* asked for; the kernel may give less  */
    LINK_ARENA_BYTES = 36 << 20
};

#define LINK_HELLO UINT64_MAX       /* number of a message that is no part of
                                       the work: the link is up             */

enum link_work { LINK_TRIP, LINK_ASLEEP, LINK_ONE_CORE, LINK_STREAM, LINK_FANOUT,
                 LINK_WORKS };

static const char *const link_work_name[LINK_WORKS] = {
    "trip", "asleep", "one_core", "stream", "fanout"
};

/* How one round is run; every process of it has a copy.                   */
typedef struct link_way {
    int work;
    unsigned bytes;                 /* of a message: 16, or k * 32          */
    int receivers;
    int sleep, pinned;              /* pinned 2: all to one core            */
    uint64_t messages;
    uint64_t number;                /* of the round, for names              */
    const char *dir;                /* for files; removed by the driver     */
    uint8_t *arena;                 /* shared, LINK_ARENA_BYTES             */
    int fd[2][2];                   /* made before the fork: [back][sender] */
    void *made[2];                  /* the same, what is no descriptor      */
} link_way;

/* One process of a round, in memory that all of them share.  bench/iceoryx2
 * has the same offsets.                                                   */
typedef struct link_worker {
    _Alignas(SHMC_LINE) uint64_t got;       /* messages, by a receiver      */
    _Alignas(SHMC_LINE) uint64_t met;       /* 1: something came            */
    uint64_t start_ns, stop_ns;
    uint64_t cpu_ns;                /* of all its threads                   */
    uint64_t send_ns;               /* publisher: in its calls              */
    uint64_t idle_ns;               /* publisher: CPU while it waited       */
    uint64_t wrong;                 /* 1: the sum did not come out          */
    char why[192];                  /* it ended: the reason                 */
} link_worker;

typedef struct link_stage {
    _Alignas(SHMC_LINE) uint64_t ready;     /* processes at the start       */
    uint64_t members;
    double tick_ns;
    _Alignas(SHMC_LINE) link_worker worker[LINK_MAX_RECEIVERS + 1];
    _Alignas(SHMC_LINE) uint64_t samples;
    uint64_t ticks[LINK_SAMPLES];
} link_stage;
SHMC_LAYOUT_AT(link_stage, worker, SHMC_LINE);
SHMC_LAYOUT_SIZE(link_worker, 3 * SHMC_LINE);
SHMC_LAYOUT_AT(link_worker, met, SHMC_LINE);
SHMC_LAYOUT_AT(link_worker, wrong, SHMC_LINE + 48);
SHMC_LAYOUT_AT(link_worker, why, SHMC_LINE + 56);
SHMC_LAYOUT_AT(link_stage, samples, (3 * 65 + 1) * SHMC_LINE);

typedef struct link_got { uint64_t number, sum; } link_got;

typedef struct link_kind {
    const char *name;
    int ours;
    unsigned works;                 /* 1 << LINK_TRIP | ...                 */
    unsigned max_bytes;             /* 0: any                               */
    int is_bar;                     /* ours are compared with it            */
    int polls;                      /* it cannot block                      */
    int package;                    /* it needs one                         */
    /* In the driver, before the fork and after.  Returns why it cannot be. */
    const char *(*make)(link_way *way);
    void (*drop)(link_way *way);
    void (*run[2][LINK_WORKS])(const link_way *way);  /* [receives][work]   */
    void (*leave)(void);            /* at the end of each process           */
    const char *program;            /* or this, executed                    */
} link_kind;

static link_stage *link_the_stage;
static uint8_t link_out[LINK_MAX_BYTES], link_in[LINK_MAX_BYTES];
static link_worker *link_me;
static int link_index;              /* 0: who begins; its receivers follow  */
static bool link_keeps;             /* what is sent before anybody receives:
                                       to say hello once is enough, and two of
                                       them may be more than there is room for */

/* ---- ends -------------------------------------------------------------- */

/* End this process of the round, and with it the round: it did not run.   */
static inline void __attribute__((format(printf, 1, 2), noreturn))
link_die(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    (void)vsnprintf(link_me->why, sizeof link_me->why, format, list);
    va_end(list);
    _exit(1);
}

static inline void
link_die_os(const char *what)
{
    link_die("%s: %s", what, strerror(errno));
}

static inline uint64_t
link_clock(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void
link_sleep_us(unsigned us)
{
    shmi_sleep_until(shmi_now_ns() + (uint64_t)us * 1000);
}

/* ---- messages ---------------------------------------------------------- */

/* By vectors, as other compilers do without being asked, so that the sides
 * have the same to do in every language.                                  */
#if defined(__GNUC__) && !defined(__clang__)
#define LINK_VECTORS __attribute__((noinline, optimize("O3")))
#else
#define LINK_VECTORS __attribute__((noinline))
#endif

static LINK_VECTORS void
link_fill_long(void *message, unsigned bytes, uint64_t number)
{
    uint64_t *const word = message;

    for (size_t w = 0; w < bytes / 8; w++) word[w] = number + w;
}

static LINK_VECTORS uint64_t
link_sum_long(const void *message, unsigned bytes)
{
    const uint64_t *const word = message;
    uint64_t sum[4] = { 0, 0, 0, 0 };

    for (size_t w = 0; w < bytes / 8; w += 4)
        for (size_t k = 0; k < 4; k++) sum[k] += word[w + k];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* Sizes that the compiler knows are unrolled.                             */
static inline void
link_fill(void *message, unsigned bytes, uint64_t number)
{
    if (bytes == 64) bench_fill(message, 64, number);
    else if (bytes == 16) bench_fill(message, 16, number);
    else link_fill_long(message, bytes, number);
}

static inline void
link_look(link_got *got, const void *message, unsigned bytes)
{
    got->number = *(const uint64_t *)message;
    if (bytes == 64) got->sum = bench_sum(message, 64);
    else if (bytes == 16) got->sum = bench_sum(message, 16);
    else got->sum = link_sum_long(message, bytes);
}

/* ---- the course of a round --------------------------------------------- */

static inline void
link_start(void)
{
    link_stage *const s = link_the_stage;

    (void)shmi_faa_64(&s->ready, 1);
    while (shmi_load_acq_64(&s->ready) < s->members) shmi_yield();
    link_me->cpu_ns = link_clock(CLOCK_PROCESS_CPUTIME_ID);
    link_me->start_ns = shmi_now_ns();
}

/* Its part of the time ends; the threads of a library may still be at work
 * for others, so that all processes live until the last is done.          */
static inline void
link_stop(void)
{
    link_stage *const s = link_the_stage;

    shmi_store_rel_64(&link_me->stop_ns, shmi_now_ns());
    for (uint64_t i = 0; i < s->members; i++)
        while (shmi_load_acq_64(&s->worker[i].stop_ns) == 0) link_sleep_us(50);
    link_me->cpu_ns = link_clock(CLOCK_PROCESS_CPUTIME_ID) - link_me->cpu_ns;
}

static inline void
link_check(const link_way *way, uint64_t sum)
{
    if (sum != bench_expected_sum(way->bytes, way->messages))
        link_die("wrong checksum: messages were lost, doubled or torn");
}

/* Are the receivers [first, first + n) there?                             */
static inline bool
link_all_met(int first, int n)
{
    for (int i = first; i < first + n; i++)
        if (shmi_load_acq_64(&link_the_stage->worker[i].met) == 0) return false;
    return true;
}

static inline void
link_sample(uint64_t i, uint64_t messages, uint64_t ticks)
{
    link_stage *const s = link_the_stage;

    if (i >= messages / 10 && s->samples < LINK_SAMPLES)
        s->ticks[s->samples++] = ticks;
}

/* The window is full: wait until all have got `messages`.                 */
static inline void
link_await_all(int receivers, uint64_t messages)
{
    const uint64_t before = link_clock(CLOCK_THREAD_CPUTIME_ID);

    for (int i = 1; i <= receivers; i++) {
        const uint64_t *const got = &link_the_stage->worker[i].got;
        for (unsigned t = 0; shmi_load_acq_64(got) < messages; t++) {
            if (t % 256 == 255) shmi_yield();
            else shmi_relax();
        }
    }
    link_me->idle_ns += link_clock(CLOCK_THREAD_CPUTIME_ID) - before;
}

/* ---- the work ---------------------------------------------------------- */

/* After a fruitless try, the t-th in a row: two that poll may share a core. */
static inline void
link_again(unsigned *t)
{
    if (++*t % LINK_TRIES == 0) shmi_yield();
    else shmi_relax();
}

/* What K_send and K_recv are called from.  A sender says hello until all its
 * receivers have got something: no library tells as much by itself.       */
#define LINK_MEET(K)                                                          \
    static inline void K##_greet(K *l, int first, int n)                      \
    {                                                                         \
        for (unsigned t = 1, next = 1; !link_all_met(first, n); t++) {        \
            if (t == next) {                                                  \
                (void)K##_send(l, LINK_HELLO);                                \
                next += link_keeps ? UINT32_MAX                               \
                      : t < LINK_HELLO_APART ? t : LINK_HELLO_APART;          \
            }                                                                 \
            link_sleep_us(100);                                               \
        }                                                                     \
    }                                                                         \
    static inline void K##_meet(K *l)                                         \
    {                                                                         \
        link_got got;                                                         \
        while (!K##_recv(l, &got)) shmi_yield();                              \
        shmi_store_rel_64(&link_me->met, 1);                                  \
    }                                                                         \
    static inline uint64_t K##_next(K *l)                                     \
    {                                                                         \
        link_got got;                                                         \
        unsigned t = 0;                                                       \
        do {                                                                  \
            while (!K##_recv(l, &got)) link_again(&t);                        \
        } while (SHMI_UNLIKELY(got.number == LINK_HELLO));                    \
        return got.sum;                                                       \
    }                                                                         \
    static inline void K##_put(K *l, uint64_t number)                         \
    {                                                                         \
        unsigned t = 0;                                                       \
        while (!K##_send(l, number)) link_again(&t);                          \
    }

/* A round trip: here -> there -> here.                                    */
#define LINK_TRIPS(K)                                                         \
    static void K##_here(const link_way *way)                                 \
    {                                                                         \
        static K out, in;                                                     \
        uint64_t sum = 0;                                                     \
        K##_open(&out, way, 0, 1);                                            \
        K##_open(&in, way, 1, 0);                                             \
        K##_greet(&out, 1, 1);                                                \
        K##_meet(&in);                                                        \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; i++) {                        \
            const uint64_t start = bench_ticks();                             \
            K##_put(&out, i);                                                 \
            sum += K##_next(&in);                                             \
            link_sample(i, way->messages, bench_ticks() - start);             \
        }                                                                     \
        link_stop();                                                          \
        link_check(way, sum);                                                 \
    }                                                                         \
    static void K##_there(const link_way *way)                                \
    {                                                                         \
        static K out, in;                                                     \
        uint64_t sum = 0;                                                     \
        K##_open(&in, way, 0, 0);                                             \
        K##_open(&out, way, 1, 1);                                            \
        K##_meet(&in);                                                        \
        K##_greet(&out, 0, 1);                                                \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; i++) {                        \
            sum += K##_next(&in);                                             \
            K##_put(&out, i);                                                 \
        }                                                                     \
        link_stop();                                                          \
        link_check(way, sum);                                                 \
    }

/* As many as go through; and LINK_WINDOW in a row to each of many.        */
#define LINK_STREAMS(K)                                                       \
    static void K##_produce(const link_way *way)                              \
    {                                                                         \
        static K out;                                                         \
        K##_open(&out, way, 0, 1);                                            \
        K##_greet(&out, 1, 1);                                                \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; i++) K##_put(&out, i);        \
        link_stop();                                                          \
    }                                                                         \
    static void K##_consume(const link_way *way)                              \
    {                                                                         \
        static K in;                                                          \
        uint64_t sum = 0;                                                     \
        K##_open(&in, way, 0, 0);                                             \
        K##_meet(&in);                                                        \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; i++) sum += K##_next(&in);    \
        link_stop();                                                          \
        link_check(way, sum);                                                 \
    }

#define LINK_FANS(K)                                                          \
    static void K##_publish(const link_way *way)                              \
    {                                                                         \
        static K out;                                                         \
        K##_open(&out, way, 0, 1);                                            \
        K##_greet(&out, 1, way->receivers);                                   \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; ) {                           \
            const uint64_t start = shmi_now_ns(), n = i + LINK_WINDOW;        \
            for (; i < n && i < way->messages; i++) K##_put(&out, i);         \
            link_me->send_ns += shmi_now_ns() - start;                        \
            link_await_all(way->receivers, i);                                \
        }                                                                     \
        link_stop();                                                          \
    }                                                                         \
    static void K##_follow(const link_way *way)                               \
    {                                                                         \
        static K in;                                                          \
        uint64_t sum = 0;                                                     \
        link_got got;                                                         \
        unsigned tries = 0;                                                   \
        K##_open(&in, way, 0, 0);                                             \
        K##_meet(&in);                                                        \
        link_start();                                                         \
        for (uint64_t i = 0; i < way->messages; ) {                           \
            if (!K##_recv(&in, &got)) {                                       \
                if (++tries % 16 == 0) shmi_yield();                          \
                continue;                                                     \
            }                                                                 \
            if (got.number == LINK_HELLO) continue;                           \
            sum += got.sum;                                                   \
            shmi_store_rel_64(&link_me->got, ++i);                            \
        }                                                                     \
        link_stop();                                                          \
        link_check(way, sum);                                                 \
    }

#define LINK_ONE(K) LINK_MEET(K) LINK_TRIPS(K) LINK_STREAMS(K)
#define LINK_MANY(K) LINK_ONE(K) LINK_FANS(K)

#define LINK_RUN_ONE(K)                                                       \
    { { K##_here, K##_here, K##_here, K##_produce, NULL },                    \
      { K##_there, K##_there, K##_there, K##_consume, NULL } }
#define LINK_RUN_MANY(K)                                                      \
    { { K##_here, K##_here, K##_here, K##_produce, K##_publish },             \
      { K##_there, K##_there, K##_there, K##_consume, K##_follow } }

enum {
    LINK_SLEEPS = 1 << LINK_ASLEEP | 1 << LINK_ONE_CORE,
    LINK_WORKS_ONE = LINK_SLEEPS | 1 << LINK_TRIP | 1 << LINK_STREAM,
    LINK_WORKS_MANY = LINK_WORKS_ONE | 1 << LINK_FANOUT
};

#endif /* SHMCOMM_BENCH_LINK_H */
