/* wake_bench.c - what waking costs: the sender while nobody sleeps, and the
 * round trip between two processes that sleep for every message.
 *
 * Subjects: a ring that never waits, one that wakes with a fence in each send
 * (SHMC_WAKE_FENCE), one that wakes by membarrier (SHMC_WAKE_ASYMMETRIC), the
 * poller over 1, 4 and 16 rings that come back by turns, and two processes that
 * do nothing but wake each other by futex.
 *
 * usage: wake_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_SPIN_TRIES 0u          /* sleep at once                        */
#define SHMC_YIELD_TRIES 0u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "shmcomm_poll.h"
#include "bench.h"

enum { SILENT = 0, FENCE = 1, ASYMMETRIC = 2 };
enum { MAX_RINGS = 16 };

typedef struct trips {              /* shared                               */
    char name[64];
    int mode;
    uint32_t rings;                 /* of the poller                        */
    uint32_t word[64];              /* futex words 0 and 32                 */
    bench_samples *samples;         /* of the process that begins           */
} trips;

static trips *the;
static const int modes[] = { SILENT, FENCE, ASYMMETRIC };
static const int rings[] = { 1, 4, 16 };

static void
ring_open(shmc_segment *s, shmc_bcast *ring, const char *segment,
          const char *name, int mode, uint32_t role)
{
    const shmc_segment_desc place = {
        .heap_bytes = 4u << 20, .flags = SHMC_EPHEMERAL,
        .wake = mode == ASYMMETRIC ? SHMC_WAKE_ASYMMETRIC : SHMC_WAKE_FENCE
    };
    const shmc_bcast_desc desc = { .max_bytes = 16, .max_publishers = 1,
                                   .waitable = mode != SILENT };

    if ((s->base == NULL && shmc_segment_open(s, segment, &place) != SHMC_OK) ||
        shmc_bcast_open(ring, s, name, &desc, role) != SHMC_OK)
        bench_die(shmc_last_error());
}

static int
mode_of(const bench_round *r)
{
    return *(const int *)r->c->arg;
}

static void
send_round(bench_round *r)
{
    shmc_segment s = { 0 };
    shmc_bcast ring;
    char name[64];
    uint64_t m[2] = { 0, 0 };

    bench_pin(0);
    snprintf(name, sizeof name, "bench/wake.%d", (int)getpid());
    ring_open(&s, &ring, name, "send", mode_of(r), SHMC_PRODUCER);
    for (uint64_t i = 0; i < r->messages / 10; i++)
        shmc_bcast_send(&ring, m, sizeof m);
    const uint64_t start = bench_ticks();
    for (m[0] = 0; m[0] < r->messages; m[0]++)
        shmc_bcast_send(&ring, m, sizeof m);
    bench_report(r, "ns", (double)(bench_ticks() - start) * bench_tick_ns() /
                          (double)r->messages);
    shmc_bcast_close(&ring);
    shmc_segment_close(&s);
}

static void
sample(bench_worker *w, uint64_t i, uint64_t start)
{
    const uint64_t ticks = bench_ticks() - start;

    if (i >= w->messages / 10) bench_sample(the->samples, ticks);
}

static void
trip_side(bench_worker *w, int here)
{
    shmc_segment s = { 0 };
    shmc_bcast out, in;
    uint64_t m[2] = { 0, 0 };

    ring_open(&s, &out, the->name, here ? "there" : "back", the->mode,
              SHMC_PRODUCER);
    ring_open(&s, &in, the->name, here ? "back" : "there", the->mode,
              SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        if (here) shmc_bcast_send(&out, m, sizeof m);
        if (shmc_bcast_recv_wait(&in, m, sizeof m, 5000000000) < 0)
            bench_die("lost a wake-up");
        if (here) sample(w, i, start);
        else shmc_bcast_send(&out, m, sizeof m);
    }
    shmc_bcast_close(&in);
    shmc_bcast_close(&out);
    shmc_segment_close(&s);
}

static void trip_here(bench_worker *w) { trip_side(w, 1); }
static void trip_there(bench_worker *w) { trip_side(w, 0); }

