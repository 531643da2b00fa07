/* Servers and clients of a service are killed or stopped at chosen moments,
 * in processes of their own: the others are told, and go on.               */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"

#include "reqrep_support.h"

static const char service[] = "death/plan";

/* Small, so that seats and calls are used again.                           */
static const shmc_rep_desc shape = { .max_bytes = 4096, .max_clients = 2,
                                     .max_outstanding = 2, .max_servers = 2 };

typedef struct actor {
    int (*act)(struct actor *a);
    int ends[2];
    shmc_rep rep;
    shmc_req req;
    char     buf[64];
} actor;

/* In the child: what was to be done is done; wait for the end.             */
static int
stay(actor *a)
{
    TEST_REQUIRE(write(a->ends[1], "x", 1) == 1);
    for (;;) pause();
    return 0;
}

static int
actor_main(void *arg)
{
    actor *a = arg;

    return a->act(a);
}

/* Fork a child that acts up to its stay().                                 */
static pid_t
start(int (*act)(actor *a))
{
    static actor a;
    char byte = 0;

    memset(&a, 0, sizeof a);
    a.act = act;
    assert_int_equal(pipe(a.ends), 0);
    const pid_t pid = test_spawn(actor_main, &a);
    close(a.ends[1]);
    assert_int_equal(read(a.ends[0], &byte, 1), 1);
    close(a.ends[0]);
    return pid;
}

static void
rep_open(shmc_rep *rep)
{
    assert_int_equal(shmc_rep_open(rep, service, &shape), SHMC_OK);
}

static void
req_open(shmc_req *req, uint32_t retries, bool need_server)
{
    const shmc_req_desc d = { .retries = retries, .need_server = need_server };

    assert_int_equal(shmc_req_open(req, service, &d), SHMC_OK);
}

static int
take(shmc_rep *rep)
{
    char buf[64];

    return shmc_rep_recv(rep, buf, sizeof buf, SHMC_FOREVER);
}

static int
wait_for(shmc_req *req, int call)
{
    char buf[64];

    return shmc_req_recv(req, call, buf, sizeof buf, SHMC_FOREVER);
}

/* ---- what the children do ------------------------------------------------- */

static int
serve_idle(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    return stay(a);
}

static int
serve_and_hold(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(shmc_rep_recv(&a->rep, a->buf, sizeof a->buf, SHMC_FOREVER)
                 >= 0);
    return stay(a);
}

static int
serve_one_part(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(shmc_rep_recv(&a->rep, a->buf, sizeof a->buf, SHMC_FOREVER)
                 >= 0);
    TEST_REQUIRE(shmc_rep_send_more(&a->rep, "part", 5, 0) == SHMC_OK);
    return stay(a);
}

static int
serve_and_answer(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(shmc_rep_recv(&a->rep, a->buf, sizeof a->buf, SHMC_FOREVER)
                 >= 0);
    TEST_REQUIRE(shmc_rep_send(&a->rep, "whole", 6, 0) == SHMC_OK);
    return stay(a);
}

/* Pop an id, and die with it before it is taken.                           */
static int
serve_and_pop(actor *a)
{
    const void *cell;

    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    while (shmc_mpmc_borrow(&a->rep.calls.queue, &cell) == SHMC_EAGAIN)
        test_sleep_ms(1);
    return stay(a);
}

/* The same, when a request comes at last.                                   */
static int
serve_and_pop_later(actor *a)
{
    const void *cell;

    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(write(a->ends[1], "x", 1) == 1);
    while (shmc_mpmc_borrow(&a->rep.calls.queue, &cell) == SHMC_EAGAIN)
        test_sleep_ms(1);
    for (;;) pause();
    return 0;
}

/* Pop it, and take it.                                                     */
static int
serve_and_claim(actor *a)
{
    const void *cell;

    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    while (shmc_mpmc_borrow(&a->rep.calls.queue, &cell) == SHMC_EAGAIN)
        test_sleep_ms(1);
    uint64_t id;
    memcpy(&id, cell, sizeof id);
    TEST_REQUIRE(shmi_call_claim(&a->rep.calls, (uint32_t)id & SHMI_CALL_INDEX,
                                 shmi_call_gen(id)));
    return stay(a);
}

