/* ring_bench.c - the rings against the simplest thing that could be faster.
 *
 * Throughput: 64-byte messages, every word written and read, two processes on
 * two cores: shmc_spsc against a plain copying Lamport ring with cached
 * indices.  Latency: half a round trip between the same two processes, over
 * two bare cache lines and over two broadcast rings.
 *
 * usage: ring_bench [--json] [--rounds N] [--messages N]
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "bench.h"

#include <stdalign.h>
#include <stdatomic.h>

enum { SLOTS = 1024, WORDS = 8, TRIPS = 20000, WARM = 2000 };

typedef struct message { uint64_t word[WORDS]; } message;

/* The reference: indices on lines of their own, the last seen index of the
 * other side kept in private memory, one memcpy each way.                 */
typedef struct lamport {
    alignas(128) _Atomic uint64_t tail;
    alignas(128) _Atomic uint64_t head;
    alignas(128) message slot[SLOTS];
} lamport;

typedef struct line { alignas(128) _Atomic uint64_t value; } line;

typedef struct work {
    void *mem[2];
    uint64_t mem_bytes;
    uint64_t messages;
    double ns;                      /* out: of the whole round              */
    double trip_ns[TRIPS];          /* out: half of each round trip         */
    _Atomic int ready, failed;      /* shared                               */
} work;

static void
message_fill(message *m, uint64_t i)
{
    for (int w = 0; w < WORDS; w++) m->word[w] = i + (uint64_t)w;
}

static uint64_t
message_sum(const message *m)
{
    uint64_t sum = 0;

    for (int w = 0; w < WORDS; w++) sum += m->word[w];
    return sum;
}

/* What message_sum over messages 0..n-1 comes to.                         */
static uint64_t
expected_sum(uint64_t n)
{
    return WORDS * (n * (n - 1) / 2) + n * (WORDS * (WORDS - 1) / 2);
}

static void
meet(work *w, int others)
{
    atomic_fetch_add(&w->ready, 1);
    while (atomic_load(&w->ready) < others) shmi_yield();
}

/* ---- throughput -------------------------------------------------------- */

static void
lamport_produce(void *ctx)
{
    work *w = ctx;
    lamport *q = w->mem[0];
    uint64_t tail = 0, head = 0;

    meet(w, 2);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        message_fill(&m, i);
        while (tail - head == SLOTS) {
            head = atomic_load_explicit(&q->head, memory_order_acquire);
            if (tail - head == SLOTS) shmi_relax();
        }
        memcpy(&q->slot[tail % SLOTS], &m, sizeof m);
        atomic_store_explicit(&q->tail, ++tail, memory_order_release);
    }
}

static void
lamport_consume(void *ctx)
{
    work *w = ctx;
    lamport *q = w->mem[0];
    uint64_t tail = 0, head = 0, sum = 0;

    meet(w, 2);
    const uint64_t start = bench_ticks();
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        while (tail == head) {
            tail = atomic_load_explicit(&q->tail, memory_order_acquire);
            if (tail == head) shmi_relax();
        }
        memcpy(&m, &q->slot[head % SLOTS], sizeof m);
        atomic_store_explicit(&q->head, ++head, memory_order_release);
        sum += message_sum(&m);
    }
    w->ns = (double)(bench_ticks() - start) * bench_tick_ns();
    if (sum != expected_sum(w->messages)) bench_die("lamport: wrong sum");
}

static void
spsc_produce(void *ctx)
{
    work *w = ctx;
    shmc_spsc q;

    if (shmc_spsc_map(&q, w->mem[0], w->mem_bytes, SHMC_PRODUCER) != SHMC_OK)
        bench_die(shmc_last_error());
    meet(w, 2);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        message_fill(&m, i);
        while (shmc_spsc_push(&q, &m, sizeof m) != SHMC_OK) shmi_relax();
    }
    shmc_spsc_close(&q);
}

