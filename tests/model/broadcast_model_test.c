/* The broadcast ring: whatever the order of steps and however old what is
 * read, a subscriber gets whole messages, in order, each once, and counts
 * what it lost; who is seated loses nothing; whoever stops anywhere leaves
 * the others a ring that goes on.                                         */
#include "model/model_case.h"
#include "shmcomm_broadcast.h"
#include "shmcomm_poll.h"
#include "model/model_owner.h"

enum {
    HANDLES = 5, PER_HANDLE = 4, MESSAGES = HANDLES * PER_HANDLE,
    LATER = HANDLES - 1,            /* the one that looks afterwards        */
    LARGE = 104                     /* bytes of a message in an arena       */
};

typedef struct bcast_log {          /* what a subscriber got                */
    uint32_t count;
    uint64_t begin;                 /* first position that counts           */
    uint64_t at[MESSAGES], msg[MESSAGES];
} bcast_log;

typedef struct bcast_state {
    shmc_bcast h[HANDLES];
    shmc_segment segment[HANDLES];
    bool     here[HANDLES];         /* sat down                             */
    bcast_log log[HANDLES];
    shmc_bcast pointed;             /* a handle before it joins             */
    void    *mem;
    uint64_t bytes, start;
    uint32_t messages, tries, size; /* of each thread; bytes of a message   */
    uint32_t next[HANDLES];         /* message of each publisher            */
    bool     look;                  /* each look is a thorough one          */
    bool     in_place;              /* loans written, borrows read, by words
                                       that may be shared                   */
    uint64_t sent_at[MESSAGES];     /* position of those acknowledged, + 1,
                                       from start                           */
} bcast_state;

static bcast_state s;

/* ---- setup ------------------------------------------------------------- */

static void
format(shmc_bcast_desc d, uint64_t start, uint32_t flags)
{
    shmi_bcast_geometry g;
    shmc_bcast *h = &s.pointed;

    if (d.max_bytes == 0) d.max_bytes = 16;
    if (d.slot_count == 0) d.slot_count = 2;
    if (d.max_publishers == 0) d.max_publishers = 1;
    if (d.max_subscribers == 0 && d.mode == SHMC_RELIABLE) d.max_subscribers = 2;
    const int64_t bytes = shmc_bcast_size_for(&d);

    model_require(bytes > 0);
    s.bytes = (uint64_t)bytes;
    s.mem = model_alloc(s.bytes);
    model_require(shmc_bcast_format(s.mem, s.bytes, &d) == SHMC_OK);
    shmi_bcast_shm *shm = s.mem;
    shm->head.flags |= flags;
    shm->tail = s.start = start;
    model_require(shmi_bcast_point(h, s.mem, s.bytes, &g) == SHMC_OK);
    for (uint64_t i = 0; i < d.slot_count; i++) {
        const uint64_t p = start - d.slot_count + i;
        uint64_t *stamp = &h->cells[p & h->mask].stamp;
        *stamp = shmi_stamp(p, SHMI_VOID);
        model_name(stamp, "stamp");
    }
    model_name(&shm->tail, "tail");
    model_name(&shm->seats, "seats");
    model_name(&shm->readable.asleep, "readable.asleep");
    model_name(&shm->writable.asleep, "writable.asleep");
    for (uint32_t i = 0; i < g.publishers; i++) {
        model_name(&h->pubs[i].owner, "publisher");
        model_name(&h->pubs[i].intent, "intent");
        model_name(&h->arena_lines[i].low, "low");
        model_name(&h->pubs[i].word[SHMI_PUB_HEAD], "head");
    }
    for (uint32_t i = 0; i < g.subscribers; i++) {
        model_name(&h->subs[i].owner, "subscriber");
        model_name(&h->subs[i].word[SHMI_SUB_CURSOR], "cursor");
        model_name(&h->subs[i].word[SHMI_SUB_ACTIVE], "active");
    }
    s.messages = s.tries = 2;
    s.size = 8;
    s.look = true;
}

/* Sit down as participant `i` of a segment, so that its death can be told. */
static int
try_sit(uint32_t i, uint32_t role, int32_t history)
{
    shmc_bcast *h = &s.h[i];

    *h = s.pointed;
    model_owner(&s.segment[i], i, HANDLES);
    h->segment = &s.segment[i];
    const int r = shmi_bcast_join(h, role, history);
    s.here[i] = r == SHMC_OK;
    s.log[i].begin = h->joined;
    return r;
}

static void
sit(uint32_t i, uint32_t role)
{
    model_require(try_sit(i, role, 0) == SHMC_OK);
}

