/* shmcomm_doctor.c - the verb doctor: what on this machine is in the way.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOT = CLI_OWN, STRICT, QUIET };

static const struct option options[] = {
    { "strict", no_argument, NULL, STRICT },
    { "quiet", no_argument, NULL, QUIET },
    { "root", required_argument, NULL, ROOT }, CLI_OPTIONS
};

static const char *const levels[] = { "ok", "note", "warning", "problem" };

/* Print a sentence in lines of less than 80 columns, indented.            */
static void
print_folded(const char *begin, const char *text)
{
    size_t at = strlen(begin);

    fputs(begin, stdout);
    while (*text != '\0') {
        const size_t word = strcspn(text, " ");
        if (at + 1 + word > 78 && at > 10) {
            fputs("\n        ", stdout);
            at = 8;
        }
        at += (size_t)printf(" %.*s", (int)word, text);
        text += word + (text[word] == ' ');
    }
    putchar('\n');
}

void
found(doctor *d, level how, const char *id, const char *means,
      const char *advice, const char *fmt, ...)
{
    char text[1024], clean[1024], begin[32];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    d->count[how]++;
    if (d->quiet && how == LEVEL_OK) return;
    if (d->all != NULL) {
        cJSON *o = json_object();
        json_text(o, "id", id);
        json_text(o, "level", levels[how]);
        json_text(o, "finding", text);
        if (means != NULL) json_text(o, "means", means);
        if (advice != NULL) json_text(o, "advice", advice);
        json_push(d->all, o);
        return;
    }
    cli_clean(clean, sizeof clean, text);
    snprintf(begin, sizeof begin, "%-8s", levels[how]);
    print_folded(begin, clean);
    if (means != NULL) print_folded("        ", means);
    if (advice != NULL) print_folded("      ->", advice);
}

bool
doctor_text(const doctor *d, const char *path, char *out, size_t bytes)
{
    char whole[4096];

    out[0] = '\0';
    snprintf(whole, sizeof whole, "%s%s", d->root, path);
    FILE *f = fopen(whole, "r");
    if (f == NULL) return false;
    const size_t n = fread(out, 1, bytes - 1, f);
    out[n] = '\0';
    fclose(f);
    return true;
}

bool
doctor_line(const doctor *d, const char *path, char *out, size_t bytes)
{
    const bool there = doctor_text(d, path, out, bytes);

    out[strcspn(out, "\n")] = '\0';
    return there;
}

bool
doctor_there(const doctor *d, const char *path)
{
    char whole[4096];

    snprintf(whole, sizeof whole, "%s%s", d->root, path);
    return access(whole, F_OK) == 0;
}

uint64_t
doctor_fact(const doctor *d, const char *key, uint64_t real)
{
    char text[4096];
    const size_t n = strlen(key);

    if (d->root[0] == '\0' || !doctor_text(d, "/facts", text, sizeof text))
        return real;
    for (const char *line = text; *line != '\0'; ) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n, NULL, 10);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return real;
}

static int
doctor_run(cli *c, int argc, char **argv)
{
    bool strict = false;
    doctor d;
    int o;

    memset(&d, 0, sizeof d);
    d.c = c;
    d.root = "";
    while ((o = cli_next(c, argc, argv, options)) >= 0) {
        if (o == ROOT) d.root = optarg;
        strict |= o == STRICT;
        d.quiet |= o == QUIET;
    }
    cli_no_argument(c, argc, argv);
    const char *dir = c->dir != NULL ? c->dir : getenv("SHMCOMM_DIR");
    if (dir != NULL) snprintf(d.shm, sizeof d.shm, "%s", dir);
    else snprintf(d.shm, sizeof d.shm, "%s/dev/shm", d.root);
    if (c->json) d.all = json_array();
    doctor_memory(&d);
    doctor_system(&d);
    if (d.all != NULL) json_print(d.all);
    else printf("%u problems, %u warnings, %u notes, %u ok\n",
                d.count[LEVEL_PROBLEM], d.count[LEVEL_WARNING],
                d.count[LEVEL_NOTE], d.count[LEVEL_OK]);
    return d.count[LEVEL_PROBLEM] != 0 || (strict && d.count[LEVEL_WARNING] != 0);
}

const cli_verb verb_doctor = {
    "doctor", "tell what on this machine is in the way",
    "usage: shmcomm doctor [--strict] [--quiet] [--root DIR] [--json]\n"
    "                      [--dir DIR] [--prefix PREFIX]\n"
    "\n"
    "Looks at what shared memory and real-time work need of a machine: size,\n"
    "room and permissions of /dev/shm, segments that nobody uses any more,\n"
    "limits, kernel, CPUs, and services that remove files.  Each finding says\n"
    "what it means and what to do.  It changes nothing.  The status is 1 if\n"
    "there is a problem: something does not work, or soon will not.  A warning\n"
    "is about time or surprises, a note about what can be chosen.\n"
    "\n"
    "  --strict    the status is 1 also for warnings\n"
    "  --quiet     leave out what is well\n"
    "  --root DIR  look at DIR/proc, DIR/sys, DIR/etc and DIR/dev/shm, and\n"
    "              instead of system calls at DIR/facts (for tests, and for\n"
    "              files that were copied from another machine)\n",
    doctor_run, options, CLI_NOTHING, NULL
};
