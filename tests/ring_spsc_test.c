/* Tests of the SPSC queue and of the ground of all rings: shmcomm_ring.h.
 * SPDX-License-Identifier: MIT                                            */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_ring.h"
#include "ring_support.h"

#include <pthread.h>

/* A queue in private memory, between two guards, with both its handles.   */
typedef struct pair {
    uint8_t *block;
    void *mem;
    uint64_t bytes;
    shmi_lane_shm *shm;
    shmc_spsc p, c;
} pair;

static void
pair_format(pair *t, const shmc_spsc_desc *d)
{
    const int64_t bytes = shmc_spsc_size_for(d);
    assert_true(bytes > 0);
    memset(t, 0, sizeof *t);
    t->bytes = (uint64_t)bytes;
    t->mem = guarded_alloc(&t->block, t->bytes);
    t->shm = (shmi_lane_shm *)t->mem;
    assert_int_equal(shmc_spsc_format(t->mem, t->bytes, d), SHMC_OK);
}

static void
pair_open_at(pair *t, uint64_t head, uint64_t tail)
{
    t->shm->head.index = head;
    t->shm->tail.index = tail;
    assert_int_equal(shmc_spsc_map(&t->p, t->mem, t->bytes, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_spsc_map(&t->c, t->mem, t->bytes, SHMC_CONSUMER), 0);
}

static void
pair_open(pair *t, uint32_t slot_bytes, uint32_t slot_count, uint64_t start)
{
    const shmc_spsc_desc d = { slot_bytes, slot_count, 0, NULL };
    pair_format(t, &d);
    pair_open_at(t, start, start);
}

static void
pair_close(pair *t)
{
    if (t->p.lane.shm) assert_int_equal(shmc_spsc_close(&t->p), SHMC_OK);
    if (t->c.lane.shm) assert_int_equal(shmc_spsc_close(&t->c), SHMC_OK);
    guarded_free(t->block, t->bytes);
}

static int
push(shmc_spsc *q, uint64_t v)
{
    return shmc_spsc_push(q, &v, sizeof v);
}

static uint64_t
pop(shmc_spsc *q)
{
    uint64_t v = UINT64_MAX;
    assert_int_equal(shmc_spsc_pop(q, &v, sizeof v), SHMC_OK);
    return v;
}

/* ---- geometry ---------------------------------------------------------- */

static void
size_is_five_lines_and_the_slots(void **state)
{
    (void)state;
    const shmc_spsc_desc one = { 1, 1, 0, NULL };
    const shmc_spsc_desc odd = { 12, 16, 1, NULL };
    const shmc_spsc_desc most = { 1u << 30, 1u << 31, 0, NULL };
    assert_int_equal(shmc_spsc_size_for(NULL), 768 + 64 * 1024);
    assert_int_equal(shmc_spsc_size_for(&one), 768 + 128);
    assert_int_equal(shmc_spsc_size_for(&odd), 768 + 16 * 16);
    assert_true(shmc_spsc_size_for(&most) == 768 + ((int64_t)1 << 61));
}

static void
bad_descs_are_rejected_with_a_sentence(void **state)
{
    (void)state;
    const shmc_spsc_desc bytes = { (1u << 30) + 1, 0, 0, NULL };
    const shmc_spsc_desc count = { 0, 3, 0, NULL };
    const shmc_spsc_desc waitable = { 0, 0, 2, NULL };
    uint8_t mem[256];
    shmc_spsc q;
    assert_int_equal(shmc_spsc_size_for(&bytes), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "slot_bytes"));
    assert_int_equal(shmc_spsc_size_for(&count), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "slot_count"));
    assert_int_equal(shmc_spsc_size_for(&waitable), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "waitable"));
    assert_int_equal(shmc_spsc_format(mem, sizeof mem, &count), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_open(&q, NULL, "q", &count, 1), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_open(&q, NULL, "q", NULL, 1), SHMC_EINVAL);
}

static void
format_rejects_unsuited_memory(void **state)
{
    (void)state;
    const shmc_spsc_desc d = { 8, 4, 0, NULL };
    pair t;
    shmc_spsc q;
    pair_format(&t, &d);
    uint8_t *mem = (uint8_t *)t.mem;
    void *volatile none = NULL;             /* compilers warn of a literal  */
    assert_int_equal(shmc_spsc_format(none, t.bytes, &d), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_format(mem + 8, t.bytes, &d), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_format(mem, t.bytes - 1, &d), SHMC_ENOSPC);
    assert_int_equal(shmc_spsc_map(&q, none, t.bytes, 1), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_map(&q, mem + 8, t.bytes, 1), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_map(&q, mem, 127, 1), SHMC_ECORRUPT);
    assert_int_equal(shmc_spsc_map(&q, mem, t.bytes - 1, 1), SHMC_ECORRUPT);
    assert_int_equal(shmc_spsc_map(&q, mem, t.bytes, 3), SHMC_EINVAL);
    pair_close(&t);
}

/* Look in vain until the consumer asks for notes.                         */
static void
ask_for_notes(pair *t)
{
    uint64_t v;
    assert_int_equal(t->shm->head.notes, 0);
    for (int i = 0; i < SHMI_LANE_IDLE; i++)
        assert_int_equal(shmc_spsc_pop(&t->c, &v, sizeof v), SHMC_EAGAIN);
    assert_int_equal(t->shm->head.notes, 1);
}