/* Leave as shmc_bcast_close does, which would also close the object.      */
static void
leave(uint32_t i)
{
    s.h[i].segment = NULL;
    model_require(shmc_bcast_close(&s.h[i]) == SHMC_OK);
    s.here[i] = false;
}

static int send_one(uint32_t i);

/* Messages that are there from the beginning.                             */
static void
send_before(uint32_t i, uint32_t count)
{
    while (count-- > 0) model_require(send_one(i) == SHMC_OK);
}

static void
one_publisher(shmc_bcast_desc d, uint64_t start)
{
    format(d, start, 0);
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_CONSUMER);
    sit(2, SHMC_CONSUMER);
    s.messages = s.tries = 3;
}

static void
lossy(void *state)
{
    (void)state;
    one_publisher((shmc_bcast_desc){ 0 }, 0);
}

static void lossy_wide(void *state) { lossy(state); s.size = 16; }
static void lossy_ahead(void *state) { lossy(state); s.messages = s.tries = 4; }
static void lossy_hurried(void *state) { lossy(state); s.look = false; }

static void
positions_wrap(void *state)
{
    (void)state;
    one_publisher((shmc_bcast_desc){ 0 }, UINT64_MAX - 1);
}

static void
stamps_wrap(void *state)
{
    (void)state;
    one_publisher((shmc_bcast_desc){ 0 }, (UINT64_MAX >> 2) - 1);
}

/* Room for two large messages; the cells hold four.                       */
static shmc_bcast_desc
with_arena(uint32_t mode)
{
    return (shmc_bcast_desc){ .max_bytes = LARGE, .slot_count = 4,
                              .arena_bytes = 384, .mode = mode };
}

static void
lossy_arena(void *state)
{
    (void)state;
    one_publisher(with_arena(SHMC_LOSSY), 0);
    s.size = LARGE;
    s.in_place = true;
}

static void
lossy_arena_copies(void *state)
{
    lossy_arena(state);
    s.in_place = false;
}

static void
two_publishers_in(shmc_bcast_desc d)
{
    d.max_publishers = 2;
    format(d, 0, 0);
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_PRODUCER);
    sit(2, SHMC_CONSUMER);
}

static void
publishers(void *state)
{
    (void)state;
    two_publishers_in((shmc_bcast_desc){ 0 });
}

/* A third one, so that a subscriber may be overtaken by two that know
 * nothing of each other.                                                  */
static void
publishers_three(void *state)
{
    (void)state;
    format((shmc_bcast_desc){ .max_publishers = 3 }, 0, 0);
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_PRODUCER);
    sit(2, SHMC_PRODUCER);
    sit(3, SHMC_CONSUMER);
    s.messages = 1;
    s.tries = 3;
}

static void
publishers_few(void *state)
{
    publishers(state);
    s.messages = 1;
}

static void publishers_wide(void *state) { publishers(state); s.size = 16; }

static void
publishers_arena(void *state)
{
    (void)state;
    two_publishers_in(with_arena(SHMC_LOSSY));
    s.size = LARGE;
    s.in_place = true;
}

static void
reliable(void *state)
{
    (void)state;
    one_publisher((shmc_bcast_desc){ .mode = SHMC_RELIABLE }, 0);
}

static void
reliable_one(void *state)
{
    reliable(state);
    leave(2);
}

static void
reliable_empty(void *state)
{
    reliable_one(state);
    leave(1);
}

static void
reliable_wraps(void *state)
{
    (void)state;
    one_publisher((shmc_bcast_desc){ .mode = SHMC_RELIABLE }, UINT64_MAX - 1);
    leave(2);
}

static void
reliable_publishers(void *state)
{
    (void)state;
    two_publishers_in((shmc_bcast_desc){ .mode = SHMC_RELIABLE });
}

/* Where it is reliable, nobody shares a word of a message: plain accesses. */
static void
reliable_arena(void *state)
{
    (void)state;
    one_publisher(with_arena(SHMC_RELIABLE), 0);
    leave(2);
    s.size = LARGE;
    s.in_place = true;
}

/* Nobody ever sat down but the publisher.                                 */
static void
reliable_new(void *state)
{
    (void)state;
    format((shmc_bcast_desc){ .mode = SHMC_RELIABLE }, 0, 0);
    sit(0, SHMC_PRODUCER);
    s.messages = s.tries = 3;
}

/* One seat for subscribers, an arena that is full, none of it read.       */
static void
full_arena(void *state)
{
    shmc_bcast_desc d = with_arena(SHMC_RELIABLE);

    (void)state;
    d.max_subscribers = 1;
    format(d, 0, 0);
    s.size = LARGE;
    s.in_place = true;
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_CONSUMER);
    send_before(0, 2);
    s.messages = 1;
}

