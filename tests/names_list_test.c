/* Names: waiting for one, listing them, what they are, and attributes.       */
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_names.h"
#include "shmcomm_patterns.h"
#include "shmcomm_poll.h"

#include "folder_support.h"

#include <fcntl.h>

#define MS 1000000

static char value_of[8];

static int
open_later(void *arg)
{
    shmc_pub pub;

    (void)arg;
    test_sleep_ms(20);
    TEST_REQUIRE(shmc_pub_open(&pub, "late/topic", NULL) == SHMC_OK);
    for (;;) pause();
    return 0;
}

static void
a_name_is_waited_for(void **state)
{
    shmc_name_watch w;
    shmc_poll_item item;

    (void)state;
    memset(&item, 0, sizeof item);
    assert_int_equal(shmc_wait_for("late/topic", NULL, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_wait_for("late/topic", NULL, 3 * MS), SHMC_ETIMEDOUT);
    assert_int_equal(shmc_name_watch_open(&w, "late/topic", NULL), SHMC_OK);
    item.of = shmc_name_watch_pollable(&w);
    item.events = SHMC_POLLIN;
    assert_int_equal(shmc_poll(&item, 1, 3 * MS), 0);
    const pid_t child = test_spawn(open_later, NULL);
    assert_int_equal(shmc_poll(&item, 1, SHMC_FOREVER), 1);
    assert_int_equal(item.revents, SHMC_POLLIN);
    assert_int_equal(shmc_wait_for("late/topic", NULL, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(shmc_wait_for("late/topic", NULL, 0), SHMC_OK);
    /* What its dead users left is not there.                               */
    test_kill(child);
    assert_int_equal(shmc_wait_for("late/topic", NULL, 3 * MS), SHMC_ETIMEDOUT);
    while (shmc_poll(&item, 1, 0) != 0) test_sleep_ms(1);
}

static void
a_segment_that_stays_exists_without_users(void **state)
{
    const shmc_segment_desc here = { .prefix = "other" };
    shmc_segment s;

    (void)state;
    assert_int_equal(shmc_segment_create(&s, "kept", &here), SHMC_OK);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_wait_for("kept", &here, SHMC_FOREVER), SHMC_OK);
    assert_int_equal(shmc_wait_for("kept", NULL, 0), SHMC_EAGAIN);
    assert_int_equal(shmc_segment_unlink("kept", &here), SHMC_OK);
}

typedef struct seen {
    shmc_name_info info[4];
    int count, stop;
} seen;

static int
note(void *user, const shmc_name_info *info)
{
    seen *s = user;

    s->info[s->count++] = *info;
    return s->count == s->stop ? 7 : 0;
}

static const shmc_name_info *
find(const seen *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->info[i].name, name) == 0) return &s->info[i];
    return NULL;
}

static void
names_are_listed_with_what_they_are(void **state)
{
    char path[128];
    seen s;
    shmc_segment kept;
    shmc_pub pub;
    shmc_sub sub;

    (void)state;
    memset(&s, 0, sizeof s);
    assert_int_equal(shmc_name_each(NULL, note, &s), 0);
    assert_int_equal(s.count, 0);
    assert_int_equal(shmc_pub_open(&pub, "robot/pose", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "robot/pose", NULL), SHMC_OK);
    assert_int_equal(shmc_segment_create(&kept, "kept", NULL), SHMC_OK);
    assert_int_equal(shmc_attributes_set(&kept, "unit=m\n"), SHMC_OK);
    assert_int_equal(shmc_segment_close(&kept), SHMC_OK);
    snprintf(path, sizeof path, "%s/shmc.rubbish", folder);
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    assert_int_equal(shmc_name_each(NULL, note, &s), 0);
    assert_int_equal(s.count, 3);
    const shmc_name_info *pose = find(&s, "robot/pose");
    assert_non_null(pose);
    assert_int_equal(pose->code, SHMC_OK);
    assert_true(pose->live && pose->ephemeral);
    assert_int_equal(pose->participants, 2);
    assert_int_equal(pose->main_kind, SHMC_KIND_BCAST);
    assert_string_equal(pose->main_object, "topic");
    assert_string_equal(pose->attributes, "");
    assert_int_equal(pose->creator_pid, getpid());
    const shmc_name_info *k = find(&s, "kept");
    assert_non_null(k);
    assert_false(k->live || k->ephemeral);
    assert_int_equal(k->participants, 0);
    assert_string_equal(k->attributes, "unit=m\n");
    const shmc_name_info *bad = find(&s, "rubbish");
    assert_non_null(bad);
    assert_int_equal(bad->code, SHMC_ECORRUPT);
    assert_int_equal(shmc_wait_for("rubbish", NULL, SHMC_FOREVER), SHMC_ECORRUPT);
    s.count = 0;
    s.stop = 2;
    assert_int_equal(shmc_name_each(NULL, note, &s), 7);
    assert_int_equal(s.count, 2);
    shmc_sub_close(&sub);
    shmc_pub_close(&pub);
    assert_int_equal(shmc_name_look("robot/pose", NULL, &s.info[0]), SHMC_ENOENT);
    assert_int_equal(shmc_segment_unlink("kept", NULL), SHMC_OK);
    assert_int_equal(unlink(path), 0);
}

