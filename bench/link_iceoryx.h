/* link_iceoryx.h - links of Eclipse iceoryx 2.0, by its C binding: messages are
 * made and read in its shared memory.  Its daemon, RouDi, is started by the
 * driver when the first such round comes, and stopped when the driver ends.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_ICEORYX_H
#define SHMCOMM_BENCH_LINK_ICEORYX_H

#include "link_lib.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>

#if defined(__has_include)
#if __has_include(<iceoryx_binding_c/publisher.h>)
#define LINK_HAS_ICEORYX 1
#endif
#endif

/* ---- RouDi ------------------------------------------------------------- */

enum { ROUDI_START_MS = 10000, ROUDI_STOP_MS = 3000 };

static pid_t roudi;                 /* 0: not started; -1: not any more     */
static char roudi_why[160];

/* Chunks for messages of all sizes, their own header included.            */
static const char roudi_config[] =
    "[general]\nversion = 1\n\n[[segment]]\n"
    "[[segment.mempool]]\nsize = 128\ncount = 20000\n"
    "[[segment.mempool]]\nsize = 1024\ncount = 4000\n"
    "[[segment.mempool]]\nsize = 8192\ncount = 2000\n"
    "[[segment.mempool]]\nsize = 131072\ncount = 600\n"
    "[[segment.mempool]]\nsize = 1048832\ncount = 40\n"
    "[[segment.mempool]]\nsize = 4194560\ncount = 20\n";

/* End it as it wants to be ended: then it removes its files, mostly.      */
static void
roudi_stop(void)
{
    if (roudi <= 0) return;
    const uint64_t until = shmi_now_ns() + (uint64_t)ROUDI_STOP_MS * 1000000;
    kill(roudi, SIGTERM);
    while (waitpid(roudi, NULL, WNOHANG) == 0) {
        if (shmi_now_ns() > until) {
            kill(roudi, SIGKILL);
            (void)waitpid(roudi, NULL, 0);
            break;
        }
        link_sleep_us(2000);
    }
    (void)unlink("/dev/shm/iceoryx_mgmt");
    const struct group *g = getgrgid(getegid());
    char segment[128];              /* is named after the group            */
    snprintf(segment, sizeof segment, "/dev/shm/%s", g ? g->gr_name : "root");
    (void)unlink(segment);
    (void)unlink("/tmp/roudi");
    (void)unlink("/tmp/roudi.lock");
    (void)unlink("/tmp/iox-unique-roudi.lock");
    roudi = -1;
}

static void
roudi_exec(const char *config, const char *log)
{
    const int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    for (int s = 1; s < 32; s++)
        if (s != SIGKILL && s != SIGSTOP) (void)signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(127);
    execlp("iox-roudi", "iox-roudi", "-c", config, "-l", "warning", (char *)NULL);
    dprintf(1, "iox-roudi: %s: install iceoryx\n", strerror(errno));
    _exit(127);
}

/* Read what it says until it is ready; the last line is why it is not.    */
static bool
roudi_ready(const char *log)
{
    const uint64_t until = shmi_now_ns() + (uint64_t)ROUDI_START_MS * 1000000;
    bool ended = false;

    snprintf(roudi_why, sizeof roudi_why, "RouDi was not ready in %d s",
             ROUDI_START_MS / 1000);
    while (!ended && shmi_now_ns() < until) {
        char line[256];
        FILE *f;

        ended = waitpid(roudi, NULL, WNOHANG) == roudi;
        if (ended) roudi = -1;
        f = fopen(log, "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(roudi_why, sizeof roudi_why, "RouDi: %.140s", line);
            if (strstr(line, "ready for clients") == NULL) continue;
            fclose(f);
            return true;
        }
        if (f != NULL) fclose(f);
        link_sleep_us(5000);
    }
    return false;
}

static const char *
roudi_start(link_way *way)
{
    char config[128], log[128];
    FILE *f;

    if (roudi > 0 && waitpid(roudi, NULL, WNOHANG) == roudi) {
        roudi = -1;
        snprintf(roudi_why, sizeof roudi_why, "RouDi ended by itself");
    }
    if (roudi > 0) return NULL;
    if (roudi < 0) return roudi_why;
    snprintf(config, sizeof config, "%s/roudi.toml", way->dir);
    snprintf(log, sizeof log, "%s/roudi.log", way->dir);
    f = fopen(config, "w");
    if (f == NULL || fputs(roudi_config, f) < 0 || fclose(f) != 0)
        return "cannot write RouDi's configuration";
    fflush(NULL);
    roudi = fork();
    if (roudi == 0) roudi_exec(config, log);
    if (roudi > 0 && roudi_ready(log)) return NULL;
    roudi_stop();
    roudi = -1;
    return roudi_why;
}

/* ---- links ------------------------------------------------------------- */

#if LINK_HAS_ICEORYX
#include <iceoryx_binding_c/chunk.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>
#include <iceoryx_binding_c/wait_set.h>

