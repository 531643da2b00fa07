/* shmcomm_stat.c - the verb stat: all statistics, for programs.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_sample.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = CLI_OWN };

static const struct option options[] = {
    { "format", required_argument, NULL, FORMAT }, CLI_OPTIONS
};

/* >>JSON */

static int
stat_json(const cli *c)
{
    cli_look *looks = NULL;
    const int count = cli_look_all(c, &looks);
    cJSON *all;
    shmc_segment s;

    if (count < 0) return cli_fail("%s", shmc_last_error());
    all = json_array();
    for (int i = 0; i < count; i++) {
        if (looks[i].code != SHMC_OK) continue;
        if (cli_inspect(c, &s, looks[i].name) != SHMC_OK) continue;
        json_push(all, cli_describe(c, &s, &looks[i]));
        shmc_segment_close(&s);
    }
    free(looks);
    json_print(all);
    return 0;
}

/* >>OpenMetrics */

/* A label's value: backslash, quote and line feed escaped, bytes that are no
 * UTF-8 replaced.                                                         */
static void
label(const char *key, const char *value)
{
    const size_t n = strlen(value);

    printf("%s=\"", key);
    for (size_t i = 0; i < n; ) {
        const size_t step = cli_utf8((const uint8_t *)value + i, n - i);
        if (step == 0) putchar('?');
        else if (value[i] == '\n') fputs("\\n", stdout);
        else if (value[i] == '"' || value[i] == '\\') printf("\\%c", value[i]);
        else fwrite(value + i, 1, step, stdout);
        i += step != 0 ? step : 1;
    }
    putchar('"');
}

static void
family(const char *name, const char *type, const char *unit, const char *help)
{
    printf("# TYPE shmcomm_%s %s\n", name, type);
    if (unit != NULL) printf("# UNIT shmcomm_%s %s\n", name, unit);
    printf("# HELP shmcomm_%s %s\n", name, help);
}

typedef uint64_t segment_value(const sample *s, int i);

static uint64_t
segment_bytes(const sample *s, int i) { return s->looks[i].file_bytes; }
static uint64_t
segment_heap(const sample *s, int i) { return s->looks[i].info.heap_bytes; }
static uint64_t
segment_used(const sample *s, int i) { return s->looks[i].info.heap_used_bytes; }
static uint64_t
segment_live(const sample *s, int i) { return s->looks[i].live; }
static uint64_t
segment_people(const sample *s, int i) { return s->looks[i].info.participants; }
static uint64_t
segment_dead(const sample *s, int i) { return s->dead[i]; }

static void
segments(const sample *s)
{
    static const struct {
        const char *name, *unit, *help;
        segment_value *value;
    } rows[] = {
        { "segment_size_bytes", "bytes", "Size of the file.", segment_bytes },
        { "segment_heap_bytes", "bytes", "Room for objects.", segment_heap },
        { "segment_heap_used_bytes", "bytes", "Of that, in use.", segment_used },
        { "segment_live", NULL, "Whether a live process has it open.",
          segment_live },
        { "segment_participants", NULL, "Participants that are alive.",
          segment_people },
        { "segment_dead_participants", NULL,
          "Participants that died and whose slot nobody took yet.",
          segment_dead },
    };

    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        family(rows[r].name, "gauge", rows[r].unit, rows[r].help);
        for (int i = 0; i < s->look_count; i++) {
            if (s->looks[i].code != SHMC_OK) continue;
            printf("shmcomm_%s{", rows[r].name);
            label("segment", s->looks[i].name);
            label(",kind", cli_kind(&s->looks[i]));
            printf("} %llu\n", (unsigned long long)rows[r].value(s, i));
        }
    }
}

typedef struct object_row {
    const char *name, *type, *unit, *help;
    const char *of;                 /* only objects with this unit          */
    uint64_t (*value)(const sample_object *o);
} object_row;

static uint64_t in_of(const sample_object *o) { return o->in; }
static uint64_t used_of(const sample_object *o) { return o->used; }
static uint64_t room_of(const sample_object *o) { return o->capacity; }
static uint64_t working_of(const sample_object *o) { return o->working; }
static uint64_t done_of(const sample_object *o) { return o->done; }
static uint64_t lost_of(const sample_object *o) { return o->lost; }
static uint64_t writers_of(const sample_object *o) { return o->writers; }
static uint64_t readers_of(const sample_object *o) { return o->readers; }

