/* shmcomm_req.c - the verb req: ask a service, and print what it answers.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_format.h"
#include "shmcomm_input.h"

#include "shmcomm_reqrep.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT = CLI_OWN, LENGTHS, TIMEOUT, FORMAT, POST, RETRIES, NEED_SERVER };

static const struct option options[] = {
    { "file", required_argument, NULL, INPUT },
    { "length-delimited", no_argument, NULL, LENGTHS },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "format", required_argument, NULL, FORMAT },
    { "post", no_argument, NULL, POST },
    { "retries", required_argument, NULL, RETRIES },
    { "need-server", no_argument, NULL, NEED_SERVER }, CLI_OPTIONS
};

typedef struct asker {
    const char *service, *text;     /* text NULL: of the input              */
    const char *path;               /* NULL: stdin                          */
    bool lengths, post, told;       /* told: that it waits for a server     */
    format how;
    uint64_t timeout_ns, until_ns;  /* 0: for ever; of this request         */
    shmc_req_desc desc;
    shmc_req req;
    input in;
    buffer b;
    uint64_t sent, replies;
} asker;

/* How long to wait before looking at signals again; 0: time is up.        */
static int64_t
slice_ns(const asker *a)
{
    const uint64_t now = a->timeout_ns != 0 ? cli_now_ns() : 0;

    if (a->timeout_ns == 0) return SLICE_NS;
    if (now >= a->until_ns) return 0;
    return a->until_ns - now < SLICE_NS ? (int64_t)(a->until_ns - now) : SLICE_NS;
}

static int
ask_failed(const asker *a, const char *what, int r)
{
    if (r == SHMC_ETIMEDOUT && cli_stopped) return 1;
    if (r == SHMC_ETIMEDOUT)
        return cli_fail("%s %llu to '%s': %s in %.3g s", what,
                        (unsigned long long)a->sent, a->service,
                        a->req.absent ? "no server" : "no answer",
                        (double)a->timeout_ns / SECOND_NS);
    if (r == SHMC_EMSGSIZE)
        return cli_fail("%s %llu to '%s': longer than the service takes; give "
                        "its server a larger --max-bytes", what,
                        (unsigned long long)a->sent, a->service);
    return cli_fail("%s %llu to '%s': %s", what, (unsigned long long)a->sent,
                    a->service, shmc_strerror(r));
}

/* Send a request.  Returns the call's number, 0 if it was posted, or a code. */
static int
ask_send(asker *a, const void *data, uint32_t bytes)
{
    for (;;) {
        const int64_t ns = slice_ns(a);
        const int r = a->post ? shmc_req_post(&a->req, data, bytes, ns)
                              : shmc_req_send(&a->req, data, bytes, ns);
        if (r != SHMC_ETIMEDOUT && r != SHMC_EAGAIN) return r;
        if (ns == 0 || cli_stopped) return SHMC_ETIMEDOUT;
        if (a->req.absent && !a->told)
            fprintf(stderr, "waiting for a server of '%s'\n", a->service);
        a->told = true;
    }
}

/* Print all parts of an answer.  Returns SHMC_OK or a code.               */
static int
ask_print(asker *a, int call)
{
    const void *data;

    do {
        const int64_t ns = slice_ns(a);
        const int bytes = shmc_req_borrow(&a->req, call, &data, ns);
        if ((bytes == SHMC_ETIMEDOUT || bytes == SHMC_EAGAIN) &&
            ns != 0 && !cli_stopped) continue;
        if (bytes == SHMC_EAGAIN) return SHMC_ETIMEDOUT;
        if (bytes < 0) return bytes;
        buffer_need(&a->b, (size_t)bytes + 1);
        memcpy(a->b.data, data, (size_t)bytes);
        a->b.bytes = (size_t)bytes;
        print_message(a->service, 0, a->how, ++a->replies, &a->b);
        const int r = shmc_req_release(&a->req);
        if (r < 0) return r;
        if (fflush(stdout) != 0 || !shmc_req_more(&a->req)) return SHMC_OK;
    } while (!cli_stopped);
    return SHMC_ETIMEDOUT;
}