static void
push_value(pair *t, uint64_t v)
{
    assert_int_equal(shmc_spsc_push(&t->p, &v, sizeof v), SHMC_OK);
}

static void
pop_is(pair *t, uint64_t want)
{
    uint64_t v = ~want;
    assert_int_equal(shmc_spsc_pop(&t->c, &v, sizeof v), SHMC_OK);
    assert_int_equal(v, want);
}

static void
waiting_consumer_takes_a_short_message_from_its_note(void **state)
{
    static const uint64_t starts[] = { 0, 7, UINT64_MAX - 2, UINT64_MAX };
    (void)state;
    for (size_t k = 0; k < sizeof starts / sizeof starts[0]; k++) {
        pair t;
        pair_open(&t, 8, 8, starts[k]);
        push_value(&t, 1);                      /* nobody has asked: no note */
        assert_int_not_equal(t.shm->tail.note_of, t.shm->tail.index);
        pop_is(&t, 1);
        ask_for_notes(&t);
        for (uint64_t i = 2; i < 20; i++) {
            push_value(&t, i);
            assert_int_equal(t.shm->tail.note_of, t.shm->tail.index);
            /* What is in the slot tells where the message came from.       */
            memset((uint8_t *)t.mem + sizeof(shmi_lane_shm), 0xee, 64);
            pop_is(&t, i);
        }
        pair_close(&t);
    }
}

static void
note_of_another_message_is_left_alone(void **state)
{
    pair t;
    void *slot;
    (void)state;
    pair_open(&t, 8, 8, UINT64_MAX - 3);
    ask_for_notes(&t);
    for (uint64_t i = 0; i < 40; i += 4) {
        push_value(&t, i);
        pop_is(&t, i);
        /* A loan leaves no note; that of the message before stays.        */
        assert_int_equal(shmc_spsc_loan(&t.p, &slot, 1), 1);
        memcpy(slot, &(uint64_t){ i + 1 }, 8);
        assert_int_equal(shmc_spsc_commit(&t.p, 1), SHMC_OK);
        pop_is(&t, i + 1);
        /* A successor finds the note of a push that was never published.  */
        t.shm->tail.note_of = t.shm->tail.index + 1;
        t.shm->tail.note[0] = 0xdead;
        assert_int_equal(shmc_spsc_map(&t.p, t.mem, t.bytes, SHMC_PRODUCER),
                         SHMC_OK);
        assert_int_equal(shmc_spsc_loan(&t.p, &slot, 1), 1);
        memcpy(slot, &(uint64_t){ i + 2 }, 8);
        assert_int_equal(shmc_spsc_commit(&t.p, 1), SHMC_OK);
        pop_is(&t, i + 2);
        /* Two at once: the note is of the second.                         */
        push_value(&t, i + 3);
        push_value(&t, i + 4);
        pop_is(&t, i + 3);
        pop_is(&t, i + 4);
        assert_int_equal(t.shm->head.notes, 0);
        ask_for_notes(&t);
    }
    pair_close(&t);
}

static void
first_line_that_lies_is_not_mapped(void **state)
{
    (void)state;
    const shmc_spsc_desc d = { 8, 4, 0, NULL };
    const struct { size_t at; uint32_t value; int code; } lies[] = {
        { 0, 0, SHMC_ETYPE }, { 0, 0x53535051, SHMC_EBYTEORDER },
        { 4, SHMI_SPSC_VERSION + 1, SHMC_EVERSION }, { 8, 127, SHMC_ECORRUPT },
        { 8, 129, SHMC_ECORRUPT }, { 8, 648, SHMC_ECORRUPT },
        { 12, 1, SHMC_ECORRUPT },
        { 16, 0, SHMC_ECORRUPT }, { 16, UINT32_MAX, SHMC_ECORRUPT },
        { 16, 9, SHMC_ECORRUPT },
        { 20, 0, SHMC_ECORRUPT }, { 20, 3, SHMC_ECORRUPT },
        { 20, 1u << 31, SHMC_ECORRUPT }, { 20, 8192, SHMC_ECORRUPT },
        { 24, 0, SHMC_ECORRUPT }, { 24, 12, SHMC_ECORRUPT },
        { 24, 0xfffffff8u, SHMC_ECORRUPT },
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        pair t;
        pair_format(&t, &d);
        memcpy((uint8_t *)t.mem + lies[i].at, &lies[i].value, 4);
        assert_int_equal(shmc_spsc_map(&t.p, t.mem, t.bytes, SHMC_PRODUCER),
                         lies[i].code);
        assert_null(t.p.lane.shm);
        assert_true(strlen(shmc_last_error()) > 20);
        pair_close(&t);
    }
}

static void
indices_that_lie_are_not_mapped(void **state)
{
    (void)state;
    const shmc_spsc_desc d = { 8, 4, 0, NULL };
    const uint64_t tails[] = { 5, UINT64_MAX, (uint64_t)1 << 63 };
    for (int i = 0; i < 3; i++) {
        pair t;
        pair_format(&t, &d);
        t.shm->tail.index = tails[i];
        assert_int_equal(shmc_spsc_map(&t.p, t.mem, t.bytes, 1), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_map(&t.c, t.mem, t.bytes, 2), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_map(&t.c, t.mem, t.bytes, 0), SHMC_OK);
        assert_true(shmc_spsc_used(&t.c) <= 4);
        pair_close(&t);
    }
}

