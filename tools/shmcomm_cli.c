/* shmcomm_cli.c - arguments, text, JSON and looking at segments.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* >>options */

_Noreturn void
cli_usage(const cli *c, const char *fmt, ...)
{
    va_list ap;

    fputs("shmcomm: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (c->verb != NULL)
        fprintf(stderr, "; try 'shmcomm %s --help'\n", c->verb->name);
    else
        fputs("; try 'shmcomm --help'\n", stderr);
    exit(2);
}

/* Letters to change, add, drop or swap to get from one word to another.   */
static size_t
distance_of(const char *a, const char *b)
{
    enum { MOST = 64 };
    size_t row[3][MOST + 1];
    const size_t n = strlen(a), m = strlen(b);

    if (n > MOST || m > MOST) return MOST;
    for (size_t j = 0; j <= m; j++) row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < d) d = last[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                row[(i + 1) % 3][j - 2] + 1 < d)
                d = row[(i + 1) % 3][j - 2] + 1;
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

void
cli_near_begin(cli_near *n, const char *word)
{
    memset(n, 0, sizeof *n);
    n->word = word;
    const size_t letters = strlen(word);
    n->distance = letters < 3 ? 0 : (letters + 2) / 3;      /* and less     */
}

void
cli_near_try(cli_near *n, const char *candidate)
{
    const size_t d = distance_of(n->word, candidate);

    if (d > n->distance || (d == n->distance && n->best[0] != '\0')) return;
    n->distance = d;
    snprintf(n->best, sizeof n->best, "%s", candidate);
}

_Noreturn void
cli_bad_option(const cli *c, char **argv, const struct option *options)
{
    const char *given = argv[optind - 1];
    char word[SHMC_NAME_BYTES];
    cli_near n;

    if (optopt > 0 && optopt < CLI_DIR && given[1] != '-')
        cli_usage(c, "bad option '-%c'", optopt);
    snprintf(word, sizeof word, "%.*s", (int)strcspn(given, "="), given);
    cli_near_begin(&n, word + strspn(word, "-"));
    for (const struct option *o = options; o->name != NULL; o++)
        cli_near_try(&n, o->name);
    if (n.best[0] != '\0')
        cli_usage(c, "bad option '%s', perhaps '--%s'", given, n.best);
    cli_usage(c, "bad option '%s'", given);
}

int
cli_next(cli *c, int argc, char **argv, const struct option *options)
{
    for (;;) {
        const int o = getopt_long(argc, argv, ":h", options, NULL);
        switch (o) {
        case CLI_DIR:    c->dir = optarg; break;
        case CLI_PREFIX: c->prefix = optarg; break;
        case CLI_JSON:   c->json = true; break;
        case CLI_HELP:
            fputs(c->verb->help, stdout);
            exit(cli_flush(0));
        case ':': cli_usage(c, "option '%s' needs a value", argv[optind - 1]);
        case '?': cli_bad_option(c, argv, options);
        default:  return o;
        }
    }
}

const char *
cli_argument(const cli *c, int argc, char **argv, const char *what)
{
    if (optind == argc) cli_usage(c, "%s is missing", what);
    if (optind + 1 < argc)
        cli_usage(c, "one %s, please; '%s' is too many", what, argv[optind + 1]);
    return argv[optind];
}

void
cli_no_argument(const cli *c, int argc, char **argv)
{
    if (optind < argc) cli_usage(c, "'%s' is too many", argv[optind]);
}

uint64_t
cli_count(const cli *c, const char *option, const char *text, uint64_t least,
          uint64_t most)
{
    char *end;

    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
        n < least || n > most)
        cli_usage(c, "%s '%s' is not a whole number from %llu to %llu", option,
                  text, (unsigned long long)least, (unsigned long long)most);
    return n;
}

double
cli_number(const cli *c, const char *option, const char *text, double least,
           double most)
{
    char *end;
    const double n = strtod(text, &end);

    if (end == text || *end != '\0' || !(n >= least && n <= most))
        cli_usage(c, "%s '%s' is not a number from %g to %g", option, text,
                  least, most);
    return n;
}

/* >>failures and the end */

