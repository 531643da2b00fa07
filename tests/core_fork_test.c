/* fork: a child has its parent's memory, but neither its handles nor locks.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "core_support.h"

#include "shmcomm_counter.h"

#include <pthread.h>

typedef struct inherited {
    shmc_segment s, memory;
    shmc_object x;
    shmc_counter c;
    uint32_t *reached;              /* in shared memory                     */
} inherited;

static void
inherited_open(inherited *h)
{
    const shmc_object_desc d = core_object(64);

    memset(h, 0, sizeof *h);
    h->reached = test_shared(4096);
    core_create(&h->s, "s", SHMC_EPHEMERAL);
    assert_int_equal(shmc_object_open(&h->s, "x", &d, &h->x), SHMC_OK);
    strcpy(h->x.mem, "the parent's");
    assert_int_equal(shmc_counter_open(&h->c, &h->s, "c", true), SHMC_OK);
    shmc_counter_add(&h->c, 5);
}

static void
inherited_close(inherited *h)
{
    assert_int_equal(shmc_counter_close(&h->c), SHMC_OK);
    assert_int_equal(shmc_object_close(&h->s, &h->x), SHMC_OK);
    assert_int_equal(shmc_segment_close(&h->s), SHMC_OK);
}

static int
uses_what_it_inherited(void *arg)
{
    inherited *h = arg;
    const shmc_object_desc d = core_object(64);
    shmc_participant_info p;
    shmc_segment_info info;
    shmc_object_info o;
    shmc_counter c;
    shmc_object y;

    CORE_REQUIRE_FAILS(shmc_object_open(&h->s, "y", &d, &y), SHMC_EFORKED,
                       "the parent process's; open the segment again");
    CORE_REQUIRE_FAILS(shmc_object_attach(&h->s, "x", &d, &y), SHMC_EFORKED,
                       "segment 's'");
    CORE_REQUIRE_FAILS(shmc_object_remove(&h->s, "x"), SHMC_EFORKED, "remove");
    CORE_REQUIRE_FAILS(shmc_object_info_get(&h->s, 0, &o), SHMC_EFORKED,
                       "look at an object");
    CORE_REQUIRE_FAILS(shmc_segment_info_get(&h->s, &info), SHMC_EFORKED,
                       "look at a segment");
    CORE_REQUIRE_FAILS(shmc_participant_info_get(&h->s, 0, &p), SHMC_EFORKED,
                       "look at a participant");
    CORE_REQUIRE_FAILS(shmc_counter_open(&c, &h->s, "c", false), SHMC_EFORKED,
                       "parent");
    TEST_REQUIRE(shmc_counter_add(&h->c, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_counter_get(&h->c) == 5);
    TEST_REQUIRE(shmc_segment_linked(&h->s) == 0);
    TEST_REQUIRE(shmc_segment_shared(&h->s) == 0);
    TEST_REQUIRE(strcmp(h->x.mem, "the parent's") == 0);
    TEST_REQUIRE(shmc_counter_close(&h->c) == SHMC_OK);
    TEST_REQUIRE(shmc_object_close(&h->s, &h->x) == SHMC_OK);
    TEST_REQUIRE(shmc_segment_close(&h->s) == SHMC_OK);
    CORE_REQUIRE_FAILS(shmc_segment_close(&h->s), SHMC_ECLOSED, "not open");
    return 7;
}

static void
inherited_handle_is_eforked_everywhere(void **state)
{
    inherited h;

    (void)state;
    inherited_open(&h);
    assert_int_equal(test_join(test_spawn(uses_what_it_inherited, &h)), 7);
    assert_int_equal(shmc_counter_get(&h.c), 5);
    inherited_close(&h);
}

static int
does_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int
asks_about_the_parent(void *arg)
{
    core_guest *g = arg;
    shmc_segment s;

    TEST_REQUIRE(core_attach(&s, g->name, 0) == SHMC_OK);
    TEST_REQUIRE(shmi_owner_alive(&s, g->owner));
    TEST_REQUIRE(shmc_segment_shared(&s) == 1);
    CORE_REQUIRE_FAILS(shmc_object_remove(&s, "x"), SHMC_EBUSY, "has it open");
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    CORE_REQUIRE_FAILS(core_unlink("s", 0), SHMC_EBUSY, "a live process");
    return 0;
}

static void
parents_locks_survive_the_childs_close_and_exit(void **state)
{
    inherited h;
    core_guest g;

    (void)state;
    inherited_open(&h);
    memset(&g, 0, sizeof g);
    g.name = "s";
    g.owner = shmi_owner_self(&h.s);
    assert_int_equal(test_join(test_spawn(does_nothing, NULL)), 0);
    assert_int_equal(test_join(test_spawn(asks_about_the_parent, &g)), 0);
    assert_int_equal(test_join(test_spawn(uses_what_it_inherited, &h)), 7);
    assert_int_equal(test_join(test_spawn(asks_about_the_parent, &g)), 0);
    assert_int_equal(shmc_segment_linked(&h.s), 1);
    inherited_close(&h);
}

/* A parent that opens all there is, forks a child that does nothing at all,
 * and is killed.  The child must outlive it, so it is not test_spawn's.    */
static int
forks_an_heir(void *arg)
{
    core_guest *g = arg;
    const shmc_object_desc d = core_object(64);
    shmc_segment s;
    shmc_object x;

    TEST_REQUIRE(core_attach(&s, g->name, g->flags) == SHMC_OK);
    TEST_REQUIRE(shmc_object_attach(&s, "x", &d, &x) == SHMC_OK);
    g->owner = s.read_only ? 0 : shmi_owner_self(&s);
    const pid_t heir = fork();
    if (heir == 0) {
        alarm(60);
        core_reach(g->reached, 1);
        for (;;) pause();
    }
    g->reached[1] = (uint32_t)heir;
    return core_stay();
}

static void
death_is_noticed(uint32_t flags)
{
    const shmc_object_desc d = core_object(64);
    core_guest *g = CORE_GUEST_NEW();
    shmc_segment s;
    shmc_object x;

    core_create(&s, "s", 0);
    assert_int_equal(shmc_object_open(&s, "x", &d, &x), SHMC_OK);
    shmc_object_close(&s, &x);
    g->name = "s";
    g->flags = flags;
    g->reached = (uint32_t *)(void *)(g + 1);
    const pid_t parent = test_spawn(forks_an_heir, g);
    core_await(g->reached, 1);
    assert_int_equal(shmc_segment_shared(&s), 1);
    CORE_FAILS(shmc_object_remove(&s, "x"), SHMC_EBUSY, "has it open");
    while (shmi_load_acq_32(&g->reached[1]) == 0) test_sleep_ms(1);
    const pid_t heir = (pid_t)g->reached[1];
    test_kill(parent);
    assert_int_equal(kill(heir, 0), 0);
    while (shmi_owner_alive(&s, g->owner)) test_sleep_ms(1);
    while (shmc_segment_shared(&s) != 0) test_sleep_ms(1);
    assert_int_equal(shmc_object_remove(&s, "x"), SHMC_OK);
    shmc_segment_close(&s);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
    assert_int_equal(kill(heir, 0), 0);
    kill(heir, SIGKILL);
}

static void
parents_death_is_noticed_while_its_child_lives(void **state)
{
    (void)state;
    death_is_noticed(0);
    death_is_noticed(SHMC_READ_ONLY);
}

static int
creates_forks_and_waits(void *arg)
{
    core_guest *g = arg;
    shmc_segment s;

    core_create(&s, "s", 0);
    g->owner = shmi_owner_self(&s);
    const pid_t heir = fork();
    if (heir == 0) {
        alarm(60);
        for (;;) pause();
    }
    g->reached[1] = (uint32_t)heir;
    core_reach(g->reached, 1);
    return core_stay();
}

static void
creators_death_is_noticed_while_its_child_lives(void **state)
{
    core_guest *g = CORE_GUEST_NEW();
    shmc_segment s;

    (void)state;
    g->reached = (uint32_t *)(void *)(g + 1);
    const pid_t parent = test_spawn(creates_forks_and_waits, g);
    core_await(g->reached, 1);
    assert_int_equal(core_attach(&s, "s", 0), SHMC_OK);
    test_kill(parent);
    while (shmi_owner_alive(&s, g->owner)) test_sleep_ms(1);
    while (shmc_segment_shared(&s) != 0) test_sleep_ms(1);
    shmc_segment_close(&s);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
    kill((pid_t)g->reached[1], SIGKILL);
}

static int
grandchild_checks(void *arg)
{
    const shmc_object_desc d = core_object(64);
    shmc_segment *of_parent = arg;
    shmc_object x;

    CORE_REQUIRE_FAILS(shmc_object_open(of_parent, "x", &d, &x), SHMC_EFORKED,
                       "parent");
    return 3;
}

static int
opens_for_itself(void *arg)
{
    inherited *h = arg;
    const shmc_object_desc d = core_object(64);
    shmc_segment s;
    shmc_object x;

    TEST_REQUIRE(core_attach(&s, "s", 0) == SHMC_OK);
    TEST_REQUIRE(shmi_owner_self(&s) != shmi_owner_self(&h->s));
    TEST_REQUIRE(shmc_object_open(&s, "x", &d, &x) == SHMC_OK);
    TEST_REQUIRE(strcmp(x.mem, "the parent's") == 0);
    TEST_REQUIRE(test_join(test_spawn(grandchild_checks, &s)) == 3);
    TEST_REQUIRE(test_join(test_spawn(grandchild_checks, &h->s)) == 3);
    TEST_REQUIRE(shmc_object_close(&s, &x) == SHMC_OK);
    return shmc_segment_close(&s);
}

static void
child_may_open_for_itself(void **state)
{
    inherited h;

    (void)state;
    inherited_open(&h);
    assert_int_equal(test_join(test_spawn(opens_for_itself, &h)), 0);
    inherited_close(&h);
}

static int
uses_inherited_memory(void *arg)
{
    const shmc_object_desc d = core_object(64);
    inherited *h = arg;
    shmc_object x;

    CORE_REQUIRE_FAILS(shmc_object_open(&h->memory, "x", &d, &x), SHMC_EFORKED,
                       "(memory)");
    return shmc_segment_close(&h->memory);
}

static void
memory_segments_know_of_forks_too(void **state)
{
    shmc_segment_desc sd = core_desc(0);
    const uint64_t bytes = (uint64_t)shmc_segment_size_for(&sd);
    shmc_participant_info p;
    inherited h;

    (void)state;
    void *mem = test_shared(bytes);
    assert_int_equal(shmc_segment_format(mem, bytes, &sd), SHMC_OK);
    assert_int_equal(shmc_segment_map(&h.memory, mem, bytes), SHMC_OK);
    assert_int_equal(test_join(test_spawn(uses_inherited_memory, &h)), 0);
    assert_int_equal(shmc_participant_info_get(&h.memory, 0, &p), SHMC_OK);
    assert_true(p.alive);
    shmc_segment_close(&h.memory);
}

/* ---- forks at any moment ----------------------------------------------- */

typedef struct busy {
    uint32_t stop, children;
    uint32_t pid[64];
} busy;

static void *
opens_and_closes(void *arg)
{
    busy *b = arg;
    shmc_segment s;

    while (shmi_load_acq_32(&b->stop) == 0) {
        const shmc_segment_desc d = core_desc(SHMC_EPHEMERAL);
        const int r = shmc_segment_open(&s, "s", &d);
        TEST_REQUIRE(r == SHMC_OK);
        TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
        (void)core_unlink("s", 0);
    }
    return NULL;
}

static int
forks_while_threads_open(void *arg)
{
    busy *b = arg;
    pthread_t t[2];

    for (int i = 0; i < 2; i++)
        TEST_REQUIRE(pthread_create(&t[i], NULL, opens_and_closes, b) == 0);
    for (uint32_t i = 0; i < 64; i++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);
            for (;;) pause();
        }
        b->pid[i] = (uint32_t)child;
        shmi_store_rel_32(&b->children, i + 1);
    }
    shmi_store_rel_32(&b->stop, 1);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    /* One more, whose user dies with it.                                  */
    shmc_segment s;
    const shmc_segment_desc d = core_desc(0);
    TEST_REQUIRE(shmc_segment_open(&s, "s", &d) == SHMC_OK);
    return 0;
}

