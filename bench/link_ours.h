/* link_ours.h - links of shmcomm, and the bare memory that is their limit.
 *
 *   bare_pair        memory, two lines that say how far each side is, and no
 *                    more: nothing is checked, nobody can sleep or die.  In a
 *                    trip a message has its own line that says that it is
 *                    there, with up to 120 bytes of the message in it
 *   bare_futex       the same, where each side sleeps for each message
 *   pubsub           shmc_pub_send, shmc_sub_recv: by copy
 *   pubsub_place     loan and commit, borrow and release: in place
 *   spsc, spsc_place a queue of one producer and one consumer, the same ways
 *   mpmc             a queue of many, by copy
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_OURS_H
#define SHMCOMM_BENCH_LINK_OURS_H

#include "link.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_patterns.h"

/* ---- bare -------------------------------------------------------------- */

enum { BARE_INLINE = 120, BARE_SPACE = 256 << 10 };

typedef struct bare_end {
    _Alignas(SHMC_LINE) uint64_t done;      /* W receiver                   */
    _Alignas(SHMC_LINE) uint64_t sent;      /* W sender                     */
    uint32_t bell;
} bare_end;

typedef struct bare_pair {
    bare_end *end;                  /* in front of the cells                */
    uint64_t at, room, report;
    size_t stride, skip;
    uint64_t cells;
    unsigned bytes;
    int lines;                      /* each cell tells for itself           */
} bare_pair;

static void
bare_shape(bare_pair *l, const link_way *way, int back)
{
    const size_t half = LINK_ARENA_BYTES / 2;

    l->end = (bare_end *)(void *)(way->arena + (back ? half : 0));
    l->bytes = way->bytes;
    l->lines = way->work != LINK_STREAM;
    l->skip = !l->lines ? 0 : way->bytes <= BARE_INLINE ? 8 : 64;
    l->stride = l->skip + way->bytes;
    if (l->lines) l->stride = (l->stride + SHMC_LINE - 1) & ~(size_t)(SHMC_LINE - 1);
    l->cells = 4;
    while (l->cells < 1024 && 2 * l->cells * l->stride <= BARE_SPACE) l->cells *= 2;
    l->at = 0;
    l->room = 0;
    l->report = l->cells / 4;
}

static inline uint64_t *
bare_cell(const bare_pair *l, uint64_t at)
{
    return (uint64_t *)(void *)((uint8_t *)(l->end + 1) +
                                (at & (l->cells - 1)) * l->stride);
}

static const char *
bare_make(link_way *way)
{
    bare_pair l;

    for (int back = 0; back < 2; back++) {
        bare_shape(&l, way, back);
        memset(l.end, 0, sizeof *l.end);
        for (uint64_t i = 0; i < l.cells; i++) *bare_cell(&l, i) = 0;
    }
    return NULL;
}

static void
bare_pair_open(bare_pair *l, const link_way *way, int back, int sender)
{
    (void)sender;
    bare_shape(l, way, back);
}

static inline bool
bare_pair_send(bare_pair *l, uint64_t number)
{
    uint64_t *const cell = bare_cell(l, l->at);

    if (l->at == l->room) {
        l->room = shmi_load_acq_64(&l->end->done) + l->cells;
        if (l->at == l->room) return false;
    }
    link_fill((uint8_t *)cell + l->skip, l->bytes, number);
    shmi_store_rel_64(l->lines ? cell : &l->end->sent, l->at + 1);
    l->at++;
    return true;
}

static inline bool
bare_pair_recv(bare_pair *l, link_got *got)
{
    const uint64_t *const cell = bare_cell(l, l->at);

    if (l->lines && shmi_load_acq_64(cell) != l->at + 1) return false;
    if (!l->lines && l->at == l->room) {
        l->room = shmi_load_acq_64(&l->end->sent);
        if (l->at == l->room) return false;
    }
    link_look(got, (const uint8_t *)cell + l->skip, l->bytes);
    if (++l->at % l->report == 0) shmi_store_rel_64(&l->end->done, l->at);
    return true;
}

LINK_ONE(bare_pair)

/* One message at a time: a trip is all that it is for.                    */
typedef struct bare_futex { bare_pair pair; } bare_futex;

static void
bare_futex_open(bare_futex *l, const link_way *way, int back, int sender)
{
    (void)sender;
    bare_shape(&l->pair, way, back);
}

