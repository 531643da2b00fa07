/* ports.h - the ends of all patterns behind one set of calls, and the two
 * roles that use them: sender and receiver.
 * SPDX-License-Identifier: MIT                                            */
#ifndef CHAOS_PORTS_H
#define CHAOS_PORTS_H

#include "board.h"

/* ---- ports ------------------------------------------------------------- */

typedef struct port {
    flow what;
    bool conflates, borrowed;
    bool lends;                     /* receive in place only                */
    uint32_t again;                 /* how often it was handed out before   */
    shmc_segment segment;           /* of a raw ring                        */
    union {
        shmc_pub pub;
        shmc_sub sub;
        shmc_push push;
        shmc_pull pull;
        shmc_bcast bcast;
        shmc_spsc spsc;
        shmc_recq recq;
        shmc_mpmc mpmc;
        shmc_latest latest;
    } u;
} port;

static uint64_t buffer[MAX_BYTES / 8 + 1], made[MAX_BYTES / 8 + 1];

static bool
is_topic(flow f) { return f <= RELIABLE; }

static const char *
name_of(flow f)
{
    static char text[64];

    snprintf(text, sizeof text, "soak/%s", flows[f].name);
    return text;
}

static int
open_ring(port *p, flow f, uint32_t role)
{
    const shmc_segment_desc place = { .heap_bytes = 4 << 20 };
    const shmc_bcast_desc bcast = { .slot_count = 256, .max_bytes = 4096,
                                    .max_publishers = 6, .waitable = 1 };
    const shmc_spsc_desc spsc = { .slot_bytes = 64, .slot_count = 1024,
                                  .waitable = 1 };
    const shmc_recq_desc recq = { .capacity_bytes = 1 << 17, .waitable = 1 };
    const shmc_mpmc_desc mpmc = { .slot_bytes = 64, .slot_count = 256,
                                  .max_handles = 12, .waitable = 1 };
    const shmc_latest_desc latest = { .value_bytes = 512, .waitable = 1 };
    shmc_segment *at = &p->segment;
    int r = shmc_segment_open(at, name_of(f), &place);

    if (r != SHMC_OK) return r;
    switch (f) {
    case BCAST: r = shmc_bcast_open(&p->u.bcast, at, "ring", &bcast, role); break;
    case SPSC: r = shmc_spsc_open(&p->u.spsc, at, "ring", &spsc, role); break;
    case RECQ: r = shmc_recq_open(&p->u.recq, at, "ring", &recq, role); break;
    case MPMC: r = shmc_mpmc_open(&p->u.mpmc, at, "ring", &mpmc, role); break;
    default: r = shmc_latest_open(&p->u.latest, at, "ring", &latest, role);
    }
    if (r != SHMC_OK) (void)shmc_segment_close(at);
    return r;
}

static int
open_sender(port *p, flow f)
{
    const shmc_topic_desc topic = {
        .depth = f == BIG ? 64 : 256, .max_bytes = flows[f].max_bytes,
        .max_publishers = f == BIG ? 3 : 6, .max_subscribers = 16,
        .mode = f == RELIABLE ? SHMC_RELIABLE : SHMC_LOSSY
    };
    const shmc_push_desc queue = {
        .depth = 64, .max_bytes = flows[f].max_bytes, .max_handles = 16,
        .on_worker_death = f == DROP ? SHMC_DROP : SHMC_REDELIVER
    };

    memset(p, 0, sizeof *p);
    p->what = f;
    if (is_topic(f)) return shmc_pub_open(&p->u.pub, name_of(f), &topic);
    if (f == PUSH || f == DROP) return shmc_push_open(&p->u.push, name_of(f), &queue);
    return open_ring(p, f, SHMC_PRODUCER);
}

static int
open_receiver(port *p, flow f, bool conflate)
{
    const shmc_sub_desc sub = { .conflate = conflate };

    memset(p, 0, sizeof *p);
    p->what = f;
    p->conflates = conflate;
    if (is_topic(f)) return shmc_sub_open(&p->u.sub, name_of(f), &sub);
    if (f == PUSH || f == DROP) return shmc_pull_open(&p->u.pull, name_of(f), NULL);
    return open_ring(p, f, SHMC_CONSUMER);
}

