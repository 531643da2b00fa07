/* A topic between processes: messages of all sizes, many publishers and
 * subscribers at once, and a million messages that leave no trace.         */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_patterns.h"

#include "bcast_support.h"

static char folder[64];

static int
begin(void **state)
{
    test_dir_make(folder);
    setenv("SHMCOMM_DIR", folder, 1);
    return test_watch(state);
}

static int
end(void **state)
{
    test_dir_remove(folder);
    return test_unwatch(state);
}

#define TOPIC_CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

/* ---- sizes --------------------------------------------------------------- */

typedef struct job {
    shmc_topic_desc desc;
    uint32_t bytes, messages, publishers, index;
    uint32_t started, over;
    uint64_t received, lost;
} job;

static int
publish(void *arg)
{
    job *j = arg;
    uint64_t *words = malloc(j->bytes);
    const uint64_t me = shmi_faa_32(&j->index, 1);
    shmc_pub pub;

    TEST_REQUIRE(words != NULL);
    TEST_REQUIRE(shmc_pub_open(&pub, "sizes/all", &j->desc) == SHMC_OK);
    for (uint64_t n = 1; n <= j->messages; n++) {
        bcast_seal(words, me, n, j->bytes);
        TEST_REQUIRE(shmc_pub_send(&pub, words, j->bytes, SHMC_FOREVER) ==
                     SHMC_OK);
    }
    TEST_REQUIRE(shmc_pub_close(&pub) == SHMC_OK);
    (void)shmi_faa_32(&j->over, 1);
    free(words);
    return 0;
}

static int
subscribe(void *arg)
{
    job *j = arg;
    uint64_t *words = malloc(j->bytes), last[16] = { 0 }, got = 0;
    const uint64_t all = (uint64_t)j->publishers * j->messages;
    shmc_bcast_stats stats;
    shmc_sub sub;

    TEST_REQUIRE(words != NULL);
    TEST_REQUIRE(shmc_sub_open(&sub, "sizes/all", NULL) == SHMC_OK);
    while (shmc_sub_ready(&sub) == 0) test_sleep_ms(1);
    (void)shmi_faa_32(&j->started, 1);
    for (;;) {
        const bool over = shmi_load_acq_32(&j->over) == j->publishers;
        const int r = shmc_sub_recv(&sub, words, j->bytes, 10000000);
        if (r == SHMC_ETIMEDOUT && over) break;
        if (r == SHMC_ETIMEDOUT) continue;
        TEST_REQUIRE(r == (int)j->bytes && bcast_sealed(words, j->bytes));
        const uint64_t by = words[0] >> 48, n = words[0] & 0xffffffffu;
        TEST_REQUIRE(by < j->publishers && n > last[by]);
        if (j->desc.mode == SHMC_RELIABLE) TEST_REQUIRE(n == last[by] + 1);
        last[by] = n;
        got++;
    }
    /* A publisher that was off its CPU for a whole lap makes the others
     * leave positions empty; these account for the rest.                  */
    TEST_REQUIRE(shmc_bcast_stats_get(&sub.ring, &stats) == SHMC_OK);
    TEST_REQUIRE(stats.sent == all + stats.voids);
    TEST_REQUIRE(got + shmc_sub_lost(&sub) + sub.ring.passed == stats.sent);
    TEST_REQUIRE(got + shmc_sub_lost(&sub) >= all);
    if (stats.voids == 0) TEST_REQUIRE(got + shmc_sub_lost(&sub) == all);
    TEST_REQUIRE(shmc_sub_close(&sub) == SHMC_OK);
    (void)shmi_faa_64(&j->received, got);
    free(words);
    return 0;
}

static void
run(job *j, uint32_t publishers, uint32_t subscribers)
{
    pid_t pid[32];
    shmc_pub first;                 /* gives the topic its shape            */

    test_watchdog(60);
    j->publishers = publishers;
    j->index = j->started = j->over = 0;
    j->received = 0;
    for (uint32_t i = 0; i < subscribers; i++)
        pid[i] = test_spawn(subscribe, j);
    assert_int_equal(shmc_pub_open(&first, "sizes/all", &j->desc), SHMC_OK);
    while (shmi_load_acq_32(&j->started) < subscribers) test_sleep_ms(1);
    assert_int_equal(shmc_pub_close(&first), SHMC_OK);
    for (uint32_t i = subscribers; i < subscribers + publishers; i++)
        pid[i] = test_spawn(publish, j);
    for (uint32_t i = 0; i < subscribers + publishers; i++)
        assert_int_equal(test_join(pid[i]), 0);
    if (j->desc.mode == SHMC_RELIABLE)
        assert_int_equal(j->received,
                         (uint64_t)subscribers * publishers * j->messages);
}

