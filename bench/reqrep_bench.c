/* reqrep_bench.c - a request and its answer, against bare memory.
 *
 *   round_trip  from before the request is sent until its answer is received,
 *               both sides awake.  `bare_pair` copies the bytes into memory and
 *               puts a sign on a line of its own, each way: two hand-overs of a
 *               line, and the bytes.  `shmc_req` tries without waiting, and so
 *               does its server; `shmc_call` is shmc_req_call, which spins with
 *               a pause of the CPU between two looks
 *   in_place    the same, where both sides write and read every word where it
 *               lies
 *
 * usage: reqrep_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"
#include "bench.h"

#include <stdalign.h>
#include <stdatomic.h>

enum { MAX_BYTES = 1 << 20 };

typedef struct bare_side {
    alignas(SHMC_LINE) _Atomic uint64_t sign;
    alignas(SHMC_LINE) uint8_t data[MAX_BYTES];
} bare_side;

typedef struct shared {
    bare_side there, back;
    bench_samples *samples;
} shared;

static shared *the;
static unsigned bytes;              /* of the round's messages              */

static void
sample(const bench_worker *w, uint64_t i, uint64_t start)
{
    const uint64_t ticks = bench_ticks() - start;

    if (i >= w->messages / 10) bench_sample(the->samples, ticks);
}

static void
must(int r)
{
    if (r < 0) bench_die(shmc_error_name(r));
}

/* ---- bare memory -------------------------------------------------------- */

static void
bare_wait(bare_side *from, uint64_t sign)
{
    while (atomic_load_explicit(&from->sign, memory_order_acquire) != sign)
        shmi_fence_compiler();
}

static void
bare_send(bare_side *to, const void *message, uint64_t sign)
{
    memcpy(to->data, message, bytes);
    atomic_store_explicit(&to->sign, sign, memory_order_release);
}

static void
bare_ask(bench_worker *w)
{
    static uint64_t out[MAX_BYTES / 8], in[MAX_BYTES / 8];

    memset(out, 1, bytes);
    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        const uint64_t start = bench_ticks();
        bare_send(&the->there, out, i);
        bare_wait(&the->back, i);
        memcpy(in, the->back.data, bytes);
        sample(w, i, start);
    }
}

static void
bare_answer(bench_worker *w)
{
    static uint64_t in[MAX_BYTES / 8];

    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        bare_wait(&the->there, i);
        memcpy(in, the->there.data, bytes);
        bare_send(&the->back, in, i);
    }
}

static void
bare_ask_in_place(bench_worker *w)
{
    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        const uint64_t start = bench_ticks();
        bench_fill(the->there.data, bytes, i);
        atomic_store_explicit(&the->there.sign, i, memory_order_release);
        bare_wait(&the->back, i);
        w->sum += bench_sum(the->back.data, bytes);
        sample(w, i, start);
    }
}

static void
bare_answer_in_place(bench_worker *w)
{
    bench_start(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        bare_wait(&the->there, i);
        w->sum += bench_sum(the->there.data, bytes);
        bench_fill(the->back.data, bytes, i);
        atomic_store_explicit(&the->back.sign, i, memory_order_release);
    }
}

/* ---- sockets ------------------------------------------------------------- */

static char service[64];            /* this program's                       */
static shmc_rep rep;
static shmc_req req;

static void
open_server(bench_worker *w)
{
    const shmc_rep_desc d = { .max_bytes = MAX_BYTES, .max_clients = 1,
                              .max_outstanding = 2, .max_servers = 1 };

    must(shmc_rep_open(&rep, service, &d));
    bench_start(w);
}

static void
open_client(bench_worker *w)
{
    must(shmc_req_open(&req, service, NULL));
    bench_start(w);
    while (shmc_req_served(&req) == 0) shmi_yield();
}

static void
ask(bench_worker *w)
{
    static uint64_t out[MAX_BYTES / 8], in[MAX_BYTES / 8];
    int r;

    memset(out, 1, bytes);
    open_client(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        const int call = shmc_req_send(&req, out, bytes, SHMC_FOREVER);
        must(call);
        do r = shmc_req_recv(&req, call, in, sizeof in, 0);
        while (r == SHMC_EAGAIN);
        sample(w, i, start);
        if (r != (int)bytes) bench_die(shmc_error_name(r));
    }
    must(shmc_req_close(&req));
}