static int
port_close(port *p, bool sends)
{
    int r;

    switch (p->what) {
    case PUSH: case DROP:
        return sends ? shmc_push_close(&p->u.push) : shmc_pull_close(&p->u.pull);
    case BCAST: r = shmc_bcast_close(&p->u.bcast); break;
    case SPSC: r = shmc_spsc_close(&p->u.spsc); break;
    case RECQ: r = shmc_recq_close(&p->u.recq); break;
    case MPMC: r = shmc_mpmc_close(&p->u.mpmc); break;
    case LATEST: r = shmc_latest_close(&p->u.latest); break;
    default: return sends ? shmc_pub_close(&p->u.pub) : shmc_sub_close(&p->u.sub);
    }
    const int r2 = shmc_segment_close(&p->segment);
    return r != SHMC_OK ? r : r2;
}

static int
send_lent(port *p, const void *data, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    int r;

    if (is_topic(p->what)) {
        r = shmc_pub_loan(&p->u.pub, bytes, &room, timeout_ns);
        if (r != SHMC_OK) return r;
        memcpy(room, data, bytes);
        if (below(256) == 0) nap_us(below(3000));
        r = shmc_pub_commit(&p->u.pub, bytes, timeout_ns);
        if (r != SHMC_OK && shmc_pub_abort(&p->u.pub) != SHMC_OK) return SHMC_ECORRUPT;
        return r;
    }
    r = shmc_push_loan(&p->u.push, bytes, &room, timeout_ns);
    if (r != SHMC_OK) return r;
    memcpy(room, data, bytes);
    if (below(256) == 0) nap_us(below(3000));
    return shmc_push_commit(&p->u.push, bytes);
}

static int
port_send(port *p, const void *data, uint32_t bytes, int64_t timeout_ns)
{
    const bool lends = (is_topic(p->what) || p->what == PUSH || p->what == DROP) &&
                       bytes != 0 && below(8) == 0;

    if (lends) return send_lent(p, data, bytes, timeout_ns);
    switch (p->what) {
    case PUSH: case DROP: return shmc_push_send(&p->u.push, data, bytes, timeout_ns);
    case BCAST: return shmc_bcast_send_wait(&p->u.bcast, data, bytes, timeout_ns);
    case SPSC: return shmc_spsc_push_wait(&p->u.spsc, data, bytes, timeout_ns);
    case RECQ: return shmc_recq_push_wait(&p->u.recq, data, bytes, timeout_ns);
    case MPMC: return shmc_mpmc_push_wait(&p->u.mpmc, data, bytes, timeout_ns);
    case LATEST: return shmc_latest_write(&p->u.latest, data, bytes);
    default: return shmc_pub_send(&p->u.pub, data, bytes, timeout_ns);
    }
}

/* Look at a message in place where that is possible.                       */
static int
recv_lent(port *p, const void **data, int64_t timeout_ns)
{
    int r;

    switch (p->what) {
    case PUSH: case DROP: r = shmc_pull_borrow(&p->u.pull, data, timeout_ns); break;
    case SPSC:
        r = shmc_spsc_borrow(&p->u.spsc, data, 1);
        if (r == 1) r = 64;
        break;
    case RECQ: r = shmc_recq_borrow(&p->u.recq, data); break;
    case MPMC:
        r = shmc_mpmc_borrow(&p->u.mpmc, data);
        if (r == SHMC_OK) r = 64;
        break;
    case RELIABLE: r = shmc_sub_borrow(&p->u.sub, data, 0); break;
    default: return SHMC_EAGAIN;
    }
    p->borrowed = r >= 0;
    return r;
}

static int
port_recv(port *p, received *rx, const void **data, int64_t timeout_ns)
{
    int r;

    p->again = 0;
    if (p->lends || below(2) != 0) {
        r = recv_lent(p, data, p->lends ? timeout_ns : 0);
        if (p->borrowed && (p->what == PUSH || p->what == DROP))
            p->again = shmc_pull_redeliveries(&p->u.pull);
        if (p->borrowed && p->what == MPMC)
            p->again = shmc_mpmc_redeliveries(&p->u.mpmc);
        if (r != SHMC_EAGAIN || p->lends) return r;
    }
    *data = buffer;
    switch (p->what) {
    case PUSH: case DROP:
        r = shmc_pull_recv(&p->u.pull, buffer, MAX_BYTES, timeout_ns);
        if (r >= 0) p->again = shmc_pull_redeliveries(&p->u.pull);
        return r;
    case BCAST: return shmc_bcast_recv_wait(&p->u.bcast, buffer, MAX_BYTES, timeout_ns);
    case SPSC:
        r = shmc_spsc_pop_wait(&p->u.spsc, buffer, 64, timeout_ns);
        return r == SHMC_OK ? 64 : r;
    case RECQ: return shmc_recq_pop_wait(&p->u.recq, buffer, MAX_BYTES, timeout_ns);
    case MPMC:
        r = shmc_mpmc_pop_wait(&p->u.mpmc, buffer, 64, timeout_ns);
        p->again = deaths_of(MPMC, RECEIVER) != 0;  /* a pop does not tell  */
        return r == SHMC_OK ? 64 : r;
    case LATEST:
        r = shmc_latest_read_wait(&p->u.latest, buffer, 512, &rx->version,
                                  timeout_ns);
        return r == SHMC_OK ? 512 : r;
    default: return shmc_sub_recv(&p->u.sub, buffer, MAX_BYTES, timeout_ns);
    }
}

