/* shmcomm.c - the program `shmcomm`: look at segments and topics from a shell.
 *
 *     shmcomm ls
 *     shmcomm echo robot/pose
 *     seq 3 | shmcomm pub robot/pose --wait-subscriber
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_mpmc.h"
#include "shmcomm_patterns.h"
#include "shmcomm_recq.h"

#include "shmcomm_cli.h"

#include <string.h>

static const cli_verb *const verbs[] = {
    &verb_ls, &verb_info, &verb_echo, &verb_pub, &verb_hz, &verb_gc
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void
help(FILE *to)
{
    fputs("usage: shmcomm VERB [OPTION...]\n\n", to);
    for (size_t i = 0; i < VERBS; i++)
        fprintf(to, "  %-6s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\n"
          "Each verb takes\n"
          "  --help           tell more about it\n"
          "  --json           write JSON\n"
          "  --dir DIR        where the segments are [$SHMCOMM_DIR, else\n"
          "                   /dev/shm]\n"
          "  --prefix PREFIX  what their files begin with [$SHMCOMM_PREFIX,\n"
          "                   else shmc]\n"
          "\n"
          "The exit status is 0, 1 where something failed, or 2 where the\n"
          "arguments are wrong.  shmcomm --version tells the version.\n", to);
}

static const cli_verb *
verb_find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
    return NULL;
}

/* Take the options before the verb.  Returns -1 to go on, or a status.    */
static int
begin(cli *c, int argc, char **argv)
{
    enum { VERSION = CLI_OWN };
    static const struct option options[] = {
        { "version", no_argument, NULL, VERSION }, CLI_OPTIONS
    };
    int o;

    while ((o = getopt_long(argc, argv, "+:h", options, NULL)) >= 0) {
        switch (o) {
        case CLI_DIR:    c->dir = optarg; break;
        case CLI_PREFIX: c->prefix = optarg; break;
        case CLI_JSON:   c->json = true; break;
        case CLI_HELP:   help(stdout); return 0;
        case VERSION:    puts("shmcomm " SHMC_VERSION_STRING); return 0;
        case ':': cli_usage(c, "option '%s' needs a value", argv[optind - 1]);
        default:  cli_bad_option(c, argv);
        }
    }
    return -1;
}

int
main(int argc, char **argv)
{
    cli c = { NULL, NULL, NULL, false };
    int status = begin(&c, argc, argv);

    if (status >= 0) return cli_flush(status);
    if (optind == argc) {
        help(stderr);
        return 2;
    }
    const char *name = argv[optind];
    const bool help_on = strcmp(name, "help") == 0 && optind + 1 < argc;
    if (help_on) name = argv[optind + 1];   /* help VERB: VERB --help       */
    c.verb = verb_find(name);
    if (c.verb == NULL && strcmp(name, "help") != 0)
        cli_usage(&c, "'%s' is no verb", name);
    if (c.verb == NULL) help(stdout);
    else if (help_on) fputs(c.verb->help, stdout);
    if (c.verb == NULL || help_on) return cli_flush(0);
    shmc_log_set(NULL, NULL, 0);            /* verbs say what failed        */
    argv += optind;
    argc -= optind;
    optind = 0;                             /* begin anew, argv[0] is VERB  */
    status = c.verb->run(&c, argc, argv);
    return cli_flush(status);
}
