/* shmcomm_info.c - the verb info: tell all about one segment.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include "shmcomm_calls.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_recq.h"
#include "shmcomm_ring.h"
#include "shmcomm_work.h"

#include <stdlib.h>
#include <string.h>

static const struct option options[] = { CLI_OPTIONS };

/* >>info: objects */

/* The shape of a ring is not in its statistics.                           */
static void
bcast_shape(const shmc_bcast *h, cJSON *o)
{
    json_text(o, "mode", h->reliable ? "reliable" : "lossy");
    json_u64(o, "depth", h->slot_count);
    json_u64(o, "max_bytes", h->max_bytes);
    json_u64(o, "max_publishers", h->max_publishers);
    if (h->reliable) json_u64(o, "max_subscribers", h->max_subscribers);
}

static int
bcast_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_bcast h;
    shmc_bcast_stats st;
    int r = shmc_bcast_open(&h, s, name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    bcast_shape(&h, o);
    r = shmc_bcast_stats_get(&h, &st);
    json_u64(o, "sent", st.sent);
    json_u64(o, "voids", st.voids);
    json_u64(o, "publishers", st.publishers);
    if (h.reliable) {
        json_u64(o, "subscribers", st.subscribers);
        json_u64(o, "lag", st.lag);
        json_u64(o, "dropped", st.dropped);
    }
    shmc_bcast_close(&h);
    return r;
}

static void
holder(cJSON *o, const char *role, int32_t pid, bool alive)
{
    char key[32];

    snprintf(key, sizeof key, "%s_pid", role);
    json_i64(o, key, pid);
    if (pid == 0) return;
    snprintf(key, sizeof key, "%s_alive", role);
    json_bool(o, key, alive);
}

static int
spsc_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_spsc q;
    shmc_spsc_stats st;
    int r = shmc_spsc_open(&q, s, name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    r = shmc_spsc_stats_get(&q, &st);
    json_u64(o, "used", st.used);
    json_u64(o, "slot_count", st.slot_count);
    json_u64(o, "slot_bytes", st.slot_bytes);
    json_u64(o, "pushed", st.pushed);
    json_u64(o, "popped", st.popped);
    holder(o, "producer", st.producer_pid, st.producer_alive);
    holder(o, "consumer", st.consumer_pid, st.consumer_alive);
    shmc_spsc_close(&q);
    return r;
}

static int
recq_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_recq q;
    shmc_recq_stats st;
    int r = shmc_recq_open(&q, s, name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    r = shmc_recq_stats_get(&q, &st);
    json_u64(o, "used_bytes", st.used_bytes);
    json_u64(o, "capacity_bytes", st.capacity_bytes);
    json_u64(o, "max_bytes", st.max_bytes);
    json_u64(o, "pushed_bytes", st.pushed_bytes);
    json_u64(o, "popped_bytes", st.popped_bytes);
    holder(o, "producer", st.producer_pid, st.producer_alive);
    holder(o, "consumer", st.consumer_pid, st.consumer_alive);
    shmc_recq_close(&q);
    return r;
}

static void
mpmc_fill(cJSON *o, const shmc_mpmc_stats *st)
{
    json_u64(o, "used", st->used);
    json_u64(o, "slot_count", st->slot_count);
    json_u64(o, "pushed", st->pushed);
    json_u64(o, "popped", st->popped);
    json_u64(o, "tombs", st->tombs);
    json_u64(o, "redelivered", st->redelivered);
    json_u64(o, "dropped", st->dropped);
    json_u64(o, "handles", st->handles);
    json_u64(o, "max_handles", st->max_handles);
}

static int
mpmc_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_mpmc q;
    shmc_mpmc_stats st;
    int r = shmc_mpmc_open(&q, s, name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    r = shmc_mpmc_stats_get(&q, &st);
    mpmc_fill(o, &st);
    shmc_mpmc_close(&q);
    return r;
}

