/* Calls between a client and servers: whatever the order of steps and however
 * old what is read, a request is admitted at most once, and never once it was
 * withdrawn; an answer is of its own request, and whole; and when all is over
 * every call can be used again, whoever died or stopped.                   */
#include "model/model_case.h"
#include "shmcomm_reqrep.h"
#include "model/model_owner.h"

enum { PEOPLE = 4, FIRST = 100, ROUNDS = 3, ITEMS = 2 * ROUNDS };

typedef struct calls_state {
    shmc_segment segment[PEOPLE];
    shmc_req req[2];                /* the client; who comes after it       */
    shmc_rep rep[2];
    void    *table, *queue;
    shmi_calls_geometry g;
    shmc_mpmc_desc q;
    uint32_t rounds, tries, each;
    bool     parts, posts;
    bool     in_place;              /* loans and borrows, by plain accesses  */
    bool     claimed;               /* by who came late                      */
    uint32_t next;
    uint32_t admitted[ITEMS], withdrawn[ITEMS], answered[ITEMS], posted[ITEMS];
} calls_state;

static calls_state s;

/* ---- setup ------------------------------------------------------------- */

/* See the table as participant `who`, and have no seat.                    */
static void
see(shmi_calls *c, uint32_t who)
{
    shmi_calls_geometry g;

    memset(c, 0, sizeof *c);
    model_owner(&s.segment[who], who, PEOPLE);
    model_require(shmi_calls_point(c, s.table, s.g.total, &g) == SHMC_OK);
    c->segment = &s.segment[who];
}

static void
sit_at_queue(shmi_calls *c, uint32_t role)
{
    shmc_mpmc_desc is;

    model_require(shmi_mpmc_point(&c->queue, s.queue,
                                  (uint64_t)shmc_mpmc_size_for(&s.q), &is) ==
                  SHMC_OK);
    c->queue.segment = c->segment;
    model_require(shmi_mpmc_sit(&c->queue, role) == SHMC_OK);
    c->queue.patrol_pos += SHMI_MPMC_PATROL;
    if (role == SHMC_CONSUMER) c->queue.waitable = false;
}

static void
sit(shmi_calls *c, uint32_t role)
{
    const bool serves = role == SHMC_CONSUMER;
    const int r = serves ? shmi_seat_claim(c->segment, c->servers,
                                           c->server_count,
                                           shmi_calls_settle_server, c)
                         : shmi_seat_claim(c->segment, c->clients,
                                           c->client_count,
                                           shmi_calls_settle_client, c);
    model_require(r >= 0);
    c->seat = (uint32_t)r;
    c->seated = serves ? &c->servers[r] : &c->clients[r];
}

static void
attach(shmi_calls *c, uint32_t who, uint32_t role)
{
    see(c, who);
    sit_at_queue(c, role);
    sit(c, role);
}

static void
begin(shmc_req *req)
{
    req->open = true;
    req->loan = req->view = -1;
    req->first = req->calls.seat * req->calls.each;
    shmi_req_enter(req);
}

static void
come(uint32_t i, uint32_t who)
{
    attach(&s.req[i].calls, who, SHMC_PRODUCER);
    begin(&s.req[i]);
}

static void
table(uint32_t clients, uint32_t each)
{
    const shmi_calls_desc d = { .max_request = 8, .max_reply = 8,
                                .clients = clients, .each = each,
                                .servers = 2 };

    model_require(shmi_calls_geometry_of(&d, &s.g) == SHMC_OK);
    s.table = model_alloc(s.g.total);
    model_require(shmi_calls_init(s.table, s.g.total, &s.g) == SHMC_OK);
    s.q = shmi_calls_queue(&s.g);
    s.queue = model_alloc((size_t)shmc_mpmc_size_for(&s.q));
    model_require(shmc_mpmc_format(s.queue, (uint64_t)shmc_mpmc_size_for(&s.q),
                                   &s.q) == SHMC_OK);
}

static void
service(uint32_t each, uint32_t servers)
{
    table(1, each);
    come(0, 0);
    for (uint32_t i = 0; i < servers; i++)
        attach(&s.rep[i].calls, i + 1, SHMC_CONSUMER);
    for (uint32_t i = 0; i < each; i++) {
        shmi_call_shm *call = &s.req[0].calls.calls[i];
        model_name(&call->state, "state");
        model_name(&call->request.word, "request");
        model_name(&call->request.ack, "ack");
        model_name(&call->reply.word, "reply");
    }
    s.each = each;
    s.rounds = 2;
    s.tries = 2;
}

