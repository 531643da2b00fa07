/* One sleeper at several bells: whoever rings one of them wakes it, in every
 * order, and a bell that an object names only in the last look is marked
 * before it is slept at.  And the descriptor: what happens between two calls
 * of its owner raises it.                                                  */
#include "model/model_case.h"
#include "shmcomm_segment.h"

static void flag_raise(int fd);
static void flag_lower(int fd);
#define shmi_flag_set(fd) flag_raise(fd)
#define shmi_flag_clear(fd) flag_lower(fd)
#include "shmcomm_poll.h"

enum { BELLS = 3, THREADS = 4, ROUNDS = 2 };

typedef struct poll_shm {
    shmi_bell_shm bell[BELLS];
    uint64_t published[BELLS];
    uint32_t flag;
    shmi_poll_post post;
} poll_shm;

/* What a thread polls for: published[bell] >= want.                        */
typedef struct object {
    uint32_t bell;
    uint64_t want;
    bool     asymmetric;
} object;

typedef struct poll_state {
    poll_shm *shm;
    uint32_t asymmetric;            /* bits: bells that ring without a fence */
    object   of[THREADS][BELLS];
    shmc_poll_item item[THREADS][BELLS];
    shmc_poll_fd fd;
    shmi_wait_word words[16];
    bool     done[THREADS];
} poll_state;

static poll_state s;

static void
begin(uint32_t asymmetric)
{
    s.shm = (poll_shm *)model_alloc(sizeof *s.shm);
    s.asymmetric = asymmetric;
    s.fd.words = s.words;
    s.fd.post = &s.shm->post;
    s.fd.max_items = 4;
    s.fd.open = true;
    model_name(&s.shm->post.order, "order");
    model_name(&s.shm->post.done, "done");
    model_name(&s.shm->flag, "flag");
    for (int i = 0; i < BELLS; i++) {
        model_name(&s.shm->bell[i].seq, "seq");
        model_name(&s.shm->bell[i].asleep, "asleep");
        model_name(&s.shm->published[i], "published");
    }
}

static void fence(void *state) { (void)state; begin(0); }
static void asymmetric(void *state) { (void)state; begin(7); }
static void mixed(void *state) { (void)state; begin(2); }

/* ---- ringers ------------------------------------------------------------- */

static void
publish(uint32_t bell, uint64_t value)
{
    shmi_store_rlx_64(&s.shm->published[bell], value);
    shmi_bell_ring(&s.shm->bell[bell], (s.asymmetric >> bell & 1) != 0);
}

static void ring_0(void *state) { (void)state; publish(0, 1); }
static void ring_1(void *state) { (void)state; publish(1, 1); }
static void ring_2(void *state) { (void)state; publish(2, 1); }
static void ring_0_1(void *state) { ring_0(state); ring_1(state); }

static void
ring_0_often(void *state)
{
    (void)state;
    for (uint64_t i = 1; i <= ROUNDS; i++) publish(0, i);
}

/* ---- pollers ------------------------------------------------------------- */

static int
look(void *ctx, uint32_t events, bool thorough, shmi_poll_spot *spot)
{
    const object *o = (const object *)ctx;

    (void)thorough;
    spot->bell[0] = &s.shm->bell[o->bell];
    spot->asymmetric = o->asymmetric;
    spot->slice_ns = SHMI_FOREVER;
    return shmi_load_rlx_64(&s.shm->published[o->bell]) >= o->want
         ? (int)events : 0;
}

/* Its first half rings bell 0, its second bell 1: it sleeps where it is.    */
static int
look_moving(void *ctx, uint32_t events, bool thorough, shmi_poll_spot *spot)
{
    object *o = (object *)ctx;

    if (o->bell == 0 && shmi_load_rlx_64(&s.shm->published[0]) >= o->want)
        o->bell = 1;
    const int r = look(ctx, events, thorough, spot);
    return o->bell == 0 ? 0 : r;
}