static void
attributes_are_set_once(void **state)
{
    char text[SHMC_ATTRIBUTES_BYTES], value[16];
    char longest[SHMC_ATTRIBUTES_BYTES + 1];
    shmc_segment s;

    (void)state;
    assert_int_equal(shmc_segment_create(&s, "a", NULL), SHMC_OK);
    assert_int_equal(shmc_attributes_get(&s, text, sizeof text), SHMC_ENOENT);
    assert_int_equal(shmc_attributes_set(&s, NULL), SHMC_EINVAL);
    assert_int_equal(shmc_attributes_set(&s, "a=1\nb\n"), SHMC_EINVAL);
    assert_non_null(strstr(shmc_last_error(), "line 2"));
    assert_int_equal(shmc_attributes_set(&s, "=1"), SHMC_EINVAL);
    assert_int_equal(shmc_attributes_set(&s, "a b=1"), SHMC_EINVAL);
    assert_int_equal(shmc_attributes_set(&s, "a=\x01"), SHMC_EINVAL);
    memset(longest, 'x', sizeof longest - 1);
    longest[1] = '=';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(shmc_attributes_set(&s, longest), SHMC_EINVAL);
    longest[sizeof longest - 2] = '\0';
    assert_int_equal(shmc_attributes_set(&s, "unit=m\nrate.hz=30\nempty="), 0);
    assert_int_equal(shmc_attributes_set(&s, "unit=m\nrate.hz=30\nempty="), 0);
    assert_int_equal(shmc_attributes_set(&s, "unit=mm"), SHMC_EEXIST);
    assert_int_equal(shmc_attributes_get(&s, text, 5), SHMC_EMSGSIZE);
    assert_int_equal(shmc_attributes_get(&s, text, sizeof text), SHMC_OK);
    assert_int_equal(shmc_attribute_find(text, "rate.hz", value, 16), 2);
    assert_string_equal(value, "30");
    assert_int_equal(shmc_attribute_find(text, "empty", value, 16), 0);
    assert_int_equal(shmc_attribute_find(text, "rate", value, 16), SHMC_ENOENT);
    assert_int_equal(shmc_attribute_find(text, "unit", value, 1), SHMC_EMSGSIZE);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("a", NULL), SHMC_OK);
    assert_int_equal(shmc_segment_create(&s, "a", NULL), SHMC_OK);
    assert_int_equal(shmc_attributes_set(&s, longest), SHMC_OK);
    assert_int_equal(shmc_attributes_get(&s, text, sizeof text), SHMC_OK);
    assert_string_equal(text, longest);
    /* Scribbled over: cut off, and no further.                             */
    memset(s.base + s.heap_at, 'y', SHMC_ATTRIBUTES_BYTES);
    assert_int_equal(shmc_attributes_get(&s, text, sizeof text), SHMC_OK);
    assert_int_equal(strlen(text), SHMC_ATTRIBUTES_BYTES - 1);
    assert_int_equal(shmc_segment_close(&s), SHMC_OK);
    assert_int_equal(shmc_segment_unlink("a", NULL), SHMC_OK);
}

static void
a_topic_has_its_attributes_with_its_name(void **state)
{
    const shmc_topic_desc d = { .attributes = "unit=m\nrate.hz=30\n" };
    const shmc_topic_desc other = { .attributes = "unit=mm\n" };
    const shmc_topic_desc bad = { .attributes = "unit" };
    shmc_name_info info;
    shmc_pub pub[3];
    shmc_sub sub;

    (void)state;
    assert_int_equal(shmc_pub_open(&pub[0], "t", &bad), SHMC_EINVAL);
    assert_int_equal(shmc_name_look("t", NULL, &info), SHMC_ENOENT);
    assert_int_equal(shmc_pub_open(&pub[0], "t", &d), SHMC_OK);
    assert_int_equal(shmc_name_look("t", NULL, &info), SHMC_OK);
    assert_string_equal(info.attributes, d.attributes);
    assert_string_equal(info.main_object, "topic");
    assert_int_equal(shmc_pub_open(&pub[1], "t", &other), SHMC_EMISMATCH);
    assert_int_equal(shmc_pub_open(&pub[1], "t", &d), SHMC_OK);
    assert_int_equal(shmc_pub_open(&pub[2], "t", NULL), SHMC_OK);
    assert_int_equal(shmc_sub_open(&sub, "t", NULL), SHMC_OK);
    assert_int_equal(shmc_pub_send(&pub[2], "x", 2, 0), SHMC_OK);
    assert_int_equal(shmc_sub_recv(&sub, value_of, sizeof value_of, 0), 2);
    assert_int_equal(shmc_sub_close(&sub), SHMC_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shmc_pub_close(&pub[i]), SHMC_OK);
    assert_int_equal(shmc_name_look("t", NULL, &info), SHMC_ENOENT);
}

static void
bad_names_are_refused(void **state)
{
    const shmc_segment_desc nowhere = { .dir = "/nowhere/at/all" };
    shmc_name_info info;
    shmc_name_watch w;
    shmc_poll_item item;

    (void)state;
    assert_int_equal(shmc_wait_for("a//b", NULL, 0), SHMC_ENAME);
    assert_int_equal(shmc_name_look(NULL, NULL, &info), SHMC_ENAME);
    assert_int_equal(shmc_name_watch_open(&w, "", NULL), SHMC_ENAME);
    memset(&item, 0, sizeof item);
    item.of = shmc_name_watch_pollable(&w);
    assert_int_equal(shmc_poll(&item, 1, 0), 1);
    assert_int_equal(item.error, SHMC_ECLOSED);
    assert_true(shmc_name_each(&nowhere, note, NULL) < 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER_CASE(a_name_is_waited_for),
        FOLDER_CASE(a_segment_that_stays_exists_without_users),
        FOLDER_CASE(names_are_listed_with_what_they_are),
        FOLDER_CASE(attributes_are_set_once),
        FOLDER_CASE(a_topic_has_its_attributes_with_its_name),
        FOLDER_CASE(bad_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