/* A subscriber, and two publishers whose arenas are full.                 */
static void
full_arenas(void *state)
{
    shmc_bcast_desc d = with_arena(SHMC_RELIABLE);

    (void)state;
    d.max_publishers = 2;
    format(d, 0, 0);
    s.size = LARGE;
    s.in_place = true;
    sit(0, SHMC_CONSUMER);
    sit(1, SHMC_PRODUCER);
    sit(2, SHMC_PRODUCER);
    send_before(1, 2);
    send_before(2, 2);
    s.messages = 1;
    s.tries = 4;
}

/* A publisher left its arena full, and its seat to whoever comes.         */
static void
left_arena(void *state)
{
    shmc_bcast_desc d = with_arena(SHMC_RELIABLE);

    (void)state;
    d.max_publishers = 2;
    d.slot_count = 2;
    format(d, 0, 0);
    s.size = LARGE;
    s.in_place = true;
    sit(3, SHMC_PRODUCER);
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_CONSUMER);
    send_before(3, 2);
    leave(3);
}

/* Two seats for publishers; the second one's owner does nothing.          */
static void
seat_of_two(shmc_bcast_desc d)
{
    d.max_publishers = 2;
    format(d, 0, 0);
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_CONSUMER);
    sit(3, SHMC_PRODUCER);
}

static void
seats(void *state)
{
    (void)state;
    seat_of_two((shmc_bcast_desc){ 0 });
}

/* One cell is taken, one is left.                                         */
static void
seats_reliable(void *state)
{
    (void)state;
    seat_of_two((shmc_bcast_desc){ .mode = SHMC_RELIABLE });
    send_before(3, 1);
}

/* The arena of publisher 1 is full.                                       */
static void
publishers_full(void *state)
{
    (void)state;
    two_publishers_in(with_arena(SHMC_RELIABLE));
    s.size = LARGE;
    s.in_place = true;
    send_before(1, 2);
    s.messages = 1;
    s.tries = 4;
}

static void
seats_arena(void *state)
{
    (void)state;
    seat_of_two(with_arena(SHMC_LOSSY));
    s.size = LARGE;
    s.in_place = true;
}

/* What is polled has to be waitable.                                      */
static void
polled(shmc_bcast_desc d)
{
    d.waitable = 1;
    two_publishers_in(d);
}

static void
polled_few(void *state)
{
    (void)state;
    polled((shmc_bcast_desc){ 0 });
    s.messages = 1;
    s.tries = 3;
}

static void
polled_lap(void *state)
{
    (void)state;
    polled((shmc_bcast_desc){ 0 });
}

/* Room for one more message, once the first is read.  Asymmetric: no fence
 * of a bell helps.                                                        */
static void
polled_arena(void *state)
{
    shmc_bcast_desc d = with_arena(SHMC_RELIABLE);

    (void)state;
    d.waitable = 1;
    format(d, 0, SHMI_RING_ASYMMETRIC);
    s.size = LARGE;
    s.in_place = true;
    sit(0, SHMC_PRODUCER);
    sit(1, SHMC_CONSUMER);
    send_before(0, 2);
    s.messages = 1;
    s.tries = 3;
}

static void
waitable(uint32_t mode, uint32_t publishers_, uint32_t flags)
{
    format((shmc_bcast_desc){ .mode = mode, .waitable = 1,
                              .max_publishers = publishers_ }, 0, flags);
    for (uint32_t i = 0; i < publishers_; i++) sit(i, SHMC_PRODUCER);
    sit(publishers_, SHMC_CONSUMER);
}

static void wakes(void *state) { (void)state; waitable(SHMC_RELIABLE, 1, 0); }
static void
wakes_lossy(void *state)
{
    (void)state;
    waitable(SHMC_LOSSY, 1, 0);
}
static void
wakes_many(void *state)
{
    (void)state;
    waitable(SHMC_RELIABLE, 2, 0);
    s.messages = 1;
}
static void
wakes_many_lossy(void *state)
{
    (void)state;
    waitable(SHMC_LOSSY, 2, 0);
    s.messages = 1;
}
static void
wakes_asymmetric(void *state)
{
    (void)state;
    waitable(SHMC_RELIABLE, 1, SHMI_RING_ASYMMETRIC);
}

/* ---- publishers --------------------------------------------------------- */

