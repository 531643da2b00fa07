/* latest_bench.c - the latest-value cell against a bare seqlock and memcpy.
 *
 * write, read  one process, nobody else there, small values by the call and
 *              large ones by the byte; memcpy to and from the same place.
 * latency      one way, half of a round trip between two processes on two
 *              cores, over two cells.
 * readers      the writer's own time per value while 1..64 readers, each a
 *              process on the other core, read on and on, against one reader.
 *
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_latest.h"
#include "bench.h"

enum { LARGE = 4 << 20, CELL_BYTES = 20 << 20, WARM = 500, PACE_NS = 1000 };
enum { CELL, SEQLOCK, MEMCPY, ONE_READER };     /* arg: what is measured    */

/* The reference: one slot, its sequence number in front of it.            */
typedef struct seqlock {
    uint64_t seq, pad;
    uint8_t  data[];
} seqlock;

typedef struct lab {
    const bench_case *c;
    int what;
    uint64_t messages;
    double ns;                      /* out                                  */
    uint32_t over;
    uint8_t *mem[2];                /* CELL_BYTES each                      */
    bench_samples *samples;
} lab;

static lab *the_lab;

SHMC_HOT void
seqlock_write(seqlock *s, const void *value, uint32_t bytes)
{
    const uint64_t seq = s->seq;

    shmi_store_rlx_64(&s->seq, seq + 1);
    shmi_fence_rel();
    shmi_copy_in(s->data, value, bytes);
    shmi_store_rel_64(&s->seq, seq + 2);
}

SHMC_HOT void
seqlock_read(const seqlock *s, void *out, uint32_t bytes)
{
    for (;;) {
        const uint64_t seq = shmi_load_acq_64(&s->seq);
        if (seq & 1) continue;
        shmi_copy_out(out, s->data, bytes);
        shmi_fence_acq();
        if (shmi_load_rlx_64(&s->seq) == seq) return;
    }
}

static void
cell_open(lab *l, shmc_latest *c, int which, uint32_t role)
{
    (void)shmi_map_advise(l->mem[which], CELL_BYTES, false, SHMI_MAP_PREFAULT);
    if (l->what != CELL && l->what != ONE_READER) return;
    if (shmc_latest_map(c, l->mem[which], CELL_BYTES, role) != SHMC_OK)
        bench_die(shmc_last_error());
}

static lab *
lab_begin(bench_round *r)
{
    lab *l = the_lab;
    const shmc_latest_desc d = { .value_bytes = r->c->bytes };

    l->c = r->c;
    l->what = *(const int *)r->c->arg;
    l->messages = r->messages;
    l->over = 0;
    for (int i = 0; i < 2; i++) {
        memset(l->mem[i], 0, 4096);
        if (l->what != CELL && l->what != ONE_READER) continue;
        if (shmc_latest_format(l->mem[i], CELL_BYTES, &d) != SHMC_OK)
            bench_die(shmc_last_error());
    }
    return l;
}

SHMC_HOT void
put(lab *l, shmc_latest *c, int which, const void *value, uint32_t bytes)
{
    if (l->what == MEMCPY) shmi_copy_in(l->mem[which], value, bytes);
    else if (l->what == SEQLOCK)
        seqlock_write((seqlock *)(void *)l->mem[which], value, bytes);
    else if (shmc_latest_write(c, value, bytes) != SHMC_OK) bench_die("write");
}

SHMC_HOT void
get(lab *l, shmc_latest *c, int which, void *value, uint32_t bytes)
{
    if (l->what == MEMCPY) shmi_copy_out(value, l->mem[which], bytes);
    else if (l->what == SEQLOCK)
        seqlock_read((const seqlock *)(void *)l->mem[which], value, bytes);
    else while (shmc_latest_read(c, value, bytes, NULL) == SHMC_EAGAIN) { }
}

/* ---- write, read ------------------------------------------------------- */

#define COST_OF(BYTES)                                                        \
    static double cost_##BYTES(lab *l, shmc_latest *out, shmc_latest *in,     \
                               uint64_t *m, int reads)                        \
    {                                                                         \
        uint64_t sum = 0;                                                     \
        bench_fill(m, BYTES, 1);                                              \
        put(l, out, 0, m, BYTES);                                             \
        const uint64_t start = bench_ticks();                                 \
        for (uint64_t i = 0; i < l->messages; i++) {                          \
            m[0] = i;                                                         \
            if (reads) get(l, in, 0, m, BYTES);                               \
            else put(l, out, 0, m, BYTES);                                    \
            sum += m[BYTES / 8 - 1];                                          \
        }                                                                     \
        const uint64_t ticks = bench_ticks() - start;                         \
        if (sum != l->messages * (BYTES / 8)) bench_die("wrong sum");         \
        return (double)ticks * bench_tick_ns() / (double)l->messages;         \
    }
COST_OF(16)
COST_OF(64)
COST_OF(1024)
COST_OF(65536)
COST_OF(1048576)
COST_OF(4194304)

static void
cost_round(bench_round *r)
{
    static double (*const cost[])(lab *, shmc_latest *, shmc_latest *,
                                  uint64_t *, int) = {
        cost_16, cost_64, cost_1024, cost_65536, cost_1048576, cost_4194304 };
    static const unsigned size[] = { 16, 64, 1024, 65536, 1 << 20, LARGE };
    static uint64_t *m;
    lab *l = lab_begin(r);
    shmc_latest out, in;
    size_t k = 0;

    bench_pin(0);
    if (m == NULL) m = bench_shared(LARGE);
    cell_open(l, &out, 0, SHMC_PRODUCER);
    cell_open(l, &in, 0, SHMC_CONSUMER);
    while (size[k] != r->c->bytes) k++;
    const double ns = cost[k](l, &out, &in, m, strcmp(r->c->work, "read") == 0);
    if (r->c->bytes < 1024) bench_report(r, "ns", ns);
    else bench_report(r, "GB/s", (double)r->c->bytes / ns);
}