static void
call(bench_worker *w)
{
    static uint64_t out[MAX_BYTES / 8], in[MAX_BYTES / 8];

    memset(out, 1, bytes);
    open_client(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        const int r = shmc_req_call(&req, out, bytes, in, sizeof in,
                                    SHMC_FOREVER);
        sample(w, i, start);
        if (r != (int)bytes) bench_die(shmc_error_name(r));
    }
    must(shmc_req_close(&req));
}

static void
answer(bench_worker *w)
{
    static uint64_t in[MAX_BYTES / 8];
    int r;

    open_server(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        do r = shmc_rep_recv(&rep, in, sizeof in, 0);
        while (r == SHMC_EAGAIN);
        must(r);
        must(shmc_rep_send(&rep, in, (uint32_t)r, SHMC_FOREVER));
    }
    must(shmc_rep_close(&rep));
}

static void
ask_in_place(bench_worker *w)
{
    const void *view;
    void *room;
    int r;

    open_client(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        const uint64_t start = bench_ticks();
        must(shmc_req_loan(&req, bytes, &room, SHMC_FOREVER));
        bench_fill(room, bytes, i);
        const int number = shmc_req_commit(&req, bytes, SHMC_FOREVER);
        must(number);
        do r = shmc_req_borrow(&req, number, &view, 0);
        while (r == SHMC_EAGAIN);
        must(r);
        w->sum += bench_sum(view, (unsigned)r);
        must(shmc_req_release(&req));
        sample(w, i, start);
    }
    must(shmc_req_close(&req));
}

static void
answer_in_place(bench_worker *w)
{
    const void *view;
    void *room;
    int r;

    open_server(w);
    for (uint64_t i = 1; i <= w->messages; i++) {
        do r = shmc_rep_borrow(&rep, &view, 0);
        while (r == SHMC_EAGAIN);
        must(r);
        w->sum += bench_sum(view, (unsigned)r);
        must(shmc_rep_loan(&rep, bytes, &room, SHMC_FOREVER));
        bench_fill(room, bytes, i);
        must(shmc_rep_commit(&rep, bytes));
    }
    must(shmc_rep_close(&rep));
}

/* ---- the run ------------------------------------------------------------- */

typedef struct subject {
    void (*ask)(bench_worker *w), (*answer)(bench_worker *w);
} subject;

static void
trip(bench_round *r)
{
    const subject *s = r->c->arg;
    const bench_group g = { s->ask, s->answer, 1, 1, NULL, 0, r->messages, 0 };

    bytes = r->c->bytes;
    the->there.sign = the->back.sign = 0;
    (void)bench_group_run(&g);
    bench_latency(r, the->samples, 1);
}

static const subject bare = { bare_ask, bare_answer };
static const subject bare_in_place = { bare_ask_in_place, bare_answer_in_place };
static const subject sockets = { ask, answer };
static const subject waiting = { call, answer };
static const subject in_place = { ask_in_place, answer_in_place };

#define CASE(what, who, size, how, own, less)                                 \
    { .work = what, .subject = who, .bytes = size, .round = trip,             \
      .arg = &how, .ours = own, .slower = less }
#define TRIP(size, less)                                                      \
    CASE("round_trip", "shmc_req", size, sockets, 1, less),                   \
    CASE("round_trip", "shmc_call", size, waiting, 1, less),                  \
    CASE("round_trip", "bare_pair", size, bare, 0, less)

static const bench_case table[] = {
    TRIP(8, 40), TRIP(64, 40), TRIP(1024, 60), TRIP(65536, 4000),
    CASE("in_place", "shmc_req", 1024, in_place, 1, 60),
    CASE("in_place", "bare_pair", 1024, bare_in_place, 0, 60),
    CASE("in_place", "shmc_req", MAX_BYTES, in_place, 1, 40000),
    CASE("in_place", "bare_pair", MAX_BYTES, bare_in_place, 0, 40000),
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 9, .messages = 4000000 };

    bench_begin(&a, argc, argv);
    snprintf(service, sizeof service, "bench%d/reqrep", (int)getpid());
    the = bench_shared(sizeof *the);
    the->samples = bench_samples_new(1u << 20);
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