static void
objects(const sample *s)
{
    static const object_row rows[] = {
        { "messages", "counter", NULL, "Messages put in.", "messages", in_of },
        { "waiting_messages", "gauge", NULL, "Messages that wait to be taken.",
          "messages", used_of },
        { "capacity_messages", "gauge", NULL, "Messages that it holds at most.",
          "messages", room_of },
        { "lost_messages", "counter", NULL, "Positions given up, and messages "
          "of consumers that died.", "messages", lost_of },
        { "queue_bytes", "counter", "bytes", "Bytes put into a record queue.",
          "bytes", in_of },
        { "waiting_bytes", "gauge", "bytes", "Bytes that wait in it.", "bytes",
          used_of },
        { "capacity_bytes", "gauge", "bytes", "Bytes that it holds at most.",
          "bytes", room_of },
        { "values", "counter", NULL, "Values written.", "values", in_of },
        { "counter", "counter", NULL, "The value of a counter.", "counts", in_of },
        { "requests", "counter", NULL, "Requests sent.", "requests", in_of },
        { "done_requests", "counter", NULL, "Requests that were answered, "
          "dropped, or given up.", "requests", done_of },
        { "waiting_requests", "gauge", NULL, "Requests that no server has taken.",
          "requests", used_of },
        { "working_requests", "gauge", NULL, "Requests that a server has.",
          "requests", working_of },
        { "clients", "gauge", NULL, "Live clients.", "requests", writers_of },
        { "servers", "gauge", NULL, "Live servers.", "requests", readers_of },
        { "writers", "gauge", NULL, "Live users that write.", NULL, writers_of },
        { "readers", "gauge", NULL, "Live users with a seat to read.", NULL,
          readers_of },
    };

    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        family(rows[r].name, rows[r].type, rows[r].unit, rows[r].help);
        for (size_t i = 0; i < s->count; i++) {
            const sample_object *o = &s->objects[i];
            if (rows[r].of != NULL && strcmp(rows[r].of, o->unit) != 0) continue;
            printf("shmcomm_%s%s{", rows[r].name,
                   strcmp(rows[r].type, "counter") == 0 ? "_total" : "");
            label("segment", o->segment);
            label(",object", o->name);
            label(",kind", o->kind);
            printf("} %llu\n", (unsigned long long)rows[r].value(o));
        }
    }
}

static void
readers(const sample *s, const char *name, bool lost)
{
    for (size_t i = 0; i < s->count; i++) {
        const sample_object *o = &s->objects[i];
        for (size_t k = 0; k < o->user_count; k++) {
            const sample_user *u = &o->users[k];
            if (lost ? !u->has_lost : !u->has_lag) continue;
            printf("shmcomm_%s{", name);
            label("segment", o->segment);
            label(",object", o->name);
            printf(",seat=\"%u\",pid=\"%d\",alive=\"%s\"} %llu\n", u->seat,
                   (int)u->pid, u->alive ? "true" : "false",
                   (unsigned long long)(lost ? u->lost : u->lag));
        }
    }
}

/* Labels are what the participants like to call themselves.                */
static void
participants(const cli *c, const sample *s)
{
    shmc_participant_info p;
    shmc_segment segment;

    family("participant_alive", "gauge", NULL,
           "Who takes part; 0: died, and nobody took its slot yet.");
    for (int i = 0; i < s->look_count; i++) {
        const cli_look *l = &s->looks[i];
        if (l->code != SHMC_OK || cli_inspect(c, &segment, l->name) != SHMC_OK)
            continue;
        for (uint32_t slot = 0; slot < segment.max_participants; slot++) {
            if (shmc_participant_info_get(&segment, slot, &p) != SHMC_OK ||
                p.pid == 0) continue;
            fputs("shmcomm_participant_alive{", stdout);
            label("segment", l->name);
            printf(",slot=\"%u\",pid=\"%d\"", slot, (int)p.pid);
            label(",label", p.label);
            printf("} %d\n", p.alive);
        }
        shmc_segment_close(&segment);
    }
}

static int
stat_metrics(const cli *c)
{
    sample s;
    const int status = sample_take(c, NULL, &s);

    if (status != 0) return status;
    segments(&s);
    objects(&s);
    family("reader_lag", "gauge", NULL,
           "What a reader has not taken yet: messages, or a queue's bytes.");
    readers(&s, "reader_lag", false);
    family("reader_lost_messages", "counter", "messages",
           "What a subscriber was too slow for.");
    readers(&s, "reader_lost_messages_total", true);
    participants(c, &s);
    puts("# EOF");
    sample_free(&s);
    return 0;
}

static int
stat_run(cli *c, int argc, char **argv)
{
    bool metrics = false;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o != FORMAT) continue;
        metrics = strcmp(optarg, "openmetrics") == 0;
        if (!metrics && strcmp(optarg, "json") != 0)
            cli_usage(c, "--format '%s' is not json or openmetrics", optarg);
    }
    cli_no_argument(c, argc, argv);
    if (metrics && c->json)
        cli_usage(c, "--json and --format openmetrics exclude each other");
    return metrics ? stat_metrics(c) : stat_json(c);
}

const cli_verb verb_stat = {
    "stat", "print all statistics, for programs",
    "usage: shmcomm stat [--format json|openmetrics] [--json] [--dir DIR]\n"
    "                    [--prefix PREFIX]\n"
    "\n"
    "Prints the statistics of all segments and what is in them, read without\n"
    "being seen.\n"
    "\n"
    "  --format FORMAT  json: an array of what info --json tells of each [so];\n"
    "                   openmetrics: for Prometheus and its kind\n",
    stat_run, options, CLI_NOTHING, NULL
};
