/* scribbler.h - a child process that writes on the bytes of the room while its
 * parent uses them.
 *
 *     scribbler_start(&plan);                   // plan: where, and what
 *     ... calls on what lies there, for as long as scribbler_writes() is few
 *     scribbler_stop();
 *
 * A process, not a thread: a sanitizer that watches threads has nothing to
 * say about another process.  It is made once, and dies with its parent.
 * SPDX-License-Identifier: MIT                                            */
#ifndef SCRIBBLER_H
#define SCRIBBLER_H

#include "fuzz_input.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SCRIBBLER_PLACES = 4, SCRIBBLER_BURST = 16 };

typedef struct scribbler_plan {
    uint64_t from, bytes;           /* of the room: what may be written on  */
    uint64_t seed;
    struct { uint64_t at; uint32_t width, how; } place[SCRIBBLER_PLACES];
    uint32_t places;                /* where most writes go; 0: anywhere    */
} scribbler_plan;

typedef struct scribbler_shm {
    uint32_t turn;                  /* odd: scribble                        */
    uint32_t seen;                  /* the turn that the child has seen     */
    uint64_t writes;
    scribbler_plan plan;
} scribbler_shm;

static scribbler_shm *scribbler;
static pid_t scribbler_pid;

static inline uint64_t
scribbler_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline uint64_t
scribbler_load(const uint8_t *p, uint32_t width)
{
    if (width == 1) return *(const volatile uint8_t *)p;
    if (width == 4) return shmi_load_rlx_32((const uint32_t *)(const void *)p);
    return shmi_load_rlx_64((const uint64_t *)(const void *)p);
}

static inline void
scribbler_store(uint8_t *p, uint32_t width, uint64_t v)
{
    if (width == 1) *(volatile uint8_t *)p = (uint8_t)v;
    else if (width == 4) shmi_store_rlx_32((uint32_t *)(void *)p, (uint32_t)v);
    else shmi_store_rlx_64((uint64_t *)(void *)p, v);
}

/* What a number becomes: so that it is now good and now bad, half of the time
 * what it was at first.                                                   */
static inline uint64_t
scribbler_change(const uint8_t *room, const scribbler_plan *plan, uint32_t how,
                 uint64_t v, uint64_t first, uint64_t random)
{
    if (random & 1) return first;
    switch (how & 7) {
    case 0:  return 0;
    case 1:  return UINT64_MAX;
    case 2:  return v + 1;
    case 3:  return v - 1;
    case 4:  return v ^ UINT64_C(1) << (random >> 1 & 63);
    case 5:                         /* a number from somewhere else         */
        return scribbler_load(room + plan->from +
                              (random >> 8) % (plan->bytes / 8) * 8, 8);
    case 6:  return first + (random >> 8 & 255) - 128;
    default: return random >> 8;
    }
}

static inline void
scribbler_burst(uint8_t *room, const scribbler_plan *plan,
                const uint64_t *first, uint64_t *state)
{
    for (int i = 0; i < SCRIBBLER_BURST; i++) {
        const uint64_t random = scribbler_random(state);
        if (plan->places != 0 && (random & 15) != 0) {
            const uint32_t k = (uint32_t)(random >> 4) % plan->places;
            uint8_t *p = room + plan->from + plan->place[k].at;
            const uint32_t width = plan->place[k].width;
            scribbler_store(p, width, scribbler_change(
                room, plan, plan->place[k].how, scribbler_load(p, width),
                first[k], random >> 8));
        } else {
            uint8_t *p = room + plan->from +
                         (random >> 8) % (plan->bytes / 8) * 8;
            const uint64_t v = scribbler_load(p, 8);
            scribbler_store(p, 8, scribbler_change(
                room, plan, (uint32_t)(random >> 4), v, v ^ 1, random >> 20));
        }
    }
}

_Noreturn static inline void
scribbler_live(uint8_t *room, pid_t parent)
{
    scribbler_plan plan = { 0 };
    uint64_t first[SCRIBBLER_PLACES] = { 0 }, state = 1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ASAN_UNPOISON_MEMORY_REGION(room, FUZZ_ROOM_BYTES);
    for (;;) {
        const uint32_t turn = shmi_load_acq_32(&scribbler->turn);
        if (turn != scribbler->seen) {
            plan = scribbler->plan;
            state = plan.seed | 1;
            for (uint32_t k = 0; k < plan.places; k++)
                first[k] = scribbler_load(room + plan.from + plan.place[k].at,
                                          plan.place[k].width);
            shmi_store_rel_32(&scribbler->seen, turn);
        }
        if (turn & 1) {
            scribbler_burst(room, &plan, first, &state);
            shmi_store_rlx_64(&scribbler->writes, shmi_load_rlx_64(
                              &scribbler->writes) + SCRIBBLER_BURST);
        } else {
            shmi_wait_32(&scribbler->turn, turn, shmi_deadline(50000000));
            if (getppid() != parent) _exit(0);
        }
    }
}

static inline void
scribbler_turn(void)
{
    (void)shmi_faa_32(&scribbler->turn, 1);
    shmi_wake_32(&scribbler->turn, 1);
}

static inline void
scribbler_start(const scribbler_plan *plan)
{
    if (scribbler == NULL) {
        uint8_t *room = fuzz_room_base();
        const pid_t self = getpid();
        void *p = mmap(NULL, FUZZ_PAGE, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        FUZZ_REQUIRE(p != MAP_FAILED);
        scribbler = p;
        scribbler_pid = fork();
        FUZZ_REQUIRE(scribbler_pid >= 0);
        if (scribbler_pid == 0) scribbler_live(room, self);
    }
    scribbler->plan = *plan;
    scribbler->writes = 0;
    scribbler_turn();
}

static inline uint64_t
scribbler_writes(void) { return shmi_load_rlx_64(&scribbler->writes); }

/* After this nothing is written until the next start.                     */
static inline void
scribbler_stop(void)
{
    scribbler_turn();
    while (shmi_load_acq_32(&scribbler->seen) != scribbler->turn) {
        FUZZ_REQUIRE(waitpid(scribbler_pid, NULL, WNOHANG) == 0);
        shmi_yield();
    }
}

#endif /* SCRIBBLER_H */
