/* ring_bench.c - the rings against the simplest thing that could be faster.
 *
 * Throughput: 64-byte messages, every word written and read, two processes on
 * two cores: shmc_spsc against a plain copying Lamport ring with cached
 * indices.  Latency: half a round trip between the same two processes, over
 * two bare cache lines and over two broadcast rings.
 *
 * usage: ring_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "peers.h"

enum { WORDS = 8 };

typedef struct message { uint64_t word[WORDS]; } message;

static void *memory[2];
static bench_samples *samples;

/* ---- throughput -------------------------------------------------------- */

static void
spsc_produce(bench_worker *w)
{
    shmc_spsc q;

    if (shmc_spsc_map(&q, memory[0], BENCH_RING_BYTES, SHMC_PRODUCER) != SHMC_OK)
        bench_die(shmc_last_error());
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        bench_fill(&m, sizeof m, w->first + i);
        while (shmc_spsc_push(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
    }
    bench_stop(w);
    shmc_spsc_close(&q);
}

static void
spsc_consume(bench_worker *w)
{
    shmc_spsc q;

    if (shmc_spsc_map(&q, memory[0], BENCH_RING_BYTES, SHMC_CONSUMER) != SHMC_OK)
        bench_die(shmc_last_error());
    bench_start(w);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < w->messages; i++) {
        message m;
        while (shmc_spsc_pop(&q, &m, sizeof m) != SHMC_OK) bench_idle(w);
        sum += bench_sum(&m, sizeof m);
    }
    bench_stop(w);
    w->sum = sum;
    shmc_spsc_close(&q);
}

static void
spsc_round(bench_round *r)
{
    const shmc_spsc_desc desc = { .slot_bytes = sizeof(message),
                                  .slot_count = BENCH_SLOTS };
    const bench_group g = { spsc_produce, spsc_consume, 1, 1, NULL,
                            sizeof(message), r->messages, 0 };

    if (shmc_spsc_format(memory[0], BENCH_RING_BYTES, &desc) != SHMC_OK)
        bench_die(shmc_last_error());
    bench_rate(r, r->messages, bench_group_run(&g));
}

/* ---- latency ----------------------------------------------------------- */

static void
bcast_ends(shmc_bcast *out, shmc_bcast *in, int mine)
{
    if (shmc_bcast_map(out, memory[mine], BENCH_RING_BYTES, SHMC_PRODUCER, 0) ||
        shmc_bcast_map(in, memory[!mine], BENCH_RING_BYTES, SHMC_CONSUMER, 0))
        bench_die(shmc_last_error());
}

static void
bcast_ping(bench_worker *w)
{
    shmc_bcast out, in;
    message m;

    bcast_ends(&out, &in, 0);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        bench_fill(&m, sizeof m, i);
        const uint64_t start = bench_ticks();
        if (shmc_bcast_send(&out, &m, sizeof m) != SHMC_OK) bench_die("send");
        while (shmc_bcast_recv(&in, &m, sizeof m) < 0) { }
        bench_trip_sample(w, samples, i, start);
        if (m.word[0] != i) bench_die("bcast: wrong message");
    }
    shmc_bcast_close(&out);
    shmc_bcast_close(&in);
}

static void
bcast_pong(bench_worker *w)
{
    shmc_bcast out, in;
    message m;

    bcast_ends(&out, &in, 1);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        while (shmc_bcast_recv(&in, &m, sizeof m) < 0) { }
        if (shmc_bcast_send(&out, &m, sizeof m) != SHMC_OK) bench_die("send");
    }
    shmc_bcast_close(&out);
    shmc_bcast_close(&in);
}

static void
bcast_round(bench_round *r)
{
    const shmc_bcast_desc desc = { .slot_count = BENCH_SLOTS,
        .max_bytes = sizeof(message),
        .max_publishers = *(const uint32_t *)r->c->arg };
    const bench_group g = { bcast_ping, bcast_pong, 1, 1, NULL, 0, r->messages,
                            0 };

    for (int i = 0; i < 2; i++)
        if (shmc_bcast_format(memory[i], BENCH_RING_BYTES, &desc) != SHMC_OK)
            bench_die(shmc_last_error());
    (void)bench_group_run(&g);
    bench_latency(r, samples, 2);
}

/* ---- the run ----------------------------------------------------------- */

static const uint32_t one = 1, many = 16;

static const bench_case table[] = {
    { "throughput", "lamport", 64, bench_peer_throughput,
      .arg = &ref_lamport_64 },
    { "throughput", "shmc_spsc", 64, spsc_round, .ours = 1 },
    { "latency", "bare_line", 64, bench_peer_trip, .arg = &ref_line,
      .slower = 40 },
    { "latency", "bcast_1pub", 64, bcast_round, .arg = &one, .ours = 1,
      .slower = 40 },
    { "latency", "bcast_Npub", 64, bcast_round, .arg = &many, .ours = 1,
      .slower = 40 }
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 4000000 };

    bench_begin(&a, argc, argv);
    memory[0] = bench_shared(BENCH_RING_BYTES);
    memory[1] = bench_shared(BENCH_RING_BYTES);
    samples = bench_samples_new(1u << 20);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
