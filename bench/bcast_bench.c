/* bcast_bench.c - the broadcast ring against bare lines and bare memcpy.
 *
 * latency     one way, half of a round trip between two processes on two
 *             cores, against a bare cache line handed over: always the same
 *             one, or a walk over as many lines as the ring has cells.
 * in_place    the same for large messages: loan, commit, borrow, release, with
 *             the first and the last word written and read.
 * attached, paced, burst: the publisher's own time per message while 1..64
 *             subscribers, each a process on the other core, hold their place
 *             and sleep; or follow, polling and yielding, one message every
 *             microsecond, each timed; or 64 messages in a row, timed, then a
 *             pause until all have read them.  Against one subscriber.
 * stream      a reliable ring, every word written and read.
 * copy_hot,   send and recv by copy, against memcpy to and from the same
 * copy_cold   places: one process does both; the receiver is on the other core.
 *
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_broadcast.h"
#include "bench.h"

enum { SLOTS = 1024, SMALL = 96, LARGE = 4 << 20, RING_BYTES = 48 << 20 };
enum { WARM = 500, BURST = 64, PACE_NS = 1000, COPY_SLOTS = 4 };

typedef struct line { uint64_t value, pad[SHMC_LINE / 8 - 1]; } line;

typedef struct lab {                /* shared by the processes of a round   */
    line go[2], got[BENCH_MAX_WORKERS];     /* whose turn; how many         */
    line bare[2][SLOTS];
    const bench_case *c;
    uint64_t messages;
    double ns[2];                   /* out: of all; of all that came in     */
    uint8_t *ring[2];               /* RING_BYTES each                      */
    bench_samples *samples;
} lab;

static lab *the_lab;

static void
await(const uint64_t *word, uint64_t at_least)
{
    while (shmi_load_acq_64(word) < at_least) shmi_relax();
}

static lab *
lab_begin(bench_round *r)
{
    lab *l = the_lab;

    memset(l->go, 0, sizeof l->go);
    memset(l->got, 0, sizeof l->got);
    memset(l->bare, 0, sizeof l->bare);
    l->c = r->c;
    l->messages = r->messages;
    return l;
}

static void
ring_format(lab *l, int which, const shmc_bcast_desc *d)
{
    if (shmc_bcast_format(l->ring[which], RING_BYTES, d) != SHMC_OK)
        bench_die(shmc_last_error());
}

/* Open an end, with all pages mapped in this process.                     */
static void
ring_open(lab *l, shmc_bcast *h, int which, uint32_t role)
{
    (void)shmi_map_advise(l->ring[which], RING_BYTES, false, SHMI_MAP_PREFAULT);
    if (shmc_bcast_map(h, l->ring[which], RING_BYTES, role, 0) != SHMC_OK)
        bench_die(shmc_last_error());
}

/* ---- latency, in_place ------------------------------------------------- */

static void
trip_note(lab *l, uint64_t i, uint64_t start)
{
    if (i >= WARM) bench_sample(l->samples, bench_ticks() - start);
}

/* arg: how many lines to go on each time.                                 */
static void
line_side(bench_worker *w)
{
    lab *l = w->ctx;
    const uint64_t step = *(const uint32_t *)l->c->arg;
    const int here = w->producer;

    bench_start(w);
    for (uint64_t i = 0; i < WARM + l->messages; i++) {
        uint64_t *there = &l->bare[0][i * step % SLOTS].value;
        uint64_t *back = &l->bare[1][i * step % SLOTS].value;
        const uint64_t start = bench_ticks();
        if (here) shmi_store_rel_64(there, i + 1);
        while (shmi_load_acq_64(here ? back : there) != i + 1) { }
        if (here) trip_note(l, i, start);
        else shmi_store_rel_64(back, i + 1);
    }
}

/* By copy, of sizes that the compiler knows.                              */
#define COPY_TRIPS(BYTES)                                                     \
    static void copy_trips_##BYTES(lab *l, shmc_bcast *out, shmc_bcast *in,   \
                                   int here)                                  \
    {                                                                         \
        uint64_t m[BYTES / 8], sum = 0;                                       \
        for (uint64_t i = 0; i < WARM + l->messages; i++) {                   \
            bench_fill(m, BYTES, i);                                          \
            const uint64_t start = bench_ticks();                             \
            if (here && shmc_bcast_send(out, m, BYTES)) bench_die("send");    \
            while (shmc_bcast_recv(in, m, BYTES) < 0) { }                     \
            if (here) trip_note(l, i, start);                                 \
            sum += bench_sum(m, BYTES);                                       \
            if (!here && shmc_bcast_send(out, m, BYTES)) bench_die("send");   \
        }                                                                     \
        if (sum != bench_expected_sum(BYTES, WARM + l->messages))             \
            bench_die("wrong sum");                                           \
    }
