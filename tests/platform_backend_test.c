/* A back end supplied from outside gets all that goes to shared memory, and
 * all waiting too if it says so.                                          */
#define SHMC_BACKEND_H "platform_count_backend.h"
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "test_support.h"

static unsigned yields, sleeps, wakes;
static uint64_t virtual_ns = 1000;

uint64_t shmi_now_ns(void) { return virtual_ns; }
void shmi_yield(void) { yields++; }
void shmi_sleep_until(uint64_t deadline_ns) { virtual_ns = deadline_ns; }
int shmi_membarrier_register(void) { return 0; }
int shmi_membarrier(void) { return 0; }
bool shmi_membarrier_supported(void) { return true; }

/* Time passes only when somebody sleeps; the word's holder lets go then.  */
int
shmi_wait_32(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    if (*word != expected) return 0;
    sleeps++;
    if (deadline_ns != SHMI_FOREVER) virtual_ns = deadline_ns;
    *word = 0;
    return deadline_ns == SHMI_FOREVER ? 0 : SHMI_TIMEOUT;
}

void
shmi_wake_32(uint32_t *word, int count)
{
    (void)word;
    (void)count;
    wakes++;
}

static void
custom_back_end_is_named(void **state)
{
    (void)state;
    assert_string_equal(SHMI_BACKEND_NAME, "custom");
}

static void
custom_back_end_gets_atomics_fences_and_copies(void **state)
{
    uint32_t w = 1, seen = 1;
    uint64_t from = 9, to = 0;

    (void)state;
    backend_atomics = backend_fences = backend_copies = 0;
    assert_true(shmi_cas_32(&w, &seen, 2));
    shmi_store_rel_64(&to, shmi_load_acq_64(&from));
    shmi_fence_sc();
    shmi_copy_in(&to, &from, 8);
    shmi_copy_out(&from, &to, 8);
    assert_int_equal(backend_atomics, 3);
    assert_int_equal(backend_fences, 1);
    assert_int_equal(backend_copies, 2);
}

static void
backoff_pauses_then_yields_through_the_back_end(void **state)
{
    shmi_backoff b = SHMI_BACKOFF_INIT;

    (void)state;
    backend_pauses = yields = 0;
    for (int i = 0; i < 20; i++) shmi_backoff_spin(&b);
    assert_true(backend_pauses > 0 && yields > 0);
    assert_int_equal(backend_pauses + yields, 20);
}

static void
mutex_and_deadline_use_the_waits_of_the_back_end(void **state)
{
    shmi_mutex m = { 0 };

    (void)state;
    sleeps = wakes = backend_atomics = 0;
    shmi_mutex_lock(&m);
    assert_int_equal(m.word, 1);
    shmi_mutex_lock(&m);            /* the wait above lets go for us        */
    assert_int_equal(sleeps, 1);
    shmi_mutex_unlock(&m);
    assert_int_equal(wakes, 1);
    assert_true(backend_atomics >= 4);
    assert_true(shmi_deadline(5) == virtual_ns + 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_CASE(custom_back_end_is_named),
        TEST_CASE(custom_back_end_gets_atomics_fences_and_copies),
        TEST_CASE(backoff_pauses_then_yields_through_the_back_end),
        TEST_CASE(mutex_and_deadline_use_the_waits_of_the_back_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