/* The next look at seats, if there is one, is the one that asks who lives. */
static void
ready(shmc_bcast *h)
{
    if (!s.look) return;
    if (h->role == SHMC_PRODUCER) {
        h->idle = SHMI_BCAST_FULL - 1;
    } else {
        h->idle = SHMI_BCAST_IDLE - 1;
        h->blocked_at = h->next;    /* a publisher in the way had its time  */
        h->trust_ns = 0;
    }
}

static uint64_t
message(uint32_t i)
{
    model_require(s.next[i] < PER_HANDLE);
    return i * PER_HANDLE + s.next[i] + 1;
}

static void
sent(uint32_t i)
{
    const shmc_bcast *h = &s.h[i];
    const uint64_t position = h->alone ? h->next - 1 : h->next;

    s.sent_at[i * PER_HANDLE + s.next[i]++] = position - s.start + 1;
}

static void
write_words(void *to, uint64_t msg)
{
    if (s.h[0].reliable) model_write_64(to, msg);
    else shmi_store_rlx_64(to, msg);
}

static int
send_in_place(shmc_bcast *h, uint64_t msg)
{
    void *data;
    int r = shmc_bcast_loan(h, s.size, &data);

    if (r != SHMC_OK) return r;
    if (s.size > SHMC_BCAST_INLINE_BYTES) write_words(data, msg);
    else memcpy(data, &msg, 8);
    r = shmc_bcast_commit(h, s.size);
    if (r == SHMC_EAGAIN) model_require(shmc_bcast_abort(h) == SHMC_OK);
    return r;
}

static int
send_one(uint32_t i)
{
    uint64_t msg[LARGE / 8];
    int r;

    for (uint32_t j = 0; j < LARGE / 8; j++) msg[j] = message(i);
    ready(&s.h[i]);
    if (s.in_place) r = send_in_place(&s.h[i], msg[0]);
    else r = shmc_bcast_send(&s.h[i], msg, s.size);
    model_require(r == SHMC_OK || r == SHMC_EAGAIN);
    if (r == SHMC_OK) sent(i);
    return r;
}

static void
send_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.messages; k++) (void)send_one(i);
}

/* A reliable publisher tries again, a few times.                          */
static void
send_in_order(uint32_t i, uint32_t tries)
{
    for (uint32_t k = 0; k < s.messages && tries > 0; tries--)
        if (send_one(i) == SHMC_OK) k++;
}

/* ---- subscribers --------------------------------------------------------- */

static void
got(uint32_t i, uint64_t msg)
{
    bcast_log *log = &s.log[i];

    model_require(log->count < MESSAGES && msg >= 1 && msg <= MESSAGES);
    log->at[log->count] = s.h[i].next - 1 - s.start;
    log->msg[log->count++] = msg;
}

static int
recv_now(uint32_t i)
{
    shmc_bcast *h = &s.h[i];
    uint64_t msg[LARGE / 8] = { 0 };

    const int r = shmc_bcast_recv(h, msg, sizeof msg);
    model_require(r == (int)s.size || r == SHMC_EAGAIN ||
                  (r == SHMC_ELAPPED && !h->seated));
    if (r < 0) return r;
    if (!s.in_place)
        for (int j = 0; j < r / 8; j++) model_require(msg[j] == msg[0]);
    got(i, msg[0]);
    return r;
}

static int
borrow_now(uint32_t i)
{
    shmc_bcast *h = &s.h[i];
    const void *data = NULL;
    uint64_t msg;

    int r = shmc_bcast_borrow(h, &data);
    model_require(r == (int)s.size || r == SHMC_EAGAIN ||
                  (r == SHMC_ELAPPED && !h->seated));
    if (r < 0) return r;
    msg = h->seated && s.size > SHMC_BCAST_INLINE_BYTES
        ? model_read_64(data) : shmi_load_rlx_64(data);
    r = shmc_bcast_release(h);
    model_require(r == SHMC_OK || (r == SHMC_ELAPPED && !h->seated));
    if (r == SHMC_OK) got(i, msg);
    return r;
}

static int
take_now(uint32_t i)
{
    return s.in_place ? borrow_now(i) : recv_now(i);
}

static int
recv_one(uint32_t i)
{
    ready(&s.h[i]);
    return recv_now(i);
}

static int
borrow_one(uint32_t i)
{
    ready(&s.h[i]);
    return borrow_now(i);
}

static int
take_one(uint32_t i)
{
    ready(&s.h[i]);
    return take_now(i);
}

static void
recv_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.tries; k++) (void)take_one(i);
}

static void
borrow_some(uint32_t i)
{
    for (uint32_t k = 0; k < s.tries; k++) (void)borrow_one(i);
}

/* Look, and take what the look says is there, however thorough a receive
 * happens to be.                                                          */