static void one_server(void *state) { (void)state; service(1, 1); }
static void two_servers(void *state) { (void)state; service(1, 2); }

static void
in_place(void *state)
{
    one_server(state);
    s.in_place = true;
}

static void
two_calls(void *state)
{
    (void)state;
    service(2, 2);
}

static void
in_parts(void *state)
{
    (void)state;
    service(1, 1);
    s.parts = s.in_place = true;
    s.tries = 3;
    s.rounds = 1;
}

static void
impatient(void *state)
{
    (void)state;
    service(1, 2);
    s.in_place = true;
    s.tries = 1;
    s.rounds = 3;
}

static void
posting(void *state)
{
    (void)state;
    service(2, 1);
    s.posts = true;
}

/* ---- seats of the dead --------------------------------------------------- */

/* The first seat in a role is that of one that died without a call.        */
static void
seat_of_the_dead(uint32_t role)
{
    shmi_calls dead;

    see(&dead, 3);
    sit(&dead, role);
    model_dead(3);
}

/* A client that issued generation 1, of which nobody heard; no server.     */
static void
issued(uint32_t who)
{
    shmc_req *req = &s.req[0];

    come(0, who);
    req->call[0].gen = 1;
    req->free = 0;
    req->sent = shmi_req_bit(0);
    shmi_req_shared(req, 0)->request.word = UINT64_C(1) << 24;
    model_name(&shmi_req_shared(req, 0)->state, "state");
    model_name(&req->calls.servers[0].owner, "server");
}

/* Two want the dead server's seat; a request is there.                     */
static void
dead_server(void *state)
{
    (void)state;
    table(1, 1);
    issued(2);
    seat_of_the_dead(SHMC_CONSUMER);
    see(&s.rep[0].calls, 0);
    see(&s.rep[1].calls, 1);
}

/* The same; the client looks what becomes of it, and one comes.            */
static void
dead_server_of_0(void *state)
{
    (void)state;
    table(1, 1);
    issued(0);
    seat_of_the_dead(SHMC_CONSUMER);
    see(&s.rep[0].calls, 1);
}

/* Server 0 has taken the request; another one may come.                    */
static void
taken(void *state)
{
    (void)state;
    table(1, 1);
    issued(2);
    see(&s.rep[0].calls, 0);
    sit(&s.rep[0].calls, SHMC_CONSUMER);
    model_require(shmi_call_claim(&s.rep[0].calls, 0, 1));
    see(&s.rep[1].calls, 1);
}

/* Server 0 has taken the request, and the client looks.                    */
static void
taken_of_1(void *state)
{
    (void)state;
    table(1, 1);
    issued(1);
    attach(&s.rep[0].calls, 0, SHMC_CONSUMER);
    model_require(shmi_call_claim(&s.rep[0].calls, 0, 1));
    model_require(shmi_rep_admit(&s.rep[0], 0, 1));
    s.rep[0].fetched = true;
}

/* Two want the dead client's seat.                                         */
static void
dead_client(void *state)
{
    (void)state;
    table(2, 1);
    seat_of_the_dead(SHMC_PRODUCER);
    for (uint32_t i = 0; i < 2; i++) {
        see(&s.req[i].calls, i);
        sit_at_queue(&s.req[i].calls, SHMC_PRODUCER);
        model_name(&s.req[0].calls.calls[i].state, "state");
        model_name(&s.req[0].calls.calls[i].request.word, "request");
        model_name(&s.req[0].calls.clients[i].owner, "client");
    }
}

/* ---- what threads do --------------------------------------------------- */

static uint64_t answer_of(uint64_t item) { return item * 1000; }

/* Look for the dead at each try.                                          */
static void
alert(shmc_req *req)
{
    req->look_ns = 0;
    req->polls = SHMI_CALL_POLLS - 1;
}

static int
receive_answer(shmc_req *req, int call, uint64_t *got)
{
    const void *data;

    if (!s.in_place) return shmc_req_recv(req, call, got, sizeof *got, 0);
    const int r = shmc_req_borrow(req, call, &data, 0);
    if (r < 0) return r;
    *got = model_read_64(data);
    model_require(shmc_req_release(req) == SHMC_OK);
    return r;
}

