/* PUSH/PULL beyond the queue below it: whatever the order of steps and however
 * old what is read, a worker gets whole messages, each once; what is drained
 * is done with; and who is told that the pushers have gone has got all.    */
#include "model/model_case.h"
#include "shmcomm_pushpull.h"
#include "model/model_owner.h"

enum { PEOPLE = 3, FIRST = 100, HERE = 8, BESIDE = 16 };

typedef struct work_state {
    shmc_segment segment[PEOPLE];
    shmc_push push[PEOPLE];
    shmc_pull pull[PEOPLE];
    void    *mem;
    uint64_t bytes, *work;          /* what a worker makes of a message     */
    uint32_t messages, tries, size;
    uint32_t got, refused;
} work_state;

static work_state s;

/* ---- setup ------------------------------------------------------------- */

static void
queue(shmc_mpmc_desc d, uint32_t size)
{
    d.slot_bytes = 8 + HERE;
    d.max_handles = PEOPLE;
    s.bytes = (uint64_t)shmc_mpmc_size_for(&d);
    s.mem = model_alloc(s.bytes);
    model_require(shmc_mpmc_format(s.mem, s.bytes, &d) == SHMC_OK);
    s.work = (uint64_t *)model_alloc(8);
    model_name(s.work, "work");
    model_name(&((shmc_mpmc_shm *)s.mem)->head, "head");
    model_name(&((shmc_mpmc_shm *)s.mem)->tail, "tail");
    s.messages = 1;
    s.tries = 2;
    s.size = size;
}

/* What shmi_work_open does, once the file is there.                        */
static void
join(shmi_work *w, uint32_t who, uint32_t role)
{
    shmc_mpmc *q = &w->ring;
    shmc_mpmc_desc is;

    model_owner(&s.segment[who], who, PEOPLE);
    model_require(shmi_mpmc_point(q, s.mem, s.bytes, &is) == SHMC_OK);
    q->segment = &s.segment[who];
    model_require(shmi_mpmc_sit(q, role) == SHMC_OK);
    w->stride = shmi_mpmc_stride(q->slot_bytes);
    w->here_bytes = q->slot_bytes - 8;
    w->max_bytes = q->beside_bytes ? q->beside_bytes : w->here_bytes;
    shmi_store_rlx_64(&q->seat->word[SHMI_WORK_ROLE], role);
    q->patrol_pos += SHMI_MPMC_PATROL;
    model_name(&q->seat->owner, "owner");
    model_name(&q->seat->intent, "pushes");
    model_name(&q->seat->word[0], "pops");
}

static void
pushes(uint32_t who)
{
    join(&s.push[who].work, who, SHMC_PRODUCER);
    s.push[who].at = &s.push[who].work;
}

static void
pulls(uint32_t who)
{
    join(&s.pull[who].work, who, SHMC_CONSUMER);
    s.pull[who].at = &s.pull[who].work;
    s.pull[who].open = true;
}

static int send_one(uint32_t who, uint32_t n);

static void
one_each(shmc_mpmc_desc d, uint32_t size)
{
    d.slot_count = 1;
    queue(d, size);
    pushes(0);
    pulls(1);
    s.messages = 2;
}

static void
small(void *state)
{
    (void)state;
    one_each((shmc_mpmc_desc){ 0 }, HERE);
}

static void
large(void *state)
{
    (void)state;
    one_each((shmc_mpmc_desc){ .beside_bytes = BESIDE }, BESIDE);
}

static void
new_queue(void *state)
{
    (void)state;
    queue((shmc_mpmc_desc){ .slot_count = 2 }, HERE);
    pushes(0);
    pulls(1);
}

/* A message is there; thread 0 is a worker, 1 a pusher.                    */
static void
one_message(uint32_t on_death)
{
    queue((shmc_mpmc_desc){ .slot_count = 2, .on_consumer_death = on_death },
          HERE);
    pulls(0);
    pushes(1);
    model_require(send_one(1, 0) == SHMC_OK);
}