COPY_TRIPS(16)
COPY_TRIPS(64)

static void
place_send(shmc_bcast *out, uint32_t bytes, uint64_t i)
{
    void *at;

    if (shmc_bcast_loan(out, bytes, &at) != SHMC_OK) bench_die("loan");
    ((uint64_t *)at)[0] = ((uint64_t *)at)[bytes / 8 - 1] = i;
    if (shmc_bcast_commit(out, bytes) != SHMC_OK) bench_die("commit");
}

static void
place_trips(lab *l, shmc_bcast *out, shmc_bcast *in, int here)
{
    const uint32_t bytes = l->c->bytes;
    const void *at = NULL;

    for (uint64_t i = 0; i < WARM + l->messages; i++) {
        const uint64_t start = bench_ticks();
        if (here) place_send(out, bytes, i);
        while (shmc_bcast_borrow(in, &at) < 0) { }
        const uint64_t *word = at;
        if (word[0] != i || word[bytes / 8 - 1] != i ||
            shmc_bcast_release(in) != SHMC_OK) bench_die("in place: wrong");
        if (here) trip_note(l, i, start);
        else place_send(out, bytes, i);
    }
}

static void
ring_side(bench_worker *w)
{
    lab *l = w->ctx;
    const int here = w->producer;
    shmc_bcast out, in;

    ring_open(l, &out, here, SHMC_PRODUCER);
    ring_open(l, &in, !here, SHMC_CONSUMER);
    bench_start(w);
    if (l->c->bytes == 16) copy_trips_16(l, &out, &in, here);
    else if (l->c->bytes == 64) copy_trips_64(l, &out, &in, here);
    else place_trips(l, &out, &in, here);
    shmc_bcast_close(&out);
    shmc_bcast_close(&in);
}

static void
line_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { line_side, line_side, 1, 1, l, 0, 0, 0 };

    (void)bench_group_run(&g);
    bench_latency(r, l->samples, 2);
}

/* arg: max_publishers.                                                    */
static void
ring_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { ring_side, ring_side, 1, 1, l, 0, 0, 0 };
    const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = r->c->bytes,
        .max_publishers = *(const uint32_t *)r->c->arg,
        .arena_bytes = r->c->bytes > SMALL ? 16 << 20 : 0 };

    for (int i = 0; i < 2; i++) ring_format(l, i, &d);
    (void)bench_group_run(&g);
    bench_latency(r, l->samples, 2);
}

/* ---- publish ----------------------------------------------------------- */

typedef struct publish_way {
    uint32_t publishers, one;       /* one: with one subscriber             */
    uint32_t burst;                 /* messages in a row; 0: nobody reads   */
} publish_way;

static void
publish_read(bench_worker *w)
{
    lab *l = w->ctx;
    const publish_way *way = l->c->arg;
    uint64_t m[2];
    shmc_bcast in;

    bench_pin(1);
    ring_open(l, &in, 0, SHMC_CONSUMER);
    bench_start(w);
    for (uint64_t i = 0; way->burst != 0 && i < w->messages; ) {
        if (shmc_bcast_recv(&in, m, sizeof m) < 0) {
            shmi_yield();
            continue;
        }
        w->sum += bench_sum(m, sizeof m);
        shmi_store_rel_64(&l->got[w->index].value, ++i);
    }
    while (way->burst == 0 && shmi_load_acq_64(&l->go[0].value) == 0)
        shmi_sleep_until(shmi_now_ns() + 1000000);
    if (shmc_bcast_lost(&in) != 0) bench_die("lost some");
    shmc_bcast_close(&in);
}

/* What a pair of bench_ticks takes, which is no part of a message.        */
static uint64_t
ticks_of_nothing(void)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 1000; i++) {
        const uint64_t start = bench_ticks(), t = bench_ticks() - start;
        if (t < least) least = t;
    }
    return least;
}

