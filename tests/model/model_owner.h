/* model_owner.h - a segment handle for each modelled thread, so that the
 * library's owner words name threads, and the model says which of them live.
 * Include it behind the headers under test.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_OWNER_H
#define SHMC_MODEL_OWNER_H

/* Make `segment` the handle of participant `thread` of `count`.  The slots
 * of participants lie in private memory: joining is no part of the model.  */
static void
model_owner(shmc_segment *segment, uint32_t thread, uint32_t count)
{
    static shmc_participant_shm slots[MODEL_THREADS];

    for (uint32_t i = 0; i < count; i++) {
        slots[i].generation = 1;
        slots[i].pid = i + 1;
    }
    segment->participants = slots;
    segment->participant = thread;
    segment->max_participants = count;
    segment->generation = 1;
}

#endif /* SHMC_MODEL_OWNER_H */