static void
watch(uint32_t i, uint32_t bell, uint64_t want)
{
    const uint32_t self = model_self();

    s.of[self][i] = (object){ bell, want, (s.asymmetric >> bell & 1) != 0 };
    s.item[self][i] = (shmc_poll_item){ .of = { look, &s.of[self][i] },
                                        .events = SHMC_POLLIN };
}

/* Until each of the first `count` was ready; those that were are let go.    */
static void
poll_all(uint32_t count)
{
    const uint32_t self = model_self();
    uint32_t left = count;

    while (left > 0) {
        const int n = shmc_poll(s.item[self], count, SHMC_FOREVER);
        model_require(n > 0);
        for (uint32_t i = 0; i < count; i++) {
            if (s.item[self][i].revents == 0) continue;
            model_require(s.item[self][i].revents == SHMC_POLLIN);
            s.item[self][i].of.look = NULL;
            left--;
        }
    }
    s.done[self] = true;
}

static void
poll_both(void *state)
{
    (void)state;
    watch(0, 0, 1);
    watch(1, 1, 1);
    poll_all(2);
}

static void
poll_three(void *state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) watch(i, i, 1);
    poll_all(3);
}

static void
poll_often(void *state)
{
    (void)state;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        watch(0, 0, i);
        watch(1, 1, UINT64_MAX);
        model_require(shmc_poll(s.item[model_self()], 2, SHMC_FOREVER) == 1);
    }
    s.done[model_self()] = true;
}

/* One of the two is enough.                                                */
static void
poll_either(void *state)
{
    (void)state;
    watch(0, 0, 1);
    watch(1, 1, 1);
    model_require(shmc_poll(s.item[model_self()], 2, SHMC_FOREVER) > 0);
    s.done[model_self()] = true;
}

static void
poll_moving(void *state)
{
    (void)state;
    watch(0, 0, 1);
    watch(1, 2, UINT64_MAX);
    s.item[model_self()][0].of.look = look_moving;
    model_require(shmc_poll(s.item[model_self()], 2, SHMC_FOREVER) == 1);
    s.done[model_self()] = true;
}

static int
seen_0(void *ctx)
{
    (void)ctx;
    return shmi_load_rlx_64(&s.shm->published[0]) ? SHMC_OK : SHMC_EAGAIN;
}

/* A receive that sleeps at the same bell.                                  */
static void
sleep_0(void *state)
{
    (void)state;
    model_require(shmi_bell_wait(&s.shm->bell[0], (s.asymmetric & 1) != 0, seen_0,
                                 NULL, -1, SHMC_RECHECK_NS) == SHMC_OK);
    s.done[model_self()] = true;
}

/* ---- the descriptor ------------------------------------------------------ */

static void
flag_raise(int fd)
{
    (void)fd;
    shmi_store_rel_32(&s.shm->flag, 1);
    shmi_wake_32(&s.shm->flag, 1);
}

static void
flag_lower(int fd)
{
    (void)fd;
    shmi_store_rel_32(&s.shm->flag, 0);
}

static void
helper(void *state)
{
    (void)state;
    model_require(shmi_poll_fd_thread(&s.fd) == NULL);
}

/* An event loop: waits for nothing but the flag.                           */
static void
loop(void *state)
{
    const uint32_t self = model_self();
    uint32_t left = 2;

    (void)state;
    watch(0, 0, 1);
    watch(1, 1, 1);
    while (left > 0) {
        const int n = shmc_poll_fd_next(&s.fd, s.item[self], 2);
        model_require(n >= 0);
        for (uint32_t i = 0; i < 2; i++) {
            if (s.item[self][i].of.look == NULL ||
                s.item[self][i].revents == 0) continue;
            s.item[self][i].of.look = NULL;
            left--;
        }
        while (left > 0 && shmi_load_acq_32(&s.shm->flag) == 0)
            (void)shmi_wait_32(&s.shm->flag, 0, SHMI_FOREVER);
    }
    shmi_poll_fd_order(&s.fd, SHMI_POLL_FD_END);
    s.done[self] = true;
}