static void
publish_write(bench_worker *w)
{
    lab *l = w->ctx;
    const publish_way *way = l->c->arg;
    const uint64_t burst = way->burst ? way->burst : BURST;
    const uint64_t pace = (uint64_t)(PACE_NS / bench_tick_ns());
    const uint64_t nothing = ticks_of_nothing();
    uint64_t m[2], ticks = 0;
    shmc_bcast out;

    bench_pin(0);
    ring_open(l, &out, 0, SHMC_PRODUCER);
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; ) {
        const uint64_t start = bench_ticks(), n = i + burst;
        for (; i < n && i < w->messages; i++) {
            bench_fill(m, sizeof m, i);
            if (shmc_bcast_send(&out, m, sizeof m)) bench_die("send");
        }
        ticks += bench_ticks() - start - nothing;
        /* In time for who polls rarely: nobody falls half a lap behind.   */
        const uint64_t late = burst > 1 ? i : i < SLOTS / 2 ? 0 : i - SLOTS / 2;
        for (int k = 0; way->burst != 0 && k < w->consumers; k++)
            await(&l->got[k].value, late);
        while (burst == 1 && bench_ticks() - start < pace) { }
    }
    l->ns[0] = (double)ticks * bench_tick_ns();
    shmi_store_rel_64(&l->go[0].value, 1);
    shmc_bcast_close(&out);
}

static void
publish_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const publish_way *way = r->c->arg;
    const bench_group g = { publish_write, publish_read, 1,
        way->one ? 1 : r->c->consumers, l, way->burst ? 16 : 0, r->messages, 1 };
    const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = 16,
                                .max_publishers = way->publishers };

    ring_format(l, 0, &d);
    (void)bench_group_run(&g);
    bench_report(r, "ns", l->ns[0] / (double)r->messages);
}

/* ---- stream ------------------------------------------------------------ */

#define STREAM_OF(RING, BYTES, PUT, GET)                                      \
    static void RING##_put_##BYTES(bench_worker *w, RING *q)                  \
    {                                                                         \
        uint64_t m[BYTES / 8];                                                \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            bench_fill(m, BYTES, w->first + i);                               \
            while (PUT(q, m, BYTES) != SHMC_OK) bench_idle(w);                \
        }                                                                     \
    }                                                                         \
    static void RING##_get_##BYTES(bench_worker *w, RING *q)                  \
    {                                                                         \
        uint64_t m[BYTES / 8] = { 0 };                                        \
        for (uint64_t i = 0; i < w->messages; i++) {                          \
            while (GET(q, m, BYTES) < 0) bench_idle(w);                       \
            w->sum += bench_sum(m, BYTES);                                    \
        }                                                                     \
    }
#define STREAMS(BYTES)                                                        \
    STREAM_OF(shmc_bcast, BYTES, shmc_bcast_send, shmc_bcast_recv)            \
    STREAM_OF(shmc_spsc, BYTES, shmc_spsc_push, shmc_spsc_pop)
STREAMS(8)
STREAMS(16)
STREAMS(32)
STREAMS(64)
STREAMS(96)
STREAMS(256)
STREAMS(1024)
STREAMS(4096)

static const struct {
    uint32_t bytes;
    void (*put)(bench_worker *, shmc_bcast *), (*get)(bench_worker *, shmc_bcast *);
    void (*push)(bench_worker *, shmc_spsc *), (*pop)(bench_worker *, shmc_spsc *);
} stream[] = {
#define ROW(BYTES) { BYTES, shmc_bcast_put_##BYTES, shmc_bcast_get_##BYTES,   \
                     shmc_spsc_put_##BYTES, shmc_spsc_get_##BYTES }
    ROW(8), ROW(16), ROW(32), ROW(64), ROW(96), ROW(256), ROW(1024),
    ROW(4096)
};

static void
stream_side(bench_worker *w)
{
    lab *l = w->ctx;
    const uint32_t role = w->producer ? SHMC_PRODUCER : SHMC_CONSUMER;
    shmc_bcast h;
    shmc_spsc q;
    size_t k = 0;

    while (stream[k].bytes != l->c->bytes) k++;
    if (l->c->arg != NULL) {
        ring_open(l, &h, 0, role);
        bench_start(w);
        (w->producer ? stream[k].put : stream[k].get)(w, &h);
        shmc_bcast_close(&h);
        return;
    }
    if (shmc_spsc_map(&q, l->ring[0], RING_BYTES, role)) bench_die("map");
    bench_start(w);
    (w->producer ? stream[k].push : stream[k].pop)(w, &q);
    shmc_spsc_close(&q);
}

