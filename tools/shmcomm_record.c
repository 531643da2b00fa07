/* shmcomm_record.c - the verb record: topics into a file.
 *
 * Manual: docs/shmcomm_cli.md, the format: docs/recordings.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_viewer.h"

#include "shmcomm_recfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IDLE_NS  200000u            /* between two looks when nothing comes */
#define CHORE_NS 100000000u         /* between two looks for new topics     */
enum { TURN = 256 };                /* messages of one topic in a row       */

enum {
    OUTPUT = CLI_OWN, ALL, DURATION, COUNT, MAX_SIZE, HISTORY, FORCE, REPAIR
};

static const struct option options[] = {
    { "output", required_argument, NULL, OUTPUT },
    { "all", no_argument, NULL, ALL },
    { "duration", required_argument, NULL, DURATION },
    { "count", required_argument, NULL, COUNT },
    { "max-size", required_argument, NULL, MAX_SIZE },
    { "history", required_argument, NULL, HISTORY },
    { "force", no_argument, NULL, FORCE },
    { "repair", required_argument, NULL, REPAIR }, CLI_OPTIONS
};

typedef struct track {              /* one topic being recorded             */
    viewer v;
    uint64_t received, made_ns;     /* made_ns: of the topic that has `id`  */
    uint32_t id;
    bool known;                     /* it has an id in the file             */
    char name[SHMC_NAME_BYTES];
} track;

typedef struct recording {
    const cli *c;
    const char *path, *repair;
    bool all, force, begun;         /* begun: topics found now are new      */
    uint64_t duration_ns, count, max_size, start_ns;
    int32_t history;
    track **tracks;
    size_t track_count;
    uint64_t messages, lost;
    rec_writer w;
    buffer b;
} recording;

/* >>topics */

static int
track_add(recording *r, const char *name, int32_t history)
{
    if (r->track_count == REC_MOST_TOPICS)
        return cli_fail("more than %d topics cannot be recorded into one file",
                        (int)REC_MOST_TOPICS);
    r->tracks = realloc(r->tracks, (r->track_count + 1) * sizeof *r->tracks);
    track *t = calloc(1, sizeof *t);
    if (r->tracks == NULL || t == NULL) cli_no_memory();
    snprintf(t->name, sizeof t->name, "%s", name);
    const int status = viewer_open(&t->v, r->c, t->name, history);
    if (status != 0) {
        free(t);
        return status;
    }
    r->tracks[r->track_count++] = t;
    return 0;
}

/* Follow topics that appeared: from their first message on.               */
static int
track_all(recording *r)
{
    cli_look *looks = NULL;
    const int count = cli_look_all(r->c, &looks);
    int status = 0;

    if (count < 0) return cli_fail("%s", shmc_last_error());
    for (int i = 0; i < count && status == 0; i++) {
        const cli_look *l = &looks[i];
        bool known = false;
        for (size_t k = 0; k < r->track_count; k++)
            known |= strcmp(r->tracks[k]->name, l->name) == 0;
        if (l->code == SHMC_OK && l->topic && l->live && !known)
            status = track_add(r, l->name,
                               r->begun ? SHMC_BCAST_ALL : r->history);
    }
    r->begun = true;
    free(looks);
    return status;
}

/* Write down the shape of a topic that has just been found.               */
static int
track_describe(recording *r, track *t)
{
    const shmc_segment *s = &t->v.sub.segment;
    const shmc_bcast *ring = &t->v.sub.ring;
    shmc_object_info info;
    rec_topic topic;

    memset(&topic, 0, sizeof topic);
    snprintf(topic.name, sizeof topic.name, "%s", t->name);
    for (uint32_t i = 0; i < s->max_objects; i++)
        if (shmc_object_info_get(s, i, &info) == SHMC_OK &&
            strcmp(info.name, CLI_TOPIC_OBJECT) == 0) {
            snprintf(topic.type, sizeof topic.type, "%s", info.type_name);
            topic.type_hash = info.type_hash;
        }
    topic.depth = ring->slot_count;
    topic.meta = ring->mark == SHMC_META;
    topic.max_bytes = ring->max_bytes - (topic.meta ? SHMC_META_BYTES : 0);
    topic.max_publishers = ring->max_publishers;
    topic.max_subscribers = ring->max_subscribers;
    topic.arena_bytes = ring->arena_bytes;
    topic.mode = ring->reliable ? SHMC_RELIABLE : SHMC_LOSSY;
    topic.wake = s->wake;
    const int64_t id = rec_add_topic(&r->w, &topic, cli_now_ns());
    if (id < 0) return cli_fail("too many topics for one file");
    t->id = (uint32_t)id;
    t->known = true;
    t->made_ns = s->created_ns;
    return 0;
}

