/* limit_bench.c - what the machine itself can do, which no ring goes beyond.
 *
 *   hand_over  half of a round trip of a word between two cores: each way on
 *              a line of its own, both on one line, and looking with a pause
 *   stream     messages that fill one line after the other of 64 KiB, each
 *              with its own sign of being there; the reader reports each
 *              quarter.  `stream_burst` looks again after 64 pauses, not one
 *   memcpy     copies of one size: hot, over and over; cold, from and to memory
 *              in no cache; fresh, of bytes that the other core has just
 *              written to memory shared with it
 *   futex      round trip of two processes that sleep for each message
 *
 * usage: limit_bench --help
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "bench.h"

#include <stdalign.h>
#include <stdatomic.h>

enum {
    STREAM_BYTES = 64 << 10,
    COPY_BYTES = 64 << 20,          /* in a round of one size               */
    COLD_BYTES = 256 << 20,         /* more than the caches hold            */
    FRESH_BYTES = 128 << 10         /* written at once, or one copy's       */
};

typedef struct word { alignas(SHMC_LINE) _Atomic uint64_t value; } word;
typedef struct futex { alignas(SHMC_LINE) uint32_t value; } futex;

typedef struct shared {
    word there, back;
    futex futex_there, futex_back;
    uint64_t ticks, copied;         /* out of the memcpy rounds             */
    unsigned pauses;                /* between two looks in hand_over       */
    int one_line;
    uint64_t copies;
    unsigned bytes;
    char *fresh;                    /* shared: the other core's             */
    bench_samples *samples;
    alignas(SHMC_LINE) _Atomic uint64_t stream[STREAM_BYTES / 8];
} shared;

static shared *the;
static char *cold;                  /* this program's own: from, to         */

static void
sample(bench_worker *w, uint64_t i, uint64_t start)
{
    const uint64_t ticks = bench_ticks() - start;

    if (i >= w->messages / 10) bench_sample(the->samples, ticks);
}

/* ---- hand_over --------------------------------------------------------- */

static inline void
look_until(word *from, uint64_t value, unsigned pauses)
{
    while (atomic_load_explicit(&from->value, memory_order_acquire) != value)
        for (unsigned i = 0; i < pauses; i++) shmi_relax();
}

/* One line: odd numbers go there, even ones come back.                    */
static void
ping(bench_worker *w)
{
    word *const out = &the->there, *const in = the->one_line ? out : &the->back;
    const unsigned pauses = the->pauses;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        atomic_store_explicit(&out->value, 2 * i + 1, memory_order_release);
        look_until(in, 2 * i + 2, pauses);
        sample(w, i, start);
    }
}

static void
pong(bench_worker *w)
{
    word *const in = &the->there, *const out = the->one_line ? in : &the->back;
    const unsigned pauses = the->pauses;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        look_until(in, 2 * i + 1, pauses);
        atomic_store_explicit(&out->value, 2 * i + 2, memory_order_release);
    }
}

static void
hand_over(bench_round *r, int one_line, unsigned pauses)
{
    const bench_group g = { ping, pong, 1, 1, NULL, 0, r->messages, 0 };

    the->there.value = the->back.value = 0;
    the->one_line = one_line;
    the->pauses = pauses;
    (void)bench_group_run(&g);
    bench_latency(r, the->samples, 2);
}

static void two_lines(bench_round *r) { hand_over(r, 0, 0); }
static void one_line(bench_round *r) { hand_over(r, 1, 0); }
static void two_lines_pause(bench_round *r) { hand_over(r, 0, 1); }
static void one_line_pause(bench_round *r) { hand_over(r, 1, 1); }

/* ---- stream ------------------------------------------------------------ */

/* A message is a word of 8 bytes, or a line of them; its first word is its
 * number plus one, which no message of the lap before has, and is written
 * last.  `stride` is in words.                                            */
static inline void
stream_send(bench_worker *w, unsigned words, unsigned stride)
{
    const uint64_t slots = STREAM_BYTES / 8 / stride;
    uint64_t room = slots;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        _Atomic uint64_t *const at = &the->stream[i % slots * stride];

        while (i == room) {
            room = atomic_load_explicit(&the->back.value,
                                        memory_order_acquire) + slots;
            if (i == room) bench_idle(w);
        }
        for (unsigned k = 1; k < words; k++)
            atomic_store_explicit(&at[k], i + k, memory_order_relaxed);
        atomic_store_explicit(at, i + 1, memory_order_release);
    }
    bench_stop(w);
}

