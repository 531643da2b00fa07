/* shmcomm_replay.c - the verb replay: a recording, published again.
 *
 * Manual: docs/shmcomm_cli.md, the format: docs/recordings.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_viewer.h"

#include "shmcomm_recfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SPEED = CLI_OWN, START, END, LOOP, TOPIC, LIST, WAIT
};

static const struct option options[] = {
    { "speed", required_argument, NULL, SPEED },
    { "start", required_argument, NULL, START },
    { "end", required_argument, NULL, END },
    { "loop", required_argument, NULL, LOOP },
    { "topic", required_argument, NULL, TOPIC },
    { "list", no_argument, NULL, LIST },
    { "wait-subscriber", no_argument, NULL, WAIT }, CLI_OPTIONS
};

typedef struct replay {
    const cli *c;
    const char *path;
    double speed, start, end;       /* speed 0: as fast as it goes; seconds */
    uint64_t loop;
    bool list, wait;
    const char *only[64];
    size_t only_count;
    FILE *file;
    rec_reader r;
    shmc_pub **pubs;                /* of each topic; NULL: not open        */
    buffer b;
    uint64_t sent, bytes, begin_ns; /* begin_ns: when this round began      */
} replay;

static int
read_at(void *ctx, uint64_t at, void *to, size_t bytes)
{
    FILE *f = ctx;

    if (ftello(f) != (off_t)at && fseeko(f, (off_t)at, SEEK_SET) != 0) return -1;
    return fread(to, 1, bytes, f) == bytes ? 0 : -1;
}

/* >>list */

/* The time of the first or the last message of all topics.                */
static uint64_t
time_of(const rec_reader *r, bool last)
{
    uint64_t ns = last ? r->start_ns : UINT64_MAX;

    for (uint32_t i = 0; i < r->table.count; i++) {
        const rec_topic *t = &r->table.topics[i];
        if (t->messages == 0) continue;
        if (last && t->last_ns > ns) ns = t->last_ns;
        if (!last && t->first_ns < ns) ns = t->first_ns;
    }
    return ns == UINT64_MAX ? r->start_ns : ns;
}

static double
seconds_of(const rec_reader *r, uint64_t ns)
{
    return ns > r->start_ns ? (double)(ns - r->start_ns) / SECOND_NS : 0;
}

static void
list_json(const replay *p)
{
    cJSON *all = json_object(), *topics = json_array();

    json_text(all, "file", p->path);
    json_u64(all, "bytes", p->r.file_bytes);
    json_bool(all, "whole", !p->r.scanned);
    json_u64(all, "start_realtime_ns", p->r.start_realtime_ns);
    json_real(all, "seconds", seconds_of(&p->r, time_of(&p->r, true)));
    for (uint32_t i = 0; i < p->r.table.count; i++) {
        const rec_topic *t = &p->r.table.topics[i];
        cJSON *o = json_object();
        json_text(o, "topic", t->name);
        json_text(o, "type", t->type);
        json_bool(o, "metadata", t->meta != 0);
        json_text(o, "mode", t->mode == SHMC_RELIABLE ? "reliable" : "lossy");
        json_u64(o, "depth", t->depth);
        json_u64(o, "max_bytes", t->max_bytes);
        json_u64(o, "messages", t->messages);
        json_u64(o, "bytes", t->bytes);
        json_u64(o, "lost", t->lost);
        json_real(o, "first_s", seconds_of(&p->r, t->first_ns));
        json_real(o, "last_s", seconds_of(&p->r, t->last_ns));
        json_push(topics, o);
    }
    json_add(all, "topics", topics);
    json_print(all);
}

static void
list_text(const replay *p)
{
    static const char *const titles[] = {
        "TOPIC", "MODE", "MESSAGES", "BYTES", "LOST", "FROM S", "TO S"
    };
    cli_table t = { 7, 0, 0, 0x7c, NULL, NULL };
    char text[SHMC_NAME_BYTES];

    for (size_t i = 0; i < t.columns; i++) cli_table_add(&t, titles[i]);
    for (uint32_t i = 0; i < p->r.table.count; i++) {
        const rec_topic *it = &p->r.table.topics[i];
        cli_clean(text, sizeof text, it->name);
        cli_table_add(&t, text);
        cli_table_add(&t, it->mode == SHMC_RELIABLE ? "reliable" : "lossy");
        cli_table_add(&t, cli_u64(it->messages).s);
        cli_table_add(&t, cli_bytes((double)it->bytes).s);
        cli_table_add(&t, cli_u64(it->lost).s);
        snprintf(text, sizeof text, "%.3f", seconds_of(&p->r, it->first_ns));
        cli_table_add(&t, text);
        snprintf(text, sizeof text, "%.3f", seconds_of(&p->r, it->last_ns));
        cli_table_add(&t, text);
    }
    cli_table_print(&t);
    printf("%.3f s from %s ago\n", seconds_of(&p->r, time_of(&p->r, true)),
           cli_age(p->r.start_realtime_ns).s);
}

/* >>publishing */