/* True if the answer, or what stands for it, came.                         */
static bool
receive(shmc_req *req, uint32_t n, int call)
{
    uint64_t got = 0;

    alert(req);
    const int r = receive_answer(req, call, &got);
    if (r == SHMC_EAGAIN) return false;
    if (r == SHMC_EPEERDEAD) return true;
    model_require(r == 8);
    model_require(got == answer_of(FIRST + n) + shmc_req_more(req));
    if (shmc_req_more(req)) return false;
    s.answered[n] = 1;
    return true;
}

static int
send_request(shmc_req *req, uint64_t item)
{
    void *data;

    if (!s.in_place) return shmc_req_send(req, &item, sizeof item, 0);
    int r = shmc_req_loan(req, sizeof item, &data, 0);
    if (r != SHMC_OK) return r;
    model_write_64(data, item);
    r = shmc_req_commit(req, sizeof item, 0);
    if (r < 0) model_require(shmc_req_abort(req) == SHMC_OK);
    return r;
}

static void
ask(shmc_req *req)
{
    for (uint32_t k = 0; k < s.rounds; k++) {
        const uint32_t n = s.next++;
        const uint64_t item = FIRST + n;
        if (s.posts) {
            const int r = shmc_req_post(req, &item, sizeof item, 0);
            model_require(r == SHMC_OK || r == SHMC_EAGAIN);
            s.posted[n] = r == SHMC_OK;
            continue;
        }
        const int call = send_request(req, item);
        model_require(call > 0 || call == SHMC_EAGAIN);
        bool over = call < 0;
        for (uint32_t i = 0; i < s.tries && !over; i++)
            over = receive(req, n, call);
        if (over) continue;
        const int r = shmc_req_cancel(req, call);
        model_require(r >= 0);
        s.withdrawn[n] = r == 1;
    }
}

static int
receive_request(shmc_rep *rep, uint64_t *item)
{
    const void *data;

    if (!s.in_place) return shmc_rep_recv(rep, item, sizeof *item, 0);
    const int r = shmc_rep_borrow(rep, &data, 0);
    if (r > 0) *item = model_read_64(data);
    return r;
}

static int
send_answer(shmc_rep *rep, uint64_t out, bool more)
{
    void *data;

    if (!s.in_place)
        return more ? shmc_rep_send_more(rep, &out, sizeof out, 0)
                    : shmc_rep_send(rep, &out, sizeof out, 0);
    const int r = shmc_rep_loan(rep, sizeof out, &data, 0);
    if (r != SHMC_OK) return r;
    model_write_64(data, out);
    return more ? shmc_rep_commit_more(rep, sizeof out)
                : shmc_rep_commit(rep, sizeof out);
}

static void
serve_one(shmc_rep *rep)
{
    uint64_t item = 0;
    int r = receive_request(rep, &item);

    if (r == SHMC_EAGAIN) return;
    model_require(r == 8);
    model_require(item >= FIRST && item < FIRST + ITEMS);
    s.admitted[item - FIRST]++;
    rep->look_ns = UINT64_MAX;
    const uint64_t out = answer_of(item);
    if (s.parts && send_answer(rep, out + 1, true) != SHMC_OK) return;
    r = SHMC_EAGAIN;
    for (uint32_t i = 0; i < s.tries && r == SHMC_EAGAIN; i++) {
        rep->tries = SHMI_CALL_POLLS - 1;
        r = send_answer(rep, out, false);
    }
    model_require(r == SHMC_OK || r == SHMC_EPEERDEAD || r == SHMC_EAGAIN);
    if (r == SHMC_EAGAIN) model_require(shmc_rep_drop(rep) == SHMC_OK);
}

static void
serve_some(shmc_rep *rep)
{
    for (uint32_t i = 0; i < s.rounds; i++) {
        rep->calls.queue.look = true;
        serve_one(rep);
    }
}

static void ask_0(void *state) { (void)state; ask(&s.req[0]); }
static void serve_1(void *state) { (void)state; serve_some(&s.rep[0]); }
static void serve_2(void *state) { (void)state; serve_some(&s.rep[1]); }

/* Who takes the dead client's seat.                                        */
static void
come_after_0(void *state)
{
    (void)state;
    if (!model_await_end(0)) return;
    come(1, 3);
    s.next = ROUNDS;
    ask(&s.req[1]);
}

/* Who takes the dead server's seat.                                        */
static void
serve_after_1(void *state)
{
    (void)state;
    if (!model_await_end(1)) return;
    memset(&s.rep[1], 0, sizeof s.rep[1]);
    attach(&s.rep[1].calls, 3, SHMC_CONSUMER);
    serve_some(&s.rep[1]);
}

