/* shmcomm_lag.c - the verb lag: how far each reader is behind.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_sample.h"

#include <string.h>

enum { OBJECT = CLI_OWN };

static const struct option options[] = {
    { "object", required_argument, NULL, OBJECT }, CLI_OPTIONS
};

static void
lag_json(cJSON *all, const sample_object *o)
{
    cJSON *j = json_object();

    json_text(j, "object", o->name);
    json_text(j, "kind", o->kind);
    json_bool(j, "lossy", o->lossy);
    json_text(j, "unit", o->unit);
    json_u64(j, "total", o->in);
    json_u64(j, "waiting", o->used);
    json_u64(j, "capacity", o->capacity);
    json_u64(j, "lost", o->lost);
    json_u64(j, "dead", o->dead);
    sample_users_json(j, o);
    json_push(all, j);
}

static void
lag_users(const sample_object *o)
{
    static const char *const titles[] = {
        "ROLE", "SEAT", "PID", "STATE", "LOST", "LAG"
    };
    cli_table t = { 6, 0, 0, 0x16, "  ", NULL };
    char text[64];

    for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
    for (size_t i = 0; i < o->user_count; i++) {
        const sample_user *u = &o->users[i];
        cli_table_add(&t, u->role);
        cli_table_add(&t, cli_u64(u->seat).s);
        snprintf(text, sizeof text, "%d", (int)u->pid);
        cli_table_add(&t, u->pid != 0 ? text : "-");
        cli_table_add(&t, u->alive ? "alive" : "died");
        cli_table_add(&t, u->has_lost ? cli_u64(u->lost).s : "-");
        snprintf(text, sizeof text, "%llu (%.1f %% of %llu)",
                 (unsigned long long)u->lag,
                 o->capacity ? 100.0 * (double)u->lag / (double)o->capacity : 0,
                 (unsigned long long)o->capacity);
        cli_table_add(&t, u->has_lag ? text : "-");
    }
    cli_table_print(&t);
}

static void
lag_text(const sample_object *o)
{
    char name[SHMC_NAME_BYTES];

    cli_clean(name, sizeof name, o->name);
    printf("%s: %s%s, %llu %s so far, %llu waiting, %llu lost, %u died\n", name,
           o->kind, o->lossy ? ", lossy" : "", (unsigned long long)o->in,
           o->unit, (unsigned long long)o->used, (unsigned long long)o->lost,
           o->dead);
    if (strcmp(o->unit, "requests") == 0)
        printf("  %llu with servers, %llu done (the file does not hold how)\n",
               (unsigned long long)o->working, (unsigned long long)o->done);
    if (o->user_count != 0) lag_users(o);
}

static int
lag_run(cli *c, int argc, char **argv)
{
    const char *object = NULL;
    cli_near near;
    sample s;
    int o, shown = 0;

    while ((o = cli_next(c, argc, argv, options)) >= 0)
        if (o == OBJECT) object = optarg;
    const char *name = cli_argument(c, argc, argv, "NAME");
    const int status = sample_take(c, name, &s);
    if (status != 0) return status;
    cJSON *all = c->json ? json_array() : NULL;
    cli_near_begin(&near, object != NULL ? object : "");
    for (size_t i = 0; i < s.count; i++) {
        const sample_object *it = &s.objects[i];
        cli_near_try(&near, it->name);
        if (strcmp(it->kind, "counter") == 0) continue;
        if (object != NULL && strcmp(it->name, object) != 0) continue;
        if (all != NULL) lag_json(all, it);
        else lag_text(it);
        shown++;
    }
    sample_free(&s);
    if (object != NULL && shown == 0) {
        cJSON_Delete(all);
        return cli_fail("segment '%s' has no queue, ring or cell '%s'%s%s%s", name,
                        object, near.best[0] ? "; did you mean '" : "",
                        near.best, near.best[0] ? "'?" : "");
    }
    if (all != NULL) json_print(all);
    else if (shown == 0) printf("%s holds no queue, ring or cell\n", name);
    return 0;
}

const cli_verb verb_lag = {
    "lag", "tell how far each reader is behind",
    "usage: shmcomm lag NAME [--object OBJECT] [--json] [--dir DIR]\n"
    "                   [--prefix PREFIX]\n"
    "\n"
    "Tells of each queue, ring and cell of a topic or segment who has a seat\n"
    "or a role in it, whether that process is alive, how many messages (of a\n"
    "record queue: bytes) it has not taken yet, and what was lost, by each\n"
    "subscriber and in all.  Of a service, how many requests wait, are with\n"
    "servers, and are done.  Looks on without being seen.\n"
    "\n"
    "  --object OBJECT  only this one\n",
    lag_run, options, CLI_NAME, NULL
};
