/* MessagePack in loans: what is packed into one is read where it lies, what
 * does not fit is told and harms nothing, what is no MessagePack is refused.  */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_msgpack.h"
#include "shmcomm_patterns.h"
#include "shmcomm_pushpull.h"
#include "shmcomm_recq.h"
#include "shmcomm_reqrep.h"

#include "core_support.h"

enum { ROOM = 200 };

static shmc_msgpack_reader reader;

static void
pack_text(msgpack_packer *p, const char *text)
{
    msgpack_pack_str(p, strlen(text));
    msgpack_pack_str_body(p, text, strlen(text));
}

/* {"name": NAME, "xy": [1.5, -2]}: how many bytes, or an error.           */
static int
pack_pose(void *room, uint32_t room_bytes, const char *name)
{
    shmc_msgpack_writer w;

    shmc_msgpack_begin(&w, room, room_bytes);
    msgpack_pack_map(&w.packer, 2);
    pack_text(&w.packer, "name");
    pack_text(&w.packer, name);
    pack_text(&w.packer, "xy");
    msgpack_pack_array(&w.packer, 2);
    msgpack_pack_double(&w.packer, 1.5);
    msgpack_pack_int(&w.packer, -2);
    return shmc_msgpack_end(&w);
}

/* Such a message is here, and the object's strings lie in it.             */
static void
read_pose(const void *data, int bytes, const char *name)
{
    msgpack_object o;

    assert_true(bytes > 0);
    assert_int_equal(shmc_msgpack_read(&reader, data, (uint32_t)bytes, &o),
                     SHMC_OK);
    assert_int_equal(o.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(o.via.map.size, 2);
    const msgpack_object_str is = o.via.map.ptr[0].val.via.str;
    assert_int_equal(is.size, strlen(name));
    assert_memory_equal(is.ptr, name, is.size);
    assert_true(is.ptr > (const char *)data &&
                is.ptr + is.size <= (const char *)data + bytes);
    const msgpack_object_array xy = o.via.map.ptr[1].val.via.array;
    assert_int_equal(xy.size, 2);
    assert_true(xy.ptr[0].via.f64 == 1.5);
    assert_int_equal(xy.ptr[1].via.i64, -2);
}

static int
setup(void **state)
{
    return core_setup(state) || shmc_msgpack_open(&reader) != SHMC_OK;
}

static int
teardown(void **state)
{
    return shmc_msgpack_close(&reader) != SHMC_OK || core_teardown(state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void
a_topics_loan_is_packed_and_read_in_place(void **state)
{
    const shmc_topic_desc d = { .max_bytes = ROOM, .mode = SHMC_RELIABLE,
                                .dir = core_dir };
    const shmc_sub_desc s = { .dir = core_dir };
    const void *data;
    void *room;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub, "pose", &d), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "pose", &s), SHMC_OK);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(shmc_pub_loan(&pub, ROOM, &room, 0), SHMC_OK);
        const int bytes = pack_pose(room, ROOM, "left arm");
        assert_true(bytes > 0);
        assert_int_equal(shmc_pub_commit(&pub, (uint32_t)bytes, 0), SHMC_OK);
        assert_int_equal(shmc_sub_borrow(&sub, &data, 0), bytes);
        read_pose(data, bytes, "left arm");
        assert_int_equal(shmc_sub_release(&sub), SHMC_OK);
    }
    assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
    assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
}

static void
a_queues_loan_is_packed_and_read_in_place(void **state)
{
    const shmc_push_desc d = { .max_bytes = ROOM, .depth = 4, .dir = core_dir };
    const shmc_pull_desc p = { .dir = core_dir };
    const void *data;
    void *room;
    shmc_push push;
    shmc_pull pull;

    (void)state;
    assert_int_equal(shmc_push_open(&push, "jobs", &d), SHMC_OK);
    assert_int_equal(shmc_pull_open(&pull, "jobs", &p), SHMC_OK);
    assert_int_equal(shmc_push_loan(&push, ROOM, &room, 0), SHMC_OK);
    const int bytes = pack_pose(room, ROOM, "weld");
    assert_true(bytes > 0);
    assert_int_equal(shmc_push_commit(&push, (uint32_t)bytes), SHMC_OK);
    assert_int_equal(shmc_pull_borrow(&pull, &data, 0), bytes);
    read_pose(data, bytes, "weld");
    assert_int_equal(shmc_pull_release(&pull), SHMC_OK);
    assert_int_equal(shmc_pull_close(&pull), SHMC_OK);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
}