/* Write down what came on one topic.  Returns how many, or -1.            */
static int
track_take(recording *r, track *t)
{
    int taken = 0;

    while (taken < TURN && !cli_stopped && !r->w.failed) {
        const int got = viewer_recv(&t->v, &r->b, 0);
        const uint64_t now = cli_now_ns();
        if (got < 0) {
            cli_fail("receive from '%s': %s", t->name, shmc_strerror(got));
            return -1;
        }
        if (got == 0) break;
        if ((!t->known || t->made_ns != t->v.sub.segment.created_ns) &&
            track_describe(r, t) != 0) return -1;
        t->received++;
        const uint64_t sequence = t->received + t->v.lost;
        if (t->v.gap != 0) rec_loss(&r->w, t->id, now, sequence, t->v.gap);
        r->lost += t->v.gap;
        t->v.gap = 0;
        rec_message(&r->w, t->id, now, sequence, r->b.data, (uint32_t)r->b.bytes);
        r->messages++;
        taken++;
        if (r->count != 0 && r->messages >= r->count) break;
    }
    return taken;
}

/* >>the file */

static FILE *
record_create(const recording *r)
{
    FILE *f = fopen(r->path, r->force ? "wb" : "wbx");

    if (f == NULL && errno == EEXIST)
        cli_fail("'%s' exists; give another name, or --force to overwrite it",
                 r->path);
    else if (f == NULL)
        cli_fail("cannot create '%s': %s", r->path, strerror(errno));
    return f;
}

static bool
record_done(const recording *r)
{
    return cli_stopped || r->w.failed ||
           (r->count != 0 && r->messages >= r->count) ||
           (r->max_size != 0 && r->w.at >= r->max_size) ||
           (r->duration_ns != 0 && cli_now_ns() - r->start_ns >= r->duration_ns);
}

/* What is not done for each message: look for topics, and hand what was
 * written to the kernel, so that a kill loses at most a tenth of a second. */
static int
record_chores(recording *r)
{
    int status = r->all ? track_all(r) : 0;

    for (size_t i = 0; i < r->track_count && status == 0; i++)
        status = viewer_follow(&r->tracks[i]->v);
    rec_flush(&r->w);
    return status;
}

static int
record_loop(recording *r)
{
    uint64_t chores_ns = 0;
    int status = 0;

    while (status == 0 && !record_done(r)) {
        int taken = 0;
        if (cli_now_ns() >= chores_ns) {
            status = record_chores(r);
            chores_ns = cli_now_ns() + CHORE_NS;
        }
        for (size_t i = 0; i < r->track_count && status == 0; i++) {
            const int n = record_done(r) ? 0 : track_take(r, r->tracks[i]);
            if (n < 0) status = 1;
            else taken += n;
        }
        if (taken == 0 && status == 0) cli_sleep_until(cli_now_ns() + IDLE_NS);
    }
    return status;
}

static void
record_summary(const recording *r)
{
    if (r->c->json) {
        cJSON *o = json_object();
        json_text(o, "file", r->path);
        json_u64(o, "bytes", r->w.at);
        json_u64(o, "topics", r->w.table.count);
        json_u64(o, "messages", r->messages);
        json_u64(o, "lost", r->lost);
        json_print(o);
    } else {
        fprintf(stderr, "recorded %llu messages of %u topics, %s, lost %llu\n",
                (unsigned long long)r->messages, r->w.table.count,
                cli_bytes((double)r->w.at).s, (unsigned long long)r->lost);
    }
}

static int
record_file(recording *r, char **topics, int count)
{
    FILE *f = record_create(r);
    int status = f == NULL;

    if (f == NULL) return status;
    r->start_ns = cli_now_ns();
    rec_begin(&r->w, f, r->start_ns, cli_realtime_ns());
    buffer_need(&r->b, 65536);
    for (int i = 0; i < count && status == 0; i++)
        status = track_add(r, topics[i], r->history);
    if (status == 0) status = record_loop(r);
    rec_end(&r->w, cli_now_ns());
    if (fclose(f) != 0) rec_fail(&r->w);
    if (r->w.failed && status == 0)
        status = cli_fail("cannot write '%s': %s; what is in it can be read as "
                          "far as it goes", r->path, strerror(r->w.error));
    record_summary(r);
    for (size_t i = 0; i < r->track_count; i++) {
        viewer_close(&r->tracks[i]->v);
        free(r->tracks[i]);
    }
    free(r->tracks);
    free(r->b.data);
    rec_table_free(&r->w.table);
    return status;
}

/* >>repair */

static int
read_at(void *ctx, uint64_t at, void *to, size_t bytes)
{
    FILE *f = ctx;

    if (fseeko(f, (off_t)at, SEEK_SET) != 0) return -1;
    return fread(to, 1, bytes, f) == bytes ? 0 : -1;
}

