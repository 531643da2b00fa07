/* link_lib.h - links of libraries that are loaded when they run: ZeroMQ, nng,
 * nanomsg, and Boost.Interprocess (peer_interprocess.cc).
 *
 * Only headers are needed to build; what has none, or no library, says so and
 * does not run.  A library is loaded, and its threads live, in the processes
 * of a round only, never in the driver.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_LIB_H
#define SHMCOMM_BENCH_LINK_LIB_H

#include "link.h"
#include "peer_interprocess.h"

#include <dlfcn.h>
#include <errno.h>

/* `fn` is a pointer to the function of its own name.                      */
#define LINK_SYMBOL(LIBRARY, FN)                                              \
    do {                                                                      \
        *(void **)&the_##FN = dlsym(LIBRARY, #FN);                            \
        if (the_##FN == NULL) link_die("%s", dlerror());                      \
    } while (0)
#define LINK_FN(FN) static __typeof__(FN) *the_##FN

static inline void *
link_load(const char *library)
{
    void *const l = dlopen(library, RTLD_NOW | RTLD_LOCAL);

    if (l == NULL) link_die("%s", dlerror());
    return l;
}

static inline void
link_ipc_url(char *url, size_t bytes, const link_way *way, int back)
{
    const int n = snprintf(url, bytes, "ipc://%s/%llu.%d", way->dir,
                           (unsigned long long)way->number, back);

    if (n < 0 || (size_t)n >= bytes) link_die("the path of a socket is too long");
}

/* As many messages as a queue of a library shall hold.                    */
static inline int
link_depth(const link_way *way)
{
    const unsigned n = (32u << 20) / way->bytes;

    return n > 8192 ? 8192 : n < 8 ? 8 : (int)n;
}

/* What is not there at all: neither built nor run.                        */
#define LINK_NO_HEADER(K, PACKAGE)                                            \
    static void K##_none(const link_way *way)                                 \
    {                                                                         \
        (void)way;                                                            \
        link_die("built without its header: install %s", PACKAGE);            \
    }
#define LINK_RUN_NONE(K)                                                      \
    { { K##_none, K##_none, K##_none, K##_none, K##_none },                   \
      { K##_none, K##_none, K##_none, K##_none, K##_none } }

#if defined(__has_include)
#if __has_include(<zmq.h>)
#define LINK_HAS_ZMQ 1
#endif
#if __has_include(<nng/nng.h>)
#define LINK_HAS_NNG 1
#endif
#if __has_include(<nanomsg/nn.h>)
#define LINK_HAS_NANOMSG 1
#endif
#endif

/* ---- ZeroMQ ------------------------------------------------------------ */

#if LINK_HAS_ZMQ
#include <zmq.h>

LINK_FN(zmq_bind); LINK_FN(zmq_close); LINK_FN(zmq_connect);
LINK_FN(zmq_ctx_new); LINK_FN(zmq_errno); LINK_FN(zmq_msg_close);
LINK_FN(zmq_msg_data); LINK_FN(zmq_msg_init); LINK_FN(zmq_msg_init_size);
LINK_FN(zmq_msg_recv); LINK_FN(zmq_msg_send); LINK_FN(zmq_msg_size);
LINK_FN(zmq_setsockopt); LINK_FN(zmq_socket); LINK_FN(zmq_strerror);

typedef struct zeromq { void *socket; int flags; unsigned bytes; } zeromq;

static void *
zeromq_context(void)
{
    static void *context;

    if (context != NULL) return context;
    void *const l = link_load("libzmq.so.5");
    LINK_SYMBOL(l, zmq_bind); LINK_SYMBOL(l, zmq_close);
    LINK_SYMBOL(l, zmq_connect); LINK_SYMBOL(l, zmq_ctx_new);
    LINK_SYMBOL(l, zmq_errno); LINK_SYMBOL(l, zmq_msg_close);
    LINK_SYMBOL(l, zmq_msg_data); LINK_SYMBOL(l, zmq_msg_init);
    LINK_SYMBOL(l, zmq_msg_init_size); LINK_SYMBOL(l, zmq_msg_recv);
    LINK_SYMBOL(l, zmq_msg_send); LINK_SYMBOL(l, zmq_msg_size);
    LINK_SYMBOL(l, zmq_setsockopt); LINK_SYMBOL(l, zmq_socket);
    LINK_SYMBOL(l, zmq_strerror);
    context = the_zmq_ctx_new();
    return context;
}

/* Small messages: no high-water mark.  Of large ones an unlimited queue
 * would only grow out of the caches.                                      */
static void
zeromq_open(zeromq *l, const link_way *way, int back, int sender)
{
    void *const context = zeromq_context();
    const int fan = way->work == LINK_FANOUT;
    const int type = sender ? (fan ? ZMQ_PUB : ZMQ_PUSH)
                            : (fan ? ZMQ_SUB : ZMQ_PULL);
    const int mark = way->bytes <= 4096 ? 0 : link_depth(way);
    char url[160];

    link_ipc_url(url, sizeof url, way, back);
    l->flags = way->sleep ? 0 : ZMQ_DONTWAIT;
    l->bytes = way->bytes;
    l->socket = the_zmq_socket(context, type);
    if (l->socket == NULL ||
        the_zmq_setsockopt(l->socket, ZMQ_SNDHWM, &mark, sizeof mark) != 0 ||
        the_zmq_setsockopt(l->socket, ZMQ_RCVHWM, &mark, sizeof mark) != 0 ||
        (type == ZMQ_SUB &&
         the_zmq_setsockopt(l->socket, ZMQ_SUBSCRIBE, "", 0) != 0) ||
        (sender ? the_zmq_bind(l->socket, url)
                : the_zmq_connect(l->socket, url)) != 0)
        link_die("zmq: %s", the_zmq_strerror(the_zmq_errno()));
}

static bool
zeromq_send(zeromq *l, uint64_t number)
{
    zmq_msg_t m;

    if (the_zmq_msg_init_size(&m, l->bytes) != 0) link_die("zmq: no memory");
    link_fill(the_zmq_msg_data(&m), l->bytes, number);
    if (the_zmq_msg_send(&m, l->socket, l->flags) >= 0) return true;
    const int e = the_zmq_errno();
    the_zmq_msg_close(&m);
    if (e != EAGAIN && e != EINTR) link_die("zmq: %s", the_zmq_strerror(e));
    return false;
}

static bool
zeromq_recv(zeromq *l, link_got *got)
{
    zmq_msg_t m;

    the_zmq_msg_init(&m);
    if (the_zmq_msg_recv(&m, l->socket, l->flags) < 0) {
        const int e = the_zmq_errno();
        if (e != EAGAIN && e != EINTR) link_die("zmq: %s", the_zmq_strerror(e));
        return false;
    }
    if (the_zmq_msg_size(&m) != l->bytes) link_die("zmq: a message of wrong size");
    link_look(got, the_zmq_msg_data(&m), l->bytes);
    the_zmq_msg_close(&m);
    return true;
}

LINK_MANY(zeromq)
#define LINK_RUN_ZMQ LINK_RUN_MANY(zeromq)
#else
LINK_NO_HEADER(zeromq, "libzmq3-dev")
#define LINK_RUN_ZMQ LINK_RUN_NONE(zeromq)
#endif

/* ---- nng --------------------------------------------------------------- */

#if LINK_HAS_NNG
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>

LINK_FN(nng_dial); LINK_FN(nng_listen); LINK_FN(nng_msg_alloc);
LINK_FN(nng_msg_body); LINK_FN(nng_msg_free); LINK_FN(nng_msg_len);
LINK_FN(nng_pub0_open); LINK_FN(nng_pull0_open); LINK_FN(nng_push0_open);
LINK_FN(nng_recvmsg); LINK_FN(nng_sendmsg); LINK_FN(nng_setopt);
LINK_FN(nng_setopt_int); LINK_FN(nng_setopt_size); LINK_FN(nng_strerror);
LINK_FN(nng_sub0_open);

/* Not `nng`: nng_send and nng_recv are functions of its own.              */
typedef struct nng_link { nng_socket socket; int flags; unsigned bytes; } nng_link;

static void
nng_load(void)
{
    void *const l = link_load("libnng.so.1");

    LINK_SYMBOL(l, nng_dial); LINK_SYMBOL(l, nng_listen);
    LINK_SYMBOL(l, nng_msg_alloc); LINK_SYMBOL(l, nng_msg_body);
    LINK_SYMBOL(l, nng_msg_free); LINK_SYMBOL(l, nng_msg_len);
    LINK_SYMBOL(l, nng_pub0_open); LINK_SYMBOL(l, nng_pull0_open);
    LINK_SYMBOL(l, nng_push0_open); LINK_SYMBOL(l, nng_recvmsg);
    LINK_SYMBOL(l, nng_sendmsg); LINK_SYMBOL(l, nng_setopt);
    LINK_SYMBOL(l, nng_setopt_int); LINK_SYMBOL(l, nng_setopt_size);
    LINK_SYMBOL(l, nng_strerror); LINK_SYMBOL(l, nng_sub0_open);
}

static void
nng_must(int e)
{
    if (e != 0) link_die("nng: %s", the_nng_strerror(e));
}

static void
nng_link_open(nng_link *l, const link_way *way, int back, int sender)
{
    const int fan = way->work == LINK_FANOUT;
    char url[160];

    if (the_nng_listen == NULL) nng_load();
    link_ipc_url(url, sizeof url, way, back);
    l->flags = way->sleep ? 0 : NNG_FLAG_NONBLOCK;
    l->bytes = way->bytes;
    nng_must(sender ? (fan ? the_nng_pub0_open : the_nng_push0_open)(&l->socket)
                    : (fan ? the_nng_sub0_open : the_nng_pull0_open)(&l->socket));
    /* Not all protocols have a queue of their own: some refuse.           */
    (void)the_nng_setopt_int(l->socket, sender ? NNG_OPT_SENDBUF : NNG_OPT_RECVBUF,
                             link_depth(way) > 1024 ? 1024 : link_depth(way));
    nng_must(the_nng_setopt_size(l->socket, NNG_OPT_RECVMAXSZ, 0));
    if (sender) {
        nng_must(the_nng_listen(l->socket, url, NULL, 0));
        return;
    }
    if (fan) nng_must(the_nng_setopt(l->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0));
    for (int e; (e = the_nng_dial(l->socket, url, NULL, 0)) != 0; ) {
        if (e != NNG_ECONNREFUSED && e != NNG_ENOENT) nng_must(e);
        link_sleep_us(100);         /* the sender is not there yet          */
    }
}

static bool
nng_link_send(nng_link *l, uint64_t number)
{
    nng_msg *m;

    nng_must(the_nng_msg_alloc(&m, l->bytes));
    link_fill(the_nng_msg_body(m), l->bytes, number);
    const int e = the_nng_sendmsg(l->socket, m, l->flags);
    if (e == 0) return true;
    the_nng_msg_free(m);
    if (e != NNG_EAGAIN) nng_must(e);
    return false;
}

static bool
nng_link_recv(nng_link *l, link_got *got)
{
    nng_msg *m;
    const int e = the_nng_recvmsg(l->socket, &m, l->flags);

    if (e == NNG_EAGAIN) return false;
    nng_must(e);
    if (the_nng_msg_len(m) != l->bytes) link_die("nng: a message of wrong size");
    link_look(got, the_nng_msg_body(m), l->bytes);
    the_nng_msg_free(m);
    return true;
}

LINK_MANY(nng_link)
#define LINK_RUN_NNG LINK_RUN_MANY(nng_link)
#else
LINK_NO_HEADER(nng_link, "libnng-dev")
#define LINK_RUN_NNG LINK_RUN_NONE(nng_link)
#endif

/* ---- nanomsg ----------------------------------------------------------- */

#if LINK_HAS_NANOMSG
#include <nanomsg/nn.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/pubsub.h>

LINK_FN(nn_allocmsg); LINK_FN(nn_bind); LINK_FN(nn_connect); LINK_FN(nn_errno);
LINK_FN(nn_freemsg); LINK_FN(nn_recv); LINK_FN(nn_send); LINK_FN(nn_setsockopt);
LINK_FN(nn_socket); LINK_FN(nn_strerror);

typedef struct nanomsg { int socket, flags; unsigned bytes; } nanomsg;

static void
nanomsg_load(void)
{
    void *const l = link_load("libnanomsg.so.5");

    LINK_SYMBOL(l, nn_allocmsg); LINK_SYMBOL(l, nn_bind);
    LINK_SYMBOL(l, nn_connect); LINK_SYMBOL(l, nn_errno);
    LINK_SYMBOL(l, nn_freemsg); LINK_SYMBOL(l, nn_recv);
    LINK_SYMBOL(l, nn_send); LINK_SYMBOL(l, nn_setsockopt);
    LINK_SYMBOL(l, nn_socket); LINK_SYMBOL(l, nn_strerror);
}

static void
nanomsg_must(bool good)
{
    if (!good) link_die("nanomsg: %s", the_nn_strerror(the_nn_errno()));
}

static void
nanomsg_open(nanomsg *l, const link_way *way, int back, int sender)
{
    const int fan = way->work == LINK_FANOUT;
    const int room = LINK_SOCKET_BYTES, any = -1, soon = 2;
    char url[160];

    if (the_nn_socket == NULL) nanomsg_load();
    link_ipc_url(url, sizeof url, way, back);
    l->flags = way->sleep ? 0 : NN_DONTWAIT;
    l->bytes = way->bytes;
    l->socket = the_nn_socket(AF_SP, sender ? (fan ? NN_PUB : NN_PUSH)
                                            : (fan ? NN_SUB : NN_PULL));
    nanomsg_must(l->socket >= 0);
    nanomsg_must(the_nn_setsockopt(l->socket, NN_SOL_SOCKET, NN_RECONNECT_IVL,
                                   &soon, sizeof soon) == 0);
    if (sender) {
        nanomsg_must(the_nn_setsockopt(l->socket, NN_SOL_SOCKET, NN_SNDBUF,
                                       &room, sizeof room) == 0);
        nanomsg_must(the_nn_bind(l->socket, url) >= 0);
        return;
    }
    nanomsg_must(the_nn_setsockopt(l->socket, NN_SOL_SOCKET, NN_RCVBUF, &room,
                                   sizeof room) == 0 &&
                 the_nn_setsockopt(l->socket, NN_SOL_SOCKET, NN_RCVMAXSIZE,
                                   &any, sizeof any) == 0);
    if (fan) nanomsg_must(the_nn_setsockopt(l->socket, NN_SUB, NN_SUB_SUBSCRIBE,
                                            "", 0) == 0);
    nanomsg_must(the_nn_connect(l->socket, url) >= 0);
}

static bool
nanomsg_send(nanomsg *l, uint64_t number)
{
    void *m = the_nn_allocmsg(l->bytes, 0);

    nanomsg_must(m != NULL);
    link_fill(m, l->bytes, number);
    if (the_nn_send(l->socket, &m, NN_MSG, l->flags) >= 0) return true;
    nanomsg_must(the_nn_errno() == EAGAIN || the_nn_errno() == EINTR);
    the_nn_freemsg(m);
    return false;
}

static bool
nanomsg_recv(nanomsg *l, link_got *got)
{
    void *m = NULL;
    const int n = the_nn_recv(l->socket, &m, NN_MSG, l->flags);

    if (n < 0) {
        nanomsg_must(the_nn_errno() == EAGAIN || the_nn_errno() == EINTR);
        return false;
    }
    if ((unsigned)n != l->bytes) link_die("nanomsg: a message of wrong size");
    link_look(got, m, l->bytes);
    the_nn_freemsg(m);
    return true;
}

LINK_MANY(nanomsg)
#define LINK_RUN_NANOMSG LINK_RUN_MANY(nanomsg)
#else
LINK_NO_HEADER(nanomsg, "libnanomsg-dev")
#define LINK_RUN_NANOMSG LINK_RUN_NONE(nanomsg)
#endif

/* ---- Boost.Interprocess ------------------------------------------------ */

#if BENCH_HAS_INTERPROCESS
/* Made in the driver, whose mapping the processes inherit; its name is gone
 * before they run.                                                        */
static const char *
boost_mq_make_both(link_way *way)
{
    char name[64];

    for (int back = 0; back < 2; back++) {
        snprintf(name, sizeof name, "shmcomm-peers.%d.%d", (int)getpid(), back);
        way->made[back] = boost_mq_make(name, way->bytes > 65536 ? 4 :
            way->bytes > 1024 ? 64 : 1024, way->bytes);
        if (way->made[back] == NULL) return "Boost: no message_queue";
    }
    return NULL;
}

static void
boost_mq_drop_both(link_way *way)
{
    for (int back = 0; back < 2; back++) {
        boost_mq_drop(way->made[back]);
        way->made[back] = NULL;
    }
}

typedef struct boost_link { void *q; int sleep; unsigned bytes; } boost_link;

static void
boost_link_open(boost_link *l, const link_way *way, int back, int sender)
{
    (void)sender;
    l->q = way->made[back];
    l->sleep = way->sleep;
    l->bytes = way->bytes;
}

static bool
boost_link_send(boost_link *l, uint64_t number)
{
    link_fill(link_out, l->bytes, number);
    const int r = boost_mq_put(l->q, link_out, l->bytes, l->sleep);
    if (r < 0) link_die("Boost: message_queue failed");
    return r > 0;
}

static bool
boost_link_recv(boost_link *l, link_got *got)
{
    const int r = boost_mq_take(l->q, link_in, l->bytes, l->sleep);

    if (r < 0) link_die("Boost: message_queue failed");
    if (r > 0) link_look(got, link_in, l->bytes);
    return r > 0;
}

LINK_ONE(boost_link)
#define LINK_RUN_BOOST LINK_RUN_ONE(boost_link)
#else
LINK_NO_HEADER(boost_link, "libboost-dev")
#define LINK_RUN_BOOST LINK_RUN_NONE(boost_link)
#define boost_mq_make_both NULL
#define boost_mq_drop_both NULL
#endif

#endif /* SHMCOMM_BENCH_LINK_LIB_H */
