/* link_os.h - links that the operating system has: pipe, Unix sockets, TCP,
 * POSIX message queues.  All are made before the fork, without a name that
 * could stay behind.
 *
 * Each message is one write, or as many as it takes; of a stream a receiver
 * takes what is there at once, up to LINK_STREAM_BYTES.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_OS_H
#define SHMCOMM_BENCH_LINK_OS_H

#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum {
    LINK_STREAM_BYTES = 64 << 10,
    LINK_PACKET_BYTES = 64 << 10    /* of a larger message, each piece      */
};

/* ---- descriptors ------------------------------------------------------- */

static void
fds_drop(link_way *way)
{
    for (int i = 0; i < 4; i++) {
        int *const fd = &way->fd[i / 2][i % 2];
        if (*fd >= 0) close(*fd);
        *fd = -1;
    }
}

static void
fd_no_block(int fd, const link_way *way)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0 ||
        fcntl(fd, F_SETFL, way->sleep ? flags & ~O_NONBLOCK
                                      : flags | O_NONBLOCK) < 0)
        link_die_os("fcntl");
}

static const char *
pipe_make(link_way *way)
{
    int fd[2];

    for (int back = 0; back < 2; back++) {
        if (pipe2(fd, O_CLOEXEC) < 0) return "no pipe";
        way->fd[back][0] = fd[0];
        way->fd[back][1] = fd[1];
        (void)fcntl(fd[1], F_SETPIPE_SZ, 1 << 20);
    }
    return NULL;
}

static void
socket_room(int fd)
{
    const int bytes = LINK_SOCKET_BYTES;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

static const char *
unix_make(link_way *way, int type)
{
    int fd[2];

    for (int back = 0; back < 2; back++) {
        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fd) < 0)
            return "no Unix socket";
        way->fd[back][0] = fd[0];
        way->fd[back][1] = fd[1];
        socket_room(fd[0]);
        socket_room(fd[1]);
    }
    return NULL;
}

static const char *unix_stream_make(link_way *w) { return unix_make(w, SOCK_STREAM); }
static const char *unix_seqpacket_make(link_way *w)
{
    return unix_make(w, SOCK_SEQPACKET);
}

static const char *
tcp_pair(int fd[2])
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t bytes = sizeof at;
    const int on = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *why = "TCP: 127.0.0.1 does not answer";

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd[0] = -1;
    fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (door >= 0 && fd[1] >= 0 &&
        bind(door, (struct sockaddr *)&at, sizeof at) == 0 &&
        listen(door, 1) == 0 &&
        getsockname(door, (struct sockaddr *)&at, &bytes) == 0 &&
        connect(fd[1], (struct sockaddr *)&at, sizeof at) == 0 &&
        (fd[0] = accept4(door, NULL, NULL, SOCK_CLOEXEC)) >= 0) why = NULL;
    if (door >= 0) close(door);
    for (int i = 0; i < 2 && why == NULL; i++)
        (void)setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return why;
}

static const char *
tcp_make(link_way *way)
{
    const char *why = NULL;

    for (int back = 0; back < 2 && why == NULL; back++)
        why = tcp_pair(way->fd[back]);
    return why;
}

/* ---- streams of bytes -------------------------------------------------- */

typedef struct fd_stream {
    int fd, sleep;
    unsigned bytes, from, to;       /* of a message; what is in `in`        */
    uint8_t *in;
} fd_stream;

static void
fd_stream_open(fd_stream *l, const link_way *way, int back, int sender)
{
    l->fd = way->fd[back][sender];
    l->bytes = way->bytes;
    l->from = l->to = 0;
    l->in = link_in;
    link_keeps = true;
    if (way->fd[back][!sender] >= 0) close(way->fd[back][!sender]);
    fd_no_block(l->fd, way);
}

/* A message that has begun goes all the way.                              */
static bool
fd_stream_send(fd_stream *l, uint64_t number)
{
    unsigned at = 0;

    link_fill(link_out, l->bytes, number);
    while (at < l->bytes) {
        const ssize_t n = write(l->fd, link_out + at, l->bytes - at);

        if (n > 0) at += (unsigned)n;
        else if (n < 0 && errno != EAGAIN && errno != EINTR) link_die_os("write");
        else if (at == 0) return false;
        else shmi_relax();
    }
    return true;
}

