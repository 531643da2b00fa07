/* board.h - what the processes of tests/soak share: who is who, what each
 * sender has sent and what of it arrived, and the payload that checks itself.
 *
 * The board lies in anonymous shared memory, so that what a process noted
 * outlives it.  Each role (a slot) is filled by one process after another; a
 * sender's count goes on from one to the next.
 * SPDX-License-Identifier: MIT                                            */
#ifndef CHAOS_BOARD_H
#define CHAOS_BOARD_H

#include "shmcomm_patterns.h"
#include "shmcomm_counter.h"
#include "shmcomm_latest.h"
#include "shmcomm_peers.h"
#include "shmcomm_poll.h"
#include "shmcomm_pushpull.h"
#include "shmcomm_recq.h"
#include "shmcomm_reqrep.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- who there is ------------------------------------------------------ */

typedef enum flow {
    LOSSY, CALM, BIG, RELIABLE, BCAST, SPSC, RECQ, MPMC, PUSH, DROP, LATEST,
    REQREP, MAKER, WATCH, POLLER, FLOWS
} flow;

typedef enum part { SENDER, RECEIVER, CONFLATER, OTHER } side;

enum {
    SLOTS = 72, MEMBERS = 8,        /* roles in all; senders of a flow      */
    WINDOW = 1 << 13,               /* messages of a sender that are noted  */
    MAX_BYTES = 1 << 20, PIDS = 1 << 22, SALT_REPLY = 100
};

static const struct {
    const char *name;
    uint32_t max_bytes, fixed;      /* longest; all have so many bytes      */
} flows[FLOWS] = {
    [LOSSY] = { "lossy", 65536, 0 },      [CALM] = { "calm", 4096, 0 },
    [BIG] = { "big", MAX_BYTES, 0 },      [RELIABLE] = { "reliable", 65536, 0 },
    [BCAST] = { "broadcast", 4096, 0 },   [SPSC] = { "spsc", 64, 64 },
    [RECQ] = { "records", 32768, 0 },     [MPMC] = { "mpmc", 64, 64 },
    [PUSH] = { "push", 65536, 0 },        [DROP] = { "drop", 2048, 0 },
    [LATEST] = { "latest", 512, 512 },    [REQREP] = { "reqrep", 16384, 0 },
    [MAKER] = { "maker", 0, 0 },          [WATCH] = { "peers", 0, 0 },
    [POLLER] = { "poller", 0, 0 },
};

/* What a receiver knows of one flow.                                       */
typedef struct received {
    uint64_t next[MEMBERS];         /* expected of each sender; 0: nothing  */
    uint64_t place, lost, skipped;  /* of the message before: its place     */
    uint64_t missing;               /* acknowledged, and not received       */
    uint64_t version;
    uint32_t slack;                 /* so many before us were killed        */
    uint32_t begun;
} received;

typedef struct slot {
    /* Constant once the conductor has begun.                               */
    flow     what;
    side     does;
    uint32_t index, member;         /* of the board; among the flow's senders */
    bool     anchor;                /* lives from beginning to end          */
    bool     steady;                /* and is never stopped either          */
    /* The conductor's.                                                     */
    pid_t    pid;                   /* 0: nobody now                        */
    bool     stopped, warm;
    uint64_t restart_ns, resume_ns, seen_ns, seen_progress, seen_rounds;
    long     warm_kb, warm_files;
    /* W conductor, R the others.                                           */
    uint32_t incarnation, deaths, quit;
    uint64_t dead_ns;               /* since when killed and reaped, or 0   */
    bool     died_joined;
    /* W the process.                                                       */
    const char *doing;
    uint32_t joined;                /* its handle is open                   */
    uint32_t in_hand;               /* may hold what it has not noted       */
    uint64_t progress, messages, checks, empties;
    uint64_t attempt;               /* sender: number of the last message   */
    received rx[2];
} slot;

/* Of each message: (number + 1) << 16 | ACKED | how often handed out.      */
#define ACKED UINT64_C(0x8000)

