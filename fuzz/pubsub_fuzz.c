/* Fuzzes what PUB/SUB sockets can do beyond one plain topic: all topics under
 * a name, metadata, conflation, publishers that drop the new or the oldest,
 * restarts.  Whatever the order of calls, a subscriber gets whole messages of
 * topics that it asked for, each topic's in order and none twice, with what
 * was said of them.  (topic_fuzz.c judges each answer of a plain topic.)
 * SPDX-License-Identifier: MIT                                            */
#define SHMC_LOCK_TIMEOUT_NS 50000000
#define SHMC_TOPIC_POLL_NS 1000u
#define SHMC_PEER_CHECK_NS 20000u
#define SHMC_RECHECK_NS 20000u
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOPICS = 3, PUBS = 4, SUBS = 3, MAX_BYTES = 300, DEPTH = 4,
       MESSAGES = 1024 };

static const char *const names[TOPICS] = { "a/x", "a/y", "b" };

typedef struct pub {
    shmc_pub q;
    bool     open, loaned;
    uint32_t topic, when_full, loan_bytes;
    uint64_t user;                  /* what goes with its messages; 0: none */
} pub;

typedef struct sub {
    shmc_sub q;
    bool     open, tree, conflate, losses, restarts, borrowed;
    uint32_t topic;                 /* without tree                         */
    uint64_t last[TOPICS];          /* the newest that it got               */
    uint64_t lost, skipped, restarted;
} sub;

typedef struct world {
    pub      p[PUBS];
    sub      s[SUBS];
    uint32_t mode[TOPICS], meta[TOPICS];
    struct { uint32_t bytes, topic; uint64_t user; } m[MESSAGES];  /* by id  */
    uint64_t id, newest[TOPICS];
    uint8_t  buffer[MAX_BYTES + 8];
} world;

/* ---- publishing -------------------------------------------------------- */

static void
note(world *w, const pub *p, uint32_t bytes)
{
    w->m[w->id].bytes = bytes;
    w->m[w->id].topic = p->topic;
    w->m[w->id].user = p->user;
    w->newest[p->topic] = w->id;
}

/* What a send, loan or commit answers; true: it went well.                */
static bool
went(const world *w, const pub *p, int r, int64_t timeout_ns)
{
    const bool waits = w->mode[p->topic] == SHMC_RELIABLE &&
                       p->when_full != SHMC_FULL_DROP_OLDEST;

    if (r == SHMC_OK) return true;
    FUZZ_REQUIRE(waits);
    FUZZ_REQUIRE(r == SHMC_EAGAIN || (r == SHMC_ETIMEDOUT && timeout_ns != 0));
    return false;
}

static void
send_one(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    const uint64_t id = w->id + 1;

    fuzz_put(w->buffer, bytes, id);
    const int r = shmc_pub_send(&p->q, w->buffer, bytes, timeout_ns);
    if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (went(w, p, r, timeout_ns)) {
        w->id++;
        note(w, p, bytes);
    }
}

static void
loan(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    void *room = NULL;
    const int r = shmc_pub_loan(&p->q, bytes, &room, timeout_ns);

    if (p->loaned) FUZZ_EQUAL(r, SHMC_EBUSY);
    else if (went(w, p, r, timeout_ns)) {
        p->loaned = true;
        p->loan_bytes = bytes;
        memset(room, 0, bytes);
    }
}

/* The id is chosen when it is sent, since the topic's order is made there;
 * of a message that is written anew, the room may be the old one.         */
static void
commit(world *w, pub *p, uint32_t bytes, int64_t timeout_ns)
{
    if (!p->loaned) {
        FUZZ_EQUAL(shmc_pub_commit(&p->q, 8, timeout_ns), SHMC_EINVAL);
        return;
    }
    FUZZ_EQUAL(shmc_pub_abort(&p->q), SHMC_OK);
    p->loaned = false;
    void *room = NULL;
    if (bytes > p->loan_bytes) bytes = p->loan_bytes;
    int r = shmc_pub_loan(&p->q, bytes, &room, timeout_ns);
    if (!went(w, p, r, timeout_ns)) return;
    fuzz_put(room, bytes, w->id + 1);
    r = shmc_pub_commit(&p->q, bytes, timeout_ns);
    if (went(w, p, r, timeout_ns)) {
        w->id++;
        note(w, p, bytes);
        return;
    }
    const int end = shmc_pub_abort(&p->q);      /* it may have been refused */
    FUZZ_REQUIRE(end == SHMC_OK || end == SHMC_EINVAL);
}

static void
header(world *w, pub *p, uint8_t n)
{
    const uint64_t user = w->id + n + 1;
    const int r = shmc_pub_header_set(&p->q, &user, sizeof user, n);

    FUZZ_EQUAL(r, w->meta[p->topic] ? SHMC_OK : SHMC_ENOTSUP);
    FUZZ_EQUAL(shmc_pub_header_set(&p->q, w->buffer, SHMC_USER_BYTES + 1, 0),
               w->meta[p->topic] ? SHMC_EMSGSIZE : SHMC_ENOTSUP);
    if (r == SHMC_OK) p->user = user;
}