/* Take a server's seat and the request.                                    */
static void
come_and_claim(shmi_calls *c)
{
    sit(c, SHMC_CONSUMER);
    s.claimed = shmi_call_claim(c, 0, 1);
}

static void
claim_0(void *state)
{
    (void)state;
    come_and_claim(&s.rep[0].calls);
}

static void
sit_1(void *state)
{
    (void)state;
    sit(&s.rep[1].calls, SHMC_CONSUMER);
}

/* The server is there, or nobody took the request: nothing to tell.        */
static void
judge_0(void *state)
{
    (void)state;
    model_require(shmi_req_judge(&s.req[0], 0) == SHMC_EAGAIN);
}

/* Answer the last request, and leave.                                      */
static void
answer_and_leave_0(void *state)
{
    const uint64_t out = answer_of(FIRST);

    (void)state;
    model_require(shmc_rep_send(&s.rep[0], &out, sizeof out, 0) == SHMC_OK);
    shmi_seat_drop(s.rep[0].calls.seated);
}

static void
cancel_0(void *state)
{
    (void)state;
    s.withdrawn[0] = shmi_req_give_up(&s.req[0], 0) == 1;
}

static uint8_t *request_0(void) { return shmi_req_room(&s.req[0], 0, false); }

static void
read_0(void *state)
{
    (void)state;
    (void)model_read_64(request_0());
    (void)shmi_load_rlx_64(&s.rep[0].calls.seated->owner);  /* to die before */
}

static void
sit_after_0(void *state)
{
    if (model_await_end(0)) sit_1(state);
}

/* Write the next request once this one is over.                            */
static void
judge_and_write(void *state)
{
    (void)state;
    if (shmi_req_judge(&s.req[0], 0) == SHMC_EPEERDEAD)
        model_write_64(request_0(), 1);
}

static void
cancel_and_write(void *state)
{
    cancel_0(state);
    if (s.req[0].free != 0) model_write_64(request_0(), 1);
}

/* Take a client's seat, and send, or post, a request.                      */
static void
come_and_ask_0(void *state)
{
    shmc_req *req = &s.req[0];
    const uint64_t item = FIRST;

    (void)state;
    sit(&req->calls, SHMC_PRODUCER);
    begin(req);
    model_require(shmc_req_send(req, &item, sizeof item, 0) > 0);
}

static void
come_and_post_0(void *state)
{
    shmc_req *req = &s.req[0];
    const uint64_t item = FIRST;

    (void)state;
    sit(&req->calls, SHMC_PRODUCER);
    begin(req);
    model_require(shmc_req_post(req, &item, sizeof item, 0) == SHMC_OK);
    s.posted[0] = true;
    (void)shmi_load_rlx_64(&req->calls.seated->owner);  /* to die before    */
}

static void
post_and_leave_0(void *state)
{
    come_and_post_0(state);
    shmi_seat_drop(s.req[0].calls.seated);
}

static void
come_1(void *state)
{
    (void)state;
    sit(&s.req[1].calls, SHMC_PRODUCER);
}

/* ---- what must be so afterwards ------------------------------------------ */

/* Nothing twice, nothing that was withdrawn, no answer to what nobody had.  */
static void
once(void *state)
{
    (void)state;
    for (uint32_t n = 0; n < ITEMS; n++) {
        model_require(s.admitted[n] <= 1);
        if (s.withdrawn[n]) model_require(s.admitted[n] == 0);
        if (s.answered[n]) model_require(s.admitted[n] == 1);
    }
}

/* The same; and once the queue is empty each call is its client's again.    */
static void
none_is_lost(uint32_t client, uint32_t server)
{
    shmc_req *req = &s.req[client];
    shmc_rep *rep = &s.rep[server];

    for (uint32_t i = 0; i < 2 * ROUNDS; i++) {
        rep->calls.queue.look = true;
        rep->calls.queue.idle_tries = SHMI_MPMC_RESCUE_TRIES - 1;
        serve_one(rep);
    }
    if (rep->held) (void)shmc_rep_drop(rep);
    shmi_req_reclaim_all(req, true);
    model_require(req->sent == 0 && req->gone == 0);
    model_require(req->free == shmi_req_bit(s.each) - 1);
    for (uint32_t n = 0; n < ITEMS; n++)
        if (s.posted[n]) model_require(s.admitted[n] == 1);
    once(NULL);
}

static void all_is_well(void *state) { (void)state; none_is_lost(0, 0); }
static void others_are_well(void *state) { (void)state; none_is_lost(0, 1); }