static bool
wanted(const replay *p, const char *name)
{
    for (size_t i = 0; i < p->only_count; i++)
        if (strcmp(p->only[i], name) == 0) return true;
    return p->only_count == 0;
}

static int
check_wanted(const replay *p)
{
    for (size_t i = 0; i < p->only_count; i++) {
        bool there = false;
        cli_near n;
        cli_near_begin(&n, p->only[i]);
        for (uint32_t k = 0; k < p->r.table.count; k++) {
            there |= strcmp(p->r.table.topics[k].name, p->only[i]) == 0;
            cli_near_try(&n, p->r.table.topics[k].name);
        }
        if (!there)
            return cli_fail("'%s' has no topic '%s'%s%s%s", p->path, p->only[i],
                            n.best[0] ? "; did you mean '" : "", n.best,
                            n.best[0] ? "'?" : "");
    }
    return 0;
}

static void
topic_close(replay *p, uint32_t id)
{
    if (p->pubs[id] == NULL) return;
    shmc_pub_close(p->pubs[id]);
    free(p->pubs[id]);
    p->pubs[id] = NULL;
}

/* Join or make the topic as it was.  One of the same name that had another
 * shape is left first.                                                    */
static int
topic_open(replay *p, uint32_t id)
{
    const rec_topic *t = &p->r.table.topics[id];
    shmc_topic_desc desc;

    for (uint32_t i = 0; i < p->r.table.count; i++)
        if (i != id && strcmp(p->r.table.topics[i].name, t->name) == 0)
            topic_close(p, i);
    memset(&desc, 0, sizeof desc);
    desc.depth = t->depth;
    desc.max_bytes = t->max_bytes;
    desc.max_publishers = t->max_publishers;
    desc.max_subscribers = t->max_subscribers;
    desc.arena_bytes = t->arena_bytes;
    desc.mode = t->mode;
    desc.wake = t->wake;
    desc.meta = t->meta != 0 ? SHMC_META : 0;
    desc.type_name = t->type[0] != '\0' ? t->type : NULL;
    desc.type_hash = t->type_hash;
    desc.dir = p->c->dir;
    desc.prefix = p->c->prefix;
    p->pubs[id] = calloc(1, sizeof **p->pubs);
    if (p->pubs[id] == NULL) cli_no_memory();
    if (shmc_pub_open(p->pubs[id], t->name, &desc) == SHMC_OK) return 0;
    free(p->pubs[id]);
    p->pubs[id] = NULL;
    return cli_fail("%s", shmc_last_error());
}

/* Wait until each topic that will be replayed has another user.           */
static int
wait_subscribers(replay *p)
{
    for (uint32_t i = 0; i < p->r.table.count; i++) {
        if (!wanted(p, p->r.table.topics[i].name)) continue;
        if (p->pubs[i] == NULL && topic_open(p, i) != 0) return 1;
        while (!cli_stopped && p->pubs[i] != NULL &&
               shmc_segment_shared(&p->pubs[i]->segment) == 0)
            cli_sleep_until(cli_now_ns() + 1000000);
    }
    return 0;
}

/* Wait until a message that came `offset` ns after the first is due.       */
static void
pace(replay *p, uint64_t offset)
{
    if (p->speed <= 0) return;
    const double due = (double)offset / p->speed;
    if (due > 9e18) {               /* a file that says 300 years           */
        cli_stopped = 1;
        return;
    }
    const uint64_t at = p->begin_ns + (uint64_t)due;
    while (!cli_stopped && cli_now_ns() < at) cli_sleep_until(at);
}

static int
send_one(replay *p, const rec_head *h)
{
    const rec_topic *t = &p->r.table.topics[h->topic];
    int r;

    if (p->pubs[h->topic] == NULL && topic_open(p, h->topic) != 0) return 1;
    do r = shmc_pub_send(p->pubs[h->topic], p->b.data, h->bytes, SLICE_NS);
    while (r == SHMC_ETIMEDOUT && !cli_stopped);
    if (r == SHMC_ETIMEDOUT) return 0;
    if (r < 0)
        return cli_fail("send a message of %u bytes on '%s': %s", h->bytes,
                        t->name, shmc_strerror(r));
    p->sent++;
    p->bytes += h->bytes;
    return 0;
}

/* Publish what lies between start and end, once.                          */
static int
replay_round(replay *p)
{
    const uint64_t zero = p->r.start_ns;
    const uint64_t from = zero + (uint64_t)(p->start * SECOND_NS);
    const uint64_t to = p->end > 0 ? zero + (uint64_t)(p->end * SECOND_NS)
                                   : UINT64_MAX;
    uint64_t at = rec_seek(&p->r, from), first = 0;
    bool begun = false;
    rec_head h;

    while (!cli_stopped && rec_next(&p->r, &at, &h)) {
        if (h.kind != REC_MESSAGE || h.ns < from) continue;
        if (h.ns > to) return 0;
        if (!wanted(p, p->r.table.topics[h.topic].name)) continue;
        buffer_need(&p->b, (size_t)h.bytes + 1);
        if (rec_data(&p->r, &h, p->b.data) != 0) break;
        if (!begun) {               /* what came before is not waited for   */
            first = p->start > 0 ? from : h.ns;
            p->begin_ns = cli_now_ns();
            begun = true;
        }
        pace(p, h.ns > first ? h.ns - first : 0);
        if (cli_stopped) return 0;
        const int status = send_one(p, &h);
        if (status != 0) return status;
    }
    if (at < p->r.end && !cli_stopped)
        return cli_fail("'%s' is damaged at byte %llu; shmcomm record --repair "
                        "keeps what is before it", p->path,
                        (unsigned long long)at);
    return 0;
}