static void
look_some(uint32_t i)
{
    shmc_bcast *h = &s.h[i];

    for (uint32_t k = 0; k < s.tries; k++) {
        shmi_poll_spot spot = { 0 };
        h->blocked_at = h->next;    /* as in ready                          */
        h->trust_ns = 0;
        const int r = shmi_bcast_poll(h, SHMC_POLLIN, true, &spot);
        model_require(r == 0 || r == SHMC_POLLIN);
        if (r != 0) model_require(take_now(i) != SHMC_EAGAIN);
    }
}

#define THREAD(name, call)                                                    \
    static void name(void *state) { (void)state; call; }

THREAD(send_0, send_some(0))
THREAD(send_1, send_some(1))
THREAD(send_0_twice, send_some(0); send_some(0))
THREAD(send_2, send_some(2))
THREAD(send_in_order_0, send_in_order(0, 4))
THREAD(recv_0, recv_some(0))
THREAD(recv_1, recv_some(1))
THREAD(recv_3, recv_some(3))
THREAD(recv_2, recv_some(2))
THREAD(borrow_1, borrow_some(1))
THREAD(look_1, look_some(1))
THREAD(look_2, look_some(2))

/* ---- waits --------------------------------------------------------------- */

static void
send_wait(uint32_t i, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        const uint64_t msg = message(i);
        model_require(shmc_bcast_send_wait(&s.h[i], &msg, 8, -1) == SHMC_OK);
        sent(i);
    }
}

static void
recv_wait(uint32_t i, uint32_t count)
{
    while (s.log[i].count + s.h[i].lost < count) {
        uint64_t msg;
        const int r = shmc_bcast_recv_wait(&s.h[i], &msg, 8, -1);
        if (r == SHMC_ELAPPED && !s.h[i].seated) continue;
        model_require(r == 8);
        got(i, msg);
    }
}

/* The same by a poller, which takes what it was woken for.                */
static void
poll_wait(uint32_t i, uint32_t count)
{
    shmc_poll_item item = { .of = shmc_bcast_pollable(&s.h[i]),
                            .events = SHMC_POLLIN };

    while (s.log[i].count + s.h[i].lost < count) {
        model_require(shmc_poll(&item, 1, SHMC_FOREVER) == 1);
        model_require(item.revents == SHMC_POLLIN);
        model_require(take_now(i) != SHMC_EAGAIN);
    }
}

THREAD(send_wait_0, send_wait(0, 3))
THREAD(send_wait_one_0, send_wait(0, 1))
THREAD(send_wait_one_1, send_wait(1, 1))
THREAD(recv_wait_1, recv_wait(1, 3))
THREAD(recv_wait_2, recv_wait(2, 2))
THREAD(poll_wait_1, poll_wait(1, 3))
THREAD(poll_wait_2, poll_wait(2, 2))

/* Until the message of publisher 1 came.                                  */
static void
recv_wait_for_1(void *state)
{
    const bcast_log *log = &s.log[2];

    (void)state;
    do recv_wait(2, log->count + 1);
    while (log->msg[log->count - 1] <= PER_HANDLE);
}

static void
borrow_wait_1(void *state)
{
    (void)state;
    while (s.log[1].count < 3) {
        const void *data = NULL;
        model_require(shmc_bcast_borrow_wait(&s.h[1], &data, -1) == 8);
        const uint64_t msg = shmi_load_rlx_64(data);
        model_require(shmc_bcast_release(&s.h[1]) == SHMC_OK);
        got(1, msg);
    }
}

/* ---- newcomers ----------------------------------------------------------- */

/* What tail says is sent can be read at once by who comes for history.    */
static void
come_for_history(uint32_t i)
{
    model_require(try_sit(i, SHMC_CONSUMER, SHMC_BCAST_ALL) == SHMC_OK);
    s.log[i].begin = s.h[i].first;
    const bool there = s.h[i].alone && s.h[i].next != s.h[i].joined;
    const int r = recv_one(i);
    model_require(r != SHMC_EAGAIN || !there || s.h[i].next != s.h[i].first);
    recv_some(i);
}

static void
come(uint32_t i)
{
    sit(i, SHMC_CONSUMER);
    recv_some(i);
}

THREAD(come_for_history_1, come_for_history(1))
THREAD(come_1, come(1))

static void
send_next_2(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    sit(2, SHMC_PRODUCER);
    send_in_order(2, 2);
}

/* Sit down once there is a seat.                                          */
static void
send_when_free_2(void *state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        if (try_sit(2, SHMC_PRODUCER, 0) != SHMC_OK) continue;
        send_in_order(2, 2);
        return;
    }
}