static int
serve_and_wait_for_ack(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(write(a->ends[1], "x", 1) == 1);
    TEST_REQUIRE(take(&a->rep) >= 0);
    TEST_REQUIRE(shmc_rep_send_more(&a->rep, "part", 5, 0) == SHMC_OK);
    TEST_REQUIRE(shmc_rep_send(&a->rep, "rest", 5, SHMC_FOREVER) ==
                 SHMC_EPEERDEAD);
    /* It serves the next one.                                              */
    TEST_REQUIRE(take(&a->rep) >= 0);
    TEST_REQUIRE(shmc_rep_send(&a->rep, "next", 5, SHMC_FOREVER) == SHMC_OK);
    TEST_REQUIRE(shmc_rep_close(&a->rep) == SHMC_OK);
    return 0;
}

static int
ask_two(actor *a)
{
    TEST_REQUIRE(shmc_req_open(&a->req, service, NULL) == SHMC_OK);
    for (int i = 0; i < 2; i++)
        TEST_REQUIRE(shmc_req_send(&a->req, "ask", 4, SHMC_FOREVER) > 0);
    return stay(a);
}

static int
post_and_ask(actor *a)
{
    TEST_REQUIRE(shmc_req_open(&a->req, service, NULL) == SHMC_OK);
    TEST_REQUIRE(shmc_req_post(&a->req, "posted", 7, SHMC_FOREVER) == SHMC_OK);
    TEST_REQUIRE(shmc_req_send(&a->req, "asked", 6, SHMC_FOREVER) > 0);
    return stay(a);
}

static int
read_one_part(actor *a)
{
    TEST_REQUIRE(shmc_req_open(&a->req, service, NULL) == SHMC_OK);
    const int call = shmc_req_send(&a->req, "ask", 4, SHMC_FOREVER);
    TEST_REQUIRE(call > 0);
    TEST_REQUIRE(shmc_req_borrow(&a->req, call, &(const void *){ NULL },
                                 SHMC_FOREVER) == 5);
    return stay(a);
}

/* ---- servers that die ------------------------------------------------------ */

static void
a_dead_server_is_told_while_the_client_waits(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);                 /* so that a server is left             */
    for (int i = 0; i < 10; i++) {
        req_open(&req, 0, false);
        const int call = shmc_req_send(&req, "x", 2, 0);
        const pid_t server = start(serve_and_hold);
        kill(server, SIGKILL);
        assert_int_equal(wait_for(&req, call), SHMC_EPEERDEAD);
        (void)test_join(server);
        /* Its call is ours again, at once.                                 */
        for (int k = 0; k < 2; k++)
            assert_true(shmc_req_send(&req, "y", 2, 0) > 0);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(take(&rep), 2);
            assert_int_equal(shmc_rep_send(&rep, "z", 2, 0), SHMC_OK);
            assert_int_equal(wait_for(&req, SHMC_ANY_CALL), 2);
        }
        assert_int_equal(shmc_req_close(&req), SHMC_OK);
    }
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

