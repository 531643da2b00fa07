/* shmcomm_flow.c - the verbs echo, pub and hz: messages in and out.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000u
#define SLICE_NS  100000000u        /* how long a signal may go unseen      */
#define LOOK_NS   100000u           /* hz looks this often                  */
#define LONGEST_MESSAGE (UINT32_C(1) << 30)

enum {                              /* own options of these verbs           */
    COUNT = CLI_OWN, TIMEOUT, FORMAT, HISTORY, LENGTHS, INPUT, LINES, RATE,
    REPEAT, MAX_BYTES, DEPTH, PEEK, RELIABLE, WAIT, WINDOW
};

typedef struct buffer {
    uint8_t *data;
    size_t bytes, room;
} buffer;

static void
buffer_need(buffer *b, size_t room)
{
    if (room <= b->room) return;
    if (room < 2 * b->room) room = 2 * b->room;
    b->data = realloc(b->data, room);
    if (b->data == NULL) cli_no_memory();
    b->room = room;
}

/* >>a subscriber that only looks */

typedef struct viewer {
    shmc_sub sub;
    shmc_segment segment;           /* to peek, in place of sub             */
    shmc_bcast ring;
    bool peek;
    const char *topic;
    shmc_sub_desc desc;
    uint64_t lost, gap;             /* in all; since the last message       */
    bool waited;                    /* "waiting" was said                   */
} viewer;

