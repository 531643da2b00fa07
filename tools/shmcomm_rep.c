/* shmcomm_rep.c - the verb rep: serve, by a command for each request.
 *
 * Manual: docs/shmcomm_cli.md
 * SPDX-License-Identifier: MIT                                            */
#include "shmcomm_viewer.h"

#include "shmcomm_reqrep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = CLI_OWN, TIMEOUT, MAX_BYTES, MAX_REPLY_BYTES };

static const struct option options[] = {
    { "count", required_argument, NULL, COUNT },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "max-bytes", required_argument, NULL, MAX_BYTES },
    { "max-reply-bytes", required_argument, NULL, MAX_REPLY_BYTES }, CLI_OPTIONS
};

extern char **environ;

typedef struct server {
    const char *service;
    char **command;                 /* NULL: echo                           */
    uint64_t count, timeout_ns;     /* 0: no end; for ever                  */
    shmc_rep_desc desc;
    shmc_rep rep;
    buffer request, reply;
    uint64_t received, failed;
} server;

/* >>rep: a command */

typedef struct child {
    pid_t pid;
    int in, out;                    /* our ends of its input and output     */
} child;

static int
spawn(child *k, char **command, const int in[2], const int out[2])
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t pipe_signal;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);       /* which we ignore              */
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &pipe_signal);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    const int error = posix_spawnp(&k->pid, command[0], &files, &attr, command,
                                   environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return error;
}

/* Begin the command.  Returns 0, or an errno.                             */
static int
child_begin(child *k, char **command)
{
    int in[2], out[2], error = 0;

    if (pipe2(in, O_CLOEXEC) != 0) return errno;
    if (pipe2(out, O_CLOEXEC) != 0) {
        error = errno;
        close(in[0]);
        close(in[1]);
        return error;
    }
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    error = spawn(k, command, in, out);
    close(in[0]);
    close(out[1]);
    k->in = in[1];
    k->out = out[0];
    if (error == 0) return 0;
    close(k->in);
    close(k->out);
    return error;
}

static void
child_close(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Write what it takes of the request; a child may do without.             */
static void
child_feed(child *k, const buffer *request, size_t *done)
{
    const ssize_t n = write(k->in, request->data + *done, request->bytes - *done);

    if (n > 0) *done += (size_t)n;
    const bool over = n < 0 && errno != EAGAIN && errno != EINTR;
    if (over || *done == request->bytes) child_close(&k->in);
}

/* Talk to it until its output ends, or becomes longer than `most`, or we are
 * told to end.                                                            */
static void
child_talk(child *k, const buffer *request, buffer *reply, size_t most)
{
    size_t done = 0;

    reply->bytes = 0;
    if (request->bytes == 0) child_close(&k->in);
    while (!cli_stopped && reply->bytes <= most) {
        struct pollfd fds[2] = { { k->out, POLLIN, 0 }, { k->in, POLLOUT, 0 } };
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[1].revents != 0) child_feed(k, request, &done);
        if (fds[0].revents == 0) continue;
        buffer_need(reply, reply->bytes + 4096);
        const ssize_t n = read(k->out, reply->data + reply->bytes, 4096);
        if (n == 0) break;
        if (n > 0) reply->bytes += (size_t)n;
    }
    child_close(&k->in);
    child_close(&k->out);
    if (cli_stopped) kill(k->pid, SIGTERM);
}

