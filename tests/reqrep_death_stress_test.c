/* Clients and servers are killed, and some stopped, at random moments and
 * replaced, while others go on.  Every answer is of its own request and whole;
 * no survivor's request is lost, or done twice, without its being told.      */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_reqrep.h"

#include "reqrep_support.h"

enum {
    SERVERS = 3, CLIENTS = 3, PEOPLE = SERVERS + CLIENTS + 2,
    KILLS = SHMI_TSAN ? 20 : 60, MAX_BYTES = 1000, EACH = 4,
    MAX_ITEMS = 1 << 22
};

static const char service[] = "stress/all";

/* One survivor of each side.                                               */
typedef struct book {
    uint32_t stop, over, next;
    uint64_t answered, told, by_survivor;
    uint32_t done[MAX_ITEMS];       /* so often the survivor's was served   */
} book;

typedef struct person {
    book *b;
    bool serves, survives;
    uint32_t seed;
} person;

typedef struct request {
    uint64_t item, client;          /* client: 0 mortal, 1 the survivor     */
    uint8_t  rest[MAX_BYTES - 16];
} request;

static const shmc_rep_desc shape = {
    .max_bytes = MAX_BYTES, .max_clients = CLIENTS + 2, .max_outstanding = EACH,
    .max_servers = SERVERS + 2
};

static uint32_t
bytes_of(uint64_t item) { return 16 + (uint32_t)(item * 37 % (MAX_BYTES - 15)); }

static int
serve(person *p)
{
    static request in;
    static uint8_t out[MAX_BYTES];
    shmc_rep rep;

    TEST_REQUIRE(shmc_rep_open(&rep, service, &shape) == SHMC_OK);
    while (shmi_load_acq_32(p->survives ? &p->b->over : &p->b->stop) == 0) {
        const int r = shmc_rep_recv(&rep, &in, sizeof in, 20000000);
        if (r == SHMC_ETIMEDOUT) continue;
        TEST_REQUIRE(r >= 16 && r == (int)bytes_of(in.item));
        TEST_REQUIRE(service_filled(in.rest, in.item + in.client,
                                    (uint32_t)r - 16));
        if (in.client == 1 && in.item < MAX_ITEMS)
            (void)shmi_faa_32(&p->b->done[in.item], 1);
        const uint32_t bytes = bytes_of(in.item * 3);
        int sent = SHMC_OK;
        if (!p->survives && in.item % 8 == 1) test_sleep_ms(2);
        if (in.item % 7 == 3) {     /* in two parts                         */
            service_fill(out, ~in.item, 8);
            sent = shmc_rep_send_more(&rep, out, 8, SHMC_FOREVER);
        }
        service_fill(out, in.item * 5 + in.client, bytes);
        if (sent == SHMC_OK)
            sent = shmc_rep_send(&rep, out, bytes, SHMC_FOREVER);
        /* The survivor goes, too, at the end, with its last answer.        */
        TEST_REQUIRE(sent == SHMC_OK ||
                     (sent == SHMC_EPEERDEAD &&
                      (in.client == 0 || shmi_load_acq_32(&p->b->stop) != 0)));
        if (p->survives) (void)shmi_faa_64(&p->b->by_survivor, 1);
    }
    TEST_REQUIRE(shmc_rep_close(&rep) == SHMC_OK);
    return 0;
}

/* Ask for an item; true if the right answer came, false if we were told, or
 * did not wait for it.                                                      */