/* ---- push and pop ------------------------------------------------------ */

static void
messages_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    const uint64_t starts[] = { 0, 3, UINT32_MAX - 5, UINT64_MAX - 5 };
    for (int s = 0; s < 4; s++)
        for (uint32_t count = 1; count <= 8; count *= 2) {
            pair t;
            uint64_t v, in = 0, out = 0;
            pair_open(&t, sizeof v, count, starts[s]);
            for (int round = 0; round < 40; round++) {
                while (push(&t.p, in) == SHMC_OK) in++;
                assert_int_equal(in - out, count);
                assert_int_equal(push(&t.p, in), SHMC_EAGAIN);
                assert_int_equal(shmc_spsc_used(&t.p), count);
                assert_int_equal(shmc_spsc_free(&t.c), 0);
                const uint32_t take = 1 + (uint32_t)round % count;
                for (uint32_t i = 0; i < take; i++)
                    assert_int_equal(pop(&t.c), out++);
                assert_int_equal(shmc_spsc_free(&t.p), take);
            }
            while (out != in) assert_int_equal(pop(&t.c), out++);
            assert_int_equal(shmc_spsc_pop(&t.c, &v, sizeof v), SHMC_EAGAIN);
            assert_int_equal(shmc_spsc_used(&t.c), 0);
            pair_close(&t);
        }
}

static void
slots_of_odd_sizes_keep_their_bytes_apart(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes <= 200; bytes += 13) {
        pair t;
        uint8_t in[256], out[256];
        pair_open(&t, bytes, 4, 2);
        for (uint8_t round = 0; round < 12; round++) {
            for (uint8_t k = 0; k < 4; k++) {
                memset(in, round * 4 + k, bytes);
                assert_int_equal(shmc_spsc_push(&t.p, in, bytes), SHMC_OK);
            }
            for (uint8_t k = 0; k < 4; k++) {
                memset(in, round * 4 + k, bytes);
                assert_int_equal(shmc_spsc_pop(&t.c, out, bytes), SHMC_OK);
                assert_memory_equal(in, out, bytes);
            }
        }
        pair_close(&t);
    }
}