static void
recv_when_free_2(void *state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        if (try_sit(2, SHMC_CONSUMER, 0) != SHMC_OK) continue;
        (void)take_one(2);
        return;
    }
}

static void
send_and_leave_0(void *state)
{
    (void)state;
    send_in_order(0, s.messages);
    leave(0);
}

static void
recv_and_leave_1(void *state)
{
    (void)state;
    (void)take_one(1);
    leave(1);
}

static void
look_and_leave_1(void *state)
{
    const void *data = NULL;

    (void)state;
    ready(&s.h[1]);
    if (shmc_bcast_borrow(&s.h[1], &data) >= 0) (void)model_read_64(data);
    leave(1);
}

/* ---- checks ------------------------------------------------------------- */

/* What a subscriber got is what was sent there, in order; it passed no
 * position without counting it.                                           */
static void
whole(void *state)
{
    (void)state;
    for (uint32_t i = 0; i < HANDLES; i++) {
        const bcast_log *log = &s.log[i];
        for (uint32_t k = 0; k < log->count; k++) {
            const uint64_t at = s.sent_at[log->msg[k] - 1];
            const uint32_t who = (uint32_t)(log->msg[k] - 1) / PER_HANDLE;
            if (k > 0) model_require(log->at[k] > log->at[k - 1]);
            for (uint32_t j = 0; j < k; j++)
                model_require(log->msg[j] != log->msg[k]);
            model_require(at == log->at[k] + 1 || (at == 0 && !model_ended(who)));
        }
        const shmc_bcast *h = &s.h[i];
        if (!s.here[i] || h->role == SHMC_PRODUCER) continue;
        if (i < HANDLES - 1 && !model_ended(i)) continue;
        if (h->joined != h->first) continue;
        model_require(h->next - s.log[i].begin ==
                      log->count + h->lost + h->passed);
        if (h->alone) model_require(h->passed == 0);
    }
}

static void
drain(uint32_t i)
{
    for (uint32_t k = 0, idle = 0; idle < 3 && k < 64; k++)
        idle = take_one(i) == SHMC_EAGAIN ? idle + 1 : 0;
}

static bool
somebody_stopped(void)
{
    for (uint32_t i = 0; i < 3; i++)
        if (!model_ended(i) && model_lock_probe(-1, i)) return true;
    return false;
}

/* Seated ones that came to their end get all from where they sat down;
 * others lose only what they count.  A publisher that stopped may be in the
 * way.                                                                    */
static void
nothing_lost(void *state)
{
    for (uint32_t i = 0; i < HANDLES; i++) {
        const shmc_bcast *h = &s.h[i];
        if (!s.here[i] || h->role == SHMC_PRODUCER || !model_ended(i)) continue;
        drain(i);
        for (uint32_t n = 0; n < MESSAGES; n++) {
            bool came = false;
            if (s.sent_at[n] == 0) continue;
            const uint64_t p = s.start + s.sent_at[n] - 1;
            if ((int64_t)(p - s.log[i].begin) < 0) continue;
            for (uint32_t k = 0; k < s.log[i].count; k++)
                came |= s.log[i].msg[k] == n + 1;
            if (somebody_stopped()) came |= (int64_t)(p - h->next) >= 0;
            model_require(came || (h->lost > 0 && !h->seated));
        }
    }
    whole(state);
}

/* The same; then a publisher that is alive, or comes, sends and is heard.  */
static void
goes_on(void *state)
{
    nothing_lost(state);
    uint32_t i = 0, heard = 0;
    while (i < HANDLES && !(s.here[i] && s.h[i].role == SHMC_PRODUCER &&
                            i < 4 && model_ended(i))) i++;
    if (i == HANDLES) {
        i = LATER;
        sit(LATER, SHMC_PRODUCER);
    }
    if (s.h[i].lent) return;
    const uint64_t msg[LARGE / 8] = { 1 };
    uint32_t k = 0;
    shmc_bcast h = { 0 };
    model_require(shmc_bcast_map(&h, s.mem, s.bytes, SHMC_WATCHER, 0) == 0);
    h.segment = &s.segment[LATER];
    for (; k < s.h[i].slot_count; k++) {
        ready(&s.h[i]);
        if (shmc_bcast_send(&s.h[i], msg, s.size) != SHMC_OK) break;
    }
    model_require(k == s.h[i].slot_count);
    for (uint32_t j = 0; j < 8; j++) {
        uint64_t back[LARGE / 8];
        ready(&h);
        heard += shmc_bcast_recv(&h, back, sizeof back) == (int)s.size;
    }
    model_require(heard > 0);
}