/* Who sits in the dead one's seat by then is not taken for it.              */
static void
a_dead_server_is_told_after_its_seat_is_taken(void **state)
{
    (void)state;
    shmc_rep rep, heir;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 0, false);
    for (int i = 0; i < 10; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        test_kill(start(serve_and_hold));
        rep_open(&heir);
        assert_int_equal(wait_for(&req, call), SHMC_EPEERDEAD);
        assert_int_equal(shmc_rep_close(&heir), SHMC_OK);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
an_answer_outlives_its_server(void **state)
{
    (void)state;
    char buf[16];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 0, true);
    for (int i = 0; i < 5; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        test_kill(start(serve_and_answer));
        if (i % 2) test_sleep_ms(12);
        assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf,
                                       SHMC_FOREVER), 6);
        assert_string_equal(buf, "whole");
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_part_outlives_its_server_but_the_rest_is_told(void **state)
{
    (void)state;
    char buf[16];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 5, false);
    for (int i = 0; i < 5; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        test_kill(start(serve_one_part));
        assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf,
                                       SHMC_FOREVER), 5);
        assert_string_equal(buf, "part");
        assert_true(shmc_req_more(&req));
        assert_int_equal(wait_for(&req, call), SHMC_EPEERDEAD);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_request_goes_to_another_server_if_asked_for(void **state)
{
    (void)state;
    char buf[64];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 1, false);
    for (int i = 0; i < 5; i++) {
        const int call = shmc_req_send(&req, "again", 6, 0);
        test_kill(start(serve_and_hold));
        assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 20000000),
                         SHMC_ETIMEDOUT);
        assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0), 6);
        assert_string_equal(buf, "again");
        assert_true(shmc_rep_retried(&rep));
        assert_int_equal(shmc_rep_send(&rep, "done", 5, 0), SHMC_OK);
        assert_int_equal(wait_for(&req, call), 5);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

/* Between the queue and the call.                                           */
static void
a_request_that_was_popped_but_not_taken_goes_to_another(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 0, false);
    for (int i = 0; i < 5; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        test_kill(start(serve_and_pop));
        assert_int_equal(take(&rep), 2);
        assert_int_equal(shmc_rep_send(&rep, "y", 2, 0), SHMC_OK);
        assert_int_equal(wait_for(&req, call), 2);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_request_that_was_taken_but_not_seen_goes_to_another_or_is_told(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 0, false);
    for (int i = 0; i < 10; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        test_kill(start(serve_and_claim));
        if (i % 2) {                /* who looks first decides              */
            assert_int_equal(take(&rep), 2);
            assert_int_equal(shmc_rep_send(&rep, "y", 2, 0), SHMC_OK);
            assert_int_equal(wait_for(&req, call), 2);
        } else {
            char buf[8];
            assert_int_equal(wait_for(&req, call), SHMC_EPEERDEAD);
            const uint64_t passed = rep.passed;
            assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 5000000),
                             SHMC_ETIMEDOUT);
            assert_int_equal(rep.passed, passed + 1);
        }
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
the_last_servers_death_is_told_if_asked_for(void **state)
{
    (void)state;
    shmc_req req;

    for (int i = 0; i < 4; i++) {
        const pid_t server = start(i % 2 ? serve_and_pop_later : serve_idle);
        req_open(&req, 0, true);
        const int call = shmc_req_send(&req, "x", 2, SHMC_FOREVER);
        assert_true(call > 0);
        if (i % 2) test_sleep_ms(5);
        test_kill(server);
        assert_int_equal(wait_for(&req, call), SHMC_EPEERDEAD);
        assert_int_equal(shmc_req_send(&req, "x", 2, SHMC_FOREVER), SHMC_ENOENT);
        assert_int_equal(shmc_req_close(&req), SHMC_OK);
    }
}

static void
a_successor_serves_what_was_queued(void **state)
{
    (void)state;
    shmc_rep rep;
    shmc_req req;

    for (int i = 0; i < 4; i++) {
        const pid_t server = start(i % 2 ? serve_and_pop_later : serve_idle);
        req_open(&req, 0, false);
        const int call = shmc_req_send(&req, "x", 2, SHMC_FOREVER);
        assert_true(call > 0);
        if (i % 2) test_sleep_ms(5);
        test_kill(server);
        char buf[8];
        assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 15000000),
                         SHMC_ETIMEDOUT);
        rep_open(&rep);
        assert_int_equal(take(&rep), 2);
        assert_int_equal(shmc_rep_send(&rep, "y", 2, 0), SHMC_OK);
        assert_int_equal(wait_for(&req, call), 2);
        assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
        assert_int_equal(shmc_req_close(&req), SHMC_OK);
    }
}

/* A stopped server is alive: nobody says otherwise, and when it goes on, its
 * answer reaches the call that it is of, or nobody.                         */