/* arg: max_publishers; NULL: shmc_spsc.                                   */
static void
stream_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { stream_side, stream_side, 1, 1, l, r->c->bytes,
                            r->messages, 0 };
    const shmc_spsc_desc q = { .slot_bytes = r->c->bytes, .slot_count = SLOTS };

    if (r->c->arg != NULL) {
        const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = r->c->bytes,
            .mode = SHMC_RELIABLE,
            .max_publishers = *(const uint32_t *)r->c->arg };
        ring_format(l, 0, &d);
    } else if (shmc_spsc_format(l->ring[0], RING_BYTES, &q) != SHMC_OK) {
        bench_die(shmc_last_error());
    }
    bench_rate(r, r->messages, bench_group_run(&g));
}

/* ---- copy_hot, copy_cold ----------------------------------------------- */

typedef struct copy_way { uint32_t ring, cold; } copy_way;

typedef struct copier {
    lab *l;
    const copy_way *way;
    uint32_t bytes;
    uint8_t *buf;
    shmc_bcast out, in;
    uint64_t sent, got;             /* ticks                                */
} copier;

/* Where the reference puts message i: as far apart as the arena does.     */
static uint8_t *
plain_slot(const copier *c, uint64_t i)
{
    return c->l->ring[0] + i % COPY_SLOTS * shmi_bcast_record_span(c->bytes) +
           SHMI_RECORD_BYTES;
}

static void
copy_send(copier *c, uint64_t i)
{
    bench_fill(c->buf, c->bytes, i);
    const uint64_t start = bench_ticks();
    if (!c->way->ring)
        memcpy(plain_slot(c, i), c->buf, c->bytes);
    else if (shmc_bcast_send(&c->out, c->buf, c->bytes) != SHMC_OK)
        bench_die("send");
    shmi_fence_compiler();
    c->sent += bench_ticks() - start;
}

static void
copy_recv(copier *c, uint64_t i)
{
    const uint64_t start = bench_ticks();
    if (!c->way->ring)
        memcpy(c->buf, plain_slot(c, i), c->bytes);
    else if (shmc_bcast_recv(&c->in, c->buf, c->bytes) < 0)
        bench_die("recv");
    shmi_fence_compiler();
    c->got += bench_ticks() - start;
    if (bench_sum(c->buf, c->bytes) !=
        bench_expected_sum(c->bytes, i + 1) - bench_expected_sum(c->bytes, i))
        bench_die("wrong sum");
}

static void
copy_begin(copier *c, lab *l, bool sends, bool recvs)
{
    memset(c, 0, sizeof *c);
    c->l = l;
    c->way = l->c->arg;
    c->bytes = l->c->bytes;
    c->buf = bench_shared(c->bytes);
    if (c->way->ring && sends) ring_open(l, &c->out, 0, SHMC_PRODUCER);
    if (c->way->ring && recvs) ring_open(l, &c->in, 0, SHMC_CONSUMER);
    (void)shmi_map_advise(l->ring[0], RING_BYTES, false, SHMI_MAP_PREFAULT);
}

static void
copy_end(copier *c, bool sends, bool recvs)
{
    if (sends) c->l->ns[0] = (double)c->sent * bench_tick_ns();
    if (recvs) c->l->ns[1] = (double)c->got * bench_tick_ns();
}

/* Message i is sent, read, and only then comes the next.  The first few are
 * not counted.                                                            */
static void
copy_side(bench_worker *w)
{
    lab *l = w->ctx;
    const bool sends = w->producer, recvs = !((const copy_way *)l->c->arg)->cold
                                            || !w->producer;
    copier c;

    if (!sends && !((const copy_way *)l->c->arg)->cold) {
        bench_start(w);             /* one process does both                */
        return;
    }
    copy_begin(&c, l, sends, recvs);
    bench_start(w);
    for (uint64_t i = 0; i < l->messages + 2 * COPY_SLOTS; i++) {
        if (i == 2 * COPY_SLOTS) c.sent = c.got = 0;
        if (sends) copy_send(&c, i);
        if (sends) shmi_store_rel_64(&l->go[0].value, i + 1);
        else await(&l->go[0].value, i + 1);
        if (recvs) copy_recv(&c, i);
        if (recvs) shmi_store_rel_64(&l->go[1].value, i + 1);
        else await(&l->go[1].value, i + 1);
    }
    copy_end(&c, sends, recvs);
}