static bool
fd_stream_recv(fd_stream *l, link_got *got)
{
    const unsigned room = l->bytes < LINK_STREAM_BYTES
                        ? LINK_STREAM_BYTES / l->bytes * l->bytes : l->bytes;

    if (l->from == l->to) l->from = l->to = 0;
    while (l->to - l->from < l->bytes) {
        const ssize_t n = read(l->fd, l->in + l->to, room - l->to);

        if (n > 0) l->to += (unsigned)n;
        else if (n == 0) link_die("read: the other side is gone");
        else if (errno != EAGAIN && errno != EINTR) link_die_os("read");
        else if (l->to == l->from) return false;
        else shmi_relax();
    }
    link_look(got, l->in + l->from, l->bytes);
    l->from += l->bytes;
    return true;
}

LINK_ONE(fd_stream)

/* ---- packets ----------------------------------------------------------- */

typedef struct packets { int fd, flags; unsigned bytes; } packets;

static void
packets_open(packets *l, const link_way *way, int back, int sender)
{
    l->fd = way->fd[back][sender];
    l->flags = way->sleep ? 0 : MSG_DONTWAIT;
    l->bytes = way->bytes;
    link_keeps = true;
    close(way->fd[back][!sender]);
}

static inline unsigned
packets_piece(const packets *l, unsigned at)
{
    return l->bytes - at < LINK_PACKET_BYTES ? l->bytes - at
                                             : LINK_PACKET_BYTES;
}

static bool
packets_send(packets *l, uint64_t number)
{
    unsigned at = 0;

    link_fill(link_out, l->bytes, number);
    while (at < l->bytes) {
        const ssize_t n = send(l->fd, link_out + at, packets_piece(l, at),
                               l->flags);
        if (n > 0) at += (unsigned)n;
        else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
            link_die_os("send");
        else if (at == 0) return false;
        else shmi_relax();
    }
    return true;
}

static bool
packets_recv(packets *l, link_got *got)
{
    unsigned at = 0;

    while (at < l->bytes) {
        const ssize_t n = recv(l->fd, link_in + at, packets_piece(l, at),
                               l->flags);
        if (n > 0) at += (unsigned)n;
        else if (n == 0) link_die("recv: the other side is gone");
        else if (errno != EAGAIN && errno != EINTR) link_die_os("recv");
        else if (at == 0) return false;
        else shmi_relax();
    }
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_ONE(packets)

/* ---- POSIX message queues ---------------------------------------------- */

/* Both sides share one open description, and with it O_NONBLOCK.          */
static const char *
mq_make(link_way *way)
{
    static char why[160];
    const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
    struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)way->bytes };
    char name[64];

    (void)setrlimit(RLIMIT_MSGQUEUE, &all);     /* root may                */
    for (int back = 0; back < 2; back++) {
        snprintf(name, sizeof name, "/shmcomm-peers.%d.%d", (int)getpid(), back);
        const mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC |
                                (way->sleep ? 0 : O_NONBLOCK), 0600, &attr);
        if (q < 0) {
            snprintf(why, sizeof why, "mq_open for messages of %u bytes: %s",
                     way->bytes, strerror(errno));
            return why;
        }
        way->fd[back][0] = q;
        (void)mq_unlink(name);
    }
    return NULL;
}

typedef struct posix_mq { mqd_t q; unsigned bytes; } posix_mq;

static void
posix_mq_open(posix_mq *l, const link_way *way, int back, int sender)
{
    (void)sender;
    l->q = way->fd[back][0];
    l->bytes = way->bytes;
}

static bool
posix_mq_send(posix_mq *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    if (mq_send(l->q, (const char *)link_out, l->bytes, 0) == 0) return true;
    if (errno != EAGAIN && errno != EINTR) link_die_os("mq_send");
    return false;
}

static bool
posix_mq_recv(posix_mq *l, link_got *got)
{
    const ssize_t n = mq_receive(l->q, (char *)link_in, l->bytes, NULL);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) link_die_os("mq_receive");
        return false;
    }
    link_look(got, link_in, l->bytes);
    return true;
}

LINK_ONE(posix_mq)

#endif /* SHMCOMM_BENCH_LINK_OS_H */