static int
viewer_open(viewer *v, const cli *c, const char *topic, int32_t history)
{
    memset(v, 0, sizeof *v);
    v->topic = topic;
    v->desc.flags = SHMC_READ_ONLY;
    v->desc.report_loss = true;
    v->desc.history = history;
    v->desc.dir = c->dir;
    v->desc.prefix = c->prefix;
    if (shmc_sub_open(&v->sub, topic, &v->desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    return 0;
}

/* Look at what is there now, unseen, and be no user of the topic.         */
static int
viewer_peek(viewer *v, const cli *c, const char *topic, int32_t history)
{
    shmc_bcast_desc desc;

    memset(v, 0, sizeof *v);
    memset(&desc, 0, sizeof desc);
    v->topic = topic;
    v->peek = true;
    desc.history = history;
    int r = cli_inspect(c, &v->segment, topic);
    if (r != SHMC_OK) return cli_fail("%s", shmc_last_error());
    r = shmc_bcast_open(&v->ring, &v->segment, CLI_TOPIC_OBJECT, &desc,
                        SHMC_WATCHER);
    if (r == SHMC_OK) return 0;
    shmc_segment_close(&v->segment);
    return cli_fail("%s", shmc_last_error());
}

static void
viewer_close(viewer *v)
{
    if (v->peek) {
        shmc_bcast_close(&v->ring);
        shmc_segment_close(&v->segment);
    } else {
        shmc_sub_close(&v->sub);
    }
}

/* Say that the topic is not there yet.  If it lost its name (only by force)
 * subscribe again.                                                        */
static int
viewer_follow(viewer *v)
{
    const int ready = shmc_sub_ready(&v->sub);

    if (ready < 0) return cli_fail("%s", shmc_last_error());
    if (ready == 0 && !v->waited) {
        fprintf(stderr, "waiting for topic '%s'\n", v->topic);
        v->waited = true;
    }
    if (ready == 0 || shmc_segment_linked(&v->sub.segment) != 0) return 0;
    shmc_sub_close(&v->sub);
    v->waited = false;
    if (shmc_sub_open(&v->sub, v->topic, &v->desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    return 0;
}

/* Receive into b.  Returns 1, 0 if nothing came, or a negative code.      */
static int
viewer_recv(viewer *v, buffer *b, int64_t timeout_ns)
{
    shmc_bcast *ring = v->peek ? &v->ring : &v->sub.ring;

    for (;;) {
        const uint32_t room = b->room < LONGEST_MESSAGE ? (uint32_t)b->room
                                                         : LONGEST_MESSAGE;
        int r = v->peek
              ? shmc_bcast_recv_wait(ring, b->data, room, timeout_ns)
              : shmc_sub_recv(&v->sub, b->data, room, timeout_ns);
        if (r >= SHMC_META_BYTES && v->peek && ring->mark == SHMC_META) {
            r -= SHMC_META_BYTES;   /* a subscriber does that by itself     */
            memmove(b->data, b->data + SHMC_META_BYTES, (size_t)r);
        }
        if (r >= 0) {
            b->bytes = (size_t)r;
            return 1;
        }
        if (r == SHMC_EMSGSIZE) {
            r = shmc_bcast_next_bytes(ring);
            if (r >= 0) buffer_need(b, (size_t)r);
            if (r >= 0 || r == SHMC_EAGAIN) continue;
        }
        if (r == SHMC_EAGAIN || r == SHMC_ETIMEDOUT) return 0;
        if (r != SHMC_ELAPPED) return r;
        v->gap += shmc_bcast_gap(ring);
        v->lost += shmc_bcast_gap(ring);
    }
}

/* >>echo: formats */

typedef enum format {
    FORMAT_AUTO, FORMAT_HEX, FORMAT_TEXT, FORMAT_JSON, FORMAT_LENGTHS
} format;

/* Text, which a terminal can show; a string's final zero may be there.    */
static bool
is_text(const uint8_t *p, size_t bytes)
{
    if (bytes > 1 && p[bytes - 1] == '\0') bytes--;
    for (size_t i = 0; i < bytes; ) {
        const size_t step = cli_utf8(p + i, bytes - i);
        const bool control = p[i] < ' ' && strchr("\t\n\r", p[i]) == NULL;
        const bool c1 = step == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0;
        if (step == 0 || p[i] == 0 || control || c1 || p[i] == 0x7f)
            return false;
        i += step;
    }
    return true;
}

static void
print_hex(uint64_t number, const uint8_t *p, size_t bytes)
{
    printf("message %llu, %zu bytes\n", (unsigned long long)number, bytes);
    for (size_t at = 0; at < bytes; at += 16) {
        const size_t n = bytes - at < 16 ? bytes - at : 16;
        printf("%08zx ", at);
        for (size_t i = 0; i < 16; i++) {
            if (i % 8 == 0) putchar(' ');
            if (i < n) printf("%02x ", p[at + i]);
            else fputs("   ", stdout);
        }
        fputs(" |", stdout);
        for (size_t i = 0; i < n; i++)
            putchar(p[at + i] >= ' ' && p[at + i] <= '~' ? p[at + i] : '.');
        puts("|");
    }
}

static void
print_json(const viewer *v, uint64_t number, const buffer *b)
{
    cJSON *o = json_object();
    bool utf8 = true;

    for (size_t i = 0, step; utf8 && i < b->bytes; i += step) {
        step = cli_utf8(b->data + i, b->bytes - i);
        utf8 = step != 0 && b->data[i] != 0;
    }
    char *text = malloc(2 * b->bytes + 1);
    if (text == NULL) cli_no_memory();
    for (size_t i = 0; i < b->bytes; i++) {
        if (utf8) text[i] = (char)b->data[i];
        else snprintf(text + 2 * i, 3, "%02x", b->data[i]);
    }
    text[utf8 ? b->bytes : 2 * b->bytes] = '\0';
    json_text(o, "topic", v->topic);
    json_u64(o, "message", number);
    json_u64(o, "received_realtime_ns", cli_realtime_ns());
    json_u64(o, "lost_before", v->gap);
    json_u64(o, "bytes", b->bytes);
    json_text(o, utf8 ? "text" : "hex", text);
    free(text);
    json_print(o);
}

static void
print_length(size_t bytes)
{
    for (int shift = 0; shift < 32; shift += 8)
        putchar((int)(bytes >> shift & 0xff));
}

static void
print_message(const viewer *v, format how, uint64_t number, const buffer *b)
{
    size_t bytes = b->bytes;

    if (how == FORMAT_AUTO && is_text(b->data, bytes)) {
        if (bytes > 1 && b->data[bytes - 1] == '\0') bytes--;
        how = FORMAT_TEXT;
    }
    if (v->gap != 0)
        fprintf(stderr, "lost %llu messages here\n", (unsigned long long)v->gap);
    if (how == FORMAT_JSON) {
        print_json(v, number, b);
    } else if (how == FORMAT_TEXT || how == FORMAT_LENGTHS) {
        if (how == FORMAT_LENGTHS) print_length(bytes);
        if (bytes != 0) fwrite(b->data, 1, bytes, stdout);
        if (how == FORMAT_TEXT) putchar('\n');
    } else {
        print_hex(number, b->data, bytes);
    }
}

/* >>echo */

typedef struct echo {
    const char *topic;
    uint64_t count;                 /* 0: no end                            */
    uint64_t timeout_ns;            /* 0: for ever                          */
    int32_t history;
    bool peek;
    format how;
} echo;

static bool
echo_done(const echo *e, uint64_t received)
{
    return cli_stopped || ferror(stdout) ||
           (e->count != 0 && received == e->count);
}

static int
echo_failed(const viewer *v, int code)
{
    return cli_fail("receive from '%s': %s", v->topic, shmc_strerror(code));
}

static void
echo_message(const echo *e, viewer *v, const buffer *b, uint64_t number)
{
    print_message(v, e->how, number, b);
    v->gap = 0;
}

/* Print what the topic held when this began.                              */
static int
echo_remains(const echo *e, viewer *v, uint64_t *received)
{
    buffer b = { NULL, 0, 0 };
    shmc_bcast_stats stats;
    int r = shmc_bcast_stats_get(&v->ring, &stats);

    buffer_need(&b, 65536);
    while (r >= 0 && !echo_done(e, *received) &&
           *received + v->lost < stats.sent) {
        r = viewer_recv(v, &b, SLICE_NS);
        if (r == 0) break;
        if (r > 0) echo_message(e, v, &b, ++*received);
    }
    free(b.data);
    return r < 0 ? echo_failed(v, r) : 0;
}

/* Print until the end.  Returns the exit status.                          */
static int
echo_loop(const echo *e, viewer *v, uint64_t *received)
{
    buffer b = { NULL, 0, 0 };
    uint64_t last_ns = cli_now_ns();
    int status = 0;

    buffer_need(&b, 65536);
    while (status == 0 && !echo_done(e, *received)) {
        int r = viewer_recv(v, &b, 0);
        if (r == 0) {               /* nobody waits for what we hold back   */
            fflush(stdout);
            status = viewer_follow(v);
            if (status == 0) r = viewer_recv(v, &b, SLICE_NS);
        }
        if (r < 0) {
            status = echo_failed(v, r);
        } else if (r == 1) {
            echo_message(e, v, &b, ++*received);
            last_ns = cli_now_ns();
        } else if (e->timeout_ns != 0 &&
                   cli_now_ns() - last_ns >= e->timeout_ns) {
            if (e->count != 0 || *received == 0)
                status = cli_fail("no message on topic '%s' for %.3g s",
                                  v->topic, (double)e->timeout_ns / SECOND_NS);
            break;
        }
    }
    free(b.data);
    return status;
}

static format
echo_format(const cli *c, const char *text)
{
    if (strcmp(text, "hex") == 0) return FORMAT_HEX;
    if (strcmp(text, "text") == 0) return FORMAT_TEXT;
    if (strcmp(text, "json") == 0) return FORMAT_JSON;
    cli_usage(c, "--format '%s' is not hex, text or json", text);
}

static void
echo_options(cli *c, int argc, char **argv, echo *e)
{
    static const struct option options[] = {
        { "count", required_argument, NULL, COUNT },
        { "timeout", required_argument, NULL, TIMEOUT },
        { "format", required_argument, NULL, FORMAT },
        { "history", required_argument, NULL, HISTORY },
        { "peek", no_argument, NULL, PEEK },
        { "length-delimited", no_argument, NULL, LENGTHS }, CLI_OPTIONS
    };
    bool lengths = false, history = false;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == COUNT) e->count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
        if (o == TIMEOUT)
            e->timeout_ns = (uint64_t)(SECOND_NS *
                cli_number(c, "--timeout", optarg, 0.001, 1e9));
        if (o == FORMAT) e->how = echo_format(c, optarg);
        if (o == HISTORY)
            e->history = strcmp(optarg, "all") == 0 ? SHMC_BCAST_ALL
                : (int32_t)cli_count(c, "--history", optarg, 0, INT32_MAX);
        history |= o == HISTORY;
        lengths |= o == LENGTHS;
        e->peek |= o == PEEK;
    }
    if (e->peek && !history) e->history = SHMC_BCAST_ALL;
    e->topic = cli_argument(c, argc, argv, "TOPIC");
    if (c->json && e->how == FORMAT_AUTO) e->how = FORMAT_JSON;
    if (c->json && e->how != FORMAT_JSON)
        cli_usage(c, "--json and another --format exclude each other");
    if (lengths && e->how != FORMAT_AUTO)
        cli_usage(c, "--length-delimited and --format exclude each other");
    if (lengths) e->how = FORMAT_LENGTHS;
}

static int
echo_run(cli *c, int argc, char **argv)
{
    echo e = { NULL, 0, 0, 0, false, FORMAT_AUTO };
    uint64_t received = 0;
    viewer v;

    echo_options(c, argc, argv, &e);
    cli_catch_signals();
    int status = e.peek ? viewer_peek(&v, c, e.topic, e.history)
                        : viewer_open(&v, c, e.topic, e.history);
    if (status != 0) return status;
    status = e.peek ? echo_remains(&e, &v, &received)
                    : echo_loop(&e, &v, &received);
    viewer_close(&v);
    status = cli_flush(status);
    fprintf(stderr, "received %llu, lost %llu\n", (unsigned long long)received,
            (unsigned long long)v.lost);
    return status;
}

const cli_verb verb_echo = {
    "echo", "print a topic's messages",
    "usage: shmcomm echo TOPIC [--count N] [--timeout SECONDS] [--history N]\n"
    "                    [--peek] [--format FORMAT | --length-delimited |\n"
    "                    --json] [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Prints each message as it comes; waits for a topic that does not exist\n"
    "yet.  Ctrl-C ends it.  It reads only and holds no publisher up, and says\n"
    "what it was too slow for.  Like any subscriber it keeps the topic there\n"
    "while it runs, and clears away a topic whose users are all dead; --peek\n"
    "does neither.\n"
    "\n"
    "  --count N           end after N messages\n"
    "  --timeout SECONDS   end when nothing came for so long; the status is 1\n"
    "                      if that was nothing at all, or less than --count\n"
    "  --history N         begin with up to N messages from before, or 'all'\n"
    "  --peek              print what the topic holds, also a dead one, and\n"
    "                      end; nobody notices\n"
    "  --format FORMAT     hex, text (its bytes and a line feed), or json\n"
    "                      [text where a message can be shown as such]\n"
    "  --length-delimited  4 bytes of length, lowest first, and the message,\n"
    "                      as 'shmcomm pub --length-delimited' reads it\n",
    echo_run
};

/* >>pub */

typedef struct pub_options {
    const char *topic, *path;       /* path NULL: stdin                     */
    bool lengths, wait;
    double rate;                    /* a second; 0: as fast as it goes      */
    uint64_t repeat;
    shmc_topic_desc desc;
} pub_options;

typedef struct pub {
    const pub_options *o;
    shmc_pub pub;
    FILE *in;
    buffer b;
    uint64_t sent, bytes, next_ns;
} pub;

/* Read a line without its line feed.  Returns 1, 0 at the end, or -1.     */
static int
read_line(pub *p)
{
    char *line = (char *)p->b.data;
    const ssize_t n = getline(&line, &p->b.room, p->in);

    p->b.data = (uint8_t *)line;
    if (n < 0) return ferror(p->in) ? -1 : 0;
    p->b.bytes = (size_t)n - (line[n - 1] == '\n');
    return 1;
}

/* Read 4 bytes of length and the message.                                 */
static int
read_frame(pub *p)
{
    uint8_t head[4];
    const size_t n = fread(head, 1, sizeof head, p->in);

    if (n == 0) return ferror(p->in) ? -1 : 0;
    const size_t bytes = (size_t)head[0] | (size_t)head[1] << 8 |
                         (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (n == sizeof head && bytes > LONGEST_MESSAGE) {
        cli_fail("message %llu of the input has a length of %zu bytes, more "
                 "than 2^30: not --length-delimited?",
                 (unsigned long long)p->sent + 1, bytes);
        return -1;
    }
    p->b.bytes = 0;
    while (n == sizeof head && p->b.bytes < bytes) {
        /* By and by: a wrong length must not take all memory.             */
        const size_t left = bytes - p->b.bytes;
        const size_t step = left < 1u << 20 ? left : 1u << 20;
        buffer_need(&p->b, p->b.bytes + step);
        const size_t got = fread(p->b.data + p->b.bytes, 1, step, p->in);
        p->b.bytes += got;
        if (got < step) break;
    }
    if (n == sizeof head && p->b.bytes == bytes) return 1;
    if (!ferror(p->in))
        cli_fail("the input ends inside message %llu",
                 (unsigned long long)p->sent + 1);
    return -1;
}

static void
pub_pace(pub *p)
{
    if (p->o->rate <= 0) return;
    const uint64_t now = cli_now_ns();
    if (p->next_ns == 0 || now > p->next_ns + SECOND_NS) p->next_ns = now;
    while (!cli_stopped && cli_now_ns() < p->next_ns) cli_sleep_until(p->next_ns);
    p->next_ns += (uint64_t)(SECOND_NS / p->o->rate);
}

/* Send what is in the buffer.  Returns the exit status.                   */
static int
pub_message(pub *p)
{
    int r = SHMC_EMSGSIZE;

    pub_pace(p);
    if (cli_stopped) return 0;
    if (p->b.bytes <= LONGEST_MESSAGE) {
        do r = shmc_pub_send(&p->pub, p->b.data, (uint32_t)p->b.bytes, SLICE_NS);
        while (r == SHMC_ETIMEDOUT && !cli_stopped);
    }
    if (r == SHMC_ETIMEDOUT) return 0;
    if (r == SHMC_EMSGSIZE)
        return cli_fail("message %llu has %zu bytes, more than the topic takes; "
                        "give a new topic a larger --max-bytes",
                        (unsigned long long)p->sent + 1, p->b.bytes);
    if (r < 0)
        return cli_fail("send message %llu: %s",
                        (unsigned long long)p->sent + 1, shmc_strerror(r));
    p->sent++;
    p->bytes += p->b.bytes;
    return 0;
}

/* Send the input once.                                                    */
static int
pub_input(pub *p)
{
    int r = 1, status = 0;

    while (!cli_stopped && status == 0) {
        errno = 0;
        r = p->o->lengths ? read_frame(p) : read_line(p);
        if (r <= 0) break;
        status = pub_message(p);
    }
    if (r >= 0 || cli_stopped) return status;
    if (ferror(p->in)) cli_fail("cannot read the input: %s", strerror(errno));
    return 1;
}

/* Wait until somebody has come to receive.                                */
static void
pub_wait(pub *p)
{
    shmc_bcast_stats stats;
    bool there = false;

    while (!there && !cli_stopped) {
        there = shmc_segment_shared(&p->pub.segment) != 0;
        if (p->o->desc.mode == SHMC_RELIABLE)
            there = shmc_bcast_stats_get(&p->pub.ring, &stats) == SHMC_OK &&
                    stats.subscribers != 0;
        if (!there) cli_sleep_until(cli_now_ns() + 1000000);
    }
}

static int
pub_all(pub *p)
{
    int status = 0;

    if (p->o->wait) pub_wait(p);
    for (uint64_t i = 0; i < p->o->repeat && status == 0 && !cli_stopped; i++) {
        if (i != 0 && fseek(p->in, 0, SEEK_SET) != 0)
            return cli_fail("cannot repeat the input: it is no file; use --file");
        const uint64_t before = p->sent;
        status = pub_input(p);
        if (p->sent == before) break;       /* an empty file, for ever      */
    }
    return status;
}

static void
pub_take(cli *c, int o, pub_options *out)
{
    switch (o) {
    case INPUT:    out->path = optarg; break;
    case LENGTHS:  out->lengths = true; break;
    case RATE:     out->rate = cli_number(c, "--rate", optarg, 1e-6, 1e9); break;
    case REPEAT:
        out->repeat = cli_count(c, "--repeat", optarg, 0, UINT64_MAX);
        if (out->repeat == 0) out->repeat = UINT64_MAX;
        break;
    case MAX_BYTES:
        out->desc.max_bytes = (uint32_t)cli_count(c, "--max-bytes", optarg, 1,
                                                  LONGEST_MESSAGE);
        break;
    case DEPTH:
        out->desc.depth = (uint32_t)cli_count(c, "--depth", optarg, 2, 1u << 24);
        if ((out->desc.depth & (out->desc.depth - 1)) != 0)
            cli_usage(c, "--depth %s is no power of two", optarg);
        break;
    case RELIABLE: out->desc.mode = SHMC_RELIABLE; break;
    case WAIT:     out->wait = true; break;
    default:       break;
    }
}

static void
pub_read_options(cli *c, int argc, char **argv, pub_options *out)
{
    static const struct option options[] = {
        { "file", required_argument, NULL, INPUT },
        { "lines", no_argument, NULL, LINES },
        { "length-delimited", no_argument, NULL, LENGTHS },
        { "rate", required_argument, NULL, RATE },
        { "repeat", required_argument, NULL, REPEAT },
        { "max-bytes", required_argument, NULL, MAX_BYTES },
        { "depth", required_argument, NULL, DEPTH },
        { "reliable", no_argument, NULL, RELIABLE },
        { "wait-subscriber", no_argument, NULL, WAIT }, CLI_OPTIONS
    };
    bool lines = false;
    int o;

    memset(out, 0, sizeof *out);
    out->repeat = 1;
    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        lines |= o == LINES;
        pub_take(c, o, out);
    }
    out->topic = cli_argument(c, argc, argv, "TOPIC");
    if (lines && out->lengths)
        cli_usage(c, "--lines and --length-delimited exclude each other");
    out->desc.dir = c->dir;
    out->desc.prefix = c->prefix;
}

static void
pub_summary(const cli *c, const pub *p, bool alone)
{
    const char *hint = alone ? "; nobody else had the topic open at the end" : "";

    if (c->json) {
        cJSON *o = json_object();
        json_text(o, "topic", p->o->topic);
        json_u64(o, "sent", p->sent);
        json_u64(o, "bytes", p->bytes);
        json_bool(o, "alone_at_end", alone);
        json_print(o);
    } else {
        fprintf(stderr, "sent %llu messages, %s%s\n",
                (unsigned long long)p->sent, cli_bytes((double)p->bytes).s, hint);
    }
}

static int
pub_run(cli *c, int argc, char **argv)
{
    pub_options o;
    pub p;

    pub_read_options(c, argc, argv, &o);
    memset(&p, 0, sizeof p);
    p.o = &o;
    p.in = o.path != NULL ? fopen(o.path, "r") : stdin;
    if (p.in == NULL)
        return cli_fail("cannot open '%s': %s", o.path, strerror(errno));
    cli_catch_signals();
    int status = shmc_pub_open(&p.pub, o.topic, &o.desc);
    if (status != SHMC_OK) {
        if (o.path != NULL) fclose(p.in);
        return cli_fail("%s", shmc_last_error());
    }
    buffer_need(&p.b, 4096);
    status = pub_all(&p);
    const bool alone = shmc_segment_shared(&p.pub.segment) == 0;
    shmc_pub_close(&p.pub);
    pub_summary(c, &p, alone);
    free(p.b.data);
    if (o.path != NULL) fclose(p.in);
    return status;
}

const cli_verb verb_pub = {
    "pub", "publish lines or frames",
    "usage: shmcomm pub TOPIC [--file FILE] [--lines | --length-delimited]\n"
    "                   [--rate HZ] [--repeat N] [--max-bytes N] [--depth N]\n"
    "                   [--reliable] [--wait-subscriber] [--json] [--dir DIR]\n"
    "                   [--prefix PREFIX]\n"
    "\n"
    "Publishes what it reads from its standard input, a message for each\n"
    "line, and says how many it sent.  A topic lives as long as somebody has\n"
    "it open: what nobody had come for is gone when pub ends.\n"
    "\n"
    "  --file FILE         read FILE instead\n"
    "  --lines             a message is a line, without its line feed [so]\n"
    "  --length-delimited  a message is 4 bytes of length, lowest first, and\n"
    "                      so many bytes\n"
    "  --rate HZ           send so many a second [as fast as it goes]\n"
    "  --repeat N          send the file N times; 0: again and again\n"
    "  --max-bytes N       longest message of a new topic [65536]\n"
    "  --depth N           messages that a new topic keeps, a power of two\n"
    "                      [1024]\n"
    "  --reliable          wait for slow subscribers instead of overtaking\n"
    "                      them\n"
    "  --wait-subscriber   wait until another process has the topic open;\n"
    "                      with --reliable, until a subscriber has a seat\n"
    "                      (echo and hz take none)\n",
    pub_run
};

/* >>hz */

typedef struct span {               /* what one window saw                  */
    uint64_t messages, bytes, intervals, lost;
    double mean, m2, min, max;      /* of intervals, in seconds (Welford)   */
} span;

static void
span_add(span *s, uint64_t bytes, uint64_t *last_ns, uint64_t now)
{
    s->messages++;
    s->bytes += bytes;
    if (*last_ns != 0) {
        const double x = (double)(now - *last_ns) / SECOND_NS;
        const double off = x - s->mean;
        s->intervals++;
        s->mean += off / (double)s->intervals;
        s->m2 += off * (x - s->mean);
        if (s->intervals == 1 || x < s->min) s->min = x;
        if (s->intervals == 1 || x > s->max) s->max = x;
    }
    *last_ns = now;
}

static void
hz_print(const cli *c, const viewer *v, const span *s, double seconds)
{
    const double rate = (double)s->messages / seconds;
    const double bytes = (double)s->bytes / seconds;
    const double std = s->intervals > 1
                     ? sqrt(s->m2 / (double)(s->intervals - 1)) : 0;

    if (c->json) {
        cJSON *o = json_object();
        json_text(o, "topic", v->topic);
        json_real(o, "seconds", seconds);
        json_u64(o, "messages", s->messages);
        json_u64(o, "bytes", s->bytes);
        json_u64(o, "lost", s->lost);
        json_real(o, "rate_hz", rate);
        json_real(o, "bytes_per_second", bytes);
        json_real(o, "interval_mean_s", s->mean);
        json_real(o, "interval_min_s", s->min);
        json_real(o, "interval_max_s", s->max);
        json_real(o, "interval_std_s", std);
        json_print(o);
    } else if (s->messages == 0) {
        puts("no messages");
    } else {
        printf("%11.1f Hz  %10s/s  interval ms: mean %.3f  min %.3f  max %.3f"
               "  std %.3f  lost %llu\n", rate, cli_bytes(bytes).s,
               s->mean * 1e3, s->min * 1e3, s->max * 1e3, std * 1e3,
               (unsigned long long)s->lost);
    }
    fflush(stdout);
}

/* Take what is there now.  Returns SHMC_OK or why it cannot.              */
static int
hz_take(viewer *v, span *s, uint64_t *last_ns, uint64_t end_ns)
{
    const void *data;
    uint64_t now = 0;

    while (!cli_stopped && now < end_ns) {
        const int bytes = shmc_sub_borrow(&v->sub, &data, 0);
        now = cli_now_ns();
        if (bytes >= 0) {
            /* It is counted, not read: lost if it was overwritten.        */
            if (shmc_sub_release(&v->sub) == SHMC_ELAPPED) s->lost++;
            else span_add(s, (uint64_t)bytes, last_ns, now);
        } else if (bytes == SHMC_ELAPPED) {
            s->lost += shmc_sub_gap(&v->sub);
        } else {
            return bytes == SHMC_EAGAIN ? SHMC_OK : bytes;
        }
    }
    return SHMC_OK;
}

static int
hz_loop(const cli *c, viewer *v, uint64_t window_ns, uint64_t count)
{
    uint64_t last_ns = 0, reports = 0;

    while (!cli_stopped && shmc_sub_ready(&v->sub) == 0) {
        if (viewer_follow(v) != 0) return 1;
        cli_sleep_until(cli_now_ns() + 1000000);
    }
    while (!cli_stopped && !ferror(stdout) && (count == 0 || reports < count)) {
        const uint64_t begin = cli_now_ns(), end = begin + window_ns;
        span s = { 0, 0, 0, 0, 0, 0, 0, 0 };
        uint64_t now = begin;
        if (viewer_follow(v) != 0) return 1;
        for (; !cli_stopped && now < end; now = cli_now_ns()) {
            const int r = hz_take(v, &s, &last_ns, end);
            if (r != SHMC_OK)
                return cli_fail("receive from '%s': %s", v->topic,
                                shmc_strerror(r));
            cli_sleep_until(cli_now_ns() + LOOK_NS);
        }
        if (cli_stopped && s.messages == 0) break;
        hz_print(c, v, &s, (double)(now - begin) / SECOND_NS);
        reports++;
    }
    return 0;
}

static int
hz_run(cli *c, int argc, char **argv)
{
    static const struct option options[] = {
        { "window", required_argument, NULL, WINDOW },
        { "count", required_argument, NULL, COUNT }, CLI_OPTIONS
    };
    uint64_t count = 0;
    double window = 1;
    viewer v;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == WINDOW) window = cli_number(c, "--window", optarg, 0.01, 1e6);
        if (o == COUNT) count = cli_count(c, "--count", optarg, 1, UINT64_MAX);
    }
    const char *topic = cli_argument(c, argc, argv, "TOPIC");
    cli_catch_signals();
    int status = viewer_open(&v, c, topic, 0);
    if (status != 0) return status;
    status = hz_loop(c, &v, (uint64_t)(window * SECOND_NS), count);
    viewer_close(&v);
    return status;
}

const cli_verb verb_hz = {
    "hz", "measure a topic's rate and bandwidth",
    "usage: shmcomm hz TOPIC [--window SECONDS] [--count N] [--json]\n"
    "                  [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Says each second how many messages and bytes came, and how the time\n"
    "between two of them was spread.  It looks every 0.1 ms, so that shorter\n"
    "intervals show as bursts.\n"
    "\n"
    "  --window SECONDS  the time from one report to the next [1]\n"
    "  --count N         end after N reports\n",
    hz_run
};