/* ---- receiving --------------------------------------------------------- */

static uint32_t
topic_of(const char *name)
{
    uint32_t i = 0;

    while (i < TOPICS && strcmp(names[i], name) != 0) i++;
    return i;
}

/* What is said of the message that has come.                              */
static void
check_info(const world *w, const sub *s, uint64_t id)
{
    shmc_msg_info info;
    uint64_t user = 0;

    FUZZ_EQUAL(shmc_sub_info(&s->q, &info), SHMC_OK);
    FUZZ_EQUAL(topic_of(info.topic), w->m[id].topic);
    if (!w->meta[w->m[id].topic]) return;
    FUZZ_EQUAL(info.pid, getpid());
    FUZZ_REQUIRE(info.sent_ns != 0 && info.sent_ns <= shmi_now_ns());
    FUZZ_EQUAL(info.user_bytes, w->m[id].user ? sizeof user : 0);
    if (info.user_bytes) memcpy(&user, info.user, sizeof user);
    FUZZ_EQUAL(user, w->m[id].user);
}

static void
check_message(world *w, sub *s, const void *from, uint32_t bytes)
{
    uint64_t id;

    FUZZ_REQUIRE(bytes >= sizeof id && bytes <= MAX_BYTES);
    memcpy(&id, from, sizeof id);
    FUZZ_REQUIRE(id >= 1 && id <= w->id && w->m[id].bytes == bytes);
    FUZZ_REQUIRE(fuzz_says(from, bytes, id));
    const uint32_t topic = w->m[id].topic;
    FUZZ_REQUIRE(s->tree ? topic < 2 : topic == s->topic);
    FUZZ_REQUIRE(id > s->last[topic]);
    if (s->conflate) FUZZ_EQUAL(id, w->newest[topic]);
    s->last[topic] = id;
    check_info(w, s, id);
}

static void
check_counts(sub *s)
{
    const uint64_t lost = shmc_sub_lost(&s->q), skipped = shmc_sub_skipped(&s->q);
    const uint64_t restarted = shmc_sub_restarts(&s->q);

    FUZZ_REQUIRE(lost >= s->lost && skipped >= s->skipped);
    FUZZ_REQUIRE(restarted >= s->restarted);
    FUZZ_REQUIRE(skipped == 0 || s->conflate);
    s->lost = lost;
    s->skipped = skipped;
    s->restarted = restarted;
}

static void
receive(world *w, sub *s, uint32_t cap, bool borrows, int64_t timeout_ns)
{
    const void *from = w->buffer;
    const int r = borrows ? shmc_sub_borrow(&s->q, &from, timeout_ns)
                          : shmc_sub_recv(&s->q, w->buffer, cap, timeout_ns);

    if (s->borrowed) {
        FUZZ_EQUAL(r, SHMC_EBUSY);
        return;
    }
    if (r >= 0) {                   /* nobody writes meanwhile              */
        check_message(w, s, from, (uint32_t)r);
        s->borrowed = borrows;
    } else if (r == SHMC_EMSGSIZE) {
        FUZZ_REQUIRE(!borrows && cap < MAX_BYTES);
    } else if (r == SHMC_ELAPPED) {
        FUZZ_REQUIRE(s->losses && shmc_sub_gap(&s->q) != 0);
    } else if (r == SHMC_RESTARTED) {
        FUZZ_REQUIRE(s->restarts && shmc_sub_restarts(&s->q) != 0);
    } else {
        FUZZ_EQUAL(r, timeout_ns == 0 ? SHMC_EAGAIN : SHMC_ETIMEDOUT);
    }
    check_counts(s);
}

static void
release(sub *s)
{
    const int r = shmc_sub_release(&s->q);

    if (s->borrowed) FUZZ_REQUIRE(r == SHMC_OK || r == SHMC_ELAPPED);
    else FUZZ_REQUIRE(r == SHMC_EINVAL || r == SHMC_ECLOSED);
    s->borrowed = false;
    check_counts(s);
}

static void
look(sub *s)
{
    shmc_sub_topic t;
    uint32_t n = 0;

    for (; shmc_sub_topic_get(&s->q, n, &t) == SHMC_OK; n++) {
        FUZZ_REQUIRE(n < TOPICS);
        const uint32_t topic = topic_of(t.name);
        FUZZ_REQUIRE(s->tree ? topic < 2 : topic == s->topic);
    }
    FUZZ_REQUIRE(s->tree || n == 1);
}

/* ---- coming and going -------------------------------------------------- */

static void
open_pub(world *w, pub *p, uint8_t how)
{
    const uint32_t topic = how % TOPICS;
    const shmc_topic_desc d = {
        .depth = DEPTH, .arena_bytes = 2048, .max_bytes = MAX_BYTES,
        .max_publishers = PUBS, .max_subscribers = 8, .mode = w->mode[topic],
        .meta = w->meta[topic], .when_full = how >> 4 & 3 ? (how >> 4 & 3) - 1 : 0,
        .dir = fuzz_folder() };

    memset(p, 0, sizeof *p);
    FUZZ_EQUAL(shmc_pub_open(&p->q, names[topic], &d), SHMC_OK);
    p->open = true;
    p->topic = topic;
    p->when_full = d.when_full;
}