static int
port_release(port *p)
{
    if (!p->borrowed) return SHMC_OK;
    p->borrowed = false;
    switch (p->what) {
    case PUSH: case DROP: return shmc_pull_release(&p->u.pull);
    case SPSC: return shmc_spsc_release(&p->u.spsc, 1);
    case RECQ: return shmc_recq_release(&p->u.recq);
    case MPMC: return shmc_mpmc_release(&p->u.mpmc);
    default: return shmc_sub_release(&p->u.sub);
    }
}

/* ---- what all processes do --------------------------------------------- */

/* Now and then work for a while with something in hand, so that deaths meet
 * us there: one time in `in`.                                             */
static void
dawdle(uint32_t in)
{
    if (in != 0 && below(in) == 0) nap_us(below(20000));
}

/* The library's own clock shows the step of the wall clock; the kernel's
 * does not.                                                               */
static void
feel_clock(void)
{
    struct timespec real;

    if (syscall(SYS_clock_gettime, CLOCK_REALTIME, &real) != 0) return;
    const int64_t is = (int64_t)shmi_realtime_ns();
    const int64_t by = is - ((int64_t)real.tv_sec * 1000000000 + real.tv_nsec);
    if (by > 500000000 || by < -500000000) shmi_faa_64(&b->steps_felt, 1);
}

/* No room in the folder is an answer only while it is, or was, full.       */
static bool
open_again(slot *s, int r, uint32_t fills_before)
{
    const uint32_t fills = shmi_load_acq_32(&b->fills);

    if (r == SHMC_OK) return false;
    PROMISE(s, r == SHMC_ENOSPC && (fills != fills_before || fills % 2 != 0),
            "open: %s: %s", shmc_error_name(r), shmc_last_error());
    if (r != SHMC_ENOSPC) _exit(1);
    shmi_faa_64(&b->full_seen, 1);
    nap_us(3000);
    return true;
}

static bool
told_to_end(const slot *s)
{
    const uint32_t stop = shmi_load_acq_32(&b->stop);

    return shmi_load_acq_32(&s->quit) != 0 || stop == 2 ||
           (stop == 1 && s->does != RECEIVER && s->does != CONFLATER);
}

/* ---- deaths of the one peer of a queue ---------------------------------- */

typedef struct peer_watch {
    const slot *peer;
    uint32_t told, silent;          /* deaths told; time-outs since one     */
} peer_watch;

static void
watch_begin(peer_watch *w, const slot *s)
{
    memset(w, 0, sizeof *w);
    w->told = UINT32_MAX;
    if (s->what != SPSC && s->what != RECQ && s->what != LATEST) return;
    if (s->what == LATEST && s->does == SENDER) return;
    w->peer = slot_of(s->what, s->does == SENDER ? RECEIVER : SENDER, 0);
}

/* A wait ended with r.  Death is told as death: once, and not as time-out. */
static void
watch_wait(slot *s, peer_watch *w, int r, uint64_t began_ns)
{
    if (w->peer == NULL) {
        PROMISE(s, r != SHMC_EPEERDEAD, "a death is told where there is no peer");
        return;
    }
    const uint32_t deaths = shmi_load_acq_32(&w->peer->deaths);
    const uint64_t dead_ns = shmi_load_acq_64(&w->peer->dead_ns);

    if (r == SHMC_EPEERDEAD && sabotage != MISSED_DEATH) {
        PROMISE(s, deaths != 0 && w->told != deaths, "told that the peer died, "
                "which was killed %u times; told before: %u", deaths, w->told);
        w->told = deaths;
        w->silent = 0;
        shmi_faa_64(&b->deaths_told, 1);
        return;
    }
    if (r != SHMC_ETIMEDOUT && r != SHMC_EPEERDEAD) return;
    if (dead_ns == 0 || dead_ns > began_ns || !w->peer->died_joined ||
        w->told == deaths) {
        w->silent = 0;
        return;
    }
    PROMISE(s, ++w->silent < 3, "the peer is dead since %.3f s, and waits end by "
            "time-out", (double)(shmi_now_ns() - dead_ns) / 1e9);
}