typedef struct board {
    uint64_t seed, began_ns;
    int64_t  step_ns;               /* of the wall clock                    */
    uint32_t stop;                  /* 1: senders end; 2: receivers too     */
    uint32_t fills;                 /* odd while the folder is full         */
    uint32_t broken, told, hang_s;
    uint64_t full_seen, steps_felt, deaths_told, peers_died, retried, parts;
    uint64_t redelivered, lost, skipped, timer, posts, refused;
    uint32_t excused[FLOWS];        /* what killed workers may have lost    */
    uint64_t missing[FLOWS];
    char     dir[SHMC_DIR_BYTES];
    slot     slots[SLOTS];
    uint32_t slot_count;
    uint64_t cells[FLOWS][MEMBERS][WINDOW];
    uint8_t  killed[PIDS / 8];      /* by pid: we killed it                 */
} board;

static board *b;

/* ---- sabotage: the checker must find it -------------------------------- */

static const char *const sabotages[] = {
    "none", "drop", "tear", "duplicate", "count", "reply", "false-death",
    "missed-death", "hang", "crash", "leak", "grow"
};
enum sabotage {
    NONE, DROPS, TEARS, DUPLICATES, MISCOUNTS, MISREPLIES, FALSE_DEATH,
    MISSED_DEATH, HANGS, CRASHES, LEAKS, GROWS, SABOTAGES
};
static enum sabotage sabotage;
static int sabotage_flow = -1;      /* all                                  */

static inline bool
sabotaged(enum sabotage kind, const slot *s, uint64_t number)
{
    return sabotage == kind && (number % 1000 == 777 ||
                                (s->what == REQREP && number % 100 == 77)) &&
           (sabotage_flow < 0 || sabotage_flow == (int)s->what);
}

/* ---- random numbers, clocks -------------------------------------------- */

static uint64_t random_state;

static inline uint64_t
mix(uint64_t x)                     /* splitmix64                           */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline uint32_t
below(uint32_t n)                   /* 0 .. n - 1                           */
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)((mix(random_state) >> 32) * n >> 32);
}

static inline void
nap_us(uint32_t us)
{
    const struct timespec t = { us / 1000000, (long)(us % 1000000) * 1000 };

    (void)nanosleep(&t, NULL);
}

/* ---- broken promises --------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void
broken(const slot *s, const char *text, ...)
{
    static uint32_t told;
    char line[512];
    va_list ap;

    /* Of each process the first few, so that one does not hide another.    */
    shmi_faa_32(&b->broken, 1);
    if (s != NULL && told++ >= 3) return;
    if (shmi_faa_32(&b->told, 1) >= 60) return;
    int at = snprintf(line, sizeof line, "BROKEN at %.3f s, %s %s %u/%u pid %d: ",
                      (double)(shmi_now_ns() - b->began_ns) / 1e9,
                      s != NULL ? flows[s->what].name : "soak",
                      s == NULL ? "conductor" : s->does == SENDER ? "sender"
                      : s->does == RECEIVER ? "receiver" : "process",
                      s != NULL ? s->index : 0, s != NULL ? s->incarnation : 0,
                      (int)getpid());
    va_start(ap, text);
    at += vsnprintf(line + at, sizeof line - (size_t)at, text, ap);
    va_end(ap);
    if (at > (int)sizeof line - 2) at = (int)sizeof line - 2;
    line[at] = '\n';
    if (write(STDERR_FILENO, line, (size_t)at + 1) < 0) _exit(97);
}

/* Count one check of a promise, and tell if it does not hold.             */
#define PROMISE(s, holds, ...)                                                \
    do {                                                                      \
        (s)->checks++;                                                        \
        if (!(holds)) broken((s), __VA_ARGS__);                               \
    } while (0)

/* ---- messages ---------------------------------------------------------- */

typedef struct head {
    uint64_t number;
    uint32_t from;                  /* member | incarnation << 8            */
    uint32_t bytes;
} head;

static inline uint64_t
word_of(const head *h, uint32_t salt, uint32_t i)
{
    return mix(h->number ^ (uint64_t)h->from << 32 ^ (uint64_t)salt << 56) +
           i * UINT64_C(0x9e3779b97f4a7c15);
}

/* Most are short, some long, few as long as may be.                        */
static uint32_t
bytes_for(flow f)
{
    const uint32_t max = flows[f].max_bytes, dice = below(1024);

    if (flows[f].fixed) return flows[f].fixed;
    if (f == BIG) return dice % 4 == 0 ? max : 16 + below(65521);
    if (dice == 0) return max;
    if (dice < 4) return 16 + below(max - 15);
    if (dice < 64) return 16 + below((max < 2048 ? max : 2048) - 15);
    return 16 + below(113);
}