static inline void
stream_take(bench_worker *w, unsigned words, unsigned stride)
{
    const uint64_t slots = STREAM_BYTES / 8 / stride;
    uint64_t sum = 0;

    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        _Atomic uint64_t *const at = &the->stream[i % slots * stride];

        while (atomic_load_explicit(at, memory_order_acquire) != i + 1)
            bench_idle(w);
        sum += i;
        for (unsigned k = 1; k < words; k++)
            sum += atomic_load_explicit(&at[k], memory_order_relaxed);
        if ((i + 1) % (slots / 4) == 0)
            atomic_store_explicit(&the->back.value, i + 1,
                                  memory_order_release);
    }
    bench_stop(w);
    w->sum = sum;
}

static void send_words(bench_worker *w) { stream_send(w, 1, 1); }
static void take_words(bench_worker *w) { stream_take(w, 1, 1); }
static void send_lines(bench_worker *w) { stream_send(w, 8, 8); }
static void take_lines(bench_worker *w) { stream_take(w, 8, 8); }
static void send_apart(bench_worker *w) { stream_send(w, 8, 16); }
static void take_apart(bench_worker *w) { stream_take(w, 8, 16); }

static void
stream(bench_round *r, void (*send)(bench_worker *),
       void (*take)(bench_worker *))
{
    const bench_group g = { send, take, 1, 1, NULL, r->c->bytes, r->messages,
                            0 };

    memset((void *)the->stream, 0, sizeof the->stream);
    the->back.value = 0;
    bench_rate(r, r->messages, bench_group_run(&g));
}

static void words(bench_round *r) { stream(r, send_words, take_words); }
static void lines(bench_round *r) { stream(r, send_lines, take_lines); }
static void lines_apart(bench_round *r) { stream(r, send_apart, take_apart); }

/* ---- memcpy ------------------------------------------------------------ */

/* Copy `count` times, each time `step` bytes further on.  Not inlined, with
 * sizes that the compiler does not know.                                  */
static __attribute__((noinline)) uint64_t
copies(char *to, const char *from, size_t bytes, size_t step, uint64_t count)
{
    const uint64_t start = bench_ticks();

    for (uint64_t i = 0; i < count; i++) {
        memcpy(to + i * step, from + i * step, bytes);
        shmi_fence_compiler();
    }
    return bench_ticks() - start;
}

static void
copy_report(bench_round *r, uint64_t ticks, uint64_t count)
{
    const double ns = (double)ticks * bench_tick_ns() / (double)count;

    bench_report(r, "ns", ns);
    bench_report(r, "GB/s", r->c->bytes / ns);
}

static void
hot(bench_round *r)
{
    const uint64_t count = r->messages;

    bench_pin(0);
    copies(cold, cold + COLD_BYTES / 2, r->c->bytes, 0, 2);
    copy_report(r, copies(cold, cold + COLD_BYTES / 2, r->c->bytes, 0, count),
                count);
}

/* The copies before have been further on in the same memory, which is larger
 * than the caches; each starts on a line.                                 */
static void
in_no_cache(bench_round *r)
{
    static size_t at;
    const size_t step = (r->c->bytes + 127) / 128 * 128, half = COLD_BYTES / 2;
    uint64_t count = r->messages;

    if (count > half / step) count = half / step;
    if (count > COPY_BYTES / step) count = COPY_BYTES / step;
    bench_pin(0);
    if (at + count * step > half) at = 0;
    copy_report(r, copies(cold + at, cold + half + at, r->c->bytes, step, count),
                count);
    at += count * step;
}

static void
fresh_write(bench_worker *w)
{
    const unsigned bytes = the->bytes > FRESH_BYTES ? the->bytes : FRESH_BYTES;

    bench_start(w);
    for (uint64_t i = 0; i < the->copies; i++) {
        memset(the->fresh, (int)(i + 1) & 0xff, bytes);
        atomic_store_explicit(&the->there.value, i + 1, memory_order_release);
        look_until(&the->back, i + 1, 1);
    }
}