/* ---- sender ------------------------------------------------------------ */

/* Send one message, whatever it takes, or until told to end.  Returns its
 * last code.                                                              */
static int
send_one(slot *s, port *p, peer_watch *w, const void *data, uint32_t bytes)
{
    for (;;) {
        const uint64_t began = shmi_now_ns();
        const int64_t timeout = below(8) == 0 ? 0 : 100000000;
        const int r = port_send(p, data, bytes, timeout);
        if (r == SHMC_OK) return r;
        if (r == SHMC_EPEERDEAD || r == SHMC_ETIMEDOUT) watch_wait(s, w, r, began);
        if (r == SHMC_EAGAIN) shmi_yield();
        if (r != SHMC_EPEERDEAD && r != SHMC_ETIMEDOUT && r != SHMC_EAGAIN) {
            broken(s, "send of %u bytes: %s", bytes, shmc_error_name(r));
            return r;
        }
        if (shmi_load_acq_32(&b->stop) != 0 || shmi_load_acq_32(&s->quit) != 0)
            return r;
    }
}

/* The next message: 0, or the code that ended it.                          */
static int
send_next(slot *s, port *p, peer_watch *w)
{
    const flow f = s->what;
    const uint64_t number = s->attempt + 1;
    const uint32_t bytes = bytes_for(f);
    uint64_t *cell = cell_of(f, s->member, number);
    int r = SHMC_OK;

    if ((f == MPMC || f == PUSH || f == DROP) && !settle_cell(s, f, number))
        return SHMC_EAGAIN;
    seal(made, number, s->member | s->incarnation << 8, bytes, f);
    shmi_store_rel_64(cell, (number + 1) << 16);
    shmi_store_rel_64(&s->attempt, number);
    if (sabotaged(TEARS, s, number)) ((uint8_t *)made)[bytes - 1] ^= 1;
    if (!sabotaged(DROPS, s, number)) r = send_one(s, p, w, made, bytes);
    if (r != SHMC_OK) return r;
    shmi_faa_64(cell, ACKED);
    if (sabotaged(DUPLICATES, s, number)) (void)send_one(s, p, w, made, bytes);
    shmi_store_rlx_64(&s->progress, s->progress + 1);
    return r;
}

static void
sender(slot *s)
{
    static port p;
    peer_watch w;
    const bool fast = s->what == SPSC || s->what == MPMC;
    uint64_t left = s->anchor || below(4) != 0 ? UINT64_MAX : below(300);
    uint32_t fills;

    s->doing = "open a sender";
    do fills = shmi_load_acq_32(&b->fills);
    while (open_again(s, open_sender(&p, s->what), fills));
    shmi_store_rel_32(&s->joined, 1);
    watch_begin(&w, s);
    s->doing = "send";
    while (left != 0 && !told_to_end(s)) {
        feel_clock();
        for (uint32_t n = below(fast ? 2000 : s->what == BIG ? 4 : 100);
             n != 0 && left != 0 && !told_to_end(s); n--, left--) {
            if (send_next(s, &p, &w) != SHMC_OK) break;
            if (!flows[s->what].fixed && s->what != CALM && below(64) == 0 &&
                send_one(s, &p, &w, made, 0) == SHMC_OK) s->empties++;
        }
        nap_us(below(s->what == BIG ? 20000 : 4000));
    }
    s->doing = "close a sender";
    shmi_store_rel_32(&s->joined, 0);
    const int r = port_close(&p, true);
    if (r != SHMC_OK) broken(s, "close: %s", shmc_error_name(r));
}

/* ---- receiver ---------------------------------------------------------- */

static void
take_of_topic(slot *s, received *rx, const port *p, const head *h)
{
    shmc_msg_info info;
    uint64_t lost = shmc_sub_lost(&p->u.sub);

    if (sabotaged(MISCOUNTS, s, h->number)) lost--;
    const int r = shmc_sub_info(&p->u.sub, &info);
    PROMISE(s, r == SHMC_OK, "no place: %s", shmc_error_name(r));
    counted(s, rx, p->what, info.sequence, lost, shmc_sub_skipped(&p->u.sub));
    if (p->conflates) PROMISE(s, lost == 0, "conflate lost some");
    in_order(s, rx, p->what, h, p->what == RELIABLE);
    if (!p->conflates) none_uncounted(s, rx, lost);
}