static inline bool
bare_futex_send(bare_futex *l, uint64_t number)
{
    if (!bare_pair_send(&l->pair, number)) return false;
    shmi_store_rel_32(&l->pair.end->bell, (uint32_t)l->pair.at);
    shmi_wake_32(&l->pair.end->bell, 1);
    return true;
}

static inline bool
bare_futex_recv(bare_futex *l, link_got *got)
{
    const uint32_t seen = (uint32_t)l->pair.at;

    while (shmi_load_acq_32(&l->pair.end->bell) == seen)
        shmi_wait_32(&l->pair.end->bell, seen, SHMI_FOREVER);
    return bare_pair_recv(&l->pair, got);
}

LINK_MEET(bare_futex)
LINK_TRIPS(bare_futex)

/* ---- PUB/SUB ----------------------------------------------------------- */

/* Where somebody sleeps at each message, the sender's fence costs less than
 * what the sleeper does to spare it; where seldom anybody sleeps, more.   */
static uint32_t
ours_wake(const link_way *way)
{
    return 1u << way->work & LINK_SLEEPS ? SHMC_WAKE_FENCE
                                         : SHMC_WAKE_ASYMMETRIC;
}

typedef struct pubsub {
    shmc_pub pub;
    shmc_sub sub;
    int64_t timeout_ns;
    unsigned bytes;
} pubsub;

static void
pubsub_open(pubsub *l, const link_way *way, int back, int sender)
{
    const shmc_topic_desc topic = {
        .mode = SHMC_RELIABLE, .max_bytes = way->bytes, .max_publishers = 1,
        .wake = ours_wake(way), .dir = way->dir
    };
    const shmc_sub_desc sub = { .dir = way->dir };
    char name[64];

    snprintf(name, sizeof name, "bench/%d.%llu", back,
             (unsigned long long)way->number);
    l->bytes = way->bytes;
    l->timeout_ns = way->sleep ? SHMC_FOREVER : 0;
    if ((sender ? shmc_pub_open(&l->pub, name, &topic)
                : shmc_sub_open(&l->sub, name, &sub)) < 0)
        link_die("%s", shmc_last_error());
}

/* No room, and nothing there, are no failure; all else is.                */
static inline bool
pubsub_went(int r)
{
    if (SHMI_LIKELY(r >= 0)) return true;
    if (r != SHMC_EAGAIN) link_die("%s: %s", shmc_strerror(r), shmc_last_error());
    return false;
}

static inline bool
pubsub_send(pubsub *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    return pubsub_went(shmc_pub_send(&l->pub, link_out, l->bytes,
                                     l->timeout_ns));
}

