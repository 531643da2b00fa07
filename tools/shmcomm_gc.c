/* shmcomm_gc.c - the verb gc: remove what no live process holds.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <stdlib.h>
#include <string.h>

enum { DRY_RUN = CLI_OWN, TOPICS };

static const struct option options[] = {
    { "dry-run", no_argument, NULL, DRY_RUN },
    { "topics", no_argument, NULL, TOPICS }, CLI_OPTIONS
};

typedef struct verdict {
    const char *action;             /* removed, would remove, kept, gone    */
    char reason[768];
    cJSON *pids;                    /* who uses it                          */
} verdict;

/* "in use by pid 12, 34", or by readers, who leave no trace but a lock.   */
static void
gc_users(const cli *c, const cli_look *l, verdict *v)
{
    shmc_participant_info p;
    shmc_segment s;
    size_t at = 0;

    v->action = "kept";
    snprintf(v->reason, sizeof v->reason,
             "in use by a process that only reads");
    if (cli_inspect(c, &s, l->name) != SHMC_OK) return;
    for (uint32_t i = 0; i < l->info.max_participants; i++) {
        if (shmc_participant_info_get(&s, i, &p) != SHMC_OK || !p.alive)
            continue;
        char pid[16];
        snprintf(pid, sizeof pid, "%d", (int)p.pid);
        cJSON *item = cJSON_CreateRaw(pid);
        json_push(v->pids, item);
        if (at + 16 >= sizeof v->reason) continue;
        at += (size_t)snprintf(v->reason + at, sizeof v->reason - at, "%s%s",
                               at != 0 ? ", " : "in use by pid ", pid);
    }
    shmc_segment_close(&s);
}

static void
gc_remove(const cli *c, const cli_look *l, verdict *v)
{
    shmc_segment_desc desc;

    memset(&desc, 0, sizeof desc);
    desc.dir = c->dir;
    desc.prefix = c->prefix;
    const int r = shmc_segment_unlink(l->name, &desc);
    v->action = "removed";
    if (r == SHMC_OK) return;
    v->action = r == SHMC_ENOENT ? "gone" : "kept";
    if (r == SHMC_ENOENT)
        snprintf(v->reason, sizeof v->reason, "its last user removed it");
    else if (r == SHMC_EBUSY)
        snprintf(v->reason, sizeof v->reason, "in use by a newcomer");
    else
        snprintf(v->reason, sizeof v->reason, "%s", cli_reason(r));
}

static void
gc_judge(const cli *c, const cli_look *l, bool dry_run, bool topics, verdict *v)
{
    v->action = "kept";
    v->reason[0] = '\0';
    v->pids = json_array();
    if (l->code != SHMC_OK) {
        snprintf(v->reason, sizeof v->reason, "%s", cli_reason(l->code));
    } else if (l->live) {
        gc_users(c, l, v);
    } else if (topics && !l->topic) {
        snprintf(v->reason, sizeof v->reason, "not a topic");
    } else {
        snprintf(v->reason, sizeof v->reason, "no live process has it open");
        if (dry_run) v->action = "would remove";
        else gc_remove(c, l, v);
    }
}

static void
gc_say(cli_table *t, cJSON *all, const cli_look *l, verdict *v)
{
    char text[SHMC_NAME_BYTES];

    if (all != NULL) {
        cJSON *o = json_object();
        json_text(o, "name", l->name);
        json_text(o, "action", v->action);
        json_text(o, "reason", v->reason);
        json_u64(o, "bytes", l->file_bytes);
        json_add(o, "pids", v->pids);
        json_push(all, o);
        return;
    }
    cJSON_Delete(v->pids);
    cli_clean(text, sizeof text, l->name);
    cli_table_add(t, v->action);
    cli_table_add(t, text);
    cli_table_add(t, cli_bytes((double)l->file_bytes).s);
    cli_table_add(t, v->reason);
}

static int
gc_run(cli *c, int argc, char **argv)
{
    cli_table t = { 4, 0, 0, 0x04, NULL, NULL };
    bool dry_run = false, topics = false;
    cli_look *looks = NULL;
    verdict v;
    uint64_t bytes = 0;
    int o, removed = 0;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        dry_run |= o == DRY_RUN;
        topics |= o == TOPICS;
    }
    cli_no_argument(c, argc, argv);
    const int count = cli_look_all(c, &looks);
    if (count < 0) return cli_fail("%s", shmc_last_error());
    cJSON *all = c->json ? json_array() : NULL;
    for (int i = 0; i < count; i++) {
        gc_judge(c, &looks[i], dry_run, topics, &v);
        if (v.action[0] == 'r' || v.action[0] == 'w') {
            removed++;
            bytes += looks[i].file_bytes;
        }
        gc_say(&t, all, &looks[i], &v);
    }
    free(looks);
    if (all != NULL) {
        json_print(all);
        return 0;
    }
    cli_table_print(&t);
    printf("%s %d of %d, %s\n", dry_run ? "would remove" : "removed", removed,
           count, cli_bytes((double)bytes).s);
    return 0;
}

const cli_verb verb_gc = {
    "gc", "remove what no live process holds",
    "usage: shmcomm gc [--dry-run] [--topics] [--json] [--dir DIR]\n"
    "                  [--prefix PREFIX]\n"
    "\n"
    "Removes the segments that no live process has open, and says for every\n"
    "file with the prefix what it did and why.  What is no segment is kept.\n"
    "\n"
    "  --dry-run  only say what would be done\n"
    "  --topics   keep segments that are no topics: they may wait for a\n"
    "             process to come back to their data\n",
    gc_run, options, CLI_NOTHING, NULL
};