/* A message came.  It is checked before it is released.                    */
static void
take(slot *s, received *rx, const port *p, const void *data, int bytes)
{
    head h;

    s->messages++;
    shmi_store_rlx_64(&s->progress, s->progress + 1);
    if (bytes == 0) {
        s->empties++;
        return;
    }
    if (!whole(s, data, bytes, p->what, &h)) return;
    switch (p->what) {
    case PUSH: case DROP: case MPMC: hand_out(s, p->what, &h, p->again); break;
    case SPSC: case RECQ: in_order(s, rx, p->what, &h, true); break;
    case LATEST:
        /* A new handle may begin with what the one before it ended with.   */
        PROMISE(s, rx->version > rx->place ||
                (rx->slack != 0 && rx->version == rx->place), "version %llu after %llu",
                (unsigned long long)rx->version, (unsigned long long)rx->place);
        rx->place = rx->version;
        in_order(s, rx, p->what, &h, false);
        break;
    case BCAST: {
        const uint64_t lost = shmc_bcast_lost(&p->u.bcast);
        shmi_faa_64(&b->lost, lost - rx->lost);
        rx->lost = lost;
        in_order(s, rx, p->what, &h, false);
        none_uncounted(s, rx, lost);
        break;
    }
    default: take_of_topic(s, rx, p, &h);
    }
    if (sabotaged(CRASHES, s, h.number)) raise(SIGSEGV);
    if (sabotaged(HANGS, s, h.number)) for (;;) nap_us(100000);
    if (sabotaged(GROWS, s, h.number) && s->anchor) {
        volatile char *room = malloc(1 << 18);
        for (uint32_t i = 0; room != NULL && i < 1 << 18; i += 1024) room[i] = 1;
    }
}

/* One receive and what belongs to it.  Returns its code.                   */
static int
receive_one(slot *s, received *rx, port *p, peer_watch *w, int64_t timeout_ns)
{
    const void *data = NULL;
    const uint64_t began = shmi_now_ns();

    shmi_store_rel_32(&s->in_hand, !p->lends);
    const int r = port_recv(p, rx, &data, timeout_ns);
    if (r >= 0) {
        take(s, rx, p, data, r);
        shmi_store_rel_32(&s->in_hand, 0);
        dawdle(p->borrowed && !is_topic(p->what) ? 128 : 0);
        const int end = port_release(p);
        PROMISE(s, end == SHMC_OK, "release: %s", shmc_error_name(end));
        return r;
    }
    shmi_store_rel_32(&s->in_hand, 0);
    if (r == SHMC_EPEERDEAD || r == SHMC_ETIMEDOUT) watch_wait(s, w, r, began);
    if (r != SHMC_EPEERDEAD && r != SHMC_ETIMEDOUT && r != SHMC_EAGAIN &&
        !(r == SHMC_ELAPPED && p->what == BCAST)) {
        broken(s, "receive: %s", shmc_error_name(r));
        _exit(1);
    }
    return r;
}

static void
receiver(slot *s)
{
    static port p;
    peer_watch w;
    received *rx = &s->rx[0];
    uint64_t left = s->anchor || below(4) != 0 ? UINT64_MAX : below(300);
    uint32_t fills;

    s->doing = "open a receiver";
    do fills = shmi_load_acq_32(&b->fills);
    while (open_again(s, open_receiver(&p, s->what, s->does == CONFLATER), fills));
    shmi_store_rel_32(&s->joined, 1);
    watch_begin(&w, s);
    /* What a worker of this queue took and could not note before it was
     * killed, another one gets: so nothing may be missing.                 */
    p.lends = s->what == PUSH && !s->anchor;
    s->doing = "receive";
    for (uint32_t i = 0; left != 0 && !told_to_end(s); i++) {
        if (i % 64 == 0) feel_clock();
        if (receive_one(s, rx, &p, &w, 100000000) >= 0) left--;
        if (s->does == CONFLATER || below(2000) == 0) nap_us(below(3000));
    }
    /* Senders have ended: what is left, out of dead workers' hands too.     */
    s->doing = "receive the rest";
    for (uint32_t none = 0; shmi_load_acq_32(&b->stop) == 2 && none < 5;)
        none = receive_one(s, rx, &p, &w, 100000000) >= 0 ? 0 : none + 1;
    s->doing = "close a receiver";
    shmi_store_rel_32(&s->joined, 0);
    const int r = port_close(&p, false);
    if (r != SHMC_OK) broken(s, "close: %s", shmc_error_name(r));
}

#endif /* CHAOS_PORTS_H */
