/* roles.h - the processes of tests/soak that are no plain sender or receiver:
 * clients and servers, who makes and removes segments, who watches the
 * others come and go, who polls.
 * SPDX-License-Identifier: MIT                                            */
#ifndef CHAOS_ROLES_H
#define CHAOS_ROLES_H

#include "ports.h"

#define CLIENT SENDER
#define SERVER RECEIVER
enum { AT_ONCE = 4, TIMER_NS = 7000000 };

/* ---- requests ---------------------------------------------------------- */

/* What is done with a request follows from its number.                     */
static bool is_post(uint64_t number) { return number % 16 == 5; }
static uint32_t parts_of(uint64_t number) { return number % 32 == 9 ? 3 : 1; }
static uint32_t tries_of(const slot *s) { return s->member % 2 == 0 ? 0 : 3; }

typedef struct client {
    shmc_req req;
    slot *s;
    uint64_t number[AT_ONCE];       /* of the calls under way               */
    int call[AT_ONCE];              /* 0: none                              */
    uint32_t deaths[AT_ONCE];       /* of servers, before it was sent       */
} client;

/* Note a request before it is sent.  0: the end came.                      */
static uint64_t
ask_begin(slot *s, uint32_t *bytes)
{
    const uint64_t number = s->attempt + 1;

    if (!settle_cell(s, REQREP, number)) return 0;
    *bytes = bytes_for(REQREP);
    seal(made, number, s->member | s->incarnation << 8, *bytes, REQREP);
    shmi_store_rel_64(cell_of(REQREP, s->member, number), (number + 1) << 16);
    shmi_store_rel_64(&s->attempt, number);
    if (sabotaged(TEARS, s, number)) ((uint8_t *)made)[*bytes - 1] ^= 1;
    return number;
}

static void
ask_died(slot *s, uint64_t number, uint32_t deaths_before)
{
    const uint32_t more = deaths_of(REQREP, SERVER) - deaths_before;

    PROMISE(s, more > tries_of(s) || (more > 0 && parts_of(number) > 1),
            "call %llu: the server is said to have died, with %u retries; %u "
            "servers were killed since", (unsigned long long)number,
            tries_of(s), more);
    shmi_faa_64(&b->deaths_told, 1);
}

/* An answer, or a part of it, to call `number` has come.                   */
static void
answered(client *c, uint64_t number, int bytes, uint32_t part, bool more)
{
    slot *s = c->s;
    head h;

    if (!whole(s, buffer, bytes, SALT_REPLY + part, &h)) return;
    s->messages++;
    shmi_store_rlx_64(&s->progress, s->progress + 1);
    PROMISE(s, h.number == number && h.from == (s->member | s->incarnation << 8),
            "the answer to call %llu is that to %llu of %u/%u",
            (unsigned long long)number, (unsigned long long)h.number,
            h.from & 255, h.from >> 8);
    PROMISE(s, more == (part + 1 < parts_of(number)), "part %u of call %llu says "
            "that %s follow", part, (unsigned long long)number, more ? "more" : "none");
    PROMISE(s, (shmi_load_acq_64(cell_of(REQREP, s->member, number)) & 255) != 0,
            "an answer to call %llu, which no server got",
            (unsigned long long)number);
    if (part > 0) shmi_faa_64(&b->parts, 1);
}

/* The parts behind the first.                                              */
static void
ask_rest(client *c, uint64_t number, int call, uint32_t deaths)
{
    for (uint32_t part = 1; shmc_req_more(&c->req); part++) {
        const int r = shmc_req_recv(&c->req, call, buffer, MAX_BYTES, 60000000000);
        if (r == SHMC_EPEERDEAD) {
            ask_died(c->s, number, deaths);
            return;
        }
        PROMISE(c->s, r >= 0, "part %u of call %llu: %s", part,
                (unsigned long long)number, shmc_error_name(r));
        if (r < 0) _exit(1);
        answered(c, number, r, part, shmc_req_more(&c->req));
    }
}

static void
ask_end(client *c, uint64_t number, uint32_t deaths, int r)
{
    if (sabotaged(FALSE_DEATH, c->s, number)) {
        r = SHMC_EPEERDEAD;
        deaths = deaths_of(REQREP, SERVER);
    }
    if (r == SHMC_EPEERDEAD) {
        ask_died(c->s, number, deaths);
        return;
    }
    PROMISE(c->s, r >= 0, "call %llu: %s", (unsigned long long)number,
            shmc_error_name(r));
    if (r < 0) _exit(1);
    const bool more = shmc_req_more(&c->req);
    const int call = shmc_req_from(&c->req);
    answered(c, number, r, 0, more);
    if (more) ask_rest(c, number, call, deaths);
}