static int
serve_after_a_stop(actor *a)
{
    TEST_REQUIRE(shmc_rep_open(&a->rep, service, &shape) == SHMC_OK);
    TEST_REQUIRE(take(&a->rep) >= 0);
    TEST_REQUIRE(write(a->ends[1], "x", 1) == 1);
    raise(SIGSTOP);
    const int r = shmc_rep_send(&a->rep, "late", 5, 0);
    TEST_REQUIRE(r == SHMC_OK || r == SHMC_EPEERDEAD);
    TEST_REQUIRE(shmc_rep_close(&a->rep) == SHMC_OK);
    return r == SHMC_OK ? 1 : 2;
}

static void
a_stopped_server_is_alive(void **state)
{
    (void)state;
    char buf[8];
    shmc_rep rep;
    shmc_req req;

    rep_open(&rep);
    req_open(&req, 3, true);
    for (int i = 0; i < 6; i++) {
        const int call = shmc_req_send(&req, "x", 2, 0);
        const pid_t server = start(serve_after_a_stop);
        int status = 0;
        assert_int_equal(waitpid(server, &status, WUNTRACED), server);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf, 20000000),
                         SHMC_ETIMEDOUT);
        if (i % 2) assert_int_equal(shmc_req_cancel(&req, call), 0);
        /* Meanwhile the other calls go on, through the other server.       */
        for (int k = 0; k < 3; k++) {
            const int other = shmc_req_send(&req, "y", 2, 0);
            assert_true(other > 0);
            assert_int_equal(take(&rep), 2);
            assert_int_equal(shmc_rep_send(&rep, "prompt", 7, 0), SHMC_OK);
            assert_int_equal(shmc_req_recv(&req, other, buf, sizeof buf, 0), 7);
            assert_string_equal(buf, "prompt");
        }
        kill(server, SIGCONT);
        if (i % 2 == 0) {
            assert_int_equal(shmc_req_recv(&req, call, buf, sizeof buf,
                                           SHMC_FOREVER), 5);
            assert_string_equal(buf, "late");
        }
        assert_int_equal(test_join(server), i % 2 ? 2 : 1);
    }
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

/* ---- clients that die ------------------------------------------------------ */