static void
heir_is_well(void *state)
{
    if (model_ended(0)) all_is_well(state);
    else none_is_lost(1, 0);
}

static void
new_server_is_well(void *state)
{
    if (model_ended(1)) all_is_well(state);
    else others_are_well(state);
}

/* Who took the request has it; or nobody ever will.                        */
static void
claim_counts(void *state)
{
    const shmi_calls *c = &s.rep[0].calls;

    (void)state;
    model_require(s.claimed != (s.withdrawn[0] != 0));
    if (!s.claimed) return;
    model_require(shmi_load_rlx_64(&c->calls[0].state) ==
                  shmi_call_word(1, c->seat, SHMI_CALL_TAKEN));
    model_require((s.req[0].free & shmi_req_bit(0)) == 0);
}

/* What a client asked is not withdrawn by who came late for its seat.      */
static void
still_asked(void *state)
{
    const shmi_calls *c = &s.req[0].calls;

    (void)state;
    if (model_ended(0) || s.posted[0])
        model_require(shmi_load_rlx_64(&c->calls[c->seat].state) == 0);
}

static void nothing(void *state) { (void)state; }

/* ---- cases ------------------------------------------------------------------ */


#define CALL(label, from, a, b, c, then)                                      \
    CASE(label, from, a, b, c, then), .step_limit = 8000

static const model_case cases[] = {
    { CALL("calls_late_settler", dead_server, claim_0, sit_1, NULL,
           claim_counts) },
    { CALL("calls_judged", dead_server_of_0, judge_0, claim_0, NULL,
           claim_counts) },
    { CALL("calls_cancelled", dead_server_of_0, cancel_0, claim_0, NULL,
           claim_counts) },
    { CALL("calls_settled", taken, read_0, sit_after_0, judge_and_write,
           nothing), DIES(0) },
    { CALL("calls_settled_cancelled", taken, read_0, sit_after_0,
           cancel_and_write, nothing), DIES(0) },
    { CALL("calls_late_heir", dead_client, come_and_ask_0, come_1, NULL,
           still_asked) },
    { CALL("calls_late_heir_of_post", dead_client, come_and_post_0, come_1,
           NULL, still_asked), DIES(0) },
    { CALL("calls_late_heir_of_leaver", dead_client, post_and_leave_0, come_1,
           NULL, still_asked) },
    { CALL("calls_answered_by_leaver", taken_of_1, answer_and_leave_0, judge_0,
           NULL, nothing) },

    { CALL("calls_answered", one_server, ask_0, serve_1, NULL, all_is_well),
      .executions = 20000 },
    { CALL("calls_in_place", in_place, ask_0, serve_1, NULL, all_is_well),
      .executions = 5000 },
    { CALL("calls_two_servers", two_servers, ask_0, serve_1, serve_2,
           all_is_well), .executions = 10000 },
    { CALL("calls_two_at_once", two_calls, ask_0, serve_1, serve_2,
           all_is_well), .executions = 5000 },
    { CALL("calls_impatient", impatient, ask_0, serve_1, serve_2,
           all_is_well), .executions = 10000 },
    { CALL("calls_in_parts", in_parts, ask_0, serve_1, NULL, all_is_well),
      .executions = 20000 },
    { CALL("calls_posted", posting, ask_0, serve_1, NULL, all_is_well),
      .executions = 10000 },
    { CALL("calls_server_stops", two_servers, ask_0, serve_1, serve_2, once),
      FREEZES(1), .executions = 60 },
    { CALL("calls_client_stops", two_servers, ask_0, serve_1, serve_2, once),
      FREEZES(0), .executions = 60 },
    { CALL("calls_server_dies", two_servers, ask_0, serve_1, serve_2,
           others_are_well), DIES(1), .executions = 60 },
    { CALL("calls_server_replaced", one_server, ask_0, serve_1, serve_after_1,
           new_server_is_well), DIES(1), .executions = 60 },
    { CALL("calls_client_replaced", one_server, ask_0, serve_1, come_after_0,
           heir_is_well), DIES(0), .executions = 60 },
    { CALL("calls_poster_replaced", posting, ask_0, serve_1, come_after_0,
           heir_is_well), DIES(0), .executions = 60 },
};

int
main(int argc, char **argv)
{
    shmc_log_set(NULL, NULL, 0);     /* refusals are expected                */
    return MODEL_MAIN(argc, argv, cases);
}
