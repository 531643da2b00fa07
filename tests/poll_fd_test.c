/* The descriptor that other event loops wait on: when it is readable, who may
 * use it, and that the objects of an armed set stay the caller's.          */
#define SHMC_RECHECK_NS 3600000000000     /* so that no look of its own helps */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"

#include "folder_support.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define MS 1000000

static bool
readable(const shmc_poll_fd *fd, int timeout_ms)
{
    struct pollfd p = { .fd = shmc_poll_fd_get(fd), .events = POLLIN };
    int r;

    assert_true(p.fd >= 0);
    do r = poll(&p, 1, timeout_ms); while (r < 0 && errno == EINTR);
    return r == 1;
}

/* A subscriber and its publisher.                                          */
typedef struct pair {
    shmc_pub pub;
    shmc_sub sub;
    shmc_poll_item item;
} pair;

static void
pair_open(pair *p, const char *name)
{
    assert_int_equal(shmc_pub_open(&p->pub, name, NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&p->sub, name, NULL), SHMC_OK);
    memset(&p->item, 0, sizeof p->item);
    p->item.of = shmc_sub_pollable(&p->sub);
    p->item.events = SHMC_POLLIN;
}

static void
pair_close(pair *p)
{
    assert_int_equal(shmc_sub_close(&p->sub), SHMC_OK);
    assert_int_equal(shmc_pub_close(&p->pub), SHMC_OK);
}

static void
say(pair *p)
{
    assert_int_equal(shmc_pub_send(&p->pub, "x", 1, 0), SHMC_OK);
}

static void
hear(pair *p)
{
    char c;

    assert_int_equal(shmc_sub_recv(&p->sub, &c, 1, 0), 1);
}

/* Armed, and nothing is to be had: until a call says so there may be time to
 * look again.                                                              */
static void
arm(shmc_poll_fd *fd, shmc_poll_item *item, uint32_t count)
{
    assert_int_equal(shmc_poll_fd_next(fd, item, count), 0);
}

static void
it_is_readable_while_something_is_ready(void **state)
{
    shmc_poll_fd fd;
    pair p;

    (void)state;
    pair_open(&p, "a");
    assert_int_equal(shmc_poll_fd_open(&fd, 1), SHMC_OK);
    assert_false(readable(&fd, 0));
    arm(&fd, &p.item, 1);
    assert_false(readable(&fd, 5));
    say(&p);
    say(&p);
    assert_true(readable(&fd, -1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_poll_fd_next(&fd, &p.item, 1), 1);
        assert_int_equal(p.item.revents, SHMC_POLLIN);
        assert_true(readable(&fd, 0));
    }
    hear(&p);
    assert_int_equal(shmc_poll_fd_next(&fd, &p.item, 1), 1);
    hear(&p);
    assert_true(readable(&fd, 0));
    arm(&fd, &p.item, 1);
    assert_false(readable(&fd, 5));
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    pair_close(&p);
}

static void
it_wakes_an_edge_triggered_epoll(void **state)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    const int ep = epoll_create1(EPOLL_CLOEXEC);
    int heard = 0;
    shmc_poll_fd fd;
    pair p;

    (void)state;
    pair_open(&p, "et");
    assert_int_equal(shmc_poll_fd_open(&fd, 1), SHMC_OK);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, shmc_poll_fd_get(&fd), &event),
                     0);
    arm(&fd, &p.item, 1);
    for (int i = 0; i < 20; i++) say(&p);
    while (heard < 20) {
        while (epoll_wait(ep, &event, 1, -1) != 1) assert_int_equal(errno, EINTR);
        if (shmc_poll_fd_next(&fd, &p.item, 1) == 0) continue;
        hear(&p);                   /* one only: there is more              */
        heard++;
    }
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    close(ep);
    pair_close(&p);
}

static void
it_is_readable_when_it_is_time_to_look_again(void **state)
{
    shmc_poll_item item;
    shmc_poll_fd fd;
    shmc_pub pub;
    shmc_sub sub;
    shmc_timer t;
    char c;

    (void)state;
    memset(&item, 0, sizeof item);
    item.events = SHMC_POLLIN;
    assert_int_equal(shmc_poll_fd_open(&fd, 4), SHMC_OK);
    /* A timer's time.                                                      */
    assert_int_equal(shmc_timer_start(&t, 20 * MS, 0), SHMC_OK);
    item.of = shmc_timer_pollable(&t);
    while (shmc_poll_fd_next(&fd, &item, 1) == 0)
        assert_true(readable(&fd, -1));
    assert_true(shmi_now_ns() >= t.next_ns);
    assert_int_equal(shmc_timer_read(&t), 1);
    /* A topic that comes later.                                            */
    assert_int_equal(shmc_sub_open(&sub, "late", NULL), SHMC_OK);
    item.of = shmc_sub_pollable(&sub);
    arm(&fd, &item, 1);
    assert_int_equal(shmc_pub_open(&pub, "late", NULL), SHMC_OK);
    assert_int_equal(shmc_pub_send(&pub, "x", 1, 0), SHMC_OK);
    while (shmc_poll_fd_next(&fd, &item, 1) == 0)
        assert_true(readable(&fd, -1));
    assert_int_equal(shmc_sub_recv(&sub, &c, 1, 0), 1);
    /* A silence.                                                           */
    item.silence_ns = 10 * MS;
    while (shmc_poll_fd_next(&fd, &item, 1) == 0)
        assert_true(readable(&fd, -1));
    assert_int_equal(item.revents, SHMC_POLLDEADLINE);
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
}