/* Of all shares together; a handle is one in each.                        */
static int
shares_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_mpmc_stats all, st;
    uint32_t count = 0;
    shmc_mpmc q;
    int r;

    (void)name;                     /* a queue has one                      */
    memset(&all, 0, sizeof all);
    for (; (r = shmi_work_observe(s, count, &q)) == SHMC_OK; count++) {
        shmc_mpmc_stats_get(&q, &st);
        shmi_work_stats_add(&all, &st);
        shmc_mpmc_close(&q);
    }
    json_u64(o, "shares", count);
    mpmc_fill(o, &all);
    return r == SHMC_ENOENT ? SHMC_OK : r;
}

static int
latest_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_latest cell;
    shmc_latest_stats st;
    int r = shmc_latest_open(&cell, s, name, NULL, SHMC_OBSERVER);

    if (r != SHMC_OK) return r;
    r = shmc_latest_stats_get(&cell, &st);
    json_u64(o, "version", st.version);
    json_u64(o, "value_bytes", st.value_bytes);
    json_u64(o, "slot_count", st.slot_count);
    holder(o, "writer", st.writer_pid, st.writer_alive);
    shmc_latest_close(&cell);
    return r;
}

static int
counter_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmc_counter counter;
    const int r = shmc_counter_open(&counter, s, name, false);

    if (r != SHMC_OK) return r;
    json_u64(o, "value", shmc_counter_get(&counter));
    shmc_counter_close(&counter);
    return r;
}

static int
calls_stats(shmc_segment *s, const char *name, cJSON *o)
{
    shmi_calls_stats st;
    shmi_calls c;
    const int r = shmi_calls_look(&c, s);

    (void)name;                     /* a service has one                    */
    if (r != SHMC_OK) return r;
    shmi_calls_stats_get(&c, &st);
    json_u64(o, "requests", st.requests);
    json_u64(o, "done", st.done);
    json_u64(o, "waiting", st.waiting);
    json_u64(o, "working", st.working);
    json_u64(o, "servers", st.servers);
    json_u64(o, "max_servers", c.server_count);
    json_u64(o, "clients", st.clients);
    json_u64(o, "max_clients", c.client_count);
    json_u64(o, "max_outstanding", c.each);
    json_u64(o, "max_bytes", c.max_request);
    json_u64(o, "max_reply_bytes", c.max_reply);
    shmi_calls_close(&c);
    return SHMC_OK;
}

typedef int stats_of(shmc_segment *s, const char *name, cJSON *o);

static stats_of *
stats_at(uint32_t kind)
{
    static stats_of *const all[] = {
        [SHMC_KIND_RAW] = NULL,
        [SHMC_KIND_COUNTER] = counter_stats,
        [SHMC_KIND_SPSC] = spsc_stats,
        [SHMC_KIND_RECQ] = recq_stats,
        [SHMC_KIND_MPMC] = mpmc_stats,
        [SHMC_KIND_BCAST] = bcast_stats,
        [SHMC_KIND_LATEST] = latest_stats,
        [SHMC_KIND_CALLS] = calls_stats,
        [SHMC_KIND_SHARES] = shares_stats,
    };

    return kind < sizeof all / sizeof all[0] ? all[kind] : NULL;
}

static cJSON *
info_object(shmc_segment *s, const shmc_object_info *info)
{
    const char *kind = cli_object_kind(info->kind);
    stats_of *fill = stats_at(info->kind);
    cJSON *o = json_object();
    cJSON *stats = json_object();
    char text[64];

    snprintf(text, sizeof text, "kind %u", info->kind);
    json_text(o, "name", info->name);
    json_text(o, "kind", kind != NULL ? kind : text);
    json_text(o, "type", info->type_name);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)info->type_hash);
    json_text(o, "type_hash", text);
    json_u64(o, "version", info->version);
    json_u64(o, "element_bytes", info->elem_bytes);
    json_u64(o, "bytes", info->bytes);
    json_u64(o, "created_realtime_ns", info->created_realtime_ns);
    if (fill != NULL && fill(s, info->name, stats) != SHMC_OK)
        json_text(stats, "error", shmc_last_error());
    json_add(o, "stats", stats);
    return o;
}