int
cli_fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("shmcomm: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

_Noreturn void
cli_no_memory(void)
{
    exit(cli_fail("out of memory"));
}

static int
near_name(void *near, const char *name)
{
    cli_near_try(near, name);
    return 0;
}

cli_hint
cli_name_hint(const cli *c, const char *name)
{
    shmc_segment_desc desc;
    cli_hint hint = { "" };
    cli_near n;

    memset(&desc, 0, sizeof desc);
    desc.dir = c->dir;
    desc.prefix = c->prefix;
    cli_near_begin(&n, name);
    if (shmc_segment_each(&desc, near_name, &n) == 0 && n.best[0] != '\0' &&
        strcmp(n.best, name) != 0)
        snprintf(hint.s, sizeof hint.s, "; did you mean '%s'?", n.best);
    return hint;
}

int
cli_fail_name(const cli *c, const char *name)
{
    char path[SHMC_DIR_BYTES + SHMC_PREFIX_BYTES + SHMC_NAME_BYTES];
    char error[512];
    struct stat st;

    snprintf(error, sizeof error, "%s", shmc_last_error());
    cli_path(c, name, path, sizeof path);
    return cli_fail("%s%s", error, lstat(path, &st) == 0 ? ""
                                   : cli_name_hint(c, name).s);
}

volatile sig_atomic_t cli_stopped;

static void
stop(int signal_number)
{
    (void)signal_number;
    cli_stopped = 1;
}

void
cli_catch_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = stop;
    action.sa_flags = (int)SA_RESETHAND;    /* and no SA_RESTART            */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;            /* a closed pipe is an EPIPE    */
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

int
cli_flush(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    if (errno == EPIPE) return status;      /* the reader has had enough    */
    return cli_fail("cannot write to standard output: %s", strerror(errno));
}

/* >>time */

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cli_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t cli_realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

void
cli_sleep_until(uint64_t monotonic_ns)
{
    struct timespec t;

    t.tv_sec = (time_t)(monotonic_ns / 1000000000u);
    t.tv_nsec = (long)(monotonic_ns % 1000000000u);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* >>text */

cli_text
cli_bytes(double bytes)
{
    static const char units[][4] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    cli_text text;
    size_t i = 0;

    while (bytes >= 1023.95 && i + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        i++;
    }
    snprintf(text.s, sizeof text.s, i == 0 ? "%.0f %s" : "%.1f %s", bytes,
             units[i]);
    return text;
}

cli_text
cli_age(uint64_t realtime_ns)
{
    static const struct { uint64_t s; const char *unit; } steps[] = {
        { 86400, "d" }, { 3600, "h" }, { 60, "min" }
    };
    const uint64_t now = cli_realtime_ns();
    const uint64_t s = now > realtime_ns ? (now - realtime_ns) / 1000000000u : 0;
    cli_text text;

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (s < 2 * steps[i].s) continue;
        snprintf(text.s, sizeof text.s, "%llu %s",
                 (unsigned long long)(s / steps[i].s), steps[i].unit);
        return text;
    }
    snprintf(text.s, sizeof text.s, "%llu s", (unsigned long long)s);
    return text;
}

cli_text
cli_u64(uint64_t n)
{
    cli_text text;

    snprintf(text.s, sizeof text.s, "%llu", (unsigned long long)n);
    return text;
}

size_t
cli_utf8(const uint8_t *p, size_t bytes)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n;

    if (bytes == 0) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xc2 && p[0] < 0xe0) n = 2;
    else if (p[0] >= 0xe0 && p[0] < 0xf0) n = 3;
    else if (p[0] >= 0xf0 && p[0] < 0xf5) n = 4;
    else return 0;
    if (n > bytes) return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0u) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    return n;
}