/* Cut off what is not whole, and write the index behind the rest.         */
static int
record_mend(const char *path, FILE *f, rec_reader *r)
{
    static rec_writer w;
    const uint64_t before = r->file_bytes;

    if (fflush(f) != 0 || ftruncate(fileno(f), (off_t)r->end) != 0 ||
        fseeko(f, 0, SEEK_END) != 0)
        return cli_fail("cannot cut '%s' to its whole records: %s", path,
                        strerror(errno));
    w.file = f;
    w.at = r->end;
    w.table = r->table;
    rec_end(&w, r->start_ns);
    if (w.failed) return cli_fail("cannot write the index of '%s': %s", path,
                                  strerror(w.error));
    fprintf(stderr, "repaired '%s': cut off %llu bytes, wrote the index\n", path,
            (unsigned long long)(before - r->end));
    return 0;
}

static int
record_repair(const char *path)
{
    static rec_reader r;
    struct stat st;
    FILE *f = fopen(path, "r+b");
    int status = 0;

    if (f == NULL)
        return cli_fail("cannot open '%s': %s", path, strerror(errno));
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        status = cli_fail("'%s' is no regular file", path);
    } else if (rec_open(&r, read_at, f, (uint64_t)st.st_size) != 0) {
        status = cli_fail("cannot repair '%s': %s", path, r.why);
    } else {
        if (r.scanned) status = record_mend(path, f, &r);
        else fprintf(stderr, "'%s' is whole\n", path);
        rec_close(&r);
    }
    if (fclose(f) != 0 && status == 0)
        status = cli_fail("cannot write '%s': %s", path, strerror(errno));
    return status;
}

/* >>the verb */

static void
record_take(cli *c, int o, recording *r)
{
    switch (o) {
    case OUTPUT:   r->path = optarg; break;
    case ALL:      r->all = true; break;
    case FORCE:    r->force = true; break;
    case REPAIR:   r->repair = optarg; break;
    case DURATION:
        r->duration_ns = (uint64_t)(SECOND_NS * cli_number(c, "--duration", optarg,
                                                           0.001, 1e9));
        break;
    case COUNT:    r->count = cli_count(c, "--count", optarg, 1, UINT64_MAX); break;
    case MAX_SIZE:
        r->max_size = cli_count(c, "--max-size", optarg, 1, UINT64_MAX);
        break;
    case HISTORY:
        r->history = strcmp(optarg, "all") == 0 ? SHMC_BCAST_ALL
            : (int32_t)cli_count(c, "--history", optarg, 0, INT32_MAX);
        break;
    default:       break;
    }
}

static int
record_run(cli *c, int argc, char **argv)
{
    static recording r;
    char path[64];
    int o;

    r.c = c;
    while ((o = cli_next(c, argc, argv, options)) >= 0) record_take(c, o, &r);
    if (r.repair != NULL) {
        cli_no_argument(c, argc, argv);
        return record_repair(r.repair);
    }
    if (optind == argc && !r.all)
        cli_usage(c, "TOPIC is missing; name some, or give --all");
    if (optind < argc && r.all)
        cli_usage(c, "--all and '%s' exclude each other", argv[optind]);
    if (r.path == NULL) {
        const time_t now = time(NULL);
        struct tm t;
        strftime(path, sizeof path, "shmcomm-%Y%m%d-%H%M%S.rec",
                 localtime_r(&now, &t));
        r.path = path;
    }
    cli_catch_signals();
    return record_file(&r, argv + optind, argc - optind);
}

const cli_verb verb_record = {
    "record", "record topics into a file",
    "usage: shmcomm record TOPIC... | --all [--output FILE] [--force]\n"
    "                      [--duration SECONDS] [--count N] [--max-size BYTES]\n"
    "                      [--history N] [--json] [--dir DIR] [--prefix PREFIX]\n"
    "       shmcomm record --repair FILE\n"
    "\n"
    "Writes each message with the time when it came, until Ctrl-C or a limit.\n"
    "It reads only, like echo, holds no publisher up, and writes down what it\n"
    "was too slow for.  A topic that does not exist yet is waited for.  After\n"
    "a kill the file has all but the last tenth of a second, and replay reads\n"
    "it as far as it is whole.\n"
    "\n"
    "  --all               all topics, also those that appear later\n"
    "  --output FILE       [shmcomm-DATE-TIME.rec]\n"
    "  --force             overwrite FILE if it exists\n"
    "  --duration SECONDS  end after this time\n"
    "  --count N           end after N messages\n"
    "  --max-size BYTES    end when FILE has become so large\n"
    "  --history N         begin with up to N messages from before, or 'all'\n"
    "  --repair FILE       cut off what is not whole, and write the index\n"
    "                      that was missing\n",
    record_run, options, CLI_TOPIC, NULL
};
