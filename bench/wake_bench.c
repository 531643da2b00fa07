/* wake_bench.c - what waking costs: the sender while nobody sleeps, and the
 * round trip between two processes that sleep for every message.
 *
 * Subjects: a ring that never waits, one that wakes with a fence in each send
 * (SHMC_WAKE_FENCE), one that wakes by membarrier (SHMC_WAKE_ASYMMETRIC), and
 * two processes that do nothing but wake each other by futex.
 *
 * usage: wake_bench [--json] [--rounds N]
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_SPIN_TRIES 0u          /* sleep at once                        */
#define SHMC_YIELD_TRIES 0u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "bench.h"

enum { SENDS = 1000000, TRIPS = 4000, WARM = 200, MODES = 3 };
enum { SILENT = 0, FENCE = 1, ASYMMETRIC = 2 };

typedef struct trips {
    char name[64];
    int mode;
    double ns;
    uint32_t word[64], ready;       /* shared; futex words 0 and 32         */
} trips;

static const char *const subject[MODES] = { "no_wake", "fence", "asymmetric" };

static void
ring_open(shmc_segment *s, shmc_bcast *ring, const char *segment,
          const char *name, int mode, uint32_t role)
{
    const shmc_segment_desc place = {
        .flags = SHMC_EPHEMERAL,
        .wake = mode == ASYMMETRIC ? SHMC_WAKE_ASYMMETRIC : SHMC_WAKE_FENCE
    };
    const shmc_bcast_desc desc = { .max_bytes = 16, .max_publishers = 1,
                                   .waitable = mode != SILENT };

    if ((s->base == NULL && shmc_segment_open(s, segment, &place) != SHMC_OK) ||
        shmc_bcast_open(ring, s, name, &desc, role) != SHMC_OK)
        bench_die(shmc_last_error());
}

static void
send_round(int mode, bench_series *series)
{
    shmc_segment s = { 0 };
    shmc_bcast ring;
    char name[64];
    uint64_t m[2] = { 0, 0 };

    bench_pin(0);
    snprintf(name, sizeof name, "bench/wake.%d", (int)getpid());
    ring_open(&s, &ring, name, "send", mode, SHMC_PRODUCER);
    for (int i = 0; i < SENDS / 10; i++) shmc_bcast_send(&ring, m, sizeof m);
    const uint64_t start = bench_ticks();
    for (m[0] = 0; m[0] < SENDS; m[0]++) shmc_bcast_send(&ring, m, sizeof m);
    bench_add(series, (double)(bench_ticks() - start) * bench_tick_ns() / SENDS);
    shmc_bcast_close(&ring);
    shmc_segment_close(&s);
}

static void
meet(trips *t)
{
    (void)shmi_faa_32(&t->ready, 1);
    while (shmi_load_acq_32(&t->ready) < 2) shmi_yield();
}

static void
trip_side(trips *t, int here)
{
    shmc_segment s = { 0 };
    shmc_bcast out, in;
    uint64_t m[2] = { 0, 0 };

    ring_open(&s, &out, t->name, here ? "there" : "back", t->mode,
              SHMC_PRODUCER);
    ring_open(&s, &in, t->name, here ? "back" : "there", t->mode,
              SHMC_CONSUMER);
    meet(t);
    uint64_t start = 0;
    for (int i = 0; i < WARM + TRIPS; i++) {
        if (i == WARM) start = bench_ticks();
        if (here) shmc_bcast_send(&out, m, sizeof m);
        if (shmc_bcast_recv_wait(&in, m, sizeof m, 5000000000) < 0)
            bench_die("lost a wake-up");
        if (!here) shmc_bcast_send(&out, m, sizeof m);
    }
    if (here) t->ns = (double)(bench_ticks() - start) * bench_tick_ns() / TRIPS;
    shmc_bcast_close(&in);
    shmc_bcast_close(&out);
    shmc_segment_close(&s);
}

static void trip_here(void *ctx) { trip_side(ctx, 1); }
static void trip_there(void *ctx) { trip_side(ctx, 0); }

static void
futex_side(trips *t, int here)
{
    uint32_t *out = &t->word[here ? 0 : 32], *in = &t->word[here ? 32 : 0];

    meet(t);
    uint64_t start = 0;
    for (uint32_t i = 1; i <= WARM + TRIPS; i++) {
        if (i == WARM) start = bench_ticks();
        if (here) {
            shmi_store_rel_32(out, i);
            shmi_wake_32(out, 1);
        }
        while (shmi_load_acq_32(in) != i)
            shmi_wait_32(in, i - 1, SHMI_FOREVER);
        if (!here) {
            shmi_store_rel_32(out, i);
            shmi_wake_32(out, 1);
        }
    }
    if (here) t->ns = (double)(bench_ticks() - start) * bench_tick_ns() / TRIPS;
}

static void futex_here(void *ctx) { futex_side(ctx, 1); }
static void futex_there(void *ctx) { futex_side(ctx, 0); }

static void
trip_round(trips *t, int mode, bench_series *series)
{
    t->mode = mode;
    t->ready = 0;
    memset(t->word, 0, sizeof t->word);
    snprintf(t->name, sizeof t->name, "bench/trip.%d", (int)getpid());
    if (mode == SILENT) bench_pair(futex_here, futex_there, t);
    else bench_pair(trip_here, trip_there, t);
    bench_add(series, t->ns);
}

int
main(int argc, char **argv)
{
    static bench_series send[MODES], trip[MODES];
    int json = 0, rounds = 15;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else rounds = 0;
    }
    if (rounds < 1 || rounds > BENCH_MAX_ROUNDS) {
        fprintf(stderr, "usage: wake_bench [--json] [--rounds 1..%d]\n",
                BENCH_MAX_ROUNDS);
        return 2;
    }
    trips *t = bench_shared(sizeof *t);
    bench_tick_ns();
    for (int k = 0; k < MODES; k++) {
        send[k] = (bench_series){ .work = "send", .subject = subject[k],
                                  .metric = "ns", .bytes = 16 };
        trip[k] = (bench_series){ .work = "round_trip", .metric = "ns",
            .subject = k == SILENT ? "bare_futex" : subject[k], .bytes = 16 };
    }
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < MODES; k++) {
            send_round(k, &send[k]);
            trip_round(t, k, &trip[k]);
        }
    for (int k = 0; k < MODES; k++) bench_print(&send[k], json);
    for (int k = 0; k < MODES; k++) bench_print(&trip[k], json);
    for (int k = 1; k < MODES; k++)
        bench_print_ratio(&trip[k], &trip[SILENT], json);
    return 0;
}