void
cli_clean(char *to, size_t bytes, const char *from)
{
    size_t i = 0;

    for (; from[i] != '\0' && i + 1 < bytes; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[i] = '\0';
}

void
cli_path(const cli *c, const char *name, char *path, size_t bytes)
{
    const char *dir = c->dir != NULL ? c->dir : getenv("SHMCOMM_DIR");
    const char *prefix = c->prefix != NULL ? c->prefix
                                           : getenv("SHMCOMM_PREFIX");

    if (dir == NULL) dir = "/dev/shm";
    if (prefix == NULL) prefix = "shmc";
    const int at = snprintf(path, bytes, "%s/", dir);
    snprintf(path, bytes, "%s/%s.%s", dir, prefix, name);
    for (size_t i = (size_t)at; i < bytes && path[i] != '\0'; i++)
        if (path[i] == '/') path[i] = '+';
}

void
cli_table_add(cli_table *t, const char *cell)
{
    if (t->cells == t->room) {
        t->room = t->room != 0 ? 2 * t->room : 64;
        t->cell = realloc(t->cell, t->room * sizeof *t->cell);
        if (t->cell == NULL) cli_no_memory();
    }
    char *copy = strdup(cell);
    if (copy == NULL) cli_no_memory();
    t->cell[t->cells++] = copy;
}

void
cli_table_print(cli_table *t)
{
    size_t width[16] = { 0 };

    for (size_t i = 0; i < t->cells; i++) {
        const size_t n = strlen(t->cell[i]);
        if (n > width[i % t->columns]) width[i % t->columns] = n;
    }
    for (size_t i = 0; i < t->cells; i++) {
        const size_t column = i % t->columns;
        const bool last = column + 1 == t->columns;
        const int pad = (int)width[column];
        if (column == 0 && t->indent != NULL) fputs(t->indent, stdout);
        if (t->right >> column & 1) printf("%*s", pad, t->cell[i]);
        else if (last) fputs(t->cell[i], stdout);
        else printf("%-*s", pad, t->cell[i]);
        fputs(last ? "\n" : "  ", stdout);
        free(t->cell[i]);
    }
    free(t->cell);
    t->cell = NULL;
    t->cells = t->room = 0;
}

/* >>JSON */

static cJSON *
json_there(cJSON *item)
{
    if (item == NULL) cli_no_memory();
    return item;
}

cJSON *json_object(void) { return json_there(cJSON_CreateObject()); }
cJSON *json_array(void) { return json_there(cJSON_CreateArray()); }

void
json_add(cJSON *object, const char *key, cJSON *item)
{
    if (!cJSON_AddItemToObject(object, key, json_there(item))) cli_no_memory();
}

void
json_push(cJSON *array, cJSON *item)
{
    if (!cJSON_AddItemToArray(array, json_there(item))) cli_no_memory();
}

/* Integers go in as text: cJSON's own numbers are exact up to 2^53 only.  */
void
json_u64(cJSON *object, const char *key, uint64_t n)
{
    json_add(object, key, cJSON_CreateRaw(cli_u64(n).s));
}

void
json_i64(cJSON *object, const char *key, int64_t n)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)n);
    json_add(object, key, cJSON_CreateRaw(text));
}

void
json_real(cJSON *object, const char *key, double n)
{
    char text[64];

    snprintf(text, sizeof text, "%.6g", isfinite(n) ? n : 0.0);
    json_add(object, key, cJSON_CreateRaw(text));
}

void
json_bool(cJSON *object, const char *key, bool b)
{
    json_add(object, key, cJSON_CreateBool(b));
}

void
json_text(cJSON *object, const char *key, const char *text)
{
    const size_t n = strlen(text);
    char *copy = strdup(text);

    if (copy == NULL) cli_no_memory();
    for (size_t i = 0; i < n; ) {   /* JSON is UTF-8, shared memory not     */
        const size_t step = cli_utf8((const uint8_t *)copy + i, n - i);
        if (step == 0) copy[i] = '?';
        i += step != 0 ? step : 1;
    }
    json_add(object, key, cJSON_CreateString(copy));
    free(copy);
}

void
json_print(cJSON *item)
{
    char *text = cJSON_PrintUnformatted(item);

    if (text == NULL) cli_no_memory();
    puts(text);
    cJSON_free(text);
    cJSON_Delete(item);
}

/* >>segments */

int
cli_inspect(const cli *c, shmc_segment *s, const char *name)
{
    shmc_segment_desc desc;

    memset(&desc, 0, sizeof desc);
    desc.flags = SHMC_INSPECT;
    desc.dir = c->dir;
    desc.prefix = c->prefix;
    return shmc_segment_attach(s, name, &desc);
}

