/* The smallest case: one message through a queue of one slot.             */
#include "model/model_case.h"
#include "shmcomm_ring.h"

static struct { shmc_spsc producer, consumer; uint64_t got; bool popped; } s;

static void
setup(void *state)
{
    const shmc_spsc_desc d = { .slot_count = 1, .slot_bytes = 8 };
    const uint64_t bytes = (uint64_t)shmc_spsc_size_for(&d);
    void *mem = model_alloc(bytes);

    (void)state;
    model_require(shmc_spsc_format(mem, bytes, &d) == SHMC_OK);
    model_require(!shmc_spsc_map(&s.producer, mem, bytes, SHMC_PRODUCER));
    model_require(!shmc_spsc_map(&s.consumer, mem, bytes, SHMC_CONSUMER));
}

static void
producer(void *state)
{
    const uint64_t msg = 7;

    (void)state;
    model_require(shmc_spsc_push(&s.producer, &msg, 8) == SHMC_OK);
}

static void
consumer(void *state)
{
    (void)state;
    s.popped = shmc_spsc_pop(&s.consumer, &s.got, 8) == SHMC_OK;
}

static void
check(void *state)
{
    (void)state;
    if (s.popped) model_require(s.got == 7);
    model_outcome(s.popped);
}

static const model_case cases[] = {
    { .name = "one_message", .state = &s, .state_bytes = sizeof s,
      .setup = setup, .thread = { producer, consumer }, .check = check,
      .outcomes = 3 },              /* popped, and came too early           */
};

int
main(int argc, char **argv)
{
    return MODEL_MAIN(argc, argv, cases);
}