static void
ask_one(client *c)
{
    slot *s = c->s;
    uint32_t bytes;
    const uint64_t number = ask_begin(s, &bytes);
    const uint32_t deaths = deaths_of(REQREP, SERVER);

    if (number == 0) return;
    if (!is_post(number)) {
        ask_end(c, number, deaths, shmc_req_call(&c->req, made, bytes, buffer,
                                                 MAX_BYTES, 60000000000));
        return;
    }
    const int r = sabotaged(DROPS, s, number) ? SHMC_OK
                : shmc_req_post(&c->req, made, bytes, 60000000000);
    PROMISE(s, r == SHMC_OK, "post: %s", shmc_error_name(r));
    if (r != SHMC_OK) _exit(1);
    shmi_faa_64(cell_of(REQREP, s->member, number), ACKED);
    shmi_faa_64(&b->posts, 1);
}

/* Several at once: the answers come in any order.                          */
static void
ask_many(client *c)
{
    uint32_t n = 0;
    uint32_t bytes;

    for (; n < AT_ONCE; n++) {
        c->deaths[n] = deaths_of(REQREP, SERVER);
        if (is_post(c->s->attempt + 1)) ask_one(c);
        c->number[n] = ask_begin(c->s, &bytes);
        if (c->number[n] == 0) break;
        c->call[n] = shmc_req_send(&c->req, made, bytes, 60000000000);
        PROMISE(c->s, c->call[n] > 0, "request: %s", shmc_error_name(c->call[n]));
        if (c->call[n] <= 0) _exit(1);
    }
    for (uint32_t left = n; left > 0; left--) {
        const int r = shmc_req_recv(&c->req, SHMC_ANY_CALL, buffer, MAX_BYTES,
                                    60000000000);
        const int of = shmc_req_from(&c->req);
        uint32_t i = 0;
        while (i < n && c->call[i] != of) i++;
        PROMISE(c->s, i < n, "%s for call %d, which is not under way",
                shmc_error_name(r), of);
        if (i == n) _exit(1);
        c->call[i] = 0;
        ask_end(c, c->number[i], c->deaths[i], r);
    }
}

static void
run_client(slot *s)
{
    static client c;
    const shmc_req_desc desc = { .retries = tries_of(s) };
    uint32_t left = below(4) != 0 ? UINT32_MAX : below(100);

    c.s = s;
    s->doing = "open a client";
    const int r = shmc_req_open(&c.req, name_of(REQREP), &desc);
    PROMISE(s, r == SHMC_OK, "open: %s", shmc_last_error());
    if (r != SHMC_OK) _exit(1);
    s->doing = "ask";
    while (left-- != 0 && !told_to_end(s)) {
        if (below(4) == 0) ask_many(&c);
        else ask_one(&c);
        if (below(16) == 0) nap_us(below(3000));
        feel_clock();
    }
    s->doing = "close a client";
    const int end = shmc_req_close(&c.req);
    PROMISE(s, end == SHMC_OK, "close: %s", shmc_error_name(end));
}

/* ---- answers ----------------------------------------------------------- */

static void
answer(slot *s, shmc_rep *rep, const head *h)
{
    const slot *from = slot_of(REQREP, CLIENT, h->from & 255);
    const uint32_t parts = is_post(h->number) ? 1 : parts_of(h->number);
    const uint64_t number = h->number + (sabotaged(MISREPLIES, s, h->number) ? 1 : 0);
    int r = SHMC_OK;

    for (uint32_t i = 0; i < parts && r == SHMC_OK; i++) {
        const uint32_t bytes = bytes_for(REQREP);
        seal(made, number, h->from, bytes, SALT_REPLY + i);
        r = i + 1 < parts ? shmc_rep_send_more(rep, made, bytes, 60000000000)
                          : shmc_rep_send(rep, made, bytes, 60000000000);
    }
    if (r == SHMC_OK || is_post(h->number)) return;
    if (r == SHMC_EPEERDEAD) shmi_faa_64(&b->refused, 1);
    /* Its client must have died, if only since we looked: its next one, or
     * its death, is on the board before.                                   */
    PROMISE(s, r == SHMC_EPEERDEAD && from != NULL &&
            shmi_load_acq_32(&from->deaths) > 0, "answer: %s, and no client %u "
            "was ever killed", shmc_error_name(r), h->from & 255);
}