/* What a file of one object of a socket is; or NULL.                      */
static const char *
kind_of_socket(const shmc_object_info *o)
{
    static const struct { uint32_t number; const char *object, *kind; } all[] = {
        { SHMC_KIND_BCAST, CLI_TOPIC_OBJECT, "topic" },
        { SHMC_KIND_CALLS, "calls", "service" },
        { SHMC_KIND_MPMC, "work", "queue" },
        { SHMC_KIND_SHARES, "work", "queue" },
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (o->kind == all[i].number && strcmp(o->name, all[i].object) == 0)
            return all[i].kind;
    return NULL;
}

/* What a segment is, by what is in it.                                    */
static const char *
kind_of(const shmc_segment *s, uint32_t max_objects)
{
    const char *kind = NULL;
    bool mixed = false;
    shmc_object_info o;

    for (uint32_t i = 0; i < max_objects; i++) {
        if (shmc_object_info_get(s, i, &o) != SHMC_OK) continue;
        const char *socket = kind_of_socket(&o), *is = cli_object_kind(o.kind);
        if (socket != NULL) return socket;
        if (o.kind == SHMC_KIND_RAW && strcmp(o.name, "attributes") == 0) continue;
        mixed = mixed || is == NULL || (kind != NULL && strcmp(kind, is) != 0);
        kind = is;
    }
    return mixed || kind == NULL ? "segment" : kind;
}

void
cli_look_at(const cli *c, const char *name, cli_look *out)
{
    char path[SHMC_DIR_BYTES + SHMC_PREFIX_BYTES + SHMC_NAME_BYTES];
    struct stat st;
    shmc_segment s;

    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", name);
    out->code = cli_inspect(c, &s, name);
    if (out->code != SHMC_OK) {
        snprintf(out->error, sizeof out->error, "%s", shmc_last_error());
        cli_path(c, name, path, sizeof path);
        if (lstat(path, &st) == 0) out->file_bytes = (uint64_t)st.st_size;
        return;
    }
    shmc_segment_info_get(&s, &out->info);
    out->file_bytes = out->info.total_bytes;
    out->live = shmc_segment_shared(&s) != 0 || out->info.participants != 0;
    out->kind = kind_of(&s, out->info.max_objects);
    out->topic = strcmp(out->kind, "topic") == 0;
    shmc_segment_close(&s);
}

typedef struct names {
    char (*name)[SHMC_NAME_BYTES];
    size_t count, room;
} names;

static int
names_add(void *user, const char *name)
{
    names *n = user;

    if (n->count == n->room) {
        n->room = n->room != 0 ? 2 * n->room : 64;
        n->name = realloc(n->name, n->room * sizeof *n->name);
        if (n->name == NULL) cli_no_memory();
    }
    snprintf(n->name[n->count++], sizeof *n->name, "%s", name);
    return 0;
}

static int
names_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

int
cli_look_all(const cli *c, cli_look **out)
{
    names all = { NULL, 0, 0 };
    shmc_segment_desc desc;
    int count = 0;

    memset(&desc, 0, sizeof desc);
    desc.dir = c->dir;
    desc.prefix = c->prefix;
    const int r = shmc_segment_each(&desc, names_add, &all);
    if (r < 0) return r;
    if (all.count != 0)
        qsort(all.name, all.count, sizeof *all.name, names_order);
    *out = calloc(all.count + 1, sizeof **out);
    if (*out == NULL) cli_no_memory();
    for (size_t i = 0; i < all.count; i++) {
        cli_look_at(c, all.name[i], &(*out)[count]);
        count += (*out)[count].code != SHMC_ENOENT;
    }
    free(all.name);
    return count;
}

const char *
cli_reason(int code)
{
    switch (code) {
    case SHMC_ECORRUPT:   return "not a segment";
    case SHMC_ENAME:      return "not a segment: its name is none";
    case SHMC_EACCES:     return "permission denied";
    default:              return shmc_strerror(code);
    }
}

const char *
cli_kind(const cli_look *l)
{
    return l->kind;
}

const char *
cli_object_kind(uint32_t number)
{
    static const char *const kinds[] = {
        [SHMC_KIND_RAW] = "raw", [SHMC_KIND_COUNTER] = "counter",
        [SHMC_KIND_SPSC] = "spsc", [SHMC_KIND_RECQ] = "recq",
        [SHMC_KIND_MPMC] = "mpmc", [SHMC_KIND_BCAST] = "broadcast",
        [SHMC_KIND_LATEST] = "latest", [SHMC_KIND_CALLS] = "calls",
        [SHMC_KIND_SHARES] = "shares",
    };

    return number < sizeof kinds / sizeof kinds[0] ? kinds[number] : NULL;
}
