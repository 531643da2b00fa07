/* shmcomm_sample.c - what all objects say about themselves at one moment.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_sample.h"

#include "shmcomm_calls.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_pushpull.h"
#include "shmcomm_recq.h"
#include "shmcomm_ring.h"

#include <stdlib.h>
#include <string.h>

enum { NEWEST = 64 };               /* messages whose sizes are averaged    */

/* >>users */

static sample_user *
user_add(sample_object *o, const char *role, uint32_t seat)
{
    const size_t n = o->user_count;

    if ((n & (n - 1)) == 0) {       /* room for 1, 2, 4, ... of them        */
        o->users = realloc(o->users, (n ? 2 * n : 1) * sizeof *o->users);
        if (o->users == NULL) cli_no_memory();
    }
    sample_user *u = &o->users[o->user_count++];
    memset(u, 0, sizeof *u);
    u->role = role;
    u->seat = seat;
    return u;
}

/* Who sits in a seat; an owner's word is loaded once and judged as it is.  */
static sample_user *
user_of_seat(sample_object *o, const shmc_segment *s, const shmi_seat_shm *seat,
             const char *role, uint32_t index)
{
    const uint64_t owner = shmi_load_acq_64(&seat->owner);

    if (owner == 0) return NULL;
    sample_user *u = user_add(o, role, index);
    u->alive = shmi_owner_alive(s, owner);
    u->pid = shmi_owner_pid(s, owner);
    return u;
}

static void
user_of_role(sample_object *o, const char *role, int32_t pid, bool alive,
             bool has_lag, uint64_t lag)
{
    if (pid == 0) return;
    sample_user *u = user_add(o, role, 0);
    u->pid = pid;
    u->alive = alive;
    u->has_lag = has_lag;
    u->lag = lag;
}

static void
users_count(sample_object *o)
{
    uint32_t dead = 0;

    for (size_t i = 0; i < o->user_count; i++) {
        const sample_user *u = &o->users[i];
        dead += !u->alive;
        const bool reads = u->has_lag || u->reads;
        o->missed += u->lost;
        o->readers += u->alive && reads;
        o->writers += u->alive && !reads;
        if (u->has_lag && u->lag > o->used) o->used = u->lag;
    }
    if (dead > o->dead) o->dead = dead;
}

/* >>objects */

/* The newest messages' sizes; a cell that is being rewritten is passed by. */
static double
bcast_mean(const shmc_bcast *h, uint64_t tail)
{
    uint64_t sum = 0, found = 0;

    for (uint64_t i = 1; i <= NEWEST && i <= h->slot_count && i <= tail; i++) {
        const uint64_t p = tail - i;
        const shmi_bcast_cell_shm *cell = &h->cells[p & h->mask];
        if (shmi_load_acq_64(&cell->stamp) != shmi_stamp(p, SHMI_DONE)) continue;
        const uint32_t bytes = shmi_load_rlx_32(&cell->bytes);
        if (bytes > h->max_bytes) continue;
        sum += bytes;
        found++;
    }
    const double mean = found != 0 ? (double)sum / (double)found : 0;
    return h->mark == SHMC_META && mean > SHMC_META_BYTES ? mean - SHMC_META_BYTES
                                                          : mean;
}

/* How far a subscriber is, and what it lost, as it says in its place.      */
static void
bcast_reader(const shmc_bcast *h, const shmi_seat_shm *seat, sample_user *u)
{
    if (u == NULL) return;
    /* The cursor first: tail can only have grown since.                   */
    const uint64_t cursor = shmi_load_acq_64(&seat->word[SHMI_SUB_CURSOR]);
    const uint64_t lag = shmi_load_acq_64(&h->shm->tail) - cursor;

    u->has_lag = u->has_lost = true;
    u->lag = lag <= h->slot_count ? lag : h->slot_count;
    u->lost = shmi_load_rlx_64(&seat->word[SHMI_SUB_LOST]);
}