static void
a_services_loans_are_packed_and_read_in_place(void **state)
{
    const shmc_rep_desc d = { .max_bytes = ROOM, .max_clients = 1,
                              .max_outstanding = 1, .dir = core_dir };
    const shmc_req_desc q = { .dir = core_dir };
    const void *data;
    void *room;
    shmc_rep rep;
    shmc_req req;

    (void)state;
    assert_int_equal(shmc_rep_open(&rep, "plan", &d), SHMC_OK);
    assert_int_equal(shmc_req_open(&req, "plan", &q), SHMC_OK);
    assert_int_equal(shmc_req_loan(&req, ROOM, &room, 0), SHMC_OK);
    int bytes = pack_pose(room, ROOM, "goal");
    const int call = shmc_req_commit(&req, (uint32_t)bytes, 0);
    assert_true(bytes > 0 && call > 0);
    assert_int_equal(shmc_rep_borrow(&rep, &data, 0), bytes);
    read_pose(data, bytes, "goal");
    assert_int_equal(shmc_rep_loan(&rep, ROOM, &room, 0), SHMC_OK);
    bytes = pack_pose(room, ROOM, "path");
    assert_int_equal(shmc_rep_commit(&rep, (uint32_t)bytes), SHMC_OK);
    assert_int_equal(shmc_req_borrow(&req, call, &data, 0), bytes);
    read_pose(data, bytes, "path");
    assert_int_equal(shmc_req_release(&req), SHMC_OK);
    assert_int_equal(shmc_req_close(&req), SHMC_OK);
    assert_int_equal(shmc_rep_close(&rep), SHMC_OK);
}

static void
a_rings_loan_is_packed_and_read_in_place(void **state)
{
    static _Alignas(128) uint8_t memory[8192];
    const shmc_recq_desc d = { .capacity_bytes = 1024 };
    const void *data;
    void *room;
    shmc_recq in, out;

    (void)state;
    assert_int_equal(shmc_recq_format(memory, sizeof memory, &d), SHMC_OK);
    assert_int_equal(shmc_recq_map(&in, memory, sizeof memory, SHMC_PRODUCER), 0);
    assert_int_equal(shmc_recq_map(&out, memory, sizeof memory, SHMC_CONSUMER), 0);
    assert_int_equal(shmc_recq_loan(&in, ROOM, &room), SHMC_OK);
    const int bytes = pack_pose(room, ROOM, "row");
    assert_true(bytes > 0);
    assert_int_equal(shmc_recq_commit(&in, (uint32_t)bytes), SHMC_OK);
    assert_int_equal(shmc_recq_borrow(&out, &data), bytes);
    read_pose(data, bytes, "row");
    assert_int_equal(shmc_recq_release(&out), SHMC_OK);
    assert_int_equal(shmc_recq_close(&in), SHMC_OK);
    assert_int_equal(shmc_recq_close(&out), SHMC_OK);
}

static void
what_does_not_fit_is_told_and_the_loan_goes_back(void **state)
{
    uint8_t memory[ROOM];
    const shmc_push_desc d = { .max_bytes = ROOM, .depth = 2, .dir = core_dir };
    const shmc_pull_desc p = { .dir = core_dir };
    void *room;
    shmc_push push;
    shmc_pull pull;
    shmc_msgpack_writer w;

    (void)state;
    assert_int_equal(shmc_push_open(&push, "jobs", &d), SHMC_OK);
    assert_int_equal(shmc_pull_open(&pull, "jobs", &p), SHMC_OK);
    for (int i = 0; i < 10; i++) {      /* more often than it is deep       */
        assert_int_equal(shmc_push_loan(&push, ROOM, &room, 0), SHMC_OK);
        assert_int_equal(pack_pose(room, 20, "a rather long name"),
                         SHMC_EMSGSIZE);
        assert_non_null(strstr(shmc_last_error(), "it has 39 bytes, the room 20"));
        assert_int_equal(shmc_push_abort(&push), SHMC_OK);
        assert_int_equal(shmc_pull_recv(&pull, memory, ROOM, 0), SHMC_EAGAIN);
    }
    assert_int_equal(shmc_pull_close(&pull), SHMC_OK);
    shmc_msgpack_begin(&w, &room, 1);
    assert_int_equal(msgpack_pack_int(&w.packer, 1), 0);
    assert_int_equal(msgpack_pack_int(&w.packer, 1), -1);
    assert_int_equal(shmc_msgpack_end(&w), SHMC_EMSGSIZE);
    assert_int_equal(w.bytes, 2);
    assert_int_equal(shmc_push_close(&push), SHMC_OK);
}

static void
no_byte_is_written_behind_the_room(void **state)
{
    uint8_t memory[64], whole[64];
    const int bytes = pack_pose(whole, sizeof whole, "name");

    (void)state;
    assert_true(bytes > 0);
    for (int room = 0; room <= bytes; room++) {
        memset(memory, 0xa5, sizeof memory);
        assert_int_equal(pack_pose(memory, (uint32_t)room, "name"),
                         room == bytes ? bytes : SHMC_EMSGSIZE);
        for (size_t i = (size_t)room; i < sizeof memory; i++)
            assert_int_equal(memory[i], 0xa5);
    }
    assert_memory_equal(memory, whole, (size_t)bytes);
}

static int
reads(const void *data, uint32_t bytes)
{
    /* So that a sanitizer sees who reads behind it.                       */
    uint8_t *copy = malloc(bytes + !bytes);
    msgpack_object o;

    assert_non_null(copy);
    if (bytes != 0) memcpy(copy, data, bytes);
    const int r = shmc_msgpack_read(&reader, copy, bytes, &o);
    free(copy);
    return r;
}