static void
spsc_consume(void *ctx)
{
    work *w = ctx;
    shmc_spsc q;
    uint64_t sum = 0;

    if (shmc_spsc_map(&q, w->mem[0], w->mem_bytes, SHMC_CONSUMER) != SHMC_OK)
        bench_die(shmc_last_error());
    meet(w, 2);
    const uint64_t start = bench_ticks();
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        while (shmc_spsc_pop(&q, &m, sizeof m) != SHMC_OK) shmi_relax();
        sum += message_sum(&m);
    }
    w->ns = (double)(bench_ticks() - start) * bench_tick_ns();
    shmc_spsc_close(&q);
    if (sum != expected_sum(w->messages)) bench_die("spsc: wrong sum");
}

static void
lamport_round(work *w, bench_series *s)
{
    memset(w->mem[0], 0, sizeof(lamport));
    w->ready = 0;
    bench_pair(lamport_consume, lamport_produce, w);
    bench_add(s, (double)w->messages / w->ns * 1e3);
}

static void
spsc_round(work *w, bench_series *s)
{
    const shmc_spsc_desc desc = { .slot_bytes = sizeof(message),
                                  .slot_count = SLOTS };

    if (shmc_spsc_format(w->mem[0], w->mem_bytes, &desc) != SHMC_OK)
        bench_die(shmc_last_error());
    w->ready = 0;
    bench_pair(spsc_consume, spsc_produce, w);
    bench_add(s, (double)w->messages / w->ns * 1e3);
}

/* ---- latency ----------------------------------------------------------- */

static void
line_ping(void *ctx)
{
    work *w = ctx;
    line *there = w->mem[0], *back = w->mem[1];

    meet(w, 2);
    for (uint64_t i = 1; i <= WARM + TRIPS; i++) {
        const uint64_t start = bench_ticks();
        atomic_store_explicit(&there->value, i, memory_order_release);
        while (atomic_load_explicit(&back->value, memory_order_acquire) != i) { }
        const uint64_t ticks = bench_ticks() - start;
        if (i > WARM) w->trip_ns[i - WARM - 1] =
            (double)ticks * bench_tick_ns() / 2;
    }
}

static void
line_pong(void *ctx)
{
    work *w = ctx;
    line *there = w->mem[0], *back = w->mem[1];

    meet(w, 2);
    for (uint64_t i = 1; i <= WARM + TRIPS; i++) {
        while (atomic_load_explicit(&there->value, memory_order_acquire) != i) { }
        atomic_store_explicit(&back->value, i, memory_order_release);
    }
}

static void
bcast_ends(work *w, shmc_bcast *out, shmc_bcast *in, int mine)
{
    if (shmc_bcast_map(out, w->mem[mine], w->mem_bytes, SHMC_PRODUCER, 0) ||
        shmc_bcast_map(in, w->mem[!mine], w->mem_bytes, SHMC_CONSUMER, 0))
        bench_die(shmc_last_error());
}

static void
bcast_ping(void *ctx)
{
    work *w = ctx;
    shmc_bcast out, in;
    message m;

    bcast_ends(w, &out, &in, 0);
    meet(w, 2);
    for (uint64_t i = 0; i < WARM + TRIPS; i++) {
        message_fill(&m, i);
        const uint64_t start = bench_ticks();
        if (shmc_bcast_send(&out, &m, sizeof m) != SHMC_OK) bench_die("send");
        while (shmc_bcast_recv(&in, &m, sizeof m) < 0) { }
        const uint64_t ticks = bench_ticks() - start;
        if (m.word[0] != i) bench_die("bcast: wrong message");
        if (i >= WARM) w->trip_ns[i - WARM] =
            (double)ticks * bench_tick_ns() / 2;
    }
    shmc_bcast_close(&out);
    shmc_bcast_close(&in);
}