static inline bool
pubsub_recv(pubsub *l, link_got *got)
{
    if (!pubsub_went(shmc_sub_recv(&l->sub, link_in, l->bytes,
                                   l->timeout_ns))) return false;
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_MANY(pubsub)

typedef struct pubsub_place { pubsub l; } pubsub_place;

static void
pubsub_place_open(pubsub_place *p, const link_way *way, int back, int sender)
{
    pubsub_open(&p->l, way, back, sender);
}

static inline bool
pubsub_place_send(pubsub_place *p, uint64_t number)
{
    pubsub *const l = &p->l;
    void *room;

    if (!pubsub_went(shmc_pub_loan(&l->pub, l->bytes, &room, l->timeout_ns)))
        return false;
    link_fill(room, l->bytes, number);
    while (!pubsub_went(shmc_pub_commit(&l->pub, l->bytes, l->timeout_ns)))
        shmi_relax();
    return true;
}

static inline bool
pubsub_place_recv(pubsub_place *p, link_got *got)
{
    pubsub *const l = &p->l;
    const void *view;

    if (!pubsub_went(shmc_sub_borrow(&l->sub, &view, l->timeout_ns)))
        return false;
    link_look(got, view, l->bytes);
    const int r = shmc_sub_release(&l->sub);
    /* Before it has its seat the publisher does not wait for it.          */
    if (r == SHMC_ELAPPED && link_me->met == 0) return false;
    if (r != SHMC_OK) link_die("release: %s", shmc_strerror(r));
    return true;
}

LINK_MANY(pubsub_place)

/* ---- queues ------------------------------------------------------------ */

static void
queue_segment(shmc_segment *s, const link_way *way, int back, int64_t bytes)
{
    const shmc_segment_desc place = { .flags = SHMC_EPHEMERAL, .dir = way->dir,
                                      .heap_bytes = (uint64_t)bytes + 65536 };
    char name[64];

    snprintf(name, sizeof name, "bench/%d.%llu", back,
             (unsigned long long)way->number);
    if (bytes < 0 || shmc_segment_open(s, name, &place) < 0)
        link_die("%s", shmc_last_error());
}

static uint32_t
queue_slots(unsigned bytes, uint64_t space)
{
    uint32_t slots = 1024;

    while (slots > 4 && (uint64_t)slots * bytes > space) slots /= 2;
    return slots;
}

typedef struct spsc {
    shmc_segment segment;
    shmc_spsc q;
    int sleep;
    unsigned bytes;
} spsc;

static void
spsc_open(spsc *l, const link_way *way, int back, int sender)
{
    const shmc_spsc_desc desc = {
        .slot_bytes = way->bytes, .waitable = way->sleep ? 1 : 0,
        .slot_count = queue_slots(way->bytes, 1 << 20)
    };

    l->bytes = way->bytes;
    l->sleep = way->sleep;
    queue_segment(&l->segment, way, back, shmc_spsc_size_for(&desc));
    if (shmc_spsc_open(&l->q, &l->segment, "q", &desc,
                       sender ? SHMC_PRODUCER : SHMC_CONSUMER) < 0)
        link_die("%s", shmc_last_error());
}

static inline bool
spsc_send(spsc *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    const int r = shmc_spsc_push(&l->q, link_out, l->bytes);
    if (SHMI_LIKELY(r == SHMC_OK) || !l->sleep) return pubsub_went(r);
    return pubsub_went(shmc_spsc_push_wait(&l->q, link_out, l->bytes,
                                           SHMC_FOREVER));
}

static inline bool
spsc_recv(spsc *l, link_got *got)
{
    int r = shmc_spsc_pop(&l->q, link_in, l->bytes);

    if (r == SHMC_EAGAIN && l->sleep)
        r = shmc_spsc_pop_wait(&l->q, link_in, l->bytes, SHMC_FOREVER);
    if (!pubsub_went(r)) return false;
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_ONE(spsc)

/* In place; there is no waiting for a loan.                               */
typedef struct spsc_place { spsc l; } spsc_place;

static void
spsc_place_open(spsc_place *p, const link_way *way, int back, int sender)
{
    spsc_open(&p->l, way, back, sender);
}

static inline bool
spsc_place_send(spsc_place *p, uint64_t number)
{
    void *room;

    if (!pubsub_went(shmc_spsc_loan(&p->l.q, &room, 1))) return false;
    link_fill(room, p->l.bytes, number);
    return pubsub_went(shmc_spsc_commit(&p->l.q, 1));
}

static inline bool
spsc_place_recv(spsc_place *p, link_got *got)
{
    const void *view;

    if (!pubsub_went(shmc_spsc_borrow(&p->l.q, &view, 1))) return false;
    link_look(got, view, p->l.bytes);
    return pubsub_went(shmc_spsc_release(&p->l.q, 1));
}

LINK_ONE(spsc_place)

typedef struct mpmc {
    shmc_segment segment;
    shmc_mpmc q;
    int sleep;
    unsigned bytes;
} mpmc;

static void
mpmc_open(mpmc *l, const link_way *way, int back, int sender)
{
    const shmc_mpmc_desc desc = {
        .slot_bytes = way->bytes, .waitable = way->sleep ? 1 : 0,
        .slot_count = queue_slots(way->bytes, 1 << 20)
    };

    l->bytes = way->bytes;
    l->sleep = way->sleep;
    queue_segment(&l->segment, way, back, shmc_mpmc_size_for(&desc));
    if (shmc_mpmc_open(&l->q, &l->segment, "q", &desc,
                       sender ? SHMC_PRODUCER : SHMC_CONSUMER) < 0)
        link_die("%s", shmc_last_error());
}

static inline bool
mpmc_send(mpmc *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    return pubsub_went(l->sleep
        ? shmc_mpmc_push_wait(&l->q, link_out, l->bytes, SHMC_FOREVER)
        : shmc_mpmc_push(&l->q, link_out, l->bytes));
}

static inline bool
mpmc_recv(mpmc *l, link_got *got)
{
    if (!pubsub_went(l->sleep
        ? shmc_mpmc_pop_wait(&l->q, link_in, l->bytes, SHMC_FOREVER)
        : shmc_mpmc_pop(&l->q, link_in, l->bytes))) return false;
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_ONE(mpmc)

#endif /* SHMCOMM_BENCH_LINK_OURS_H */
