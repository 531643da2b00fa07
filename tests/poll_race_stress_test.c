/* Every message comes while the poller falls asleep, sleeps or wakes, at one
 * of many queues, from several processes; nobody looks again of his own.  A
 * lost wake-up hangs until the watchdog ends it.  And where the kernel cannot
 * watch all words at once, everything still arrives.                       */
#define SHMC_SPIN_TRIES 0u
#define SHMC_YIELD_TRIES 0u
#define SHMC_RECHECK_NS 3600000000000
#define SHMC_PEER_CHECK_NS 3600000000000
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_poll.h"
#include "shmcomm_ring.h"

#include "platform_seccomp.h"
#include "test_support.h"

#include <sys/epoll.h>

enum { SENDERS = 2, MAX_QUEUES = 150 };

typedef struct plan {
    const char *segment;
    uint32_t queues, messages, wake;
    bool     denied;                /* no futex_waitv                       */
    bool     by_fd;                 /* by epoll and the descriptor          */
} plan;

static char folder[64];
static volatile uint32_t *acked;    /* shared: messages heard of each sender */
static const plan *the;
static uint32_t self;               /* of a sender                          */

static int
begin(void **state)
{
    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    if (acked == NULL) acked = test_shared(4096);
    return test_watch(state);
}

static int
end(void **state)
{
    test_dir_remove(folder);
    return test_unwatch(state);
}

static void
queue_open(shmc_spsc *q, shmc_segment *s, uint32_t i, uint32_t role)
{
    const shmc_spsc_desc d = { .slot_bytes = 8, .slot_count = 2, .waitable = 1 };
    char name[16];

    snprintf(name, sizeof name, "q%u", i);
    TEST_REQUIRE(shmc_spsc_open(q, s, name, &d, role) == SHMC_OK);
}

static uint32_t
next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Sends one message after the other, each when the last one was heard, and
 * after a pause of its own.                                                */
static int
sender(void *arg)
{
    static shmc_spsc q[MAX_QUEUES];
    uint32_t seed = 7 + *(const uint32_t *)arg;
    shmc_segment s;

    self = *(const uint32_t *)arg;
    TEST_REQUIRE(shmc_segment_attach(&s, the->segment, NULL) == SHMC_OK);
    for (uint32_t i = self; i < the->queues; i += SENDERS)
        queue_open(&q[i], &s, i, SHMC_PRODUCER);
    const uint32_t mine = (the->queues - self + SENDERS - 1) / SENDERS;
    for (uint64_t n = 0; n < the->messages; n++) {
        while (shmi_load_acq_32((const uint32_t *)(uintptr_t)&acked[self]) < n)
            shmi_yield();
        for (uint32_t pause = next_random(&seed) % 512; pause > 0; pause--)
            shmi_relax();
        const uint32_t i = next_random(&seed) % mine * SENDERS + self;
        TEST_REQUIRE(shmc_spsc_push(&q[i], &n, 8) == SHMC_OK);
    }
    for (uint32_t i = self; i < the->queues; i += SENDERS)
        TEST_REQUIRE(shmc_spsc_close(&q[i]) == SHMC_OK);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    return 0;
}

static void
acknowledge(uint32_t who, uint64_t n)
{
    TEST_REQUIRE(n == acked[who]);
    shmi_store_rel_32((uint32_t *)(uintptr_t)&acked[who], (uint32_t)n + 1);
}

/* Take what is ready; how many messages.                                   */
static uint32_t
hear(shmc_poll_item *item, int ready)
{
    uint32_t heard = 0;
    uint64_t n = 0;

    TEST_REQUIRE(ready > 0);
    for (uint32_t i = 0; i < the->queues; i++) {
        if (item[i].revents == 0) continue;
        TEST_REQUIRE(item[i].revents == SHMC_POLLIN);
        shmc_spsc *q = item[i].user;
        while (shmc_spsc_pop(q, &n, 8) == SHMC_OK) {
            heard++;
            acknowledge(i % SENDERS, n);
        }
        ready--;
    }
    TEST_REQUIRE(ready == 0);
    return heard;
}

static void
poll_all(shmc_poll_item *item)
{
    const uint32_t senders = the->queues < SENDERS ? the->queues : SENDERS;
    uint32_t left = senders * the->messages;

    while (left > 0)
        left -= hear(item, shmc_poll(item, the->queues, SHMC_FOREVER));
}