static void
wrong_calls_are_refused_and_change_nothing(void **state)
{
    (void)state;
    pair t;
    uint64_t v[2] = { 1, 2 };
    void *slots;
    const void *view;
    shmc_spsc o, none;
    pair_open(&t, 8, 2, 0);
    memset(&none, 0, sizeof none);
    assert_int_equal(shmc_spsc_map(&o, t.mem, t.bytes, SHMC_OBSERVER), 0);
    assert_int_equal(shmc_spsc_push(&t.p, v, 4), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_push(&t.p, v, 0), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_pop(&t.c, v, 16), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_push_n(&t.p, v, 16, 1), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_pop_n(&t.c, v, 16, 1), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_push_n(&t.p, v, 8, 0), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_pop_n(&t.c, v, 8, 0), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_loan(&t.p, &slots, 0), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_borrow(&t.c, &view, 0), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_commit(&t.p, 0), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_abort(&t.p), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_release(&t.c, 0), SHMC_EINVAL);
    shmc_spsc *wrong[] = { &t.c, &o };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shmc_spsc_push(wrong[i], v, 8), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_push_n(wrong[i], v, 8, 1), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_loan(wrong[i], &slots, 1), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_commit(wrong[i], 1), SHMC_EINVAL);
        wrong[0] = &t.p;
        assert_int_equal(shmc_spsc_pop(wrong[i], v, 8), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_pop_n(wrong[i], v, 8, 1), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_borrow(wrong[i], &view, 1), SHMC_EINVAL);
        assert_int_equal(shmc_spsc_release(wrong[i], 1), SHMC_EINVAL);
    }
    assert_int_equal(shmc_spsc_push(&none, v, 8), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_push(&none, v, 0), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_pop(&none, v, 8), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_loan(&none, &slots, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_commit(&none, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_borrow(&none, &view, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_release(&none, 1), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_push_wait(&none, v, 8, 0), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_close(&none), SHMC_ECLOSED);
    assert_int_equal(shmc_spsc_used(&none), 0);
    assert_int_equal(shmc_spsc_used(&t.p), 0);
    assert_int_equal(shmc_spsc_close(&o), SHMC_OK);
    pair_close(&t);
}

static void
batches_are_published_at_once_and_wrap(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 8, 12, 64 };
    for (int z = 0; z < 3; z++) {
        const uint32_t bytes = sizes[z];
        pair t;
        uint8_t in[8 * 64], out[8 * 64];
        pair_open(&t, bytes, 8, UINT64_MAX - 3);
        for (uint32_t i = 0; i < sizeof in; i++) in[i] = (uint8_t)(i * 7 + bytes);
        assert_int_equal(shmc_spsc_pop_n(&t.c, out, bytes, 3), SHMC_EAGAIN);
        assert_int_equal(shmc_spsc_push_n(&t.p, in, bytes, 5), 5);
        assert_int_equal(shmc_spsc_pop_n(&t.c, out, bytes, 2), 2);
        assert_memory_equal(in, out, 2 * bytes);
        assert_int_equal(shmc_spsc_push_n(&t.p, in + 5 * bytes, bytes, 3), 3);
        assert_int_equal(shmc_spsc_push_n(&t.p, in, bytes, 1000), 2);
        assert_int_equal(shmc_spsc_push_n(&t.p, in, bytes, 1), SHMC_EAGAIN);
        assert_int_equal(shmc_spsc_pop_n(&t.c, out, bytes, UINT32_MAX), 8);
        assert_memory_equal(in + 2 * bytes, out, 6 * bytes);
        assert_memory_equal(in, out + 6 * bytes, 2 * bytes);
        assert_int_equal(shmc_spsc_push_n(&t.p, in, bytes, UINT32_MAX), 8);
        pair_close(&t);
    }
}

static void
loans_are_seen_only_after_commit(void **state)
{
    (void)state;
    pair t;
    void *slots = NULL;
    uint64_t v = 0;
    pair_open(&t, 8, 4, 2);
    assert_int_equal(shmc_spsc_loan(&t.p, &slots, 4), 2);   /* to the end   */
    uint64_t *s = (uint64_t *)slots;
    s[0] = 10;
    s[1] = 11;
    assert_int_equal(shmc_spsc_used(&t.p), 0);
    assert_int_equal(shmc_spsc_pop(&t.c, &v, 8), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_push(&t.p, &v, 8), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_loan(&t.p, &slots, 1), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_commit(&t.p, 3), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_commit(&t.p, 1), SHMC_OK);
    assert_int_equal(pop(&t.c), 10);
    assert_int_equal(shmc_spsc_pop(&t.c, &v, 8), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_loan(&t.p, &slots, 1), 1);
    assert_int_equal(shmc_spsc_abort(&t.p), SHMC_OK);
    assert_int_equal(shmc_spsc_pop(&t.c, &v, 8), SHMC_EAGAIN);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(push(&t.p, i), SHMC_OK);
    assert_int_equal(shmc_spsc_loan(&t.p, &slots, 1), SHMC_EAGAIN);
    pair_close(&t);
}

static void
borrowed_slots_stay_owned_until_release(void **state)
{
    (void)state;
    pair t;
    const void *view = NULL;
    uint64_t v = 0;
    pair_open(&t, 8, 4, 2);
    assert_int_equal(shmc_spsc_borrow(&t.c, &view, 4), SHMC_EAGAIN);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(push(&t.p, i), SHMC_OK);
    assert_int_equal(shmc_spsc_borrow(&t.c, &view, 4), 2);
    const uint64_t *s = (const uint64_t *)view;
    assert_int_equal(push(&t.p, 4), SHMC_EAGAIN);
    assert_int_equal(s[0], 0);
    assert_int_equal(s[1], 1);
    assert_int_equal(shmc_spsc_pop(&t.c, &v, 8), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_release(&t.c, 3), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_release(&t.c, 1), SHMC_OK);
    assert_int_equal(push(&t.p, 4), SHMC_OK);
    for (uint64_t i = 1; i < 5; i++) assert_int_equal(pop(&t.c), i);
    assert_int_equal(push(&t.p, 5), SHMC_OK);
    assert_int_equal(shmc_spsc_borrow(&t.c, &view, 1), 1);
    assert_int_equal(shmc_spsc_release(&t.c, 0), SHMC_OK);
    assert_int_equal(pop(&t.c), 5);
    pair_close(&t);
}

/* ---- a hostile peer ---------------------------------------------------- */

static void
scribbled_head_gives_the_producer_ecorrupt(void **state)
{
    (void)state;
    const uint64_t mine = 100;
    const uint64_t heads[] = { mine + 1, mine - 5, 0, UINT64_MAX,
                               (uint64_t)1 << 63, mine + ((uint64_t)1 << 32) };
    for (int i = 0; i < 6; i++) {
        pair t;
        void *slots;
        uint64_t v[4] = { 0 };
        const shmc_spsc_desc d = { 8, 4, 0, NULL };
        pair_format(&t, &d);
        pair_open_at(&t, mine - 4, mine);
        t.shm->head.index = heads[i];
        assert_int_equal(push(&t.p, 1), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_push_n(&t.p, v, 8, 4), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_loan(&t.p, &slots, 4), SHMC_ECORRUPT);
        assert_true(shmc_spsc_used(&t.p) <= 4);
        assert_true(shmc_spsc_free(&t.p) <= 4);
        t.shm->head.index = mine - 3;               /* an honest one again  */
        assert_int_equal(push(&t.p, 1), SHMC_OK);
        pair_close(&t);
    }
}

static void
scribbled_tail_gives_the_consumer_ecorrupt(void **state)
{
    (void)state;
    const uint64_t mine = 100;
    const uint64_t tails[] = { mine - 1, mine + 5, 0, UINT64_MAX,
                               (uint64_t)1 << 63, mine + ((uint64_t)1 << 32) };
    for (int i = 0; i < 6; i++) {
        pair t;
        const void *view;
        uint64_t v[4];
        pair_open(&t, 8, 4, mine);
        t.shm->tail.index = tails[i];
        assert_int_equal(shmc_spsc_pop(&t.c, v, 8), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_pop_n(&t.c, v, 8, 4), SHMC_ECORRUPT);
        assert_int_equal(shmc_spsc_borrow(&t.c, &view, 4), SHMC_ECORRUPT);
        assert_true(shmc_spsc_used(&t.c) <= 4);
        t.shm->tail.index = mine + 1;
        assert_int_equal(shmc_spsc_pop(&t.c, v, 8), SHMC_OK);
        pair_close(&t);
    }
}

static void
random_scribbling_never_leaves_the_memory(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u, v[8];
    for (int round = 0; round < 300; round++) {
        pair t;
        pair_open(&t, 8, 8, x);
        for (int step = 0; step < 100; step++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            uint64_t *index = x & 64 ? &t.shm->head.index : &t.shm->tail.index;
            if ((x & 15) == 0) *index = x >> 7;
            if ((x & 15) == 1) *index += x >> 60;
            if (x & 16) (void)push(&t.p, x);
            if (x & 32) (void)shmc_spsc_pop(&t.c, v, 8);
            if (x & 128) (void)shmc_spsc_push_n(&t.p, v, 8, 1 + (x >> 8) % 8);
            if (x & 256) (void)shmc_spsc_pop_n(&t.c, v, 8, 1 + (x >> 9) % 8);
        }
        pair_close(&t);                             /* checks the guards    */
    }
}

/* ---- in a segment ------------------------------------------------------ */

typedef struct seg {
    shmc_segment s;
    char name[64];
} seg;

static void
seg_open(seg *g, const char *noun, uint32_t wake)
{
    shmc_segment_desc d;
    memset(&d, 0, sizeof d);
    d.wake = wake;
    test_name(g->name, sizeof g->name, noun);
    assert_int_equal(shmc_segment_create(&g->s, g->name, &d), SHMC_OK);
}

static void
seg_close(seg *g)
{
    assert_int_equal(shmc_segment_close(&g->s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink(g->name, NULL), SHMC_OK);
}

static void
either_side_may_come_first_in_a_segment(void **state)
{
    (void)state;
    for (uint32_t first = SHMC_PRODUCER; first <= SHMC_CONSUMER; first++) {
        seg g;
        shmc_spsc q[3];
        shmc_spsc_stats st;
        const shmc_spsc_desc d = { 8, 16, 1, "u64" };
        seg_open(&g, "first", SHMC_WAKE_FENCE);
        assert_int_equal(shmc_spsc_open(&q[0], &g.s, "q", NULL, SHMC_OBSERVER),
                         SHMC_ENOENT);
        assert_int_equal(shmc_spsc_open(&q[first], &g.s, "q", &d, first), 0);
        assert_int_equal(shmc_spsc_open(&q[3 - first], &g.s, "q", NULL,
                                        3 - first), 0);
        assert_int_equal(shmc_spsc_open(&q[0], &g.s, "q", NULL, 0), 0);
        assert_int_equal(push(&q[1], 7), SHMC_OK);
        assert_int_equal(push(&q[1], 8), SHMC_OK);
        assert_int_equal(pop(&q[2]), 7);
        assert_int_equal(shmc_spsc_stats_get(&q[0], &st), SHMC_OK);
        assert_int_equal(st.pushed, 2);
        assert_int_equal(st.popped, 1);
        assert_int_equal(st.used, 1);
        assert_int_equal(st.slot_count, 16);
        assert_int_equal(st.slot_bytes, 8);
        assert_int_equal(st.producer_pid, getpid());
        assert_int_equal(st.consumer_pid, getpid());
        assert_true(st.producer_alive && st.consumer_alive && st.waitable);
        for (int i = 0; i < 3; i++)
            assert_int_equal(shmc_spsc_close(&q[i]), SHMC_OK);
        assert_int_equal(shmc_spsc_stats_get(&q[0], &st), SHMC_ECLOSED);
        seg_close(&g);
    }
}

static void
roles_are_exclusive_and_free_after_close(void **state)
{
    (void)state;
    seg g;
    shmc_spsc a, b;
    shmc_spsc_stats st;
    char pid[24];
    seg_open(&g, "roles", SHMC_WAKE_FENCE);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (uint32_t role = SHMC_PRODUCER; role <= SHMC_CONSUMER; role++) {
        assert_int_equal(shmc_spsc_open(&a, &g.s, "q", NULL, role), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&b, &g.s, "q", NULL, role), SHMC_EBUSY);
        assert_non_null(strstr(shmc_last_error(), pid));
        assert_int_equal(shmc_spsc_close(&b), SHMC_ECLOSED);
        assert_int_equal(shmc_spsc_close(&a), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&b, &g.s, "q", NULL, role), SHMC_OK);
        assert_int_equal(shmc_spsc_stats_get(&b, &st), SHMC_OK);
        assert_int_equal(st.producer_alive, role == SHMC_PRODUCER);
        assert_int_equal(st.consumer_alive, role == SHMC_CONSUMER);
        assert_int_equal(shmc_spsc_close(&b), SHMC_OK);
    }
    assert_int_equal(shmc_object_remove(&g.s, "q"), SHMC_OK);
    seg_close(&g);
}