static int
bcast_take(shmc_segment *s, sample_object *o)
{
    shmc_bcast_stats st;
    shmc_bcast h;
    const int r = shmc_bcast_open(&h, s, o->name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    for (uint32_t i = 0; i < h.max_publishers; i++)
        user_of_seat(o, s, &h.pubs[i], "publisher", i);
    for (uint32_t i = 0; i < h.max_subscribers; i++)
        bcast_reader(&h, &h.subs[i],
                     user_of_seat(o, s, &h.subs[i], "subscriber", i));
    for (uint32_t i = 0; i < h.max_guests; i++)
        bcast_reader(&h, &h.guests[i],
                     user_of_seat(o, s, &h.guests[i],
                                  h.reliable ? "watcher" : "subscriber",
                                  h.max_subscribers + i));
    shmc_bcast_stats_get(&h, &st);
    o->in = st.sent;
    o->lost = st.voids;
    o->capacity = h.slot_count;
    o->lossy = !h.reliable;
    o->message_bytes = bcast_mean(&h, st.sent);
    if (st.dropped > o->dead)
        o->dead = st.dropped > UINT32_MAX ? UINT32_MAX : (uint32_t)st.dropped;
    shmc_bcast_close(&h);
    return SHMC_OK;
}

static int
spsc_take(shmc_segment *s, sample_object *o)
{
    shmc_spsc_stats st;
    shmc_spsc q;
    const int r = shmc_spsc_open(&q, s, o->name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    shmc_spsc_stats_get(&q, &st);
    o->in = st.pushed;
    o->used = st.used;
    o->capacity = st.slot_count;
    o->message_bytes = st.slot_bytes;
    user_of_role(o, "producer", st.producer_pid, st.producer_alive, false, 0);
    user_of_role(o, "consumer", st.consumer_pid, st.consumer_alive, true, st.used);
    shmc_spsc_close(&q);
    return SHMC_OK;
}

static int
recq_take(shmc_segment *s, sample_object *o)
{
    shmc_recq_stats st;
    shmc_recq q;
    const int r = shmc_recq_open(&q, s, o->name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    shmc_recq_stats_get(&q, &st);
    o->unit = "bytes";
    o->in = st.pushed_bytes;
    o->used = st.used_bytes;
    o->capacity = st.capacity_bytes;
    o->message_bytes = 1;
    user_of_role(o, "producer", st.producer_pid, st.producer_alive, false, 0);
    user_of_role(o, "consumer", st.consumer_pid, st.consumer_alive, true,
                 st.used_bytes);
    shmc_recq_close(&q);
    return SHMC_OK;
}

static void
handles_take(shmc_segment *s, sample_object *o, const shmc_mpmc *q)
{
    for (uint32_t i = 0; i < q->seat_count; i++) {
        sample_user *u = user_of_seat(o, s, &q->seats[i], "handle", i);
        if (u == NULL || strcmp(o->name, "work") != 0) continue;
        /* A PUSH/PULL socket says in its seat which of them it is.        */
        const uint64_t is = shmi_load_rlx_64(&q->seats[i].word[SHMI_WORK_ROLE]);
        if (is == SHMC_PRODUCER) u->role = "pusher";
        if (is == SHMC_CONSUMER) u->role = "worker";
    }
}

static int
mpmc_take(shmc_segment *s, sample_object *o)
{
    shmc_mpmc_stats st;
    shmc_mpmc q;
    const int r = shmc_mpmc_open(&q, s, o->name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    shmc_mpmc_stats_get(&q, &st);
    handles_take(s, o, &q);
    o->in = st.pushed;
    o->used = st.used;
    o->capacity = st.slot_count;
    o->lost = st.dropped;
    o->message_bytes = q.slot_bytes;
    shmc_mpmc_close(&q);
    return SHMC_OK;
}

/* A queue that is dealt by turns: a ring for each worker, and everybody has
 * a seat in all of them.                                                  */
static int
shares_take(shmc_segment *s, sample_object *o)
{
    shmc_mpmc_stats st;
    shmc_mpmc q;
    int r;

    for (uint32_t i = 0; (r = shmi_work_observe(s, i, &q)) == SHMC_OK; i++) {
        shmc_mpmc_stats_get(&q, &st);
        if (i == 0) handles_take(s, o, &q);
        o->in += st.pushed;
        o->used += st.used;
        o->capacity += st.slot_count;
        o->lost += st.dropped;
        o->message_bytes = q.slot_bytes;
        shmc_mpmc_close(&q);
    }
    return r == SHMC_ENOENT ? SHMC_OK : r;
}

static int
latest_take(shmc_segment *s, sample_object *o)
{
    shmc_latest_stats st;
    shmc_latest cell;
    const int r = shmc_latest_open(&cell, s, o->name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    shmc_latest_stats_get(&cell, &st);
    o->unit = "values";
    o->in = st.version;
    o->capacity = st.slot_count;
    o->message_bytes = st.value_bytes;
    user_of_role(o, "writer", st.writer_pid, st.writer_alive, false, 0);
    shmc_latest_close(&cell);
    return SHMC_OK;
}

static int
counter_take(shmc_segment *s, sample_object *o)
{
    shmc_counter counter;
    const int r = shmc_counter_open(&counter, s, o->name, false);

    if (r != SHMC_OK) return r;
    o->unit = "counts";
    o->in = shmc_counter_get(&counter);
    shmc_counter_close(&counter);
    return SHMC_OK;
}

static int
calls_take(shmc_segment *s, sample_object *o)
{
    shmi_calls_stats st;
    shmi_calls c;
    const int r = shmi_calls_look(&c, s);

    if (r != SHMC_OK) return r;
    shmi_calls_stats_get(&c, &st);
    for (uint32_t i = 0; i < c.client_count; i++)
        user_of_seat(o, s, &c.clients[i], "client", i);
    for (uint32_t i = 0; i < c.server_count; i++) {
        sample_user *u = user_of_seat(o, s, &c.servers[i], "server", i);
        if (u != NULL) u->reads = true;
    }
    o->unit = "requests";
    o->in = st.requests;
    o->used = st.waiting;
    o->working = st.working;
    o->done = st.done;
    o->capacity = c.count;
    o->message_bytes = (double)st.mean_bytes;
    shmi_calls_close(&c);
    return SHMC_OK;
}

/* >>samples */

static const struct kind {
    uint32_t number;
    int (*take)(shmc_segment *s, sample_object *o);
} kinds[] = {
    { SHMC_KIND_COUNTER, counter_take },
    { SHMC_KIND_SPSC, spsc_take },
    { SHMC_KIND_RECQ, recq_take },
    { SHMC_KIND_MPMC, mpmc_take },
    { SHMC_KIND_SHARES, shares_take },
    { SHMC_KIND_BCAST, bcast_take },
    { SHMC_KIND_LATEST, latest_take },
    { SHMC_KIND_CALLS, calls_take },
};

static void
sample_object_add(sample *all, shmc_segment *s, const shmc_object_info *info,
                  const char *segment, uint32_t dead)
{
    sample_object o;

    memset(&o, 0, sizeof o);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].number != info->kind) continue;
        snprintf(o.segment, sizeof o.segment, "%s", segment);
        snprintf(o.name, sizeof o.name, "%s", info->name);
        o.kind = cli_object_kind(info->kind);
        o.unit = "messages";
        o.born = s->created_ns ^ info->created_realtime_ns;
        o.dead = dead;
        if (kinds[i].take(s, &o) == SHMC_OK) break;
        free(o.users);              /* gone, or damaged: info says more     */
        return;
    }
    if (o.kind == NULL) return;
    users_count(&o);
    if (all->count == all->room) {
        all->room = all->room != 0 ? 2 * all->room : 16;
        all->objects = realloc(all->objects, all->room * sizeof *all->objects);
        if (all->objects == NULL) cli_no_memory();
    }
    all->objects[all->count++] = o;
}

static void
sample_segment(const cli *c, sample *all, int index)
{
    const cli_look *l = &all->looks[index];
    shmc_participant_info p;
    shmc_object_info o;
    shmc_segment s;
    uint32_t *dead = &all->dead[index];

    if (l->code != SHMC_OK || cli_inspect(c, &s, l->name) != SHMC_OK) return;
    for (uint32_t i = 0; i < s.max_participants; i++)
        *dead += shmc_participant_info_get(&s, i, &p) == SHMC_OK &&
                 p.pid != 0 && !p.alive;
    for (uint32_t i = 0; i < s.max_objects; i++)
        if (shmc_object_info_get(&s, i, &o) == SHMC_OK)
            sample_object_add(all, &s, &o, l->name, *dead);
    shmc_segment_close(&s);
}

int
sample_take(const cli *c, const char *name, sample *out)
{
    memset(out, 0, sizeof *out);
    if (name == NULL) {
        out->look_count = cli_look_all(c, &out->looks);
        if (out->look_count < 0) return cli_fail("%s", shmc_last_error());
    } else {
        shmc_segment s;
        if (cli_inspect(c, &s, name) != SHMC_OK) return cli_fail_name(c, name);
        shmc_segment_close(&s);
        out->looks = calloc(1, sizeof *out->looks);
        if (out->looks == NULL) cli_no_memory();
        cli_look_at(c, name, &out->looks[0]);
        out->look_count = 1;
    }
    out->dead = calloc((size_t)out->look_count + 1, sizeof *out->dead);
    if (out->dead == NULL) cli_no_memory();
    out->at_ns = cli_now_ns();
    for (int i = 0; i < out->look_count; i++) sample_segment(c, out, i);
    return 0;
}

void
sample_free(sample *s)
{
    for (size_t i = 0; i < s->count; i++) free(s->objects[i].users);
    free(s->objects);
    free(s->looks);
    free(s->dead);
    memset(s, 0, sizeof *s);
}

const sample_object *
sample_find(const sample *s, const sample_object *o)
{
    for (size_t i = 0; i < s->count; i++) {
        const sample_object *p = &s->objects[i];
        if (p->born == o->born && strcmp(p->segment, o->segment) == 0 &&
            strcmp(p->name, o->name) == 0) return p;
    }
    return NULL;
}

void
sample_users_json(cJSON *to, const sample_object *o)
{
    cJSON *users = json_array();

    if (strcmp(o->unit, "requests") == 0) {
        json_u64(to, "working", o->working);
        json_u64(to, "done", o->done);
    }
    for (size_t i = 0; i < o->user_count; i++) {
        const sample_user *u = &o->users[i];
        cJSON *p = json_object();
        json_text(p, "role", u->role);
        json_u64(p, "seat", u->seat);
        json_i64(p, "pid", u->pid);
        json_bool(p, "alive", u->alive);
        if (u->has_lag) json_u64(p, "lag", u->lag);
        if (u->has_lost) json_u64(p, "lost", u->lost);
        json_push(users, p);
    }
    json_add(to, "users", users);
}
