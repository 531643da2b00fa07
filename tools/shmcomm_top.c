/* shmcomm_top.c - the verb top: a live table of what moves.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_sample.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { INTERVAL = CLI_OWN, ONCE, COUNT, SORT };

static const struct option options[] = {
    { "interval", required_argument, NULL, INTERVAL },
    { "once", no_argument, NULL, ONCE },
    { "count", required_argument, NULL, COUNT },
    { "sort", required_argument, NULL, SORT }, CLI_OPTIONS
};

typedef struct row {
    const sample_object *o;
    double rate, bytes;             /* a second                             */
    uint64_t lost;                  /* since the last look                  */
    bool fresh;                     /* was not there at the last look       */
} row;

static row
row_of(const sample *before, const sample *now, const sample_object *o)
{
    const sample_object *old = sample_find(before, o);
    const double seconds = (double)(now->at_ns - before->at_ns) / 1e9;
    row r = { o, 0, 0, 0, old == NULL };

    /* What is new came since the last look; what went backwards is no rate,
     * whatever shared memory says.                                        */
    const uint64_t in = old != NULL ? old->in : 0;
    const uint64_t lost = old != NULL ? old->lost : 0;
    if (o->in > in && seconds > 0) r.rate = (double)(o->in - in) / seconds;
    const uint64_t missed = old != NULL ? old->missed : 0;
    if (o->lost > lost) r.lost = o->lost - lost;
    if (o->missed > missed) r.lost += o->missed - missed;
    r.bytes = r.rate * o->message_bytes;
    return r;
}

static int
by_rate(const void *a, const void *b)
{
    const double x = ((const row *)a)->rate, y = ((const row *)b)->rate;

    if (x != y) return x < y ? 1 : -1;
    return strcmp(((const row *)a)->o->segment, ((const row *)b)->o->segment);
}

static int
by_lag(const void *a, const void *b)
{
    const uint64_t x = ((const row *)a)->o->used, y = ((const row *)b)->o->used;

    return x != y ? (x < y ? 1 : -1) : by_rate(a, b);
}

static int
by_name(const void *a, const void *b)
{
    const sample_object *x = ((const row *)a)->o, *y = ((const row *)b)->o;
    const int order = strcmp(x->segment, y->segment);

    return order != 0 ? order : strcmp(x->name, y->name);
}

static void
row_json(cJSON *all, const row *r)
{
    const sample_object *o = r->o;
    cJSON *j = json_object();

    json_text(j, "segment", o->segment);
    json_text(j, "object", o->name);
    json_text(j, "kind", o->kind);
    json_text(j, "unit", o->unit);
    json_bool(j, "new", r->fresh);
    json_real(j, "per_second", r->rate);
    json_real(j, "bytes_per_second", r->bytes);
    json_u64(j, "total", o->in);
    json_u64(j, "lag", o->used);
    json_u64(j, "capacity", o->capacity);
    json_u64(j, "lost", r->lost);
    json_u64(j, "lost_total", o->lost);
    json_u64(j, "writers", o->writers);
    json_u64(j, "readers", o->readers);
    json_u64(j, "dead", o->dead);
    sample_users_json(j, o);
    json_push(all, j);
}

/* "3, 120": the lag of each reader that has a seat, the longest first.    */
static void
lags_text(const sample_object *o, char *text, size_t bytes)
{
    uint64_t most = UINT64_MAX;
    size_t at = 0, shown = 0, readers = 0;

    snprintf(text, bytes, "-");
    for (size_t i = 0; i < o->user_count; i++)
        readers += o->users[i].has_lag;
    while (shown < readers && shown < 4) {
        uint64_t next = 0;
        size_t same = 0;
        for (size_t i = 0; i < o->user_count; i++)
            if (o->users[i].has_lag && o->users[i].lag < most &&
                o->users[i].lag >= next) next = o->users[i].lag;
        for (size_t i = 0; i < o->user_count; i++)
            same += o->users[i].has_lag && o->users[i].lag == next;
        for (; same > 0 && shown < 4; same--, shown++)
            at += (size_t)snprintf(text + at, bytes - at, "%s%llu",
                                   shown ? "," : "", (unsigned long long)next);
        most = next;
    }
    if (shown < readers) snprintf(text + at, bytes - at, ",...");
}