static void
open_sub(sub *s, uint8_t how)
{
    const shmc_sub_desc d = {
        .history = how >> 2 & 1 ? SHMC_BCAST_ALL : 0, .watch = how >> 3 & 1,
        .conflate = how >> 4 & 1, .report_loss = how >> 5 & 1,
        .report_restart = how >> 6 & 1, .flags = how >> 7 ? SHMC_READ_ONLY : 0,
        .dir = fuzz_folder() };
    const bool tree = (how & 3) == 3;

    memset(s, 0, sizeof *s);
    FUZZ_EQUAL(shmc_sub_open(&s->q, tree ? "a/" : names[how & 3], &d), SHMC_OK);
    s->open = true;
    s->tree = tree;
    s->topic = how & 3;
    s->conflate = d.conflate;
    s->losses = d.report_loss;
    s->restarts = d.report_restart;
}

static void
close_sub(world *w, sub *s)
{
    const void *view;

    FUZZ_EQUAL(shmc_sub_close(&s->q), SHMC_OK);
    s->open = s->borrowed = false;
    FUZZ_EQUAL(shmc_sub_close(&s->q), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_recv(&s->q, w->buffer, MAX_BYTES, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_borrow(&s->q, &view, -1), SHMC_ECLOSED);
    FUZZ_EQUAL(shmc_sub_ready(&s->q), SHMC_ECLOSED);
}

/* ---- steps ------------------------------------------------------------- */

static void
step_pub(world *w, pub *p, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);
    const uint32_t bytes = 8 + (arg & 1 ? fuzz_u16(in) % (MAX_BYTES - 8) : 4);
    const int64_t timeout_ns = op >> 7;

    if (!p->open) {
        open_pub(w, p, arg);
        return;
    }
    switch (op >> 3 & 7) {
    case 0: case 1: case 2: send_one(w, p, bytes, timeout_ns); break;
    case 3: loan(w, p, bytes, timeout_ns); break;
    case 4: commit(w, p, bytes, timeout_ns); break;
    case 5: header(w, p, arg); break;
    case 6:
        FUZZ_EQUAL(shmc_pub_abort(&p->q), p->loaned ? SHMC_OK : SHMC_EINVAL);
        p->loaned = false;
        break;
    default:
        FUZZ_EQUAL(shmc_pub_close(&p->q), SHMC_OK);
        p->open = p->loaned = false;
        break;
    }
}

static void
step_sub(world *w, sub *s, uint8_t op, fuzz_input *in)
{
    const uint8_t arg = fuzz_u8(in);

    if (!s->open) {
        open_sub(s, arg);
        return;
    }
    s->q.wait.look_ns = s->q.look_ns = 0;       /* as after a while         */
    if (s->q.tree != NULL) s->q.tree->look_ns = s->q.tree->again_ns = 0;
    switch (op >> 3 & 7) {
    case 0: case 1: receive(w, s, MAX_BYTES, false, op >> 7); break;
    case 2: receive(w, s, arg, false, 0); break;
    case 3: receive(w, s, 0, true, op >> 7); break;
    case 4: release(s); break;
    case 5: FUZZ_REQUIRE(shmc_sub_ready(&s->q) >= 0); break;
    case 6: look(s); break;
    default: close_sub(w, s); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    fuzz_input in = { data, size };
    shmc_segment_desc gone = { .flags = SHMC_FORCE, .dir = fuzz_folder() };

    memset(&w, 0, sizeof w);
    shmc_log_set(NULL, NULL, 0);
    const uint8_t shape = fuzz_u8(&in);
    for (uint32_t i = 0; i < TOPICS; i++) {
        w.mode[i] = shape >> i & 1 ? SHMC_RELIABLE : SHMC_LOSSY;
        w.meta[i] = shape >> (i + 3) & 1 ? SHMC_META : 0;
    }
    while (fuzz_more(&in) && w.id + 4 < MESSAGES) {
        const uint8_t op = fuzz_u8(&in);
        const uint32_t which = op & 7;
        if (which < PUBS) step_pub(&w, &w.p[which], op, &in);
        else step_sub(&w, &w.s[(which - PUBS) % SUBS], op, &in);
    }
    for (int i = 0; i < PUBS; i++)
        if (w.p[i].open) FUZZ_EQUAL(shmc_pub_close(&w.p[i].q), SHMC_OK);
    for (int i = 0; i < SUBS; i++) if (w.s[i].open) close_sub(&w, &w.s[i]);
    for (uint32_t i = 0; i < TOPICS; i++)
        FUZZ_EQUAL(shmc_segment_unlink(names[i], &gone), SHMC_ENOENT);
    return 0;
}