static int
replay_all(replay *p)
{
    int status = check_wanted(p);

    if (status == 0 && p->wait) status = wait_subscribers(p);
    for (uint64_t i = 0; status == 0 && i < p->loop && !cli_stopped; i++) {
        const uint64_t before = p->sent;
        status = replay_round(p);
        if (p->sent == before) break;       /* nothing, for ever            */
    }
    for (uint32_t i = 0; i < p->r.table.count; i++) topic_close(p, i);
    if (p->c->json) {
        cJSON *o = json_object();
        json_text(o, "file", p->path);
        json_u64(o, "sent", p->sent);
        json_u64(o, "bytes", p->bytes);
        json_print(o);
    } else {
        fprintf(stderr, "sent %llu messages, %s\n", (unsigned long long)p->sent,
                cli_bytes((double)p->bytes).s);
    }
    return status;
}

/* >>the verb */

static int
replay_file(replay *p)
{
    struct stat st;
    int status = 0;

    if (fstat(fileno(p->file), &st) != 0 || !S_ISREG(st.st_mode))
        return cli_fail("'%s' is no regular file", p->path);
    if (rec_open(&p->r, read_at, p->file, (uint64_t)st.st_size) != 0)
        return cli_fail("cannot read '%s': %s", p->path, p->r.why);
    if (p->r.scanned)
        fprintf(stderr, "'%s' was cut short: it has no index, and was read up to "
                "its last whole record, byte %llu of %llu\n", p->path,
                (unsigned long long)p->r.end, (unsigned long long)p->r.file_bytes);
    p->pubs = calloc((size_t)p->r.table.count + 1, sizeof *p->pubs);
    if (p->pubs == NULL) cli_no_memory();
    if (!p->list) status = replay_all(p);
    else if (p->c->json) list_json(p);
    else list_text(p);
    free(p->pubs);
    free(p->b.data);
    rec_close(&p->r);
    return status;
}

static void
replay_take(cli *c, int o, replay *p)
{
    switch (o) {
    case SPEED: p->speed = cli_number(c, "--speed", optarg, 0, 1e6); break;
    case START: p->start = cli_number(c, "--start", optarg, 0, 1e9); break;
    case END:   p->end = cli_number(c, "--end", optarg, 1e-9, 1e9); break;
    case LOOP:
        p->loop = cli_count(c, "--loop", optarg, 0, UINT64_MAX);
        if (p->loop == 0) p->loop = UINT64_MAX;
        break;
    case TOPIC:
        if (p->only_count == sizeof p->only / sizeof p->only[0])
            cli_usage(c, "at most %zu times --topic", p->only_count);
        p->only[p->only_count++] = optarg;
        break;
    case LIST:  p->list = true; break;
    case WAIT:  p->wait = true; break;
    default:    break;
    }
}

static int
replay_run(cli *c, int argc, char **argv)
{
    static replay p;
    int o;

    p.c = c;
    p.speed = 1;
    p.loop = 1;
    while ((o = cli_next(c, argc, argv, options)) >= 0) replay_take(c, o, &p);
    p.path = cli_argument(c, argc, argv, "FILE");
    if (p.end > 0 && p.end < p.start)
        cli_usage(c, "--end is before --start");
    p.file = fopen(p.path, "rb");
    if (p.file == NULL)
        return cli_fail("cannot open '%s': %s", p.path, strerror(errno));
    cli_catch_signals();
    const int status = replay_file(&p);
    fclose(p.file);
    return status;
}

const cli_verb verb_replay = {
    "replay", "publish a recording again",
    "usage: shmcomm replay FILE [--speed X] [--start SECONDS] [--end SECONDS]\n"
    "                      [--loop N] [--topic TOPIC]... [--wait-subscriber]\n"
    "                      [--json] [--dir DIR] [--prefix PREFIX]\n"
    "       shmcomm replay FILE --list [--json]\n"
    "\n"
    "Publishes the messages of a recording on topics of the same name and\n"
    "shape, with the times between them that they had.  A file that was cut\n"
    "short is read up to its last whole record.\n"
    "\n"
    "  --speed X           X times as fast; 0: as fast as it goes [1]\n"
    "  --start SECONDS     begin so long after the recording began\n"
    "  --end SECONDS       end so long after the recording began\n"
    "  --loop N            N times; 0: again and again [1]\n"
    "  --topic TOPIC       only this one; may be given again\n"
    "  --wait-subscriber   first wait until another process has each topic\n"
    "                      open\n"
    "  --list              tell what is in FILE, and publish nothing\n",
    replay_run, options, CLI_FILE, NULL
};