static void
copy_round(bench_round *r)
{
    lab *l = lab_begin(r);
    const bench_group g = { copy_side, copy_side, 1, 1, l, 0, 0, 0 };
    const shmc_bcast_desc d = { .slot_count = SLOTS, .max_bytes = r->c->bytes,
        .max_publishers = 1, .arena_bytes = shmi_round_up(COPY_SLOTS *
            shmi_bcast_record_span(r->c->bytes), SHMC_LINE) };
    const double bytes = (double)r->c->bytes;

    if (l->messages > 4000) l->messages = 4000;
    ring_format(l, 0, &d);
    (void)bench_group_run(&g);
    bench_report(r, "in_GB/s", bytes * (double)l->messages / l->ns[0]);
    bench_report(r, "out_GB/s", bytes * (double)l->messages / l->ns[1]);
}

/* ---- the run ----------------------------------------------------------- */

static const uint32_t none = 0, one = 1, many = 16;
static const publish_way attached = { 1, 0, 0 }, one_attached = { 1, 1, 0 },
    paced = { 1, 0, 1 }, one_paced = { 1, 1, 1 }, burst = { 1, 0, BURST },
    one_burst = { 1, 1, BURST }, paced_16 = { 16, 0, 1 },
    one_paced_16 = { 16, 1, 1 }, burst_16 = { 16, 0, BURST },
    one_burst_16 = { 16, 1, BURST };
static const copy_way ring_hot = { 1, 0 }, plain_hot = { 0, 0 },
    ring_cold = { 1, 1 }, plain_cold = { 0, 1 };

#define LATENCY(BYTES)                                                        \
    { "latency", "bcast_1pub", BYTES, ring_round, &one, .ours = 1,            \
      .slower = TRIPS },                                                      \
    { "latency", "bcast_16pub", BYTES, ring_round, &many, .ours = 1,          \
      .slower = TRIPS },                                                      \
    { "latency", "bare_line", BYTES, line_round, &none, .slower = TRIPS },    \
    { "latency", "bare_walk", BYTES, line_round, &one, .slower = TRIPS }
#define IN_PLACE(BYTES)                                                       \
    { "in_place", "bcast_1pub", BYTES, ring_round, &one, .ours = 1,           \
      .slower = TRIPS },                                                      \
    { "in_place", "bare_line", BYTES, line_round, &none, .slower = TRIPS }
#define PUBLISH(HOW, RING, N)                                                 \
    { #HOW, RING, 16, publish_round, &HOW, .consumers = N, .ours = 1,         \
      .slower = SENDS },                                                      \
    { #HOW, "one_reader", 16, publish_round, &one_##HOW, .consumers = N,      \
      .slower = SENDS }
#define PUBLISHES(N)                                                          \
    PUBLISH(attached, "bcast_1pub", N), PUBLISH(paced, "bcast_1pub", N),      \
    PUBLISH(burst, "bcast_1pub", N), PUBLISH(paced_16, "bcast_16pub", N),     \
    PUBLISH(burst_16, "bcast_16pub", N)
#define STREAM(BYTES)                                                         \
    { "stream", "bcast_1pub", BYTES, stream_round, &one, .ours = 1 },         \
    { "stream", "bcast_16pub", BYTES, stream_round, &many, .ours = 1 },       \
    { "stream", "shmc_spsc", BYTES, stream_round, .arg = NULL }
#define COPY(BYTES)                                                           \
    { "copy_hot", "bcast", BYTES, copy_round, &ring_hot, .ours = 1 },         \
    { "copy_hot", "memcpy", BYTES, copy_round, .arg = &plain_hot },                  \
    { "copy_cold", "bcast", BYTES, copy_round, &ring_cold, .ours = 1 },       \
    { "copy_cold", "memcpy", BYTES, copy_round, .arg = &plain_cold }

enum { TRIPS = 200, SENDS = 50 };   /* fewer messages: see bench_case.slower */

static const bench_case table[] = {
    LATENCY(16), LATENCY(64),
    IN_PLACE(256), IN_PLACE(4096), IN_PLACE(65536), IN_PLACE(1 << 20),
    IN_PLACE(LARGE),
    PUBLISHES(1), PUBLISHES(8), PUBLISHES(64),
    STREAM(8), STREAM(16), STREAM(32), STREAM(64), STREAM(96),
    STREAM(256), STREAM(1024), STREAM(4096),
    COPY(256), COPY(1024), COPY(4096), COPY(16384), COPY(65536), COPY(1 << 18),
    COPY(1 << 20), COPY(LARGE),
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 1000000,
                     .budget_bytes = UINT64_C(128) << 20 };

    bench_begin(&a, argc, argv);
    the_lab = bench_shared(sizeof *the_lab);
    for (int i = 0; i < 2; i++) the_lab->ring[i] = bench_shared(RING_BYTES);
    the_lab->samples = bench_samples_new(100000);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