static void
differing_options_are_named(void **state)
{
    (void)state;
    seg g;
    shmc_spsc a, b;
    const shmc_spsc_desc d = { 8, 16, 0, "pose" };
    const shmc_spsc_desc bytes = { 16, 0, 0, NULL };
    const shmc_spsc_desc count = { 8, 32, 0, NULL };
    const shmc_spsc_desc waits = { 0, 0, 1, NULL };
    const shmc_spsc_desc type = { 0, 0, 0, "twist" };
    shmc_object_desc raw;
    shmc_object object;
    seg_open(&g, "options", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&a, &g.s, "q", &d, SHMC_PRODUCER), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", &bytes, 2), SHMC_EMISMATCH);
    assert_non_null(strstr(shmc_last_error(), "slot_bytes 8, not 16"));
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", &count, 2), SHMC_EMISMATCH);
    assert_non_null(strstr(shmc_last_error(), "slot_count 16, not 32"));
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", &waits, 2), SHMC_EMISMATCH);
    assert_non_null(strstr(shmc_last_error(), "waitable"));
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", &type, 2), SHMC_ETYPE);
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", &d, SHMC_CONSUMER), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&b), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&a), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&b, &g.s, "q", NULL, 9), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_open(&b, &g.s, NULL, NULL, 1), SHMC_EINVAL);
    assert_int_equal(shmc_spsc_open(&b, &g.s, "../q", NULL, 1), SHMC_ENAME);
    memset(&raw, 0, sizeof raw);
    raw.bytes = 1024;
    assert_int_equal(shmc_object_open(&g.s, "raw", &raw, &object), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&b, &g.s, "raw", NULL, 1), SHMC_ETYPE);
    assert_int_equal(shmc_object_close(&g.s, &object), SHMC_OK);
    assert_int_equal(shmi_ring_object(NULL, "x", &raw, false, &object),
                     SHMC_EINVAL);
    seg_close(&g);
}