/* ---- latency ----------------------------------------------------------- */

#define TRIPS_OF(BYTES)                                                       \
    static void trips_##BYTES(lab *l, shmc_latest *out, shmc_latest *in,      \
                              int here)                                       \
    {                                                                         \
        uint64_t m[BYTES / 8], got[BYTES / 8];                                \
        for (uint64_t i = 1; i <= WARM + l->messages; i++) {                  \
            bench_fill(m, BYTES, i);                                          \
            const uint64_t start = bench_ticks();                             \
            if (here) put(l, out, 0, m, BYTES);                               \
            do {                                                              \
                get(l, in, here, got, BYTES);                                 \
            } while (got[0] != i);                                            \
            const uint64_t ticks = bench_ticks() - start;                     \
            if (here && i > WARM) bench_sample(l->samples, ticks);            \
            if (bench_sum(got, BYTES) != bench_sum(m, BYTES))                 \
                bench_die("wrong sum");                                       \
            if (!here) put(l, out, 1, m, BYTES);                              \
        }                                                                     \
    }
TRIPS_OF(16)
TRIPS_OF(64)

static void
trip_side(bench_worker *w)
{
    lab *l = w->ctx;
    const int here = w->producer;
    shmc_latest out, in;

    cell_open(l, &out, !here, SHMC_PRODUCER);
    cell_open(l, &in, here, SHMC_CONSUMER);
    bench_start(w);
    if (l->c->bytes == 16) trips_16(l, &out, &in, here);
    else trips_64(l, &out, &in, here);
}

static void
trip_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { trip_side, trip_side, 1, 1, l, 0, 0, 0 };

    (void)bench_group_run(&g);
    bench_latency(r, l->samples, 2);
}

/* ---- readers ----------------------------------------------------------- */

static void
reader(bench_worker *w)
{
    lab *l = w->ctx;
    uint64_t m[2];
    shmc_latest in;

    bench_pin(1);
    cell_open(l, &in, 0, SHMC_CONSUMER);
    bench_start(w);
    for (unsigned n = 0; shmi_load_acq_32(&l->over) == 0; n++) {
        if (shmc_latest_read(&in, m, sizeof m, NULL) == SHMC_OK &&
            m[1] != m[0] + 1) bench_die("half a value");
        if (n % 64 == 63) shmi_yield();
    }
}

/* One value every microsecond, the writes timed.                          */
static void
writer(bench_worker *w)
{
    lab *l = w->ctx;
    const uint64_t pace = (uint64_t)(PACE_NS / bench_tick_ns());
    uint64_t m[2], ticks = 0;
    shmc_latest out;

    bench_pin(0);
    cell_open(l, &out, 0, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < l->messages; i++) {
        bench_fill(m, sizeof m, i);
        const uint64_t start = bench_ticks();
        if (shmc_latest_write(&out, m, sizeof m) != SHMC_OK) bench_die("write");
        ticks += bench_ticks() - start;
        while (bench_ticks() - start < pace) { }
    }
    l->ns = (double)ticks * bench_tick_ns() / (double)l->messages;
    shmi_store_rel_32(&l->over, 1);
}

static void
readers_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { writer, reader, 1,
        l->what == ONE_READER ? 1 : r->c->consumers, l, 0, 0, 0 };

    (void)bench_group_run(&g);
    bench_report(r, "ns", l->ns);
}

/* ---- the run ----------------------------------------------------------- */

static const int cell = CELL, bare = SEQLOCK, copy = MEMCPY, one = ONE_READER;

#define CASE(WORK, BYTES, ROUND)                                              \
    { WORK, "shmc_latest", BYTES, ROUND, &cell, .ours = 1, .slower = 10 },    \
    { WORK, "seqlock", BYTES, ROUND, .arg = &bare, .slower = 10 }
#define COST(WORK, BYTES)                                                     \
    CASE(WORK, BYTES, cost_round),                                            \
    { WORK, "memcpy", BYTES, cost_round, .arg = &copy, .slower = 10 }
#define COSTS(WORK)                                                           \
    COST(WORK, 16), COST(WORK, 64), COST(WORK, 1024), COST(WORK, 65536),      \
    COST(WORK, 1 << 20), COST(WORK, LARGE)
#define READERS(N)                                                            \
    { "readers", "shmc_latest", 16, readers_round, &cell, .consumers = N,     \
      .ours = 1, .slower = 50 },                                              \
    { "readers", "one_reader", 16, readers_round, &one, .consumers = N,       \
      .slower = 50 }

static const bench_case table[] = {
    COSTS("write"), COSTS("read"),
    CASE("latency", 16, trip_round), CASE("latency", 64, trip_round),
    READERS(1), READERS(8), READERS(64),
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 1000000,
                     .budget_bytes = UINT64_C(1) << 30 };

    bench_begin(&a, argc, argv);
    the_lab = bench_shared(sizeof *the_lab);
    for (int i = 0; i < 2; i++) the_lab->mem[i] = bench_shared(CELL_BYTES);
    the_lab->samples = bench_samples_new(1000000);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