static void
seal(void *at, uint64_t number, uint32_t from, uint32_t bytes, uint32_t salt)
{
    const head h = { number, from, bytes };
    const uint64_t first = word_of(&h, salt, 0);
    uint64_t *w = at;
    uint32_t i = 2;

    memcpy(w, &h, sizeof h);
    for (; i < bytes / 8; i++) w[i] = first + i * UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t last = first + i * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(w + i, &last, bytes % 8);
}

/* Check every byte.  False: told, look no further.                         */
static bool
whole(slot *s, const void *at, int bytes, uint32_t salt, head *h)
{
    const uint64_t *w = at;
    uint32_t i = 2;

    s->checks++;
    if (bytes < (int)sizeof *h) {
        broken(s, "a message of %d bytes, which nobody sent", bytes);
        return false;
    }
    memcpy(h, at, sizeof *h);
    const uint64_t first = word_of(h, salt, 0);
    const uint32_t words = (uint32_t)bytes / 8;
    while (i < words && w[i] == first + i * UINT64_C(0x9e3779b97f4a7c15)) i++;
    const uint64_t last = first + i * UINT64_C(0x9e3779b97f4a7c15);
    if (h->bytes != (uint32_t)bytes || (h->from & 255) >= MEMBERS || i < words ||
        memcmp(w + i, &last, (uint32_t)bytes % 8) != 0) {
        broken(s, "torn: %d bytes, number %llu of %u/%u, %u bytes by its head; "
               "word %u of %u is wrong", bytes, (unsigned long long)h->number,
               h->from & 255, h->from >> 8, h->bytes, i, words);
        return false;
    }
    return true;
}

/* ---- what was sent, and handed out ------------------------------------- */

static inline uint64_t *
cell_of(flow f, uint32_t member, uint64_t number)
{
    return &b->cells[f][member][number % WINDOW];
}

/* Was this one acknowledged to its sender?  Only of the last WINDOW.       */
static inline bool
was_acked(flow f, uint32_t member, uint64_t number)
{
    const uint64_t is = shmi_load_acq_64(cell_of(f, member, number));

    return is >> 16 == number + 1 && (is & ACKED) != 0;
}

/* In a queue: the message a window ago must have been handed out.  Who took
 * it may be stopped before it could say so.  False: the end came first.    */
static bool
settle_cell(slot *s, flow f, uint64_t number)
{
    const uint64_t *at = cell_of(f, s->member, number);

    for (uint32_t naps = 0;; naps++) {
        const uint64_t is = shmi_load_acq_64(at);
        const bool excuse = shmi_load_acq_32(&b->excused[f]) >
                            shmi_load_acq_64(&b->missing[f]);
        s->checks++;
        if (!(is & ACKED) || (is & 255) != 0) return true;
        if (shmi_load_acq_32(&b->stop) != 0 || shmi_load_acq_32(&s->quit) != 0)
            return false;
        if (naps > (excuse ? 3000 : 15000)) {
            if (!excuse)
                broken(s, "number %llu was acknowledged, and nobody got it",
                       (unsigned long long)(is >> 16) - 1);
            shmi_faa_64(&b->missing[f], 1);
            return true;
        }
        nap_us(1000);
    }
}

/* A worker got it: how often was it handed out before?                     */
static void
hand_out(slot *s, flow f, const head *h, uint32_t again)
{
    uint64_t *at = cell_of(f, h->from & 255, h->number);
    const uint64_t was = shmi_faa_64(at, 1);

    PROMISE(s, was >> 16 == h->number + 1, "number %llu of %u comes long after "
            "it was settled, when %llu is under way",
            (unsigned long long)h->number, h->from & 255,
            (unsigned long long)(was >> 16) - 1);
    PROMISE(s, (was & 255) <= again, "duplicate: number %llu of %u was handed "
            "out %u times before, told %u", (unsigned long long)h->number,
            h->from & 255, (unsigned)(was & 255), again);
    if (f == DROP) PROMISE(s, again == 0, "redelivered although it is to be dropped");
    if (again != 0 && (was & 255) != 0) shmi_faa_64(&b->redelivered, 1);
}