/* False: none came.                                                        */
static bool
serve_one(slot *s, shmc_rep *rep)
{
    head h;
    const void *data = buffer;
    const bool lends = below(2) != 0;

    s->doing = "receive a request";
    const int r = lends ? shmc_rep_borrow(rep, &data, 100000000)
                        : shmc_rep_recv(rep, buffer, MAX_BYTES, 100000000);
    if (r == SHMC_ETIMEDOUT) return false;
    PROMISE(s, r >= 0, "request: %s", shmc_error_name(r));
    if (r < 0) _exit(1);
    if (!whole(s, data, r, REQREP, &h)) _exit(1);
    s->messages++;
    shmi_store_rlx_64(&s->progress, s->progress + 1);
    const bool again = shmc_rep_retried(rep);
    if (again) shmi_faa_64(&b->retried, 1);
    hand_out(s, REQREP, &h, again ? 255 : 0);
    if (sabotaged(CRASHES, s, h.number)) raise(SIGSEGV);
    s->doing = "answer";
    dawdle(128);
    answer(s, rep, &h);
    if (is_post(h.number) && lends) (void)shmc_rep_release(rep);
    return true;
}

static void
run_server(slot *s)
{
    static shmc_rep rep;
    const shmc_rep_desc desc = {
        .max_bytes = flows[REQREP].max_bytes, .max_clients = 12,
        .max_outstanding = 8, .max_servers = 8
    };
    uint32_t left = s->anchor || below(4) != 0 ? UINT32_MAX : below(500);
    uint32_t fills;

    s->doing = "open a server";
    do fills = shmi_load_acq_32(&b->fills);
    while (open_again(s, shmc_rep_open(&rep, name_of(REQREP), &desc), fills));
    while (left-- != 0 && !told_to_end(s)) (void)serve_one(s, &rep);
    for (uint32_t none = 0; shmi_load_acq_32(&b->stop) == 2 && none < 5;)
        none = serve_one(s, &rep) ? 0 : none + 1;
    s->doing = "close a server";
    const int end = shmc_rep_close(&rep);
    PROMISE(s, end == SHMC_OK, "close: %s", shmc_error_name(end));
}

/* ---- who makes and removes segments ------------------------------------- */

static void
make_one(slot *s)
{
    const uint32_t n = below(8);
    const shmc_segment_desc place = { .flags = SHMC_EPHEMERAL,
                                      .heap_bytes = UINT64_C(65536) << n % 4 };
    static shmc_segment segment;
    static shmc_object object;
    const shmc_object_desc desc = { .bytes = 4096, .version = 1 };
    char name[32];

    snprintf(name, sizeof name, "soak/made-%u", n);
    const uint32_t fills = shmi_load_acq_32(&b->fills);
    s->doing = "make a segment";
    if (open_again(s, shmc_segment_open(&segment, name, &place), fills)) return;
    int r = shmc_object_open(&segment, "object", &desc, &object);
    PROMISE(s, r == SHMC_OK, "object: %s", shmc_last_error());
    if (r != SHMC_OK) _exit(1);
    volatile uint64_t *words = object.mem;
    for (uint32_t i = s->member; i < 512; i += 8) words[i] = words[i] + 1;
    s->doing = "leave a segment";
    r = shmc_object_close(&segment, &object);
    PROMISE(s, r == SHMC_OK, "object close: %s", shmc_error_name(r));
    r = shmc_segment_close(&segment);
    PROMISE(s, r == SHMC_OK, "segment close: %s", shmc_last_error());
    s->messages++;
    shmi_store_rlx_64(&s->progress, s->progress + 1);
}

static void
run_maker(slot *s)
{
    while (!told_to_end(s)) {
        make_one(s);
        nap_us(below(6000));
    }
}

/* ---- who watches ------------------------------------------------------- */

/* A death is one that we made: nobody alive, stopped or not, is said dead.  */
static void
judge_event(slot *s, const shmc_peer_event *e)
{
    s->messages++;
    shmi_store_rlx_64(&s->progress, s->progress + 1);
    if (e->what != SHMC_PEER_DIED) return;
    PROMISE(s, was_killed(e->pid), "process %d is said to have died, and was "
            "not killed", (int)e->pid);
    shmi_faa_64(&b->peers_died, 1);
}