static void
all_came(void *state)
{
    whole(state);
    for (uint32_t i = 0; i < HANDLES; i++)
        if (s.here[i] && s.h[i].role != SHMC_PRODUCER)
            model_require(s.log[i].count + s.h[i].lost ==
                          s.h[i].next - s.log[i].begin - s.h[i].passed);
}


static const model_case cases[] = {
    { CASE("bcast_lossy", lossy, send_0, recv_1, NULL, nothing_lost) },
    { CASE("bcast_ahead", lossy_ahead, send_0, recv_1, NULL, nothing_lost) },
    { CASE("bcast_wide", lossy_wide, send_0, recv_1, NULL, nothing_lost) },
    { CASE("bcast_hurried", lossy_hurried, send_0, recv_1, NULL, whole) },
    { CASE("bcast_two_readers", lossy, send_0, recv_1, recv_2, nothing_lost),
      .executions = 20000 },
    { CASE("bcast_borrow", lossy, send_0, borrow_1, NULL, nothing_lost) },
    { CASE("bcast_positions_wrap", positions_wrap, send_0, recv_1, NULL,
           nothing_lost) },
    { CASE("bcast_stamps_wrap", stamps_wrap, send_0, recv_1, NULL,
           nothing_lost) },
    { CASE("bcast_history", lossy, send_0, come_for_history_1, NULL, whole) },
    { CASE("bcast_arena", lossy_arena, send_0, recv_1, NULL, nothing_lost) },
    { CASE("bcast_arena_copies", lossy_arena_copies, send_0, recv_1, NULL,
           nothing_lost), .executions = 1000 },
    { CASE("bcast_publisher_stops", lossy, send_0, recv_1, NULL, whole),
      FREEZES(0), .executions = 2000 },
    { CASE("bcast_publisher_dies", lossy, send_0, recv_1, NULL, goes_on),
      DIES(0), .executions = 2000 },

    { CASE("bcast_publishers", publishers_few, send_0, send_1, recv_2,
           nothing_lost) },
    { CASE("bcast_publishers_lap", publishers_wide, send_0, send_1, recv_2,
           nothing_lost), .executions = 20000 },
    { FOUR("bcast_publishers_three", publishers_three, send_0_twice, send_1,
           send_2, recv_3, nothing_lost) },
    { CASE("bcast_publishers_arena", publishers_arena, send_0, send_1, recv_2,
           nothing_lost), .executions = 5000 },
    { CASE("bcast_one_of_two_stops", publishers, send_0, send_1, recv_2,
           goes_on), FREEZES(0), .executions = 1000 },
    { CASE("bcast_one_of_two_dies", publishers, send_0, send_1, recv_2,
           goes_on), DIES(0), .executions = 1000 },

    { CASE("bcast_reliable", reliable_one, send_in_order_0, recv_1, NULL,
           nothing_lost) },
    { CASE("bcast_reliable_two", reliable, send_in_order_0, recv_1, recv_2,
           nothing_lost), .executions = 20000 },
    { CASE("bcast_reliable_wraps", reliable_wraps, send_in_order_0, recv_1,
           NULL, nothing_lost) },
    { CASE("bcast_reliable_publishers", reliable_publishers, send_0, send_1,
           recv_2, nothing_lost), .executions = 20000 },
    { CASE("bcast_sits_down", reliable_empty, send_in_order_0, come_1, NULL,
           nothing_lost) },
    { CASE("bcast_sits_down_first", reliable_new, send_in_order_0, come_1,
           NULL, nothing_lost) },
    { CASE("bcast_sits_down_history", reliable_new, send_in_order_0,
           come_for_history_1, NULL, whole) },
    { CASE("bcast_full_for_one", seats_reliable, send_0, recv_1, NULL,
           nothing_lost) },
    { CASE("bcast_reliable_dies", publishers_full, send_0, send_1, recv_2,
           nothing_lost), DIES(0), .executions = 2000 },
    { CASE("bcast_reliable_arena", reliable_arena, send_in_order_0, recv_1,
           NULL, nothing_lost) },
    { CASE("bcast_subscriber_stops", reliable_one, send_in_order_0, recv_1,
           NULL, nothing_lost), FREEZES(1), .executions = 2000 },
    { CASE("bcast_subscriber_dies", reliable_one, send_in_order_0, recv_1,
           NULL, goes_on), DIES(1), .executions = 2000 },

    { CASE("bcast_subscriber_leaves", full_arena, send_in_order_0,
           recv_and_leave_1, NULL, whole) },
    { CASE("bcast_reader_leaves", full_arena, send_in_order_0,
           look_and_leave_1, NULL, whole) },
    { CASE("bcast_seat_changes_hands", full_arena, send_in_order_0,
           look_and_leave_1, recv_when_free_2, whole), .executions = 20000 },
    { CASE("bcast_given_up_by_another", full_arenas, recv_0, send_1, send_2,
           whole), DIES(0), .executions = 2000 },
    { CASE("bcast_arena_left", left_arena, send_0, recv_1, send_when_free_2,
           whole) },

    { CASE("bcast_publisher_leaves", seats, send_and_leave_0, recv_1, NULL,
           nothing_lost) },
    { CASE("bcast_replaced", lossy, send_0, recv_1, send_next_2, goes_on),
      DIES(0), .executions = 2000 },
    { CASE("bcast_replaced_reliable", reliable_one, send_in_order_0, recv_1,
           send_next_2, goes_on), DIES(0), .executions = 2000 },
    { CASE("bcast_replaced_arena", lossy_arena, send_0, recv_1, send_next_2,
           goes_on), DIES(0), .executions = 2000 },
    { CASE("bcast_replaced_of_two", seats, send_0, recv_1, send_next_2,
           goes_on), DIES(0), .executions = 2000 },
    { CASE("bcast_replaced_arena_of_two", seats_arena, send_0, recv_1,
           send_next_2, goes_on), DIES(0), .executions = 2000 },
    { CASE("bcast_replaced_history", lossy, send_0, come_for_history_1,
           send_next_2, whole), DIES(0), .executions = 2000 },
    { CASE("bcast_hands_over", lossy, send_and_leave_0, recv_1,
           send_when_free_2, nothing_lost) },
    { CASE("bcast_hands_over_arena", lossy_arena, send_and_leave_0, recv_1,
           send_when_free_2, nothing_lost) },
    { CASE("bcast_hands_over_of_two", seats_arena, send_and_leave_0, recv_1,
           send_when_free_2, nothing_lost) },

    { CASE("bcast_look", polled_few, send_0, send_1, look_2, nothing_lost) },
    { CASE("bcast_look_lap", polled_lap, send_0, send_1, look_2, nothing_lost),
      .executions = 2000 },
    { CASE("bcast_look_arena", polled_arena, send_in_order_0, look_1, NULL,
           nothing_lost) },
    { CASE("bcast_look_at_stopped", polled_lap, send_0, send_1, look_2, whole),
      FREEZES(0), .executions = 300 },
    { CASE("bcast_look_at_dead", polled_lap, send_0, send_1, look_2, goes_on),
      DIES(0), .executions = 300 },
    { CASE("bcast_poll", wakes, send_wait_0, poll_wait_1, NULL, all_came),
      .executions = 2000 },
    { CASE("bcast_poll_lossy", wakes_lossy, send_wait_0, poll_wait_1, NULL,
           all_came), .executions = 2000 },
    { CASE("bcast_poll_asymmetric", wakes_asymmetric, send_wait_0, poll_wait_1,
           NULL, all_came), .executions = 2000 },
    { CASE("bcast_poll_many", wakes_many_lossy, send_wait_one_0,
           send_wait_one_1, poll_wait_2, all_came), .executions = 2000 },

    { CASE("bcast_wait", wakes, send_wait_0, recv_wait_1, NULL, all_came),
      .executions = 20000 },
    { CASE("bcast_wait_lossy", wakes_lossy, send_wait_0, recv_wait_1, NULL,
           all_came), .executions = 20000 },
    { CASE("bcast_wait_asymmetric", wakes_asymmetric, send_wait_0,
           recv_wait_1, NULL, all_came), .executions = 20000 },
    { CASE("bcast_wait_borrow", wakes, send_wait_0, borrow_wait_1, NULL,
           all_came), .executions = 20000 },
    { CASE("bcast_wait_many", wakes_many, send_wait_one_0, send_wait_one_1,
           recv_wait_2, all_came), .executions = 20000 },
    { CASE("bcast_wait_leaver", wakes, send_wait_0, recv_and_leave_1, NULL,
           whole) },
    { CASE("bcast_wait_subscriber_dies", wakes, send_wait_0, recv_wait_1,
           NULL, whole), DIES(1), .timeouts = true,
      .executions = 1000 },
    { CASE("bcast_wait_publisher_dies", wakes_many_lossy, send_wait_one_0,
           send_wait_one_1, recv_wait_for_1, whole), DIES(0),
      .timeouts = true, .executions = 1000 },
};

int
main(int argc, char **argv)
{
    shmc_log_set(NULL, NULL, 0);     /* refusals are expected                */
    return MODEL_MAIN(argc, argv, cases);
}