/* ---- order ------------------------------------------------------------- */

/* Numbers from `from` up to, not including, `to` that were acknowledged.   */
static uint64_t
acked_between(flow f, uint32_t member, uint64_t from, uint64_t to)
{
    uint64_t n = 0;

    if (to - from > WINDOW) from = to - WINDOW;
    for (; from < to; from++) n += was_acked(f, member, from);
    return n;
}

/* Of one sender in order, none twice; `all`: none left out that was
 * acknowledged.  next[] is the number expected, plus 1; 0: none came yet.  */
static void
in_order(slot *s, received *rx, flow f, const head *h, bool all)
{
    const uint32_t m = h->from & 255;
    const uint64_t want = rx->next[m] - 1;

    if (rx->next[m] == 0) {
        rx->next[m] = h->number + 2;
        return;
    }
    if (rx->slack != 0 && h->number + 1 == want) {
        rx->slack = 0;              /* not released by who was killed       */
        s->checks++;
        return;
    }
    PROMISE(s, h->number >= want, "duplicate or out of order: number %llu of "
            "%u, expected %llu", (unsigned long long)h->number, m,
            (unsigned long long)want);
    if (h->number < want) return;
    if (h->number > want) {
        uint64_t lost = acked_between(f, m, want, h->number);
        lost -= lost < rx->slack ? lost : rx->slack;    /* the killed have it */
        rx->missing += lost;
        if (all)
            PROMISE(s, lost == 0, "lost: %llu acknowledged before number %llu "
                    "of %u, expected %llu", (unsigned long long)lost,
                    (unsigned long long)h->number, m, (unsigned long long)want);
    }
    rx->slack = 0;
    rx->next[m] = h->number + 2;
}

/* What a topic says of the message's place, and of what was lost.          */
static void
counted(slot *s, received *rx, flow f, uint64_t place, uint64_t lost,
        uint64_t skipped)
{
    const uint64_t over = place - rx->place - 1;
    const uint64_t more = lost - rx->lost, past = skipped - rx->skipped;

    if (rx->begun) {
        PROMISE(s, place > rx->place, "place %llu after %llu",
                (unsigned long long)place, (unsigned long long)rx->place);
        if (f == RELIABLE)
            PROMISE(s, more == 0, "a reliable topic lost %llu",
                    (unsigned long long)more);
        if (f == CALM)
            PROMISE(s, more + past == over, "%llu places passed, %llu counted as "
                    "lost", (unsigned long long)over,
                    (unsigned long long)(more + past));
        else
            PROMISE(s, more + past <= over, "%llu places passed, %llu counted "
                    "as lost, %llu as skipped", (unsigned long long)over,
                    (unsigned long long)more, (unsigned long long)past);
        shmi_faa_64(&b->lost, more);
        shmi_faa_64(&b->skipped, past);
    }
    rx->begun = 1;
    rx->place = place;
    rx->lost = lost;
    rx->skipped = skipped;
}

/* What is missing by the messages' own numbers has been counted.           */
static void
none_uncounted(slot *s, const received *rx, uint64_t counted_lost)
{
    PROMISE(s, rx->missing <= counted_lost, "%llu acknowledged messages are "
            "missing, %llu counted as lost", (unsigned long long)rx->missing,
            (unsigned long long)counted_lost);
}

/* ---- who lives --------------------------------------------------------- */

/* Deaths by our kill of a flow's `does`, so far; counted before each kill. */
static uint32_t
deaths_of(flow f, side does)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].what == f && b->slots[i].does == does)
            n += shmi_load_acq_32(&b->slots[i].deaths);
    return n;
}

static slot *
slot_of(flow f, side does, uint32_t member)
{
    for (uint32_t i = 0; i < b->slot_count; i++) {
        slot *s = &b->slots[i];
        if (s->what == f && s->does == does && s->member == member) return s;
    }
    return NULL;
}

static bool
was_killed(int32_t pid)
{
    return pid > 0 && pid < PIDS && (b->killed[pid / 8] >> pid % 8 & 1) != 0;
}

#endif /* CHAOS_BOARD_H */