static void
run_watcher(slot *s)
{
    static shmc_peers peers[2];
    static const flow of[2] = { RELIABLE, PUSH };
    shmc_poll_item items[2];
    shmc_peer_event e;
    int r;

    memset(items, 0, sizeof items);
    s->doing = "begin to watch";
    for (uint32_t i = 0; i < 2; i++) {
        do r = shmc_peers_open(&peers[i], name_of(of[i]), NULL);
        while (r == SHMC_ENOENT && (nap_us(2000), !told_to_end(s)));
        if (r == SHMC_ENOENT) return;
        PROMISE(s, r == SHMC_OK, "watch: %s", shmc_last_error());
        if (r != SHMC_OK) _exit(1);
        items[i].of = shmc_peers_pollable(&peers[i]);
        items[i].events = SHMC_POLLIN;
    }
    s->doing = "watch";
    while (!told_to_end(s)) {
        r = shmc_poll(items, 2, 100000000);
        PROMISE(s, r >= 0, "poll: %s", shmc_error_name(r));
        for (uint32_t i = 0; i < 2; i++)
            while (shmc_peers_next(&peers[i], &e) == SHMC_OK) judge_event(s, &e);
    }
    for (uint32_t i = 0; i < 2; i++) (void)shmc_peers_close(&peers[i]);
}

/* ---- who polls --------------------------------------------------------- */

static void
judge_timer(slot *s, shmc_timer *timer, uint64_t began_ns, uint64_t *expiries)
{
    const uint64_t before = shmi_now_ns();
    const int r = shmc_timer_read(timer);
    const uint64_t now = shmi_now_ns();

    if (r < 1) {
        broken(s, "the poller told of a timer, and it reads %s", shmc_error_name(r));
        return;
    }
    *expiries += (uint64_t)r;
    /* 1: the clock was read a little before the timer was started.         */
    PROMISE(s, *expiries <= (now - began_ns) / TIMER_NS &&
            *expiries + 1 >= (before - began_ns) / TIMER_NS,
            "%llu expiries after %.3f s", (unsigned long long)*expiries,
            (double)(now - began_ns) / 1e9);
    shmi_faa_64(&b->timer, 1);
}

static void
judge_ready(slot *s, shmc_poll_item *item, uint32_t i, port *p, peer_watch *w)
{
    PROMISE(s, (item->revents & SHMC_POLLERR) == 0, "poll of %s: %s",
            flows[p->what].name, shmc_error_name(item->error));
    if (!(item->revents & SHMC_POLLIN)) return;
    /* Work may be another worker's by now; a subscriber's message is ours,
     * but for one of who died, or was stopped, inside.                      */
    for (uint32_t n = 0; n < 64; n++)
        if (receive_one(s, &s->rx[i], p, w, 0) < 0) return;
}

static void
run_poller(slot *s)
{
    static port ports[2];
    static shmc_timer timer;
    peer_watch w;
    shmc_poll_item items[3];
    uint64_t expiries = 0;
    int r = open_receiver(&ports[0], RELIABLE, false);

    if (r == SHMC_OK) r = open_receiver(&ports[1], PUSH, false);
    PROMISE(s, r == SHMC_OK, "open: %s", shmc_last_error());
    if (r != SHMC_OK) _exit(1);
    memset(items, 0, sizeof items);
    memset(&w, 0, sizeof w);
    shmi_store_rel_32(&s->joined, 1);
    items[0].of = shmc_sub_pollable(&ports[0].u.sub);
    items[1].of = shmc_pull_pollable(&ports[1].u.pull);
    items[2].of = shmc_timer_pollable(&timer);
    for (uint32_t i = 0; i < 3; i++) items[i].events = SHMC_POLLIN;
    const uint64_t began = shmi_now_ns();
    (void)shmc_timer_start(&timer, TIMER_NS, TIMER_NS);
    s->doing = "poll";
    while (!told_to_end(s)) {
        r = shmc_poll(items, 3, 100000000);
        PROMISE(s, r >= 0, "poll: %s", shmc_error_name(r));
        for (uint32_t i = 0; i < 2; i++) judge_ready(s, &items[i], i, &ports[i], &w);
        if (items[2].revents & SHMC_POLLIN) judge_timer(s, &timer, began, &expiries);
    }
    s->doing = "close a poller";
    for (uint32_t i = 0; i < 2; i++) {
        r = port_close(&ports[i], false);
        PROMISE(s, r == SHMC_OK, "close: %s", shmc_error_name(r));
    }
}

/* ---- everybody --------------------------------------------------------- */

static void
run_slot(slot *s)
{
    switch (s->what) {
    case REQREP:
        if (s->does == CLIENT) run_client(s);
        else run_server(s);
        break;
    case MAKER: run_maker(s); break;
    case WATCH: run_watcher(s); break;
    case POLLER: run_poller(s); break;
    default:
        if (s->does == SENDER) sender(s);
        else receiver(s);
    }
}

#endif /* CHAOS_ROLES_H */