/* Whatever the threads were doing when a child was forked: it keeps none of
 * their locks, though it lives on.                                        */
static void
child_of_a_fork_at_any_moment_holds_no_lock(void **state)
{
    busy *b = test_shared(sizeof *b);
    shmc_segment s;

    (void)state;
    assert_int_equal(test_join(test_spawn(forks_while_threads_open, b)), 0);
    assert_int_equal(core_attach(&s, "s", 0), SHMC_OK);
    while (shmc_segment_shared(&s) != 0) test_sleep_ms(1);
    shmc_segment_close(&s);
    assert_int_equal(core_unlink("s", 0), SHMC_OK);
    for (uint32_t i = 0; i < b->children; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%u/fd", b->pid[i]);
        /* What two threads have in passing, without locks, may remain: a
         * folder, a file twice, and /proc/PID/stat each.                  */
        assert_true(core_count(path) <= core_fds + 8);
        kill((pid_t)b->pid[i], SIGKILL);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_CASE(inherited_handle_is_eforked_everywhere),
        CORE_CASE(parents_locks_survive_the_childs_close_and_exit),
        CORE_CASE(parents_death_is_noticed_while_its_child_lives),
        CORE_CASE(creators_death_is_noticed_while_its_child_lives),
        CORE_CASE(child_may_open_for_itself),
        CORE_CASE(memory_segments_know_of_forks_too),
        CORE_CASE(child_of_a_fork_at_any_moment_holds_no_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