/* Run the command with the request.  Returns whether its output is a reply. */
static bool
serve_command(server *s)
{
    const uint32_t most = s->rep.calls.max_reply;
    int status = 0;
    child k;

    const int error = child_begin(&k, s->command);
    if (error != 0) {
        cli_fail("cannot run '%s': %s", s->command[0], strerror(error));
        return false;
    }
    child_talk(&k, &s->request, &s->reply, most);
    while (waitpid(k.pid, &status, 0) < 0 && errno == EINTR) { }
    if (cli_stopped) return false;
    if (s->reply.bytes > most)
        cli_fail("request %llu: '%s' wrote more than the %u bytes that a reply "
                 "may have; see --max-reply-bytes", (unsigned long long)s->received,
                 s->command[0], most);
    else if (WIFSIGNALED(status))
        cli_fail("request %llu: '%s' was ended by signal %d",
                 (unsigned long long)s->received, s->command[0], WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        cli_fail("request %llu: '%s' ended with status %d",
                 (unsigned long long)s->received, s->command[0],
                 WEXITSTATUS(status));
    return s->reply.bytes <= most && status == 0;
}

/* >>rep: requests */

/* Answer one request.  Returns 1, 0 nothing came, or a code.              */
static int
serve_one(server *s)
{
    const void *data;
    const int bytes = shmc_rep_borrow(&s->rep, &data, SLICE_NS);
    const buffer *reply = s->command != NULL ? &s->reply : &s->request;

    if (bytes == SHMC_ETIMEDOUT || bytes == SHMC_EAGAIN) return 0;
    if (bytes < 0) return bytes;
    s->received++;
    buffer_need(&s->request, (size_t)bytes + 1);
    memcpy(s->request.data, data, (size_t)bytes);
    s->request.bytes = (size_t)bytes;
    int r = SHMC_EMSGSIZE;
    if (s->command == NULL || serve_command(s))
        r = shmc_rep_send(&s->rep, reply->data, (uint32_t)reply->bytes,
                          SHMC_FOREVER);
    else
        r = SHMC_EEND;              /* and it has said why                  */
    if (r == SHMC_OK) return 1;
    if (r == SHMC_EPEERDEAD) {
        fprintf(stderr, "request %llu: its client has gone\n",
                (unsigned long long)s->received);
        return 1;
    }
    if (r == SHMC_EMSGSIZE)
        cli_fail("request %llu: the reply has %zu bytes, more than the service "
                 "takes; see --max-reply-bytes", (unsigned long long)s->received,
                 reply->bytes);
    else if (r != SHMC_EEND)
        return r;
    s->failed++;
    (void)shmc_rep_drop(&s->rep);   /* its client is told                   */
    return 1;
}

static int
serve_all(server *s)
{
    uint64_t last_ns = cli_now_ns();

    while (!cli_stopped && (s->count == 0 || s->received < s->count)) {
        const int r = serve_one(s);
        if (r < 0)
            return cli_fail("serve '%s': %s", s->service, shmc_strerror(r));
        if (r > 0) {
            last_ns = cli_now_ns();
        } else if (s->timeout_ns != 0 && cli_now_ns() - last_ns >= s->timeout_ns) {
            if (s->count != 0 || s->received == 0)
                return cli_fail("no request to '%s' for %.3g s", s->service,
                                (double)s->timeout_ns / SECOND_NS);
            break;
        }
    }
    return s->failed != 0;
}

static void
serve_take(cli *c, int o, server *s)
{
    switch (o) {
    case COUNT: s->count = cli_count(c, "--count", optarg, 1, UINT64_MAX); break;
    case TIMEOUT:
        s->timeout_ns = (uint64_t)(SECOND_NS *
            cli_number(c, "--timeout", optarg, 0.001, 1e9));
        break;
    case MAX_BYTES:
        s->desc.max_bytes = (uint32_t)cli_count(c, "--max-bytes", optarg, 1,
                                                LONGEST_MESSAGE);
        break;
    case MAX_REPLY_BYTES:
        s->desc.max_reply_bytes =
            (uint32_t)cli_count(c, "--max-reply-bytes", optarg, 1,
                                LONGEST_MESSAGE);
        break;
    default: break;
    }
}

static int
rep_run(cli *c, int argc, char **argv)
{
    static server s;
    int o;

    while ((o = cli_next(c, argc, argv, options)) >= 0) serve_take(c, o, &s);
    if (optind == argc) cli_usage(c, "SERVICE is missing");
    s.service = argv[optind++];
    if (optind < argc) s.command = &argv[optind];
    s.desc.dir = c->dir;
    s.desc.prefix = c->prefix;
    cli_catch_signals();
    if (shmc_rep_open(&s.rep, s.service, &s.desc) != SHMC_OK)
        return cli_fail("%s", shmc_last_error());
    const int status = serve_all(&s);
    shmc_rep_close(&s.rep);
    free(s.request.data);
    free(s.reply.data);
    if (c->json) {
        cJSON *all = json_object();
        json_text(all, "service", s.service);
        json_u64(all, "received", s.received);
        json_u64(all, "failed", s.failed);
        json_print(all);
    } else {
        fprintf(stderr, "received %llu, failed %llu\n",
                (unsigned long long)s.received, (unsigned long long)s.failed);
    }
    return status;
}

const cli_verb verb_rep = {
    "rep", "serve: echo requests, or run a command for each",
    "usage: shmcomm rep SERVICE [--count N] [--timeout SECONDS] [--max-bytes N]\n"
    "                   [--max-reply-bytes N] [--json] [--dir DIR]\n"
    "                   [--prefix PREFIX] [-- COMMAND [ARGUMENT...]]\n"
    "\n"
    "Answers each request with itself; or runs COMMAND with the request as its\n"
    "standard input, and answers with what it writes to its standard output.\n"
    "If COMMAND fails, the client is told as if this server had died, and the\n"
    "next request is served; but the status will be 1.  Any number of servers\n"
    "share the requests of a service.\n"
    "\n"
    "  --count N            end after N requests\n"
    "  --timeout SECONDS    end when no request came for so long; the status is\n"
    "                       1 if that was none at all, or less than --count\n"
    "  --max-bytes N        longest request of a new service [4096]\n"
    "  --max-reply-bytes N  longest reply of a new service [as --max-bytes]\n",
    rep_run, options, CLI_NAME, NULL
};