static void
read_only_segment_lets_observers_in(void **state)
{
    (void)state;
    seg g;
    shmc_segment r;
    shmc_spsc p, o;
    shmc_spsc_stats st;
    shmc_segment_desc d;
    seg_open(&g, "readonly", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&p, &g.s, "q", NULL, SHMC_PRODUCER), 0);
    memset(&d, 0, sizeof d);
    d.flags = SHMC_READ_ONLY;
    assert_int_equal(shmc_segment_attach(&r, g.name, &d), SHMC_OK);
    assert_int_equal(shmc_spsc_open(&o, &r, "q", NULL, 1), SHMC_EROFS);
    assert_int_equal(shmc_spsc_open(&o, &r, "q", NULL, 2), SHMC_EROFS);
    assert_int_equal(shmc_spsc_open(&o, &r, "q", NULL, 0), SHMC_OK);
    assert_int_equal(shmc_spsc_used(&o), 0);
    assert_int_equal(shmc_spsc_stats_get(&o, &st), SHMC_OK);
    assert_int_equal(st.producer_pid, getpid());
    assert_true(st.producer_alive && !st.consumer_alive);
    assert_int_equal(shmc_spsc_close(&o), SHMC_OK);
    assert_int_equal(shmc_segment_close(&r), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&p), SHMC_OK);
    seg_close(&g);
}