/* >>info: the whole segment */

static cJSON *
info_participant(uint32_t slot, const shmc_participant_info *p)
{
    cJSON *o = json_object();

    json_u64(o, "slot", slot);
    json_i64(o, "pid", p->pid);
    json_text(o, "label", p->label);
    json_bool(o, "alive", p->alive);
    json_u64(o, "attached_realtime_ns", p->attached_realtime_ns);
    return o;
}

/* Everything that info tells; the text is made from it, too.              */
cJSON *
cli_describe(const cli *c, shmc_segment *s, const cli_look *l)
{
    char path[SHMC_DIR_BYTES + SHMC_PREFIX_BYTES + SHMC_NAME_BYTES];
    cJSON *all = json_object();
    cJSON *people = json_array(), *objects = json_array();
    shmc_participant_info p;
    shmc_object_info o;

    cli_path(c, l->name, path, sizeof path);
    json_text(all, "name", l->name);
    json_text(all, "kind", cli_kind(l));
    json_text(all, "state", l->live ? "live" : "dead");
    json_text(all, "file", path);
    json_u64(all, "bytes", l->info.total_bytes);
    json_u64(all, "heap_bytes", l->info.heap_bytes);
    json_u64(all, "heap_used_bytes", l->info.heap_used_bytes);
    json_u64(all, "layout_version", l->info.layout_version);
    json_text(all, "wake", l->info.wake == SHMC_WAKE_ASYMMETRIC ? "asymmetric"
                                                                 : "fence");
    json_bool(all, "ephemeral", (l->info.flags & SHMC_EPHEMERAL) != 0);
    json_i64(all, "creator_pid", l->info.creator_pid);
    json_u64(all, "created_realtime_ns", l->info.created_realtime_ns);
    json_u64(all, "max_participants", l->info.max_participants);
    json_u64(all, "max_objects", l->info.max_objects);
    for (uint32_t i = 0; i < l->info.max_participants; i++)
        if (shmc_participant_info_get(s, i, &p) == SHMC_OK && p.pid != 0)
            json_push(people, info_participant(i, &p));
    for (uint32_t i = 0; i < l->info.max_objects; i++)
        if (shmc_object_info_get(s, i, &o) == SHMC_OK)
            json_push(objects, info_object(s, &o));
    json_add(all, "participants", people);
    json_add(all, "objects", objects);
    return all;
}

static const char *
text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return item != NULL && item->valuestring != NULL ? item->valuestring : "";
}

static uint64_t
number_of(const cJSON *object, const char *key)
{
    return strtoull(text_of(object, key), NULL, 10);
}

/* "value 17" or "used 3, slot_count 8, producer_pid 12".                  */
static void
info_stats(const cJSON *stats, char *text, size_t bytes)
{
    const cJSON *item;
    size_t at = 0;

    text[0] = '\0';
    cJSON_ArrayForEach(item, stats) {
        const char *value = cJSON_IsBool(item)
                          ? (cJSON_IsTrue(item) ? "yes" : "no")
                          : item->valuestring;
        char key[64];
        snprintf(key, sizeof key, "%s", item->string);
        for (char *k = key; *k != '\0'; k++)
            if (*k == '_') *k = ' ';
        const int n = snprintf(text + at, bytes - at, "%s%s %s",
                               at != 0 ? ", " : "", key, value);
        if (n < 0 || (size_t)n >= bytes - at) return;
        at += (size_t)n;
    }
}