static void
an_answer_to_a_dead_client_is_refused(void **state)
{
    (void)state;
    shmc_rep rep;

    rep_open(&rep);
    for (int i = 0; i < 6; i++) {
        const pid_t client = start(ask_two);
        assert_int_equal(take(&rep), 4);
        assert_int_equal(shmc_rep_wanted(&rep), 1);
        test_kill(client);
        test_sleep_ms(2);           /* beyond SHMC_REPLY_CHECK_NS           */
        if (i % 2) assert_int_equal(shmc_rep_wanted(&rep), 0);
        if (i == 2)
            assert_int_equal(shmc_rep_send_more(&rep, "y", 2, 0),
                             SHMC_EPEERDEAD);
        else
            assert_int_equal(shmc_rep_send(&rep, "y", 2, 0), SHMC_EPEERDEAD);
        /* Its other request is still in the queue; nobody knows better.    */
        assert_int_equal(take(&rep), 4);
        assert_int_equal(shmc_rep_wanted(&rep), 0);
        assert_int_equal(shmc_rep_drop(&rep), SHMC_OK);
    }
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_dead_clients_seat_is_good_as_new(void **state)
{
    (void)state;
    char buf[16];
    shmc_rep rep;
    shmc_req a, b;

    rep_open(&rep);
    for (int i = 0; i < 5; i++) {
        test_kill(start(ask_two));
        test_kill(start(ask_two));
        req_open(&a, 0, false);     /* all seats were theirs                */
        req_open(&b, 0, false);
        for (int k = 0; k < 2; k++) {
            assert_true(shmc_req_send(&a, "aa", 3, 0) > 0);
            assert_true(shmc_req_send(&b, "b", 2, 0) > 0);
        }
        for (int k = 0; k < 4; k++) {
            const int r = shmc_rep_recv(&rep, buf, sizeof buf, 0);
            assert_true(r == 2 || r == 3);
            assert_int_equal(shmc_rep_send(&rep, buf, (uint32_t)r, 0), SHMC_OK);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(wait_for(&a, SHMC_ANY_CALL), 3);
            assert_int_equal(wait_for(&b, SHMC_ANY_CALL), 2);
        }
        assert_int_equal(shmc_req_close(&a), SHMC_OK);
        assert_int_equal(shmc_req_close(&b), SHMC_OK);
    }
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
what_was_posted_is_done_after_its_clients_death(void **state)
{
    (void)state;
    char buf[16];
    shmc_rep rep;
    shmc_req a, b;

    rep_open(&rep);
    for (int i = 0; i < 5; i++) {
        test_kill(start(post_and_ask));
        req_open(&a, 0, false);
        req_open(&b, 0, false);     /* whoever has the dead one's seat      */
        assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0), 7);
        assert_string_equal(buf, "posted");
        assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0), SHMC_EAGAIN);
        assert_int_equal(shmc_req_close(&a), SHMC_OK);
        assert_int_equal(shmc_req_close(&b), SHMC_OK);
    }
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_server_in_a_stream_is_told_of_its_clients_death(void **state)
{
    (void)state;
    char buf[8];
    shmc_req req;

    const pid_t server = start(serve_and_wait_for_ack);
    const pid_t client = start(read_one_part);
    test_sleep_ms(5);
    test_kill(client);
    req_open(&req, 0, false);
    assert_int_equal(shmc_req_call(&req, "x", 2, buf, sizeof buf, SHMC_FOREVER),
                     5);
    assert_string_equal(buf, "next");
    assert_int_equal(test_join(server), 0);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
}

static void
what_all_who_died_left_is_removed(void **state)
{
    (void)state;
    const shmc_rep_desc other = { .max_bytes = 64 };
    shmc_rep rep;
    shmc_req req;

    for (int i = 0; i < 4; i++) {
        const pid_t server = start(serve_idle), client = start(post_and_ask);
        test_kill(server);
        test_kill(client);
        assert_int_equal(service_files(), 1);
        if (i % 2) {
            /* A client alone does not take it over.                        */
            req_open(&req, 0, true);
            assert_int_equal(shmc_req_send(&req, "", 0, 0), SHMC_ENOENT);
            assert_int_equal(shmc_req_close(&req), SHMC_OK);
            assert_int_equal(service_files(), 0);
        } else {
            char buf[8];
            assert_int_equal(shmc_rep_open(&rep, service, &other), SHMC_OK);
            assert_int_equal(shmc_rep_recv(&rep, buf, sizeof buf, 0),
                             SHMC_EAGAIN);
            assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SERVICE_CASE(a_dead_server_is_told_while_the_client_waits),
        SERVICE_CASE(a_dead_server_is_told_after_its_seat_is_taken),
        SERVICE_CASE(an_answer_outlives_its_server),
        SERVICE_CASE(a_part_outlives_its_server_but_the_rest_is_told),
        SERVICE_CASE(a_request_goes_to_another_server_if_asked_for),
        SERVICE_CASE(a_request_that_was_popped_but_not_taken_goes_to_another),
        SERVICE_CASE(
            a_request_that_was_taken_but_not_seen_goes_to_another_or_is_told),
        SERVICE_CASE(the_last_servers_death_is_told_if_asked_for),
        SERVICE_CASE(a_successor_serves_what_was_queued),
        SERVICE_CASE(a_stopped_server_is_alive),
        SERVICE_CASE(an_answer_to_a_dead_client_is_refused),
        SERVICE_CASE(a_dead_clients_seat_is_good_as_new),
        SERVICE_CASE(what_was_posted_is_done_after_its_clients_death),
        SERVICE_CASE(a_server_in_a_stream_is_told_of_its_clients_death),
        SERVICE_CASE(what_all_who_died_left_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
