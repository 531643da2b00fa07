/* shmcomm_ls.c - the verb ls: list all segments.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <stdlib.h>
#include <string.h>

static const struct option options[] = { CLI_OPTIONS };

static void
ls_json(const cli_look *looks, int count)
{
    cJSON *all = json_array();

    for (int i = 0; i < count; i++) {
        const cli_look *l = &looks[i];
        cJSON *o = json_object();
        json_text(o, "name", l->name);
        json_text(o, "kind", l->code == SHMC_OK ? cli_kind(l) : "none");
        json_u64(o, "bytes", l->file_bytes);
        if (l->code == SHMC_OK) {
            json_text(o, "state", l->live ? "live" : "dead");
            json_u64(o, "objects", l->info.objects);
            json_u64(o, "max_objects", l->info.max_objects);
            json_u64(o, "participants", l->info.participants);
            json_u64(o, "max_participants", l->info.max_participants);
            json_u64(o, "created_realtime_ns", l->info.created_realtime_ns);
        } else {
            json_text(o, "state", cli_reason(l->code));
            json_text(o, "error", l->error);
        }
        json_push(all, o);
    }
    json_print(all);
}

static void
ls_row(cli_table *t, const cli_look *l)
{
    char text[SHMC_NAME_BYTES];

    cli_clean(text, sizeof text, l->name);
    cli_table_add(t, text);
    cli_table_add(t, l->code == SHMC_OK ? cli_kind(l) : "-");
    cli_table_add(t, cli_bytes((double)l->file_bytes).s);
    if (l->code != SHMC_OK) {
        for (int i = 0; i < 3; i++) cli_table_add(t, "-");
        cli_table_add(t, cli_reason(l->code));
        return;
    }
    cli_table_add(t, cli_u64(l->info.objects).s);
    snprintf(text, sizeof text, "%u/%u", l->info.participants,
             l->info.max_participants);
    cli_table_add(t, text);
    cli_table_add(t, cli_age(l->info.created_realtime_ns).s);
    cli_table_add(t, l->live ? "live" : "dead");
}

static int
ls_run(cli *c, int argc, char **argv)
{
    static const char *const titles[] = {
        "NAME", "KIND", "BYTES", "OBJECTS", "PARTICIPANTS", "AGE", "STATE"
    };
    cli_table t = { 7, 0, 0, 0x3c, NULL, NULL };
    cli_look *looks = NULL;

    while (cli_next(c, argc, argv, options) >= 0) { }
    cli_no_argument(c, argc, argv);
    const int count = cli_look_all(c, &looks);
    if (count < 0) return cli_fail("%s", shmc_last_error());
    if (c->json) {
        ls_json(looks, count);
    } else if (count == 0) {
        fputs("no segments\n", stderr);
    } else {
        for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
        for (int i = 0; i < count; i++) ls_row(&t, &looks[i]);
        cli_table_print(&t);
    }
    free(looks);
    return 0;
}

const cli_verb verb_ls = {
    "ls", "list all segments, topics, queues and services",
    "usage: shmcomm ls [--json] [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Lists each segment: its name, what it is, its size, objects, participants\n"
    "(alive/most), age, and whether a live process has it open.  It is a topic\n"
    "(PUB/SUB), a queue (PUSH/PULL), a service (REQ/REP); or what all of its\n"
    "objects are: spsc, recq, mpmc, broadcast, latest, counter, raw; or a\n"
    "segment of several kinds, or of none yet.  Files with the prefix that are\n"
    "no segments are listed, too.\n",
    ls_run, options, CLI_NOTHING, NULL
};