static void
info_people_text(const cJSON *all, const cli_look *l)
{
    static const char *const titles[] = {
        "SLOT", "PID", "LABEL", "STATE", "ATTACHED"
    };
    const cJSON *people = cJSON_GetObjectItemCaseSensitive(all, "participants");
    cli_table t = { 5, 0, 0, 0x13, "  ", NULL };
    const cJSON *p;
    char text[64];

    printf("\nparticipants: %u alive, room for %u\n", l->info.participants,
           l->info.max_participants);
    if (cJSON_GetArraySize(people) == 0) return;
    for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
    cJSON_ArrayForEach(p, people) {
        const bool alive =
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(p, "alive"));
        cli_table_add(&t, text_of(p, "slot"));
        cli_table_add(&t, text_of(p, "pid"));
        cli_clean(text, sizeof text, text_of(p, "label"));
        cli_table_add(&t, text);
        cli_table_add(&t, alive ? "alive" : "died");
        snprintf(text, sizeof text, "%s ago",
                 cli_age(number_of(p, "attached_realtime_ns")).s);
        cli_table_add(&t, text);
    }
    cli_table_print(&t);
}

static void
info_objects_text(const cJSON *all, const cli_look *l)
{
    static const char *const titles[] = {
        "NAME", "KIND", "TYPE", "BYTES", "NOW"
    };
    const cJSON *objects = cJSON_GetObjectItemCaseSensitive(all, "objects");
    cli_table t = { 5, 0, 0, 0x08, "  ", NULL };
    const cJSON *o;
    char text[512];

    printf("\nobjects: %u, room for %u\n", l->info.objects,
           l->info.max_objects);
    if (l->info.objects == 0) return;
    for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
    cJSON_ArrayForEach(o, objects) {
        cli_clean(text, sizeof text, text_of(o, "name"));
        cli_table_add(&t, text);
        cli_table_add(&t, text_of(o, "kind"));
        cli_clean(text, sizeof text, text_of(o, "type"));
        cli_table_add(&t, text[0] != '\0' ? text : "-");
        cli_table_add(&t, cli_bytes((double)number_of(o, "bytes")).s);
        info_stats(cJSON_GetObjectItemCaseSensitive(o, "stats"), text,
                   sizeof text);
        cli_table_add(&t, text[0] != '\0' ? text : "-");
    }
    cli_table_print(&t);
}

static void
info_text(const cJSON *all, const cli_look *l)
{
    const shmc_segment_info *i = &l->info;

    printf("%s: %s, %s%s\n", l->name, cli_kind(l), l->live ? "live" : "dead",
           i->flags & SHMC_EPHEMERAL ? ", goes away with its last user" : "");
    printf("  file     %s\n", text_of(all, "file"));
    printf("  size     %s (%llu bytes), heap %s, of that used",
           cli_bytes((double)i->total_bytes).s,
           (unsigned long long)i->total_bytes,
           cli_bytes((double)i->heap_bytes).s);
    printf(" %s\n", cli_bytes((double)i->heap_used_bytes).s);
    printf("  created  %s ago by process %d\n",
           cli_age(i->created_realtime_ns).s, (int)i->creator_pid);
    printf("  layout   version %u, wake %s\n", i->layout_version,
           text_of(all, "wake"));
    info_people_text(all, l);
    info_objects_text(all, l);
}

static int
info_run(cli *c, int argc, char **argv)
{
    shmc_segment s;
    cli_look l;

    while (cli_next(c, argc, argv, options) >= 0) { }
    const char *name = cli_argument(c, argc, argv, "NAME");
    if (cli_inspect(c, &s, name) != SHMC_OK) return cli_fail_name(c, name);
    cli_look_at(c, name, &l);
    if (l.code != SHMC_OK) {
        shmc_segment_close(&s);
        return cli_fail("%s", l.error);
    }
    cJSON *all = cli_describe(c, &s, &l);
    shmc_segment_close(&s);
    if (c->json) {
        json_print(all);
    } else {
        info_text(all, &l);
        cJSON_Delete(all);
    }
    return 0;
}

const cli_verb verb_info = {
    "info", "tell all about one segment, topic, queue or service",
    "usage: shmcomm info NAME [--json] [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Tells what is in the segment NAME: sizes, who is attached, and each\n"
    "object with its statistics or value.  Looks on without being seen.\n",
    info_run, options, CLI_NAME, NULL
};