static void
row_text(cli_table *t, const row *r)
{
    char text[SHMC_NAME_BYTES + 8];
    const sample_object *o = r->o;

    cli_clean(text, sizeof text, o->segment);
    cli_table_add(t, text);
    cli_clean(text, sizeof text, o->name);
    cli_table_add(t, text);
    cli_table_add(t, o->kind);
    snprintf(text, sizeof text, "%.1f", r->rate);
    cli_table_add(t, text);
    cli_table_add(t, cli_bytes(r->bytes).s);
    cli_table_add(t, cli_u64(o->used).s);
    lags_text(o, text, sizeof text);
    cli_table_add(t, text);
    cli_table_add(t, cli_u64(r->lost).s);
    snprintf(text, sizeof text, "%u/%u", o->writers, o->readers);
    cli_table_add(t, text);
    cli_table_add(t, cli_u64(o->dead).s);
}

/* How many rows a screen has; all there are, if it is none.               */
static size_t
rows_shown(size_t count)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_row < 4) return count;
    return count < size.ws_row - 3u ? count : size.ws_row - 3u;
}

static void
top_print(const cli *c, const row *rows, size_t count, double seconds)
{
    static const char *const titles[] = {
        "NAME", "OBJECT", "KIND", "PER S", "BYTES/S", "WAITING", "LAGS", "LOST",
        "W/R", "DEAD"
    };
    cli_table t = { 10, 0, 0, 0x2b8, NULL, NULL };
    const bool screen = isatty(STDOUT_FILENO);
    const size_t shown = rows_shown(count);

    if (c->json) {
        cJSON *all = json_object(), *objects = json_array();
        json_real(all, "seconds", seconds);
        for (size_t i = 0; i < count; i++) row_json(objects, &rows[i]);
        json_add(all, "objects", objects);
        json_print(all);
        fflush(stdout);
        return;
    }
    if (screen) fputs("\033[H\033[2J", stdout);
    for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
    for (size_t i = 0; i < shown; i++) row_text(&t, &rows[i]);
    cli_table_print(&t);
    if (shown < count) printf("and %zu more\n", count - shown);
    if (count == 0) puts("nothing there");
    if (!screen) putchar('\n');
    fflush(stdout);
}

/* Look again after the interval, and show what changed.                   */
static int
top_step(const cli *c, sample *before, uint64_t interval_ns,
         int (*order)(const void *, const void *))
{
    const uint64_t until = before->at_ns + interval_ns;
    sample now;

    while (!cli_stopped && cli_now_ns() < until) cli_sleep_until(until);
    if (cli_stopped) return 0;
    const int status = sample_take(c, NULL, &now);
    if (status != 0) return status;
    row *rows = calloc(now.count + 1, sizeof *rows);
    if (rows == NULL) cli_no_memory();
    for (size_t i = 0; i < now.count; i++)
        rows[i] = row_of(before, &now, &now.objects[i]);
    if (now.count != 0) qsort(rows, now.count, sizeof *rows, order);
    top_print(c, rows, now.count, (double)(now.at_ns - before->at_ns) / 1e9);
    free(rows);
    sample_free(before);
    *before = now;
    return 0;
}

static int
top_run(cli *c, int argc, char **argv)
{
    int (*order)(const void *, const void *) = by_rate;
    double interval = 1;
    uint64_t count = 0;
    sample before;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == INTERVAL)
            interval = cli_number(c, "--interval", optarg, 0.01, 1e6);
        if (o == ONCE) count = 1;
        if (o == COUNT) count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
        if (o != SORT) continue;
        if (strcmp(optarg, "rate") == 0) order = by_rate;
        else if (strcmp(optarg, "lag") == 0) order = by_lag;
        else if (strcmp(optarg, "name") == 0) order = by_name;
        else cli_usage(c, "--sort '%s' is not rate, lag or name", optarg);
    }
    cli_no_argument(c, argc, argv);
    cli_catch_signals();
    int status = sample_take(c, NULL, &before);
    for (uint64_t i = 0; status == 0 && !cli_stopped && !ferror(stdout) &&
                         (count == 0 || i < count); i++)
        status = top_step(c, &before, (uint64_t)(interval * 1e9), order);
    sample_free(&before);
    return status;
}

const cli_verb verb_top = {
    "top", "show what moves, live",
    "usage: shmcomm top [--interval SECONDS] [--once | --count N]\n"
    "                   [--sort rate|lag|name] [--json] [--dir DIR]\n"
    "                   [--prefix PREFIX]\n"
    "\n"
    "Shows each topic, queue, service, cell and counter: messages and bytes\n"
    "a second, what waits in it, how far each reader is behind, what was lost\n"
    "since the last look (also by subscribers that were too slow), writers and\n"
    "readers (of a service, clients and servers) alive, and users that died.\n"
    "It only reads statistics, and is seen by nobody.\n"
    "\n"
    "  --interval SECONDS  between two looks [1]\n"
    "  --once              end after one interval\n"
    "  --count N           end after N\n"
    "  --sort ORDER        rate: the busiest first [so], lag, or name\n",
    top_run, options, CLI_NOTHING, NULL
};