static void
what_is_cut_short_or_too_long_is_refused(void **state)
{
    uint8_t whole[64];
    const int bytes = pack_pose(whole, sizeof whole, "name");

    (void)state;
    for (int n = 0; n < bytes; n++)
        assert_int_equal(reads(whole, (uint32_t)n), SHMC_ECORRUPT);
    assert_int_equal(reads(whole, (uint32_t)bytes), SHMC_OK);
    whole[bytes] = 1;
    assert_int_equal(reads(whole, (uint32_t)bytes + 1), SHMC_ECORRUPT);
}

static void
a_length_that_lies_takes_no_memory(void **state)
{
    static const uint8_t lies[][9] = {
        { 0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4 },       /* array        */
        { 0xdd, 0x00, 0x00, 0x00, 0x05, 1, 2, 3, 4 },
        { 0xdf, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4 },       /* map          */
        { 0xdf, 0x80, 0x00, 0x00, 0x00, 1, 2, 3, 4 },
        { 0xdb, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4 },       /* str          */
        { 0xc6, 0x00, 0x00, 0x00, 0x05, 1, 2, 3, 4 },       /* bin          */
        { 0xc9, 0x00, 0x00, 0x00, 0x04, 1, 2, 3, 4 },       /* ext          */
        { 0xc1, 0, 0, 0, 0, 0, 0, 0, 0 },                   /* never used   */
    };
    uint8_t deep[100];

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        assert_int_equal(reads(lies[i], sizeof lies[i]), SHMC_ECORRUPT);
    memset(deep, 0x91, sizeof deep);        /* [[[...                       */
    deep[99] = 1;
    assert_int_equal(reads(deep, sizeof deep), SHMC_ENOMEM);
    assert_int_equal(reads(deep + 80, 20), SHMC_OK);
}

/* Every first byte with every length that its kind can have: what we take for
 * whole, msgpack-c does, and as long.                                     */
static void
each_kind_of_value_is_as_long_as_msgpack_says(void **state)
{
    uint64_t random = 1;
    uint32_t whole = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t data[48];
        msgpack_object o;
        size_t off = 0;
        uint32_t at = 0;
        for (size_t k = 0; k < sizeof data; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            data[k] = (uint8_t)(random >> 56) & (k % 5 && i % 3 ? 7 : 255);
        }
        data[0] = (uint8_t)i;
        const int r = shmc_msgpack_next(&reader, data, sizeof data, &at, &o);
        msgpack_zone_clear(reader.zone);
        if (r < 0) continue;
        const int is = msgpack_unpack((const char *)data, sizeof data, &off,
                                      reader.zone, &o);
        assert_true(is == MSGPACK_UNPACK_SUCCESS ||
                    is == MSGPACK_UNPACK_EXTRA_BYTES);
        assert_int_equal(off, at);
        /* One byte less, and it is not whole.                             */
        assert_true(shmi_msgpack_whole(data, at));
        assert_false(shmi_msgpack_whole(data, at - 1));
        whole++;
    }
    assert_true(whole > 10000);
}

static void
several_values_are_read_one_by_one(void **state)
{
    uint8_t room[16];
    shmc_msgpack_writer w;
    msgpack_object o;
    uint32_t at = 0;

    (void)state;
    shmc_msgpack_begin(&w, room, sizeof room);
    for (int i = 0; i < 3; i++) msgpack_pack_int(&w.packer, 100 * i);
    const int bytes = shmc_msgpack_end(&w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(shmc_msgpack_next(&reader, room, (uint32_t)bytes, &at, &o),
                         1);
        assert_int_equal(o.via.i64, 100 * i);
    }
    assert_int_equal(shmc_msgpack_next(&reader, room, (uint32_t)bytes, &at, &o), 0);
}

static void
a_closed_reader_says_so(void **state)
{
    shmc_msgpack_reader r;
    msgpack_object o;
    uint32_t at = 0;

    (void)state;
    assert_int_equal(shmc_msgpack_open(&r), SHMC_OK);
    assert_int_equal(shmc_msgpack_close(&r), SHMC_OK);
    assert_int_equal(shmc_msgpack_close(&r), SHMC_ECLOSED);
    assert_int_equal(shmc_msgpack_read(&r, "\1", 1, &o), SHMC_ECLOSED);
    assert_int_equal(shmc_msgpack_next(&r, "\1", 1, &at, &o), SHMC_ECLOSED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_topics_loan_is_packed_and_read_in_place),
        CASE(a_queues_loan_is_packed_and_read_in_place),
        CASE(a_services_loans_are_packed_and_read_in_place),
        CASE(a_rings_loan_is_packed_and_read_in_place),
        CASE(what_does_not_fit_is_told_and_the_loan_goes_back),
        CASE(no_byte_is_written_behind_the_room),
        CASE(what_is_cut_short_or_too_long_is_refused),
        CASE(a_length_that_lies_takes_no_memory),
        CASE(each_kind_of_value_is_as_long_as_msgpack_says),
        CASE(several_values_are_read_one_by_one),
        CASE(a_closed_reader_says_so),
    };

    return cmocka_run_group_tests_name("msgpack_loan", tests, NULL, NULL);
}