static bool
ask(shmc_req *req, uint64_t item, uint64_t client, bool fickle)
{
    static request out;
    static uint8_t in[MAX_BYTES];

    out.item = item;
    out.client = client;
    service_fill(out.rest, item + client, bytes_of(item) - 16);
    const int call = shmc_req_send(req, &out, bytes_of(item), SHMC_FOREVER);
    TEST_REQUIRE(call > 0);
    if (fickle) {
        test_sleep_ms(item % 2);
        TEST_REQUIRE(shmc_req_cancel(req, call) >= 0);
        return false;
    }
    int r = shmc_req_recv(req, call, in, sizeof in, SHMC_FOREVER);
    if (item % 7 == 3 && r >= 0) {
        TEST_REQUIRE(r == 8 && shmc_req_more(req));
        TEST_REQUIRE(service_filled(in, ~item, 8));
        r = shmc_req_recv(req, call, in, sizeof in, SHMC_FOREVER);
    }
    if (r == SHMC_EPEERDEAD) return false;
    TEST_REQUIRE(r == (int)bytes_of(item * 3) && !shmc_req_more(req));
    TEST_REQUIRE(service_filled(in, item * 5 + client, (uint32_t)r));
    return true;
}

static int
use(person *p)
{
    const shmc_req_desc again = { .retries = p->seed % 2 ? 1000 : 0 };
    shmc_req req;

    TEST_REQUIRE(shmc_req_open(&req, service, &again) == SHMC_OK);
    while (shmi_load_acq_32(&p->b->stop) == 0) {
        const uint32_t item = shmi_faa_32(&p->b->next, 1);
        TEST_REQUIRE(item < MAX_ITEMS);
        const bool got = ask(&req, item, p->survives, !p->survives &&
                                                      item % 5 == 0);
        if (!p->survives) continue;
        const uint32_t done = shmi_load_acq_32(&p->b->done[item]);
        TEST_REQUIRE(!got || done >= 1);
        /* Without retries nobody does it twice.                            */
        if (again.retries == 0) TEST_REQUIRE(done <= 1);
        /* With them, only a break between two parts is told.               */
        if (again.retries != 0 && item % 7 != 3) TEST_REQUIRE(got);
        (void)shmi_faa_64(got ? &p->b->answered : &p->b->told, 1);
    }
    TEST_REQUIRE(shmc_req_close(&req) == SHMC_OK);
    return 0;
}

static int
live(void *arg)
{
    person *p = arg;

    return p->serves ? serve(p) : use(p);
}

static void
storm(uint32_t seed)
{
    book *b = test_shared(sizeof *b);
    person people[PEOPLE];
    pid_t pids[PEOPLE];
    uint32_t x = 12345 + seed;

    for (uint32_t i = 0; i < PEOPLE; i++) {
        people[i] = (person){ b, i % 2 == 0, i < 2, seed + i / 2 };
        pids[i] = test_spawn(live, &people[i]);
    }
    for (int k = 0; k < KILLS; k++) {
        x = x * 1664525u + 1013904223u;
        const uint32_t i = 2 + (x >> 16) % (PEOPLE - 2);
        const uint64_t seen = shmi_load_acq_64(&b->answered) +
                              shmi_load_acq_64(&b->told);
        test_sleep_ms((x >> 8) % 5);
        if (k % 4 == 0) {           /* stopped for a while, and then killed */
            kill(pids[i], SIGSTOP);
            test_sleep_ms(8);
        }
        test_kill(pids[i]);
        pids[i] = test_spawn(live, &people[i]);
        /* The surviving client goes on: a stall is a hang.                 */
        while (shmi_load_acq_64(&b->answered) + shmi_load_acq_64(&b->told) <=
               seen) test_sleep_ms(1);
        test_watchdog(60);
    }
    shmi_store_rel_32(&b->stop, 1);
    for (uint32_t i = 1; i < PEOPLE; i++)
        assert_int_equal(test_join(pids[i]), 0);
    shmi_store_rel_32(&b->over, 1);
    assert_int_equal(test_join(pids[0]), 0);
    assert_true(b->answered > 0 && b->by_survivor > 0);
    print_message("answered %llu, told %llu\n", (unsigned long long)b->answered,
                  (unsigned long long)b->told);
    (void)shmi_unmap(b, sizeof *b);
}

static void
survivors_without_retries_go_on(void **state)
{
    (void)state;
    storm(0);
}

static void
survivors_with_retries_always_get_their_answers(void **state)
{
    (void)state;
    storm(1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SERVICE_CASE(survivors_without_retries_go_on),
        SERVICE_CASE(survivors_with_retries_always_get_their_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