/* Arms, thinks better of it, and ends.                                     */
static void
loop_stops(void *state)
{
    const uint32_t self = model_self();

    (void)state;
    watch(0, 0, 1);
    watch(1, 1, 1);
    (void)shmc_poll_fd_next(&s.fd, s.item[self], 2);
    model_require(shmc_poll_fd_stop(&s.fd) == SHMC_OK);
    model_require(shmi_load_acq_32(&s.shm->flag) == 0);
    shmi_poll_fd_order(&s.fd, SHMI_POLL_FD_END);
    model_require(shmi_load_acq_32(&s.shm->flag) == 0);
    s.done[self] = true;
}

/* ---- checks -------------------------------------------------------------- */

/* Nobody sleeps: a mark that is left costs one wake at its bell.           */
static void
one_mark_at_most(void *state)
{
    (void)state;
    for (uint32_t b = 0; b < BELLS; b++) {
        const uint32_t before = shmi_load_rlx_32(&s.shm->bell[b].seq);
        for (int i = 0; i < 3; i++) publish(b, 1);
        model_require(shmi_load_rlx_32(&s.shm->bell[b].seq) - before <= 1);
    }
}

/* The others woke, whatever became of thread 1.                            */
static void
others_done(void *state)
{
    one_mark_at_most(state);
    model_require(s.done[2]);
}


#define POLL(label, from, a, b, c, d)                                         \
    FOUR(label, from, a, b, c, d, one_mark_at_most)

static const model_case cases[] = {
    { POLL("poll_two_bells", fence, ring_0, ring_1, poll_both, NULL),
      .executions = 20000 },
    { POLL("poll_two_bells_asymmetric", asymmetric, ring_0, ring_1, poll_both,
           NULL), .executions = 20000 },
    { POLL("poll_two_bells_mixed", mixed, ring_0, ring_1, poll_both, NULL),
      .executions = 20000 },
    { POLL("poll_one_ringer", fence, ring_0_1, poll_both, NULL, NULL),
      .executions = 20000 },
    { POLL("poll_second_bell", fence, ring_1, poll_either, NULL, NULL) },
    { POLL("poll_first_bell", fence, ring_0, poll_either, NULL, NULL) },
    { POLL("poll_either_asymmetric", asymmetric, ring_1, poll_either, NULL,
           NULL) },
    { POLL("poll_often", fence, ring_0_often, poll_often, NULL, NULL),
      .executions = 20000 },
    { POLL("poll_three_bells", fence, ring_0_1, ring_2, poll_three, NULL),
      .executions = 10000 },
    { POLL("poll_two_pollers", fence, ring_0, poll_either, poll_either, NULL),
      .executions = 20000 },
    { POLL("poll_and_sleep", fence, ring_0, poll_either, sleep_0, NULL),
      .executions = 20000 },
    { POLL("poll_moving", fence, ring_0_1, poll_moving, NULL, NULL),
      .executions = 20000 },
    { FOUR("poll_poller_dies", fence, ring_0, poll_either, poll_either, NULL,
           others_done), .executions = 1000, DIES(1) },
    { FOUR("poll_dies_by_a_sleeper", fence, ring_0, poll_either, sleep_0, NULL,
           others_done), .executions = 1000, DIES(1) },
    { POLL("poll_fd", fence, ring_0_1, helper, loop, NULL),
      .executions = 20000 },
    { POLL("poll_fd_two_ringers", asymmetric, ring_0, helper, loop, ring_1),
      .executions = 20000 },
    { POLL("poll_fd_stop", fence, ring_0, helper, loop_stops, NULL),
      .executions = 20000 },
};

int
main(int argc, char **argv)
{
    shmc_log_set(NULL, NULL, 0);
    return MODEL_MAIN(argc, argv, cases);
}