static void
fresh_read(bench_worker *w)
{
    const size_t bytes = the->bytes;
    const uint64_t count = bytes < FRESH_BYTES ? FRESH_BYTES / bytes : 1;

    bench_start(w);
    for (uint64_t i = 0; i < the->copies; i++) {
        look_until(&the->there, i + 1, 1);
        the->ticks += copies(cold, the->fresh, bytes, bytes, count);
        the->copied += count;
        for (uint64_t k = 0; k < count; k++)
            if (cold[k * bytes] != (char)((i + 1) & 0xff))
                bench_die("fresh: not what the other core wrote");
        atomic_store_explicit(&the->back.value, i + 1, memory_order_release);
    }
}

static void
fresh(bench_round *r)
{
    const bench_group g = { fresh_write, fresh_read, 1, 1, NULL, 0, 1, 0 };
    const uint64_t at_once = r->c->bytes < FRESH_BYTES ?
                             FRESH_BYTES / r->c->bytes : 1;

    the->bytes = r->c->bytes;
    the->copies = r->messages / at_once + 1;
    the->ticks = the->copied = 0;
    the->there.value = the->back.value = 0;
    (void)bench_group_run(&g);
    copy_report(r, the->ticks, the->copied);
}

/* ---- futex ------------------------------------------------------------- */

static void
futex_give(futex *f, uint32_t value)
{
    shmi_store_rel_32(&f->value, value);
    shmi_wake_32(&f->value, 1);
}

static void
futex_take(futex *f, uint32_t value)
{
    while (shmi_load_acq_32(&f->value) != value)
        (void)shmi_wait_32(&f->value, value - 1, SHMI_FOREVER);
}

static void
futex_ping(bench_worker *w)
{
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        const uint64_t start = bench_ticks();
        futex_give(&the->futex_there, (uint32_t)i + 1);
        futex_take(&the->futex_back, (uint32_t)i + 1);
        sample(w, i, start);
    }
}

static void
futex_pong(bench_worker *w)
{
    bench_start(w);
    for (uint64_t i = 0; i < w->messages; i++) {
        futex_take(&the->futex_there, (uint32_t)i + 1);
        futex_give(&the->futex_back, (uint32_t)i + 1);
    }
}

static void
futex_trip(bench_round *r)
{
    const bench_group g = { futex_ping, futex_pong, 1, 1, NULL, 0, r->messages,
                            0 };

    the->futex_there.value = the->futex_back.value = 0;
    (void)bench_group_run(&g);
    bench_latency(r, the->samples, 1);
}

/* ---- the run ----------------------------------------------------------- */

#define CASE(what, who, size, fn, ...)                                        \
    { .work = what, .subject = who, .bytes = size, .round = fn, __VA_ARGS__ }
#define COPIES(size)                                                          \
    CASE("memcpy", "hot", size, hot, .slower = 1),                            \
    CASE("memcpy", "cold", size, in_no_cache, .slower = 1),                   \
    CASE("memcpy", "fresh", size, fresh, .slower = 1)

static const bench_case table[] = {
    CASE("hand_over", "two_lines", 8, two_lines, .slower = 40),
    CASE("hand_over", "one_line", 8, one_line, .slower = 40),
    CASE("hand_over", "two_lines_pause", 8, two_lines_pause, .slower = 40),
    CASE("hand_over", "one_line_pause", 8, one_line_pause, .slower = 40),
    CASE("stream", "words", 8, words, .pauses = 1),
    CASE("stream", "lines", 64, lines, .pauses = 1),
    CASE("stream", "lines_apart", 64, lines_apart, .pauses = 1),
    CASE("stream_burst", "words", 8, words, .pauses = 64),
    CASE("stream_burst", "lines", 64, lines, .pauses = 64),
    CASE("stream_burst", "lines_apart", 64, lines_apart, .pauses = 64),
    CASE("futex", "round_trip", 4, futex_trip, .slower = 1000),
    COPIES(8), COPIES(64), COPIES(256), COPIES(1024), COPIES(4096),
    COPIES(16384), COPIES(65536), COPIES(262144), COPIES(1048576),
    COPIES(4194304)
};

int
main(int argc, char **argv)
{
    bench_args a = { .rounds = 15, .messages = 4000000,
                     .budget_bytes = COPY_BYTES };

    bench_begin(&a, argc, argv);
    the = bench_shared(sizeof *the);
    the->fresh = bench_shared(4 << 20);
    the->samples = bench_samples_new(1u << 20);
    if (!a.list) {
        cold = bench_shared(COLD_BYTES);
        memset(cold, 1, COLD_BYTES);
    }
    return bench_run(&a, table, sizeof table / sizeof table[0]);
}