LINK_FN(iox_pub_init); LINK_FN(iox_pub_loan_chunk); LINK_FN(iox_pub_options_init);
LINK_FN(iox_pub_publish_chunk); LINK_FN(iox_runtime_init);
LINK_FN(iox_runtime_shutdown); LINK_FN(iox_sub_init);
LINK_FN(iox_sub_options_init); LINK_FN(iox_sub_release_chunk);
LINK_FN(iox_sub_take_chunk); LINK_FN(iox_ws_attach_subscriber_state);
LINK_FN(iox_ws_init); LINK_FN(iox_ws_wait);

typedef struct iceoryx {
    iox_pub_t pub;
    iox_sub_t sub;
    iox_ws_t set;                   /* where it sleeps, or NULL             */
    iox_pub_storage_t pub_storage;
    iox_sub_storage_t sub_storage;
    iox_ws_storage_t set_storage;
    unsigned bytes;
} iceoryx;

static void
iceoryx_load(const link_way *way)
{
    void *const l = link_load("libiceoryx_binding_c.so.2");
    char name[64];

    LINK_SYMBOL(l, iox_pub_init); LINK_SYMBOL(l, iox_pub_loan_chunk);
    LINK_SYMBOL(l, iox_pub_options_init); LINK_SYMBOL(l, iox_pub_publish_chunk);
    LINK_SYMBOL(l, iox_runtime_init); LINK_SYMBOL(l, iox_runtime_shutdown);
    LINK_SYMBOL(l, iox_sub_init); LINK_SYMBOL(l, iox_sub_options_init);
    LINK_SYMBOL(l, iox_sub_release_chunk); LINK_SYMBOL(l, iox_sub_take_chunk);
    LINK_SYMBOL(l, iox_ws_attach_subscriber_state); LINK_SYMBOL(l, iox_ws_init);
    LINK_SYMBOL(l, iox_ws_wait);
    snprintf(name, sizeof name, "shmcomm-peers-%d-%llu-%d", (int)getppid(),
             (unsigned long long)way->number, link_index);
    the_iox_runtime_init(name);     /* waits for RouDi, or aborts           */
}

/* Both sides wait for each other where a queue is full: nothing is lost.  */
static void
iceoryx_open(iceoryx *l, const link_way *way, int back, int sender)
{
    char service[64];

    if (the_iox_runtime_init == NULL) iceoryx_load(way);
    l->bytes = way->bytes;
    snprintf(service, sizeof service, "%llu.%d",
             (unsigned long long)way->number, back);
    if (sender) {
        iox_pub_options_t o;

        the_iox_pub_options_init(&o);
        o.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
        l->pub = the_iox_pub_init(&l->pub_storage, "shmcomm", service, "m", &o);
        return;
    }
    iox_sub_options_t o;
    the_iox_sub_options_init(&o);
    o.queueCapacity = way->bytes > 65536 ? 8 : 256;
    o.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
    l->sub = the_iox_sub_init(&l->sub_storage, "shmcomm", service, "m", &o);
    l->set = NULL;
    if (!way->sleep) return;
    l->set = the_iox_ws_init(&l->set_storage);
    if (the_iox_ws_attach_subscriber_state(l->set, l->sub,
            SubscriberState_HAS_DATA, 0, NULL) != WaitSetResult_SUCCESS)
        link_die("iceoryx: no wait set");
}

static inline bool
iceoryx_send(iceoryx *l, uint64_t number)
{
    void *room = NULL;

    if (the_iox_pub_loan_chunk(l->pub, &room, l->bytes) !=
        AllocationResult_SUCCESS) return false;
    link_fill(room, l->bytes, number);
    the_iox_pub_publish_chunk(l->pub, room);
    return true;
}

static inline bool
iceoryx_recv(iceoryx *l, link_got *got)
{
    const void *view = NULL;
    iox_notification_info_t info;
    uint64_t missed;

    while (the_iox_sub_take_chunk(l->sub, &view) != ChunkReceiveResult_SUCCESS) {
        if (l->set == NULL) return false;
        (void)the_iox_ws_wait(l->set, &info, 1, &missed);
    }
    link_look(got, view, l->bytes);
    the_iox_sub_release_chunk(l->sub, view);
    return true;
}

LINK_MANY(iceoryx)
#define LINK_RUN_ICEORYX LINK_RUN_MANY(iceoryx)

/* Said to RouDi, so that it forgets this process and its ports.           */
static void
iceoryx_leave(void)
{
    if (the_iox_runtime_shutdown != NULL) the_iox_runtime_shutdown();
}
#else
LINK_NO_HEADER(iceoryx, "libiceoryx-binding-c-dev")
#define LINK_RUN_ICEORYX LINK_RUN_NONE(iceoryx)
static void iceoryx_leave(void) { }
#endif

#endif /* SHMCOMM_BENCH_LINK_ICEORYX_H */