static int
forked_calls(void *arg)
{
    shmc_spsc *p = (shmc_spsc *)arg, *c = p + 1, *o = p + 2;
    uint64_t v[2] = { 0 };
    void *slots;
    const void *view;
    shmc_spsc_stats st;
    int bad = 0;
    bad |= shmc_spsc_push(p, v, 8) != SHMC_EFORKED;
    bad |= shmc_spsc_pop(c, v, 8) != SHMC_EFORKED;
    bad |= shmc_spsc_push_n(p, v, 8, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_pop_n(c, v, 8, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_loan(p, &slots, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_commit(p, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_abort(p) != SHMC_EFORKED;
    bad |= shmc_spsc_borrow(c, &view, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_release(c, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_push_wait(p, v, 8, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_pop_wait(c, v, 8, 1) != SHMC_EFORKED;
    bad |= shmc_spsc_stats_get(o, &st) != SHMC_EFORKED;
    bad |= shmc_spsc_close(p) != SHMC_OK;
    bad |= shmc_spsc_close(c) != SHMC_OK;
    bad |= shmc_spsc_close(p) != SHMC_ECLOSED;
    return bad;
}

static void
inherited_handles_return_eforked(void **state)
{
    (void)state;
    seg g;
    shmc_spsc q[3];
    const shmc_spsc_desc d = { 8, 16, 1, NULL };
    seg_open(&g, "fork", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&q[0], &g.s, "q", &d, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_spsc_open(&q[1], &g.s, "q", &d, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_spsc_open(&q[2], &g.s, "q", &d, SHMC_OBSERVER), 0);
    assert_int_equal(test_join(test_spawn(forked_calls, q)), 0);
    assert_int_equal(push(&q[0], 3), SHMC_OK);      /* the parent's go on   */
    assert_int_equal(pop(&q[1]), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shmc_spsc_close(&q[i]), SHMC_OK);
    seg_close(&g);
}

/* ---- children that die ------------------------------------------------- */

static void
produce_three_and_loan(shmc_segment *s)
{
    shmc_spsc q;
    void *slots = NULL;
    TEST_REQUIRE(shmc_spsc_open(&q, s, "q", NULL, SHMC_PRODUCER) == SHMC_OK);
    for (uint64_t i = 0; i < 3; i++) TEST_REQUIRE(push(&q, i) == SHMC_OK);
    TEST_REQUIRE(shmc_spsc_loan(&q, &slots, 2) == 2);
    memset(slots, 0xff, 16);
}

static void
dead_producers_successor_goes_on(void **state)
{
    (void)state;
    seg g;
    shmc_spsc p, c;
    const shmc_spsc_desc d = { 8, 8, 1, NULL };
    seg_open(&g, "deadprod", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&c, &g.s, "q", &d, SHMC_CONSUMER), 0);
    const pid_t child = start_child(g.name, produce_three_and_loan);
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)child);
    assert_int_equal(shmc_spsc_open(&p, &g.s, "q", &d, 1), SHMC_EBUSY);
    assert_non_null(strstr(shmc_last_error(), pid));
    assert_int_equal(pop(&c), 0);
    test_kill(child);
    assert_int_equal(shmc_spsc_open(&p, &g.s, "q", &d, SHMC_PRODUCER), 0);
    assert_int_equal(push(&p, 3), SHMC_OK);
    for (uint64_t i = 1; i < 4; i++) assert_int_equal(pop(&c), i);
    assert_int_equal(shmc_spsc_used(&c), 0);
    assert_int_equal(shmc_spsc_close(&p), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
    seg_close(&g);
}

static void
consume_one_and_borrow_two(shmc_segment *s)
{
    shmc_spsc q;
    const void *view = NULL;
    TEST_REQUIRE(shmc_spsc_open(&q, s, "q", NULL, SHMC_CONSUMER) == SHMC_OK);
    TEST_REQUIRE(pop(&q) == 0);
    TEST_REQUIRE(shmc_spsc_borrow(&q, &view, 2) == 2);
}

static void
what_a_dead_consumer_borrowed_is_seen_again(void **state)
{
    (void)state;
    seg g;
    shmc_spsc p, c;
    const shmc_spsc_desc d = { 8, 8, 0, NULL };
    seg_open(&g, "deadcons", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&p, &g.s, "q", &d, SHMC_PRODUCER), 0);
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(push(&p, i), SHMC_OK);
    const pid_t child = start_child(g.name, consume_one_and_borrow_two);
    assert_int_equal(shmc_spsc_open(&c, &g.s, "q", &d, 2), SHMC_EBUSY);
    test_kill(child);
    assert_int_equal(shmc_spsc_open(&c, &g.s, "q", &d, SHMC_CONSUMER), 0);
    for (uint64_t i = 1; i < 5; i++) assert_int_equal(pop(&c), i);
    assert_int_equal(shmc_spsc_close(&p), SHMC_OK);
    assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
    seg_close(&g);
}

static void
waiting_side_learns_of_its_peers_death_once(void **state)
{
    (void)state;
    seg g;
    shmc_spsc c;
    uint64_t v = 0;
    const shmc_spsc_desc d = { 8, 8, 1, NULL };
    seg_open(&g, "told", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&c, &g.s, "q", &d, SHMC_CONSUMER), 0);
    /* Nobody was ever there: that is no death.                            */
    assert_int_equal(shmc_spsc_pop_wait(&c, &v, 8, 20000000), SHMC_ETIMEDOUT);
    for (int life = 0; life < 2; life++) {
        const pid_t child = start_child(g.name, produce_three_and_loan);
        test_kill(child);
        for (uint64_t i = 0; i < 3; i++) {
            assert_int_equal(shmc_spsc_pop_wait(&c, &v, 8, -1), SHMC_OK);
            assert_int_equal(v, i);
        }
        assert_int_equal(shmc_spsc_pop_wait(&c, &v, 8, -1), SHMC_EPEERDEAD);
        assert_int_equal(shmc_spsc_pop_wait(&c, &v, 8, 20000000),
                         SHMC_ETIMEDOUT);
    }
    assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
    seg_close(&g);
}

/* As if the peer's last message showed between the look at the queue and the
 * look at its owner.                                                       */
static int
pop_at_the_second_try(const shmi_lane_wait *w)
{
    uint32_t *tries = (uint32_t *)w->to;
    return ++*tries < 2 ? SHMC_EAGAIN : SHMC_OK;
}

static void
last_message_of_the_dead_is_told_before_the_death(void **state)
{
    (void)state;
    seg g;
    shmc_spsc c;
    uint32_t tries = 0;
    const shmc_spsc_desc d = { 8, 8, 1, NULL };
    seg_open(&g, "last", SHMC_WAKE_FENCE);
    assert_int_equal(shmc_spsc_open(&c, &g.s, "q", &d, SHMC_CONSUMER), 0);
    test_kill(start_child(g.name, produce_three_and_loan));
    shmi_lane_wait w = { pop_at_the_second_try, &c.lane, &c, NULL, &tries, 4 };
    assert_int_equal(shmi_lane_try_or_look(&w), SHMC_OK);
    assert_int_equal(tries, 2);
    assert_int_equal(shmi_peer_slice(&c.lane.watch), SHMC_PEER_CHECK_NS);
    c.lane.watch.look_ns = 0;
    assert_int_equal(shmi_peer_look(&c.lane.watch), SHMC_EPEERDEAD);
    assert_int_equal(shmi_peer_slice(&c.lane.watch), SHMC_RECHECK_NS);
    c.lane.watch.look_ns = 0;
    assert_int_equal(shmi_peer_look(&c.lane.watch), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_close(&c), SHMC_OK);
    seg_close(&g);
}

/* ---- waiting ----------------------------------------------------------- */

static void
waits_need_a_waitable_queue(void **state)
{
    (void)state;
    pair t;
    uint64_t v = 0;
    pair_open(&t, 8, 1, 0);
    assert_int_equal(shmc_spsc_push_wait(&t.p, &v, 8, 0), SHMC_ENOTSUP);
    assert_int_equal(shmc_spsc_pop_wait(&t.c, &v, 8, 0), SHMC_ENOTSUP);
    assert_int_equal(shmc_spsc_push_wait(&t.c, &v, 8, 0), SHMC_EINVAL);
    pair_close(&t);
}

static void
timeouts_are_kept(void **state)
{
    (void)state;
    pair t;
    uint64_t v = 1;
    const shmc_spsc_desc d = { 8, 1, 1, NULL };
    pair_format(&t, &d);
    pair_open_at(&t, UINT64_MAX, UINT64_MAX);
    assert_int_equal(shmc_spsc_pop_wait(&t.c, &v, 8, 0), SHMC_EAGAIN);
    const uint64_t start_ns = shmi_now_ns();
    assert_int_equal(shmc_spsc_pop_wait(&t.c, &v, 8, 30000000), SHMC_ETIMEDOUT);
    assert_true(shmi_now_ns() - start_ns >= 30000000);
    assert_int_equal(shmc_spsc_push_wait(&t.p, &v, 8, 0), SHMC_OK);
    assert_int_equal(shmc_spsc_push_wait(&t.p, &v, 8, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_spsc_push_wait(&t.p, &v, 8, 1), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_spsc_push_wait(&t.p, &v, 4, 1), SHMC_EMSGSIZE);
    assert_int_equal(shmc_spsc_pop_wait(&t.c, &v, 8, -1), SHMC_OK);
    pair_close(&t);
}

static void *
echo(void *ctx)
{
    shmc_spsc *q = (shmc_spsc *)ctx;                /* [0] in, [1] out      */
    uint64_t v = 0;
    while (shmc_spsc_pop_wait(&q[0], &v, 8, -1) == SHMC_OK) {
        if (v % 7 == 0) usleep(300);
        if (shmc_spsc_push_wait(&q[1], &v, 8, -1) != SHMC_OK || v == 0) break;
    }
    return NULL;
}

static void
sleepers_are_woken_on_both_sides(void **state)
{
    (void)state;
    for (uint32_t wake = 0; wake < 2; wake++) {
        seg g;
        shmc_spsc far[2], to, from;
        pthread_t thread;
        uint64_t v = 0;
        const shmc_spsc_desc d = { 8, 1, 1, NULL };
        seg_open(&g, "sleep", wake);
        assert_int_equal(shmc_spsc_open(&to, &g.s, "a", &d, 1), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&far[0], &g.s, "a", &d, 2), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&far[1], &g.s, "b", &d, 1), SHMC_OK);
        assert_int_equal(shmc_spsc_open(&from, &g.s, "b", &d, 2), SHMC_OK);
        assert_int_equal(to.lane.flags, 1 | wake << 1);
        assert_int_equal(pthread_create(&thread, NULL, echo, far), 0);
        for (uint64_t i = 300; i-- > 0;) {
            if (i % 11 == 0) usleep(300);
            assert_int_equal(shmc_spsc_push_wait(&to, &i, 8, -1), SHMC_OK);
            assert_int_equal(shmc_spsc_pop_wait(&from, &v, 8, -1), SHMC_OK);
            assert_int_equal(v, i);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(shmc_spsc_close(&to), SHMC_OK);
        assert_int_equal(shmc_spsc_close(&from), SHMC_OK);
        assert_int_equal(shmc_spsc_close(&far[0]), SHMC_OK);
        assert_int_equal(shmc_spsc_close(&far[1]), SHMC_OK);
        seg_close(&g);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(size_is_five_lines_and_the_slots),
        TEST_CASE(bad_descs_are_rejected_with_a_sentence),
        TEST_CASE(format_rejects_unsuited_memory),
        TEST_CASE(first_line_that_lies_is_not_mapped),
        TEST_CASE(indices_that_lie_are_not_mapped),
        TEST_CASE(messages_come_out_in_the_order_they_went_in),
        TEST_CASE(slots_of_odd_sizes_keep_their_bytes_apart),
        TEST_CASE(wrong_calls_are_refused_and_change_nothing),
        TEST_CASE(batches_are_published_at_once_and_wrap),
        TEST_CASE(loans_are_seen_only_after_commit),
        TEST_CASE(borrowed_slots_stay_owned_until_release),
        TEST_CASE(scribbled_head_gives_the_producer_ecorrupt),
        TEST_CASE(scribbled_tail_gives_the_consumer_ecorrupt),
        TEST_CASE(random_scribbling_never_leaves_the_memory),
        TEST_CASE(either_side_may_come_first_in_a_segment),
        TEST_CASE(roles_are_exclusive_and_free_after_close),
        TEST_CASE(differing_options_are_named),
        TEST_CASE(read_only_segment_lets_observers_in),
        TEST_CASE(inherited_handles_return_eforked),
        TEST_CASE(dead_producers_successor_goes_on),
        TEST_CASE(what_a_dead_consumer_borrowed_is_seen_again),
        TEST_CASE(waiting_side_learns_of_its_peers_death_once),
        TEST_CASE(last_message_of_the_dead_is_told_before_the_death),
        TEST_CASE(waiting_consumer_takes_a_short_message_from_its_note),
        TEST_CASE(note_of_another_message_is_left_alone),
        TEST_CASE(waits_need_a_waitable_queue),
        TEST_CASE(timeouts_are_kept),
        TEST_CASE(sleepers_are_woken_on_both_sides),
    };
    shmc_log_set(NULL, NULL, SHMC_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
