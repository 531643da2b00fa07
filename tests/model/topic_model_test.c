/* Topics beyond the ring below them: nobody publishes in a file that is given
 * up; a subscriber that finds its topic gone has read it all; and a restart is
 * told of where it was, not before.                                        */
#include "model/model_case.h"
#include "shmcomm_segment.h"

static bool gone(void);
static int  give_up_name(void);
#define shmi_segment_named(s, fd) (!gone())
#define shmi_file_unlink(dirfd, file) give_up_name()
#define shmc_segment_linked(s) (!gone())
#include "shmcomm_patterns.h"
#include "model/model_owner.h"

enum { PEOPLE = 3 };

typedef struct topic_state {
    shmc_segment segment[PEOPLE];
    shmc_bcast ring[PEOPLE];        /* as the object has it                 */
    shmc_pub pub[PEOPLE];
    shmc_sub sub;
    uint32_t *gone;                 /* the file's name                      */
    bool     stays;                 /* publisher 0                          */
} topic_state;

static topic_state s;

/* A name is the kernel's: what it says is so for everybody.                */
static bool gone(void) { return shmi_faa_32(s.gone, 0) != 0; }
static int  give_up_name(void) { return shmi_faa_32(s.gone, 1) == 0 ? 0 : -1; }

/* ---- setup ------------------------------------------------------------- */

static void
topic(uint32_t publishers)
{
    const shmc_bcast_desc d = { .slot_count = 2, .max_bytes = 8,
                                .max_publishers = publishers };
    const uint64_t bytes = (uint64_t)shmc_bcast_size_for(&d);
    void *mem = model_alloc(bytes);
    shmi_bcast_geometry g;

    s.gone = (uint32_t *)model_alloc(8);
    model_name(s.gone, "gone");
    model_require(shmc_bcast_format(mem, bytes, &d) == SHMC_OK);
    for (uint32_t i = 0; i < PEOPLE; i++) {
        model_owner(&s.segment[i], i, PEOPLE);
        model_require(shmi_bcast_point(&s.ring[i], mem, bytes, &g) == SHMC_OK);
        s.ring[i].segment = &s.segment[i];
    }
    model_name(&s.ring[0].shm->tail, "tail");
    model_name(&s.ring[0].shm->user[SHMI_TOPIC_HEIR], "heir");
    model_name(&s.ring[0].shm->user[SHMI_TOPIC_RESTARTS], "restarts");
    model_name(&s.ring[0].shm->user[SHMI_TOPIC_RESTART_AT], "restart_at");
    for (uint32_t i = 0; i < publishers; i++)
        model_name(&s.ring[0].pubs[i].owner, "publisher");
}

static void
publish(uint32_t who)
{
    s.pub[who].ring = s.ring[who];
    model_require(shmi_bcast_join(&s.pub[who].ring, SHMC_PRODUCER, 0) ==
                  SHMC_OK);
}

static void
subscribe(uint32_t who)
{
    s.sub.ring = s.ring[who];
    s.sub.open = true;
    model_require(shmi_bcast_join(&s.sub.ring, SHMC_CONSUMER, 0) == SHMC_OK);
}

static void
send_one(uint32_t who)
{
    const uint64_t msg = 7;

    model_require(shmc_bcast_send(&s.pub[who].ring, &msg, 8) == SHMC_OK);
}

static void empty(void *state) { (void)state; topic(2); }

/* It has an heir, and a publisher that does not know.                      */
static void
given_up(void *state)
{
    (void)state;
    topic(1);
    publish(0);
    subscribe(1);
    *s.gone = 1;
    s.ring[0].shm->user[SHMI_TOPIC_HEIR] = shmi_owner_self(&s.segment[2]);
}

/* A publisher follows another, which sent two messages that nobody read.   */
static void
followed(void *state)
{
    (void)state;
    topic(1);
    subscribe(1);
    publish(0);
    send_one(0);
    send_one(0);
    s.pub[0].ring.pubs[0].word[SHMI_PUB_USER] = 1;
}

/* ---- threads ----------------------------------------------------------- */

static void
come_0(void *state)
{
    (void)state;
    publish(0);
    s.stays = !shmi_topic_inherited(&s.segment[0], &s.pub[0].ring);
    if (!s.stays) shmi_seat_drop(&s.pub[0].ring.pubs[s.pub[0].ring.seat]);
}

static void
replace(uint32_t who)
{
    static const shmc_topic_desc any;
    shmi_pub_opening o = { .desc = &any };

    memset(&o.old, 0, sizeof o.old);
    o.old.base = (uint8_t *)s.gone; /* it is attached already               */
    (void)shmi_topic_give_up(&o, &s.segment[who], &s.ring[who]);
}

static void replace_1(void *state) { (void)state; replace(1); }
static void replace_2(void *state) { (void)state; replace(2); }

static void
send_and_leave_0(void *state)
{
    (void)state;
    send_one(0);
    shmi_seat_drop(&s.pub[0].ring.pubs[0]);
}

static void
move_1(void *state)
{
    uint64_t msg;

    (void)state;
    if (shmi_sub_outlived(&s.sub))
        model_require(shmc_bcast_recv(&s.sub.ring, &msg, 8) == SHMC_EAGAIN);
}

static void
follow_0(void *state)
{
    (void)state;
    shmi_pub_announce(&s.pub[0].ring);
}

/* What was sent before comes before it.                                    */
static void
look_for_restart_1(void *state)
{
    (void)state;
    model_require(!shmi_sub_restarted(&s.sub));
}

/* ---- checks ------------------------------------------------------------ */

static void
one_of_two(void *state)
{
    (void)state;
    model_require(!s.stays || !gone());
}

static void
restart_is_noted(void *state)
{
    (void)state;
    s.sub.ring.next = 2;
    model_require(shmi_sub_restarted(&s.sub));
}

static void nothing(void *state) { (void)state; }


static const model_case cases[] = {
    { CASE("topic_given_up", empty, come_0, replace_1, NULL, one_of_two) },
    { CASE("topic_of_two_heirs", empty, come_0, replace_1, replace_2,
           one_of_two), .executions = 5000 },
    { CASE("topic_heir_dies", empty, come_0, replace_1, replace_2,
           one_of_two), DIES(1), .executions = 500 },
    { CASE("topic_outlived", given_up, send_and_leave_0, move_1, NULL,
           nothing) },
    { CASE("topic_restarted", followed, follow_0, look_for_restart_1, NULL,
           restart_is_noted) },
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
