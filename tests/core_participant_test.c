/* Participants: who lives, and what they hold: roles and seats.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

/* Wait until the owner is dead; the watchdog bounds it.                   */
static void
await_death(const shmc_segment *s, uint64_t owner)
{
    while (shmi_owner_alive(s, owner)) test_sleep_ms(1);
}

static void
killed_process_is_dead_and_a_stopped_one_is_not(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmc_participant_info p;
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    const pid_t guest = core_guest_start(g, "s", 0);
    assert_true(shmi_owner_alive(&s, g->owner));
    assert_int_equal(shmi_owner_pid(&s, g->owner), guest);
    assert_int_equal(shmc_participant_info_get(&s, 1, &p), SHMC_OK);
    assert_true(p.alive);
    assert_int_equal(p.pid, guest);
    assert_int_equal(p.generation, 1);

    kill(guest, SIGSTOP);
    test_sleep_ms(30);
    assert_true(shmi_owner_alive(&s, g->owner));
    kill(guest, SIGCONT);

    kill(guest, SIGKILL);           /* not yet reaped: a zombie is dead too */
    await_death(&s, g->owner);
    assert_int_equal(shmc_participant_info_get(&s, 1, &p), SHMC_OK);
    assert_false(p.alive);
    assert_int_equal(test_join(guest), 1000 + SIGKILL);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static void
read_only_and_inspecting_users_see_who_lives(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmc_segment s, r, i;

    (void)state;
    core_create(&s, "s", 0);
    const uint64_t me = shmi_owner_self(&s);
    assert_int_equal(core_attach(&r, "s", SHMC_READ_ONLY), SHMC_OK);
    assert_int_equal(core_attach(&i, "s", SHMC_INSPECT), SHMC_OK);
    assert_true(shmi_owner_alive(&r, me));
    assert_true(shmi_owner_alive(&i, me));
    const pid_t guest = core_guest_start(g, "s", 0);
    assert_true(shmi_owner_alive(&r, g->owner));
    test_kill(guest);
    assert_false(shmi_owner_alive(&r, g->owner));
    assert_false(shmi_owner_alive(&i, g->owner));
    shmc_segment_close(&s);
    assert_false(shmi_owner_alive(&r, me));
    assert_false(shmi_owner_alive(&i, me));
    shmc_segment_close(&r);
    shmc_segment_close(&i);
    core_unlink("s", 0);
}

static void
slot_is_reused_with_a_new_generation(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    test_kill(core_guest_start(g, "s", 0));
    const uint64_t first = g->owner;
    const pid_t guest = core_guest_start(g, "s", 0);
    assert_int_equal(g->owner & 0xffff, first & 0xffff);
    assert_int_equal(g->owner >> 16, (first >> 16) + 1);
    assert_true(shmi_owner_alive(&s, g->owner));
    assert_false(shmi_owner_alive(&s, first));
    test_kill(guest);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static void
full_table_is_elimit_until_somebody_dies(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmc_segment_desc d = core_desc(0);
    shmc_segment a, b, c;

    (void)state;
    d.max_participants = 3;
    assert_int_equal(shmc_segment_create(&a, "s", &d), SHMC_OK);
    const pid_t guest = core_guest_start(g, "s", 0);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    CORE_FAILS(core_attach(&c, "s", 0), SHMC_ELIMIT,
               "all 3 participant slots are held by live processes");
    assert_int_equal(core_attach(&c, "s", SHMC_READ_ONLY), SHMC_OK);
    shmc_segment_close(&c);
    test_kill(guest);
    assert_int_equal(core_attach(&c, "s", 0), SHMC_OK);
    shmc_segment_close(&c);
    shmc_segment_close(&b);
    shmc_segment_close(&a);
    core_unlink("s", 0);
}

static void
label_is_the_given_one_or_the_programs_name(void **state)
{
    shmc_segment_desc d = core_desc(0);
    shmc_participant_info p;
    shmc_segment a, b;
    char comm[32];

    (void)state;
    shmi_process_name(comm, sizeof comm);
    core_create(&a, "s", 0);
    d.label = "thirty-one-bytes-is-the-longest";
    assert_int_equal(shmc_segment_attach(&b, "s", &d), SHMC_OK);
    assert_int_equal(shmc_participant_info_get(&a, 0, &p), SHMC_OK);
    assert_string_equal(p.label, comm);
    assert_true(p.attached_realtime_ns > 0);
    assert_int_equal(shmc_participant_info_get(&a, 1, &p), SHMC_OK);
    assert_string_equal(p.label, d.label);
    shmc_segment_close(&b);
    assert_int_equal(shmc_participant_info_get(&a, 1, &p), SHMC_OK);
    assert_false(p.alive);
    assert_int_equal(p.pid, 0);
    d.label = "thirty-two bytes are one too many";
    CORE_FAILS(shmc_segment_attach(&b, "s", &d), SHMC_EINVAL,
               "at most 31 bytes");
    shmc_segment_close(&a);
    core_unlink("s", 0);
}

static void
participants_beyond_the_table_do_not_exist(void **state)
{
    shmc_participant_info p;
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    assert_int_equal(shmc_participant_info_get(&s, 15, &p), SHMC_ENOENT);
    CORE_FAILS(shmc_participant_info_get(&s, 16, &p), SHMC_EINVAL,
               "participant 16: segment 's' has 16");
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

/* ---- what a scribbler may write ---------------------------------------- */

static void
words_that_name_nobody_are_dead_owners(void **state)
{
    static const uint64_t words[] = {
        0, 1, 0x10000, 0x10011, 0x1ffff, 0x2ffff, UINT64_MAX - 1,
        0x7fff000000000001u, UINT64_C(1) << 63
    };
    shmc_segment s;

    (void)state;
    core_create(&s, "s", 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i] == shmi_owner_self(&s)) continue;
        assert_false(shmi_owner_alive(&s, words[i]));
        (void)shmi_owner_pid(&s, words[i]);
    }
    assert_true(shmi_owner_alive(&s, SHMI_OWNER_LOCAL));
    assert_true(shmi_owner_alive(NULL, 5));
    assert_int_equal(shmi_owner_pid(&s, 0x1ffff), 0);
    assert_int_equal(shmi_owner_pid(NULL, 5), getpid());
    assert_true(shmi_owner_self(NULL) == SHMI_OWNER_LOCAL);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static void
scribbled_generations_fool_nobody_for_long(void **state)
{
    static const uint64_t scribbles[] = { UINT64_MAX, 0, UINT64_C(1) << 47,
                                          (UINT64_C(1) << 47) - 1, 77 };
    shmc_segment a, b, c;

    (void)state;
    core_create(&a, "s", 0);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    for (size_t i = 0; i < sizeof scribbles / sizeof scribbles[0]; i++) {
        const uint64_t me = shmi_owner_self(&a);
        a.participants[0].generation = scribbles[i];
        assert_true(shmi_owner_alive(&a, me));
        assert_false(shmi_owner_alive(&a, 77 << 16 | 1));
        a.participants[2].generation = scribbles[i];
        assert_int_equal(core_attach(&c, "s", 0), SHMC_OK);
        assert_true(c.generation != 0 && c.generation < UINT64_C(1) << 47);
        assert_true(shmi_owner_alive(&b, shmi_owner_self(&c)));
        assert_int_equal(shmi_owner_self(&c) & 0xffff, 3);
        shmc_segment_close(&c);
    }
    shmc_segment_close(&a);
    shmc_segment_close(&b);
    core_unlink("s", 0);
}

/* ---- roles ------------------------------------------------------------- */

typedef struct role_guest {
    const char *name;
    uint32_t reached;
} role_guest;

static int
takes_the_role(void *arg)
{
    role_guest *g = arg;
    const shmc_object_desc d = core_object(8);
    shmc_segment s;
    shmc_object x;

    TEST_REQUIRE(core_attach(&s, g->name, 0) == SHMC_OK);
    TEST_REQUIRE(shmc_object_open(&s, "role", &d, &x) == SHMC_OK);
    TEST_REQUIRE(shmi_role_claim(&s, x.mem, "the driver") == SHMC_OK);
    core_reach(&g->reached, 1);
    return core_stay();
}

static void
role_has_one_live_holder_and_a_killed_ones_successor(void **state)
{
    const shmc_object_desc d = core_object(8);
    role_guest *g = test_shared(sizeof *g);
    char text[32];
    shmc_segment s;
    shmc_object x;

    (void)state;
    g->name = "s";
    core_create(&s, "s", 0);
    assert_int_equal(shmc_object_open(&s, "role", &d, &x), SHMC_OK);
    const pid_t guest = test_spawn(takes_the_role, g);
    core_await(&g->reached, 1);
    snprintf(text, sizeof text, "process %d is", (int)guest);
    CORE_FAILS(shmi_role_claim(&s, x.mem, "the driver"), SHMC_EBUSY, text);
    assert_non_null(strstr(shmc_last_error(), "become the driver"));
    test_kill(guest);
    assert_int_equal(shmi_role_claim(&s, x.mem, "the driver"), SHMC_OK);
    snprintf(text, sizeof text, "process %d is", (int)getpid());
    CORE_FAILS(shmi_role_claim(&s, x.mem, "the driver"), SHMC_EBUSY, text);
    shmi_role_drop(&s, x.mem);
    assert_int_equal(*(uint64_t *)x.mem, 0);
    *(uint64_t *)x.mem = 0xdeadbeef;            /* scribbled: nobody's      */
    assert_int_equal(shmi_role_claim(&s, x.mem, "the driver"), SHMC_OK);
    *(uint64_t *)x.mem = 0xdeadbeef;
    shmi_role_drop(&s, x.mem);                  /* not ours any more        */
    assert_int_equal(*(uint64_t *)x.mem, 0xdeadbeef);
    shmc_object_close(&s, &x);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

static void
role_needs_a_writable_segment_or_none(void **state)
{
    const shmc_object_desc d = core_object(8);
    shmc_segment s, r;
    shmc_object x;
    uint64_t word = 0;

    (void)state;
    core_create(&s, "s", 0);
    assert_int_equal(shmc_object_open(&s, "role", &d, &x), SHMC_OK);
    assert_int_equal(core_attach(&r, "s", SHMC_READ_ONLY), SHMC_OK);
    CORE_FAILS(shmi_role_claim(&r, x.mem, "the driver"), SHMC_EROFS,
               "become the driver: segment 's' is open read-only");
    assert_int_equal(shmi_role_claim(NULL, &word, "the driver"), SHMC_OK);
    assert_int_equal(shmi_role_claim(NULL, &word, "the driver"), SHMC_OK);
    shmi_role_drop(NULL, &word);
    assert_int_equal(word, 0);
    shmc_object_close(&s, &x);
    shmc_segment_close(&r);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

/* ---- seats ------------------------------------------------------------- */

typedef struct settling {
    int calls, answer;
    uint32_t seat;
} settling;

static int
settles(void *ctx, uint32_t seat)
{
    settling *t = ctx;

    t->calls++;
    t->seat = seat;
    return t->answer;
}

static void
dead_owners_seat_is_settled_and_then_taken(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmi_seat_shm seats[3];
    settling t = { 0, 0, 99 };
    shmc_segment s, b;

    (void)state;
    memset(seats, 0, sizeof seats);
    core_create(&s, "s", 0);
    assert_int_equal(core_attach(&b, "s", 0), SHMC_OK);
    const pid_t guest = core_guest_start(g, "s", 0);
    assert_int_equal(shmi_seat_claim(&s, seats, 3, settles, &t), 0);
    seats[1].owner = g->owner;
    seats[1].intent = 5;
    assert_int_equal(shmi_seat_claim(&b, seats, 3, settles, &t), 2);
    CORE_FAILS(shmi_seat_claim(&b, seats, 3, settles, &t), SHMC_ELIMIT,
               "all 3 seats of the object are taken");
    assert_int_equal(t.calls, 0);
    assert_int_equal(seats[1].intent, 5);
    test_kill(guest);

    t.answer = SHMC_EAGAIN;         /* not now: the seat stays as it is     */
    assert_int_equal(shmi_seat_claim(&b, seats, 3, settles, &t), SHMC_ELIMIT);
    assert_int_equal(t.calls, 1);
    assert_true(seats[1].owner == g->owner);
    t.answer = 0;
    assert_int_equal(shmi_seat_claim(&b, seats, 3, settles, &t), 1);
    assert_int_equal(t.calls, 2);
    assert_int_equal(t.seat, 1);
    assert_int_equal(seats[1].intent, 0);
    assert_true(seats[1].owner == shmi_owner_self(&b));

    shmi_seat_drop(&seats[0]);
    seats[2].owner = 0xbad;         /* nobody's: taken without a callback   */
    assert_int_equal(shmi_seat_claim(&s, seats, 3, NULL, NULL), 0);
    assert_int_equal(shmi_seat_claim(&s, seats, 3, NULL, NULL), 2);
    CORE_FAILS(shmi_seat_claim(NULL, seats, 3, NULL, NULL), SHMC_ELIMIT,
               "(memory)");
    shmc_segment_close(&b);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

/* Takes the seat itself while the other is settling it.                   */
static int
is_overtaken(void *ctx, uint32_t seat)
{
    shmi_seat_shm *seats = ctx;

    seats[seat].owner = SHMI_OWNER_LOCAL;
    return 0;
}

static void
seat_lost_while_settling_is_left_to_the_winner(void **state)
{
    shmi_seat_shm seats[2];
    shmc_segment s;

    (void)state;
    memset(seats, 0, sizeof seats);
    core_create(&s, "s", 0);
    seats[0].owner = 0xbad;
    assert_int_equal(shmi_seat_claim(&s, seats, 2, is_overtaken, seats), 1);
    assert_true(seats[0].owner == SHMI_OWNER_LOCAL);
    shmc_segment_close(&s);
    core_unlink("s", 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(killed_process_is_dead_and_a_stopped_one_is_not),
        CORE_CASE(read_only_and_inspecting_users_see_who_lives),
        CORE_CASE(slot_is_reused_with_a_new_generation),
        CORE_CASE(full_table_is_elimit_until_somebody_dies),
        CORE_CASE(label_is_the_given_one_or_the_programs_name),
        CORE_CASE(participants_beyond_the_table_do_not_exist),
        CORE_CASE(words_that_name_nobody_are_dead_owners),
        CORE_CASE(scribbled_generations_fool_nobody_for_long),
        CORE_CASE(role_has_one_live_holder_and_a_killed_ones_successor),
        CORE_CASE(role_needs_a_writable_segment_or_none),
        CORE_CASE(dead_owners_seat_is_settled_and_then_taken),
        CORE_CASE(seat_lost_while_settling_is_left_to_the_winner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
