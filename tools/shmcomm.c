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
#include "shmcomm_pushpull.h"
#include "shmcomm_recq.h"
#include "shmcomm_reqrep.h"

#include "shmcomm_cli.h"

#include <string.h>

const cli_verb *const cli_verbs[] = {
    &verb_ls, &verb_info, &verb_top, &verb_lag, &verb_stat, &verb_echo,
    &verb_pub, &verb_hz, &verb_push, &verb_pull, &verb_req, &verb_rep,
    &verb_record, &verb_replay, &verb_gc, &verb_doctor, &verb_bench,
    &verb_completion
};
const size_t cli_verb_count = sizeof cli_verbs / sizeof cli_verbs[0];

void
cli_help(FILE *to)
{
    fputs("usage: shmcomm VERB [OPTION...]\n\n", to);
    for (size_t i = 0; i < cli_verb_count; i++)
        fprintf(to, "  %-10s %s\n", cli_verbs[i]->name, cli_verbs[i]->summary);
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
    for (size_t i = 0; i < cli_verb_count; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0) return cli_verbs[i];
    return NULL;
}

static void
bad_verb(const cli *c, const char *name)
{
    cli_near n;

    cli_near_begin(&n, name);
    for (size_t i = 0; i < cli_verb_count; i++)
        cli_near_try(&n, cli_verbs[i]->name);
    if (n.best[0] != '\0')
        cli_usage(c, "'%s' is no verb, perhaps '%s'", name, n.best);
    cli_usage(c, "'%s' is no verb", name);
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
        case CLI_HELP:   cli_help(stdout); return 0;
        case VERSION:    puts("shmcomm " SHMC_VERSION_STRING); return 0;
        case ':': cli_usage(c, "option '%s' needs a value", argv[optind - 1]);
        default:  cli_bad_option(c, argv, options);
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
        cli_help(stderr);
        return 2;
    }
    const char *name = argv[optind];
    const bool help_on = strcmp(name, "help") == 0 && optind + 1 < argc;
    if (help_on) name = argv[optind + 1];   /* help VERB: VERB --help       */
    c.verb = verb_find(name);
    if (c.verb == NULL && strcmp(name, "help") != 0)
        bad_verb(&c, name);
    if (c.verb == NULL) cli_help(stdout);
    else if (help_on) fputs(c.verb->help, stdout);
    if (c.verb == NULL || help_on) return cli_flush(0);
    shmc_log_set(NULL, NULL, 0);            /* verbs say what failed        */
    argv += optind;
    argc -= optind;
    optind = 0;                             /* begin anew, argv[0] is VERB  */
    status = c.verb->run(&c, argc, argv);
    return cli_flush(status);
}