static void
poll_all_by_fd(shmc_poll_item *item)
{
    const uint32_t senders = the->queues < SENDERS ? the->queues : SENDERS;
    uint32_t left = senders * the->messages;
    struct epoll_event event = { .events = EPOLLIN };
    const int ep = epoll_create1(EPOLL_CLOEXEC);
    shmc_poll_fd fd;

    TEST_REQUIRE(shmc_poll_fd_open(&fd, the->queues) == SHMC_OK);
    TEST_REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, shmc_poll_fd_get(&fd), &event) == 0);
    int ready = shmc_poll_fd_next(&fd, item, the->queues);
    for (;;) {
        if (ready > 0) left -= hear(item, ready);
        if (left == 0) break;
        while (epoll_wait(ep, &event, 1, -1) != 1) TEST_REQUIRE(errno == EINTR);
        ready = shmc_poll_fd_next(&fd, item, the->queues);
        TEST_REQUIRE(ready >= 0);
    }
    TEST_REQUIRE(shmc_poll_fd_close(&fd) == SHMC_OK);
    close(ep);
}

static int
poller(void *arg)
{
    static shmc_spsc q[MAX_QUEUES];
    static shmc_poll_item item[MAX_QUEUES];
    shmc_segment s;

    (void)arg;
    memset(item, 0, sizeof item);
    TEST_REQUIRE(shmc_segment_attach(&s, the->segment, NULL) == SHMC_OK);
    for (uint32_t i = 0; i < the->queues; i++) {
        queue_open(&q[i], &s, i, SHMC_CONSUMER);
        item[i].of = shmc_spsc_pollable(&q[i]);
        item[i].events = SHMC_POLLIN;
        item[i].user = &q[i];
    }
    if (the->denied) platform_deny(SYS_futex_waitv, ENOSYS);
    if (the->by_fd) poll_all_by_fd(item);
    else poll_all(item);
    for (uint32_t i = 0; i < the->queues; i++)
        TEST_REQUIRE(shmc_spsc_close(&q[i]) == SHMC_OK);
    TEST_REQUIRE(shmc_segment_close(&s) == SHMC_OK);
    return 0;
}

static void
run(const plan *p)
{
    const shmc_segment_desc d = { .max_objects = 256, .wake = p->wake };
    static uint32_t number[SENDERS] = { 0, 1 };
    pid_t child[SENDERS];
    shmc_segment s;

    the = p;
    acked[0] = acked[1] = 0;
    assert_int_equal(shmc_segment_create(&s, p->segment, &d), SHMC_OK);
    const pid_t ear = test_spawn(poller, NULL);
    const uint32_t senders = p->queues < SENDERS ? p->queues : SENDERS;
    for (uint32_t i = 0; i < senders; i++)
        child[i] = test_spawn(sender, &number[i]);
    for (uint32_t i = 0; i < senders; i++)
        assert_int_equal(test_join(child[i]), 0);
    assert_int_equal(test_join(ear), 0);
    for (uint32_t i = 0; i < senders; i++)
        assert_int_equal(acked[i], p->messages);
    shmc_segment_close(&s);
    assert_int_equal(shmc_segment_unlink(p->segment, NULL), SHMC_OK);
}

static void
no_wake_up_is_lost(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        TEST_EMULATOR_LACKS(wake == SHMC_WAKE_FENCE ||
                            shmi_membarrier_supported(), "membarrier");
        for (uint32_t queues = 1; queues <= 64; queues *= 4) {
            const plan p = { "race", queues, 600, wake, false, false };
            run(&p);
        }
    }
}

static void
no_wake_up_is_lost_by_the_descriptor(void **state)
{
    (void)state;
    for (uint32_t wake = SHMC_WAKE_FENCE; wake <= SHMC_WAKE_ASYMMETRIC; wake++) {
        TEST_EMULATOR_LACKS(wake == SHMC_WAKE_FENCE ||
                            shmi_membarrier_supported(), "membarrier");
        for (uint32_t queues = 1; queues <= 16; queues *= 4) {
            const plan p = { "race", queues, 400, wake, false, true };
            run(&p);
        }
    }
}

static void
more_words_than_the_kernel_takes_are_watched_too(void **state)
{
    (void)state;
    for (int by_fd = 0; by_fd <= 1; by_fd++) {
        const plan p = { "many", MAX_QUEUES, 200, SHMC_WAKE_FENCE, false, by_fd };
        run(&p);
    }
}

static void
an_older_kernel_is_slower_and_loses_nothing(void **state)
{
    static const uint32_t queues[] = { 1, 6, MAX_QUEUES };

    (void)state;
    PLATFORM_NEEDS_FILTER();
    for (int by_fd = 0; by_fd <= 1; by_fd++)
        for (int i = 0; i < 3; i++) {
            const plan p = { "old", queues[i], 80, SHMC_WAKE_FENCE, true, by_fd };
            run(&p);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_wake_up_is_lost, begin, end),
        cmocka_unit_test_setup_teardown(no_wake_up_is_lost_by_the_descriptor,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            more_words_than_the_kernel_takes_are_watched_too, begin, end),
        cmocka_unit_test_setup_teardown(
            an_older_kernel_is_slower_and_loses_nothing, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