/* The answers come back by turns in one of several rings, all polled.      */
static void
poll_here(bench_worker *w)
{
    static shmc_bcast in[MAX_RINGS];
    static shmc_poll_item item[MAX_RINGS];
    shmc_segment s = { 0 };
    shmc_bcast out;
    uint64_t m[2] = { 0, 0 };
    char name[16];

    ring_open(&s, &out, the->name, "there", the->mode, SHMC_PRODUCER);
    for (uint32_t k = 0; k < the->rings; k++) {
        snprintf(name, sizeof name, "back%u", k);
        ring_open(&s, &in[k], the->name, name, the->mode, SHMC_CONSUMER);
        memset(&item[k], 0, sizeof item[k]);
        item[k].of = shmc_bcast_pollable(&in[k]);
        item[k].events = SHMC_POLLIN;
    }
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        shmc_bcast_send(&out, m, sizeof m);
        if (shmc_poll(item, the->rings, 5000000000) != 1 ||
            shmc_bcast_recv(&in[i % the->rings], m, sizeof m) < 0)
            bench_die("lost a wake-up");
        sample(w, i, start);
    }
    for (uint32_t k = 0; k < the->rings; k++) shmc_bcast_close(&in[k]);
    shmc_bcast_close(&out);
    shmc_segment_close(&s);
}

static void
poll_there(bench_worker *w)
{
    static shmc_bcast out[MAX_RINGS];
    shmc_segment s = { 0 };
    shmc_bcast in;
    uint64_t m[2] = { 0, 0 };
    char name[16];

    ring_open(&s, &in, the->name, "there", the->mode, SHMC_CONSUMER);
    for (uint32_t k = 0; k < the->rings; k++) {
        snprintf(name, sizeof name, "back%u", k);
        ring_open(&s, &out[k], the->name, name, the->mode, SHMC_PRODUCER);
    }
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        if (shmc_bcast_recv_wait(&in, m, sizeof m, 5000000000) < 0)
            bench_die("lost a wake-up");
        shmc_bcast_send(&out[i % the->rings], m, sizeof m);
    }
    for (uint32_t k = 0; k < the->rings; k++) shmc_bcast_close(&out[k]);
    shmc_bcast_close(&in);
    shmc_segment_close(&s);
}

static void
futex_side(bench_worker *w, int here)
{
    uint32_t *const out = &the->word[here ? 0 : 32];
    uint32_t *const in = &the->word[here ? 32 : 0];

    bench_start(w);
    for (uint32_t i = 1; i <= w->messages; i++) {
        const uint64_t start = bench_ticks();
        if (here) {
            shmi_store_rel_32(out, i);
            shmi_wake_32(out, 1);
        }
        while (shmi_load_acq_32(in) != i)
            shmi_wait_32(in, i - 1, SHMI_FOREVER);
        if (!here) {
            shmi_store_rel_32(out, i);
            shmi_wake_32(out, 1);
        } else sample(w, i - 1, start);
    }
}

static void futex_here(bench_worker *w) { futex_side(w, 1); }
static void futex_there(bench_worker *w) { futex_side(w, 0); }

static void
trip_round(bench_round *r)
{
    bench_group g = { trip_here, trip_there, 1, 1, NULL, 0, r->messages, 0 };

    the->mode = mode_of(r);
    memset(the->word, 0, sizeof the->word);
    snprintf(the->name, sizeof the->name, "bench/trip.%d", (int)getpid());
    if (the->mode == SILENT) g.produce = futex_here, g.consume = futex_there;
    (void)bench_group_run(&g);
    bench_latency(r, the->samples, 1);
}

static void
poll_round(bench_round *r)
{
    bench_group g = { poll_here, poll_there, 1, 1, NULL, 0, r->messages, 0 };

    the->mode = FENCE;
    the->rings = (uint32_t)mode_of(r);
    snprintf(the->name, sizeof the->name, "bench/poll.%d", (int)getpid());
    (void)bench_group_run(&g);
    bench_latency(r, the->samples, 1);
}

static const bench_case table[] = {
    { "send", "no_wake", 16, send_round, &modes[SILENT], .slower = 4 },
    { "send", "fence", 16, send_round, &modes[FENCE], .ours = 1, .slower = 4 },
    { "send", "asymmetric", 16, send_round, &modes[ASYMMETRIC], .ours = 1,
      .slower = 4 },
    { "round_trip", "bare_futex", 16, trip_round, &modes[SILENT],
      .slower = 1000 },
    { "round_trip", "fence", 16, trip_round, &modes[FENCE], .ours = 1,
      .slower = 1000 },
    { "round_trip", "asymmetric", 16, trip_round, &modes[ASYMMETRIC],
      .ours = 1, .slower = 1000 },
    { "round_trip", "poll_1", 16, poll_round, &rings[0], .ours = 1,
      .slower = 1000 },
    { "round_trip", "poll_4", 16, poll_round, &rings[1], .ours = 1,
      .slower = 1000 },
    { "round_trip", "poll_16", 16, poll_round, &rings[2], .ours = 1,
      .slower = 1000 }
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 4000000 };

    bench_begin(&a, argc, argv);
    the = bench_shared(sizeof *the);
    the->samples = bench_samples_new(1u << 16);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