static void
an_armed_socket_stays_the_callers_to_use(void **state)
{
    pair p[2];
    shmc_poll_item item[2];
    shmc_poll_fd fd;
    char c;

    (void)state;
    pair_open(&p[0], "u0");
    pair_open(&p[1], "u1");
    item[0] = p[0].item;
    item[1] = p[1].item;
    assert_int_equal(shmc_poll_fd_open(&fd, 2), SHMC_OK);
    for (int i = 0; i < 200; i++) {
        arm(&fd, item, 2);
        say(&p[i % 2]);             /* rings while the thread sleeps        */
        hear(&p[i % 2]);            /* and is taken behind the poller's back */
        assert_true(readable(&fd, -1));
        assert_int_equal(shmc_sub_recv(&p[0].sub, &c, 1, 0), SHMC_EAGAIN);
    }
    arm(&fd, item, 2);
    /* Stopped: nobody looks at the words any more, and they may go.        */
    assert_int_equal(shmc_poll_fd_stop(&fd), SHMC_OK);
    say(&p[0]);
    assert_false(readable(&fd, 5));
    pair_close(&p[1]);
    assert_int_equal(shmc_poll_fd_next(&fd, item, 1), 1);
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    pair_close(&p[0]);
}

static void
it_may_be_closed_in_any_state(void **state)
{
    shmc_poll_fd fd;
    pair p;

    (void)state;
    pair_open(&p, "c");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(shmc_poll_fd_open(&fd, 1), SHMC_OK);
        if (i % 4 > 0) arm(&fd, &p.item, 1);
        if (i % 4 > 1) {
            say(&p);
            hear(&p);
        }
        if (i % 4 > 2) assert_true(readable(&fd, -1));
        assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
        assert_int_equal(shmc_poll_fd_close(&fd), SHMC_ECLOSED);
    }
    pair_close(&p);
}

static int
inherit(void *arg)
{
    shmc_poll_fd *fd = arg;
    shmc_poll_item item;

    memset(&item, 0, sizeof item);
    TEST_REQUIRE(shmc_poll_fd_get(fd) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_poll_fd_next(fd, &item, 1) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_poll_fd_stop(fd) == SHMC_EFORKED);
    TEST_REQUIRE(shmc_poll_fd_close(fd) == SHMC_OK);
    return 0;
}

static void
a_forked_child_may_only_close_it(void **state)
{
    shmc_poll_fd fd;
    pair p;

    (void)state;
    pair_open(&p, "f");
    assert_int_equal(shmc_poll_fd_open(&fd, 1), SHMC_OK);
    arm(&fd, &p.item, 1);
    assert_int_equal(test_join(test_spawn(inherit, &fd)), 0);
    say(&p);
    assert_true(readable(&fd, -1));
    assert_int_equal(shmc_poll_fd_next(&fd, &p.item, 1), 1);
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    pair_close(&p);
}

static void
bad_calls_are_refused(void **state)
{
    struct rlimit was, none;
    shmc_poll_item item[2];
    shmc_poll_fd fd;

    (void)state;
    memset(item, 0, sizeof item);
    assert_int_equal(shmc_poll_fd_open(&fd, 0), SHMC_EINVAL);
    assert_int_equal(shmc_poll_fd_open(&fd, (1u << 20) + 1), SHMC_EINVAL);
    assert_int_equal(shmc_poll_fd_get(&fd), SHMC_ECLOSED);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    const int r = shmc_poll_fd_open(&fd, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(r, SHMC_ELIMIT);
    assert_int_equal(shmc_poll_fd_open(&fd, 1), SHMC_OK);
    assert_int_equal(shmc_poll_fd_next(&fd, item, 2), SHMC_EINVAL);
    assert_int_equal(shmc_poll_fd_next(&fd, NULL, 1), SHMC_EINVAL);
    item[0].events = SHMC_POLLDEAD;
    assert_int_equal(shmc_poll_fd_next(&fd, item, 1), SHMC_EINVAL);
    assert_int_equal(shmc_poll_fd_next(&fd, NULL, 0), 0);
    assert_int_equal(shmc_poll_fd_close(&fd), SHMC_OK);
    assert_int_equal(shmc_poll_fd_next(&fd, item, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_poll_fd_stop(&fd), SHMC_ECLOSED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER_CASE(it_is_readable_while_something_is_ready),
        FOLDER_CASE(it_wakes_an_edge_triggered_epoll),
        FOLDER_CASE(it_is_readable_when_it_is_time_to_look_again),
        FOLDER_CASE(an_armed_socket_stays_the_callers_to_use),
        FOLDER_CASE(it_may_be_closed_in_any_state),
        FOLDER_CASE(a_forked_child_may_only_close_it),
        FOLDER_CASE(bad_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