static void
sizes_from_16_bytes_to_10_mebibytes_arrive_whole_and_in_order(void **state)
{
    (void)state;
    static const struct { uint32_t bytes, messages; } row[] = {
        { 16, 40000 }, { 1024, 10000 }, { 1u << 20, 60 }, { 10u << 20, 8 },
    };
    job *j = test_shared(sizeof *j);

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        j->desc = (shmc_topic_desc){ .mode = SHMC_RELIABLE, .depth = 256,
                                     .max_bytes = row[i].bytes,
                                     .max_publishers = 1 };
        j->bytes = row[i].bytes;
        j->messages = SHMI_TSAN ? row[i].messages / 4 : row[i].messages;
        run(j, 1, 2);
    }
    assert_int_equal(shmi_unmap(j, sizeof *j), 0);
}

static void
ten_publishers_and_ten_subscribers_share_a_topic(void **state)
{
    (void)state;
    job *j = test_shared(sizeof *j);

    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        for (uint32_t bytes = 64; bytes <= 640; bytes *= 10) {
            j->desc = (shmc_topic_desc){ .mode = mode, .max_bytes = 1000 };
            j->bytes = bytes;
            j->messages = SHMI_TSAN ? 200 : 2000;
            run(j, 10, 10);
        }
    }
    assert_int_equal(shmi_unmap(j, sizeof *j), 0);
}

/* ---- no trace ------------------------------------------------------------ */

static long
resident_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) break;
    fclose(f);
    assert_true(kib > 0);
    return kib;
}

typedef struct usage {
    int dirfd, files;
    uint64_t bytes, names;
} usage;

static int
usage_add(void *user, const char *name)
{
    usage *u = user;
    shmi_file_info info;

    assert_int_equal(shmi_name_info(u->dirfd, name, &info), 0);
    u->files++;
    u->bytes += info.allocated_bytes;
    u->names ^= shmc_type_hash(name);
    return 0;
}

static usage
usage_of_folder(void)
{
    usage u = { shmi_dir_open(folder), 0, 0, 0 };

    assert_int_equal(shmi_dir_each(folder, usage_add, &u), 0);
    shmi_close(u.dirfd);
    u.dirfd = 0;
    return u;
}

static void
pass_on(shmc_pub *pub, shmc_sub *sub, uint64_t from, uint64_t to)
{
    uint8_t out[300], in[300];

    for (uint64_t n = from; n < to; n++) {
        const uint32_t bytes = (uint32_t)(n % 7 == 0 ? 150 + n % 150 : n % 90);
        memset(out, (int)n, bytes);
        assert_int_equal(shmc_pub_send(pub, out, bytes, 0), SHMC_OK);
        if (n % 16 < 8 && shmc_sub_ready(sub) == 1) continue;
        while (shmc_sub_recv(sub, in, sizeof in, 0) >= 0) { }
    }
}

static void
a_million_messages_leave_no_trace(void **state)
{
    (void)state;
    const uint64_t million = SHMI_TSAN ? 100000 : 1000000;

    for (uint32_t mode = SHMC_LOSSY; mode <= SHMC_RELIABLE; mode++) {
        const shmc_topic_desc desc = { .mode = mode, .max_bytes = 300 };
        shmc_pub pub;
        shmc_sub sub;

        assert_int_equal(shmc_sub_open(&sub, "no/trace", NULL), SHMC_OK);
        assert_int_equal(shmc_pub_open(&pub, "no/trace", &desc), SHMC_OK);
        assert_int_equal(shmc_sub_ready(&sub), 1);
        pass_on(&pub, &sub, 0, 20000);          /* touches every page       */
        const usage before = usage_of_folder();
        const long kib = resident_kib();
        pass_on(&pub, &sub, 20000, 20000 + million);
        const usage after = usage_of_folder();
        assert_true(resident_kib() <= kib + 512);
        assert_int_equal(after.files, before.files);
        assert_int_equal(after.bytes, before.bytes);
        assert_int_equal(after.names, before.names);
        assert_int_equal(shmc_sub_lost(&sub), 0);
        assert_int_equal(shmc_pub_close(&pub), SHMC_OK);
        assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
        assert_int_equal(usage_of_folder().files, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TOPIC_CASE(sizes_from_16_bytes_to_10_mebibytes_arrive_whole_and_in_order),
        TOPIC_CASE(ten_publishers_and_ten_subscribers_share_a_topic),
        TOPIC_CASE(a_million_messages_leave_no_trace),
    };

    return cmocka_run_group_tests_name("pubsub_sizes", tests, NULL, NULL);
}