static void
bcast_pong(void *ctx)
{
    work *w = ctx;
    shmc_bcast out, in;
    message m;

    bcast_ends(w, &out, &in, 1);
    meet(w, 2);
    for (uint64_t i = 0; i < WARM + TRIPS; i++) {
        while (shmc_bcast_recv(&in, &m, sizeof m) < 0) { }
        if (shmc_bcast_send(&out, &m, sizeof m) != SHMC_OK) bench_die("send");
    }
    shmc_bcast_close(&out);
    shmc_bcast_close(&in);
}

static void
latency_add(work *w, bench_series *p50, bench_series *p99)
{
    qsort(w->trip_ns, TRIPS, sizeof *w->trip_ns, bench_compare);
    bench_add(p50, w->trip_ns[TRIPS / 2]);
    bench_add(p99, w->trip_ns[TRIPS / 100 * 99]);
}

static void
line_round(work *w, bench_series *p50, bench_series *p99)
{
    memset(w->mem[0], 0, sizeof(line));
    memset(w->mem[1], 0, sizeof(line));
    w->ready = 0;
    bench_pair(line_ping, line_pong, w);
    latency_add(w, p50, p99);
}

static void
bcast_round(work *w, bench_series *p50, bench_series *p99, uint32_t publishers)
{
    const shmc_bcast_desc desc = { .slot_count = SLOTS,
                                   .max_bytes = sizeof(message),
                                   .max_publishers = publishers };

    for (int i = 0; i < 2; i++)
        if (shmc_bcast_format(w->mem[i], w->mem_bytes, &desc) != SHMC_OK)
            bench_die(shmc_last_error());
    w->ready = 0;
    bench_pair(bcast_ping, bcast_pong, w);
    latency_add(w, p50, p99);
}

/* ---- the run ----------------------------------------------------------- */

#define SERIES(who, what, size) { .work = what[0] == 'M' ? "throughput"       \
        : "latency", .subject = who, .metric = what, .bytes = size }

static void
run(work *w, int rounds, int json)
{
    static bench_series
        lamport_rate = SERIES("lamport", "Mmsg/s", 64),
        spsc_rate = SERIES("shmc_spsc", "Mmsg/s", 64),
        line50 = SERIES("bare_line", "p50_ns", 64),
        line99 = SERIES("bare_line", "p99_ns", 64),
        one50 = SERIES("bcast_1pub", "p50_ns", 64),
        one99 = SERIES("bcast_1pub", "p99_ns", 64),
        many50 = SERIES("bcast_Npub", "p50_ns", 64),
        many99 = SERIES("bcast_Npub", "p99_ns", 64);
    static bench_series *const all[] = { &lamport_rate, &spsc_rate, &line50,
        &one50, &many50, &line99, &one99, &many99 };

    for (int i = -1; i < rounds; i++) {
        lamport_round(w, &lamport_rate);
        spsc_round(w, &spsc_rate);
        line_round(w, &line50, &line99);
        bcast_round(w, &one50, &one99, 1);
        bcast_round(w, &many50, &many99, 16);
        if (i >= 0) continue;       /* the first round of each warms up     */
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            all[k]->rounds = 0;
    }
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
        bench_print(all[k], json);
    bench_print_ratio(&spsc_rate, &lamport_rate, json);
    bench_print_ratio(&one50, &line50, json);
    bench_print_ratio(&many50, &line50, json);
}

int
main(int argc, char **argv)
{
    int json = 0, rounds = 15;
    uint64_t messages = 4000000;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--messages") == 0 && i + 1 < argc)
            messages = strtoull(argv[++i], NULL, 10);
        else rounds = 0;
    }
    if (rounds < 1 || rounds > BENCH_MAX_ROUNDS || messages == 0) {
        fprintf(stderr, "usage: ring_bench [--json] [--rounds 1..%d] "
                "[--messages N]\n", BENCH_MAX_ROUNDS);
        return 2;
    }
    work *w = bench_shared(sizeof *w);
    bench_tick_ns();
    w->messages = messages;
    w->mem_bytes = 1 << 20;
    w->mem[0] = bench_shared(w->mem_bytes);
    w->mem[1] = bench_shared(w->mem_bytes);
    run(w, rounds, json);
    return 0;
}