static void kept(void *state) { (void)state; one_message(SHMC_REDELIVER); }
static void dropped(void *state) { (void)state; one_message(SHMC_DROP); }

/* ---- what threads do --------------------------------------------------- */

static int
send_one(uint32_t who, uint32_t n)
{
    const uint64_t msg[2] = { FIRST + n, FIRST + n };

    return shmi_push_try(&s.push[who], msg, s.size);
}

static void
push_0(void *state)
{
    (void)state;
    for (uint32_t n = 0; n < s.messages; n++) {
        const int r = send_one(0, n);
        model_require(r == SHMC_OK || r == SHMC_EAGAIN);
        if (r == SHMC_EAGAIN) s.refused |= 1u << n;
    }
}

/* One look, whole or nothing.                                              */
static bool
pull_one(uint32_t who)
{
    uint64_t msg[2] = { 0, 0 };

    const int r = shmi_pull_try(&s.pull[who], msg, sizeof msg);
    if (r == SHMC_EAGAIN) return false;
    model_require(r == (int)s.size && msg[0] >= FIRST);
    if (s.size > HERE) model_require(msg[1] == msg[0]);
    const uint32_t bit = 1u << (msg[0] - FIRST);
    model_require((s.got & bit) == 0 && s.got < bit);
    s.got |= bit;
    return true;
}

static void
pull_1(void *state)
{
    (void)state;
    for (uint32_t k = 0; k < s.tries; k++) (void)pull_one(1);
}

/* Something done before a message was taken.                               */
static void
work_and_pull_0(void *state)
{
    (void)state;
    model_write_64(s.work, 1);
    s.pull[0].work.ring.look = true;
    (void)pull_one(0);
}

static void
drain_1(void *state)
{
    (void)state;
    const int r = shmc_push_drain(&s.push[1], 0);
    model_require(r == SHMC_OK || r == SHMC_EAGAIN);
    if (r == SHMC_OK) model_require(model_read_64(s.work) == 1);
}

static void
push_and_leave_0(void *state)
{
    push_0(state);
    s.push[0].work.ring.segment = NULL;
    model_require(shmc_mpmc_close(&s.push[0].work.ring) == SHMC_OK);
}

/* After the end there is nothing.                                          */
static void
pull_until_end_1(void *state)
{
    (void)state;
    for (uint32_t k = 0; k < s.tries; k++) {
        const int r = shmc_pull_ended(&s.pull[1]);
        model_require(r == 0 || r == 1);
        const bool more = pull_one(1);
        if (r == 1) model_require(!more);
    }
}

/* ---- what must be so afterwards ---------------------------------------- */

static void
all_came(void *state)
{
    (void)state;
    for (uint32_t k = 0; k < s.messages; k++) (void)pull_one(1);
    model_require((s.got | s.refused) == (1u << s.messages) - 1);
    model_require((s.got & s.refused) == 0);
}

/* A message in the hand of somebody alive is dropped by nobody.            */
static void
none_dropped(void *state)
{
    const shmc_mpmc_shm *shm = (const shmc_mpmc_shm *)s.mem;

    (void)state;
    model_require(shmi_load_rlx_64(&shm->dropped) == 0);
}

static void nothing(void *state) { (void)state; }

/* ---- cases ------------------------------------------------------------- */


static const model_case cases[] = {
    { PAIR("work_ends", new_queue, push_and_leave_0, pull_until_end_1,
           all_came) },
    { PAIR("work_ends_by_death", new_queue, push_0, pull_until_end_1,
           nothing), DIES(0) },
    { PAIR("work_drained", kept, work_and_pull_0, drain_1, none_dropped) },
    { PAIR("work_drained_or_dropped", dropped, work_and_pull_0, drain_1,
           none_dropped) },
    { PAIR("work_small", small, push_0, pull_1, all_came),
      .executions = 5000 },
    { PAIR("work_large", large, push_0, pull_1, all_came),
      .executions = 5000 },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