/* Ask once.  Returns an exit status.                                      */
static int
ask(asker *a, const uint8_t *data, size_t bytes)
{
    a->sent++;
    a->until_ns = a->timeout_ns != 0 ? cli_now_ns() + a->timeout_ns : 0;
    int r = bytes <= LONGEST_MESSAGE ? ask_send(a, data, (uint32_t)bytes)
                                     : SHMC_EMSGSIZE;
    if (r < 0) {
        const int status = ask_failed(a, "request", r);
        a->sent--;
        return status;
    }
    if (r > 0) r = ask_print(a, r);
    return r < 0 ? ask_failed(a, "answer to request", r) : 0;
}

static int
ask_all(asker *a)
{
    int r = 1, status = 0;

    if (a->text != NULL)
        return ask(a, (const uint8_t *)a->text, strlen(a->text));
    while (status == 0 && !cli_stopped && !ferror(stdout) &&
           (r = input_next(&a->in)) > 0)
        status = ask(a, a->in.b.data, a->in.b.bytes);
    return r < 0 && !cli_stopped ? 1 : status;
}

static void
ask_take(cli *c, int o, asker *a)
{
    switch (o) {
    case INPUT:       a->path = optarg; break;
    case LENGTHS:     a->lengths = true; break;
    case FORMAT:      a->how = format_of(c, optarg); break;
    case POST:        a->post = true; break;
    case NEED_SERVER: a->desc.need_server = true; break;
    case RETRIES:
        a->desc.retries = (uint32_t)cli_count(c, "--retries", optarg, 0,
                                              UINT32_MAX);
        break;
    case TIMEOUT:
        a->timeout_ns = (uint64_t)(SECOND_NS *
            cli_number(c, "--timeout", optarg, 0.001, 1e9));
        break;
    default:          break;
    }
}

static void
ask_read_options(cli *c, int argc, char **argv, asker *a)
{
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) ask_take(c, o, a);
    if (optind + 1 < argc) a->text = argv[--argc];
    a->service = cli_argument(c, argc, argv, "SERVICE");
    if (a->text != NULL && (a->path != NULL || a->lengths))
        cli_usage(c, "a REQUEST and --file or --length-delimited exclude each "
                  "other");
    if (c->json && a->how == FORMAT_AUTO) a->how = FORMAT_JSON;
    if (c->json && a->how != FORMAT_JSON)
        cli_usage(c, "--json and another --format exclude each other");
    if (a->lengths && a->how == FORMAT_AUTO) a->how = FORMAT_LENGTHS;
    a->desc.dir = c->dir;
    a->desc.prefix = c->prefix;
}

static int
req_run(cli *c, int argc, char **argv)
{
    static asker a;

    ask_read_options(c, argc, argv, &a);
    if (a.text == NULL && input_open(&a.in, a.path, a.lengths) != 0) return 1;
    cli_catch_signals();
    int status = 0;
    if (shmc_req_open(&a.req, a.service, &a.desc) != SHMC_OK) {
        status = cli_fail("%s", shmc_last_error());
    } else {
        status = ask_all(&a);
        shmc_req_close(&a.req);
        status = cli_flush(status);
        fprintf(stderr, "sent %llu, received %llu\n", (unsigned long long)a.sent,
                (unsigned long long)a.replies);
    }
    input_close(&a.in);
    free(a.b.data);
    return status;
}

const cli_verb verb_req = {
    "req", "ask a service, and print its answers",
    "usage: shmcomm req SERVICE [REQUEST | --file FILE] [--length-delimited]\n"
    "                   [--timeout SECONDS] [--need-server] [--retries N]\n"
    "                   [--post] [--format FORMAT | --json] [--dir DIR]\n"
    "                   [--prefix PREFIX]\n"
    "\n"
    "Sends REQUEST, or each line of its standard input, one after another, and\n"
    "prints the answer; each part of one that comes in parts.  It waits for a\n"
    "server if there is none.  The status is 1, and nothing more is sent, as\n"
    "soon as one request is not answered.\n"
    "\n"
    "  --file FILE         read FILE instead\n"
    "  --length-delimited  requests are 4 bytes of length, lowest first, and\n"
    "                      so many bytes; answers, too\n"
    "  --timeout SECONDS   the longest that one request may take, with the wait\n"
    "                      for a server [for ever]\n"
    "  --need-server       fail at once where no server is\n"
    "  --retries N         so often, when a server dies, its request goes to\n"
    "                      another one [0]\n"
    "  --post              want no answer\n"
    "  --format FORMAT     hex, text (its bytes and a line feed), or json\n"
    "                      [text where an answer can be shown as such]\n",
    req_run, options, CLI_NAME, NULL
};
