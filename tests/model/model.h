/* model.h - the back end of the platform shim for the model checker: every
 * access to shared memory becomes a step that the engine schedules.
 *
 *     #include "model/model_case.h"       // back end, platform and engine
 *     #include "shmcomm_ring.h"           // the shipped header, unchanged
 *     static void producer(void *state) { ... shmc_spsc_push(...) ... }
 *
 * Each call of shmi_load_acq_64 and so on is a macro here, so that each place
 * in the source has a record of its own (a site), which a mutant can weaken.
 * Manual: docs/model.md
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMC_MODEL_H
#define SHMC_MODEL_H

#define SHMC_BACKEND_WAITS 1
#define SHMI_BACKEND_NAME "model"

/* Spinning only makes more of the same executions: sleep at once.         */
#ifndef SHMC_SPIN_TRIES
#define SHMC_SPIN_TRIES 0u
#endif
#ifndef SHMC_YIELD_TRIES
#define SHMC_YIELD_TRIES 0u
#endif

/* ---- sites ------------------------------------------------------------- */

enum {                              /* what a step does                     */
    MODEL_LOAD, MODEL_STORE, MODEL_CAS, MODEL_FAA, MODEL_SWAP,
    MODEL_FENCE, MODEL_COPY_IN, MODEL_COPY_OUT, MODEL_PLAIN_READ,
    MODEL_PLAIN_WRITE, MODEL_WAIT, MODEL_WAKE, MODEL_MEMBARRIER,
    MODEL_ALIVE, MODEL_DIE, MODEL_AWAIT, MODEL_KINDS
};

enum {                              /* how it orders; bits                  */
    MODEL_RLX = 0, MODEL_ACQ = 1, MODEL_REL = 2, MODEL_ACQ_REL = 3,
    MODEL_FAIL_ACQ = 4,             /* of a CAS that fails                  */
    MODEL_SC = 8                    /* of a fence, with ACQ_REL             */
};

typedef struct model_site {
    const char *file, *function;
    uint32_t line;
    uint8_t  kind, declared;        /* order as the source has it,          */
    uint8_t  order;                 /* and as the engine takes it           */
    uint8_t  nth;                   /* of this name in the function         */
    uint64_t hits;
} model_site;

#define MODEL_SITE_(kind, order, n)                                           \
    __extension__({                                                           \
        static model_site model_site_##n = { __FILE__, __func__, __LINE__,    \
                                             kind, order, order, 0, 0 };      \
        static model_site *const model_site_at_##n                            \
            __attribute__((used, section("model_sites"))) = &model_site_##n;  \
        &model_site_##n;                                                      \
    })
#define MODEL_SITE_N(kind, order, n) MODEL_SITE_(kind, order, n)
#define MODEL_SITE(kind, order) MODEL_SITE_N(kind, order, __COUNTER__)

/* ---- what the engine does for the shim --------------------------------- */

#define MODEL_OPEN static __attribute__((unused))

MODEL_OPEN uint64_t model_load(model_site *site, const void *p, uint32_t size);
MODEL_OPEN void model_store(model_site *site, void *p, uint32_t size, uint64_t v);
MODEL_OPEN bool model_cas(model_site *site, void *p, uint32_t size,
                      uint64_t *expected, uint64_t desired);
MODEL_OPEN uint64_t model_rmw(model_site *site, void *p, uint32_t size,
                          uint64_t v);
MODEL_OPEN void model_fence(model_site *site);
MODEL_OPEN void model_copy(model_site *site, void *dst, const void *src,
                       size_t bytes);
MODEL_OPEN void *model_memcpy(model_site *site, void *dst, const void *src,
                          size_t bytes);
MODEL_OPEN void *model_memset(model_site *site, void *dst, int byte,
                          size_t bytes);

#define MODEL_TYPED(N, T)                                                     \
    SHMC_INLINE T model_load_##N(model_site *site, const T *p)                \
    { return (T)model_load(site, p, N / 8); }                                 \
    SHMC_INLINE void model_store_##N(model_site *site, T *p, T v)             \
    { model_store(site, p, N / 8, v); }                                       \
    SHMC_INLINE T model_rmw_##N(model_site *site, T *p, T v)                  \
    { return (T)model_rmw(site, p, N / 8, v); }                               \
    SHMC_INLINE bool model_cas_##N(model_site *site, T *p, T *expected,       \
                                   T desired)                                 \
    {                                                                         \
        uint64_t seen = *expected;                                            \
        const bool done = model_cas(site, p, N / 8, &seen, desired);          \
        *expected = (T)seen;                                                  \
        return done;                                                          \
    }
MODEL_TYPED(32, uint32_t)
MODEL_TYPED(64, uint64_t)
#undef MODEL_TYPED

#define shmi_load_rlx_32(p) model_load_32(MODEL_SITE(MODEL_LOAD, MODEL_RLX), p)
#define shmi_load_rlx_64(p) model_load_64(MODEL_SITE(MODEL_LOAD, MODEL_RLX), p)
#define shmi_load_acq_32(p) model_load_32(MODEL_SITE(MODEL_LOAD, MODEL_ACQ), p)
#define shmi_load_acq_64(p) model_load_64(MODEL_SITE(MODEL_LOAD, MODEL_ACQ), p)
#define shmi_store_rlx_32(p, v)                                               \
    model_store_32(MODEL_SITE(MODEL_STORE, MODEL_RLX), p, v)
#define shmi_store_rlx_64(p, v)                                               \
    model_store_64(MODEL_SITE(MODEL_STORE, MODEL_RLX), p, v)
#define shmi_store_rel_32(p, v)                                               \
    model_store_32(MODEL_SITE(MODEL_STORE, MODEL_REL), p, v)
#define shmi_store_rel_64(p, v)                                               \
    model_store_64(MODEL_SITE(MODEL_STORE, MODEL_REL), p, v)
#define shmi_cas_32(p, e, v)                                                  \
    model_cas_32(MODEL_SITE(MODEL_CAS, MODEL_ACQ_REL | MODEL_FAIL_ACQ), p, e, v)
#define shmi_cas_64(p, e, v)                                                  \
    model_cas_64(MODEL_SITE(MODEL_CAS, MODEL_ACQ_REL | MODEL_FAIL_ACQ), p, e, v)
#define shmi_cas_acq_32(p, e, v)                                              \
    model_cas_32(MODEL_SITE(MODEL_CAS, MODEL_ACQ), p, e, v)
#define shmi_cas_acq_64(p, e, v)                                              \
    model_cas_64(MODEL_SITE(MODEL_CAS, MODEL_ACQ), p, e, v)
#define shmi_cas_rel_32(p, e, v)                                              \
    model_cas_32(MODEL_SITE(MODEL_CAS, MODEL_REL), p, e, v)
#define shmi_cas_rel_64(p, e, v)                                              \
    model_cas_64(MODEL_SITE(MODEL_CAS, MODEL_REL), p, e, v)
#define shmi_cas_rlx_32(p, e, v)                                              \
    model_cas_32(MODEL_SITE(MODEL_CAS, MODEL_RLX), p, e, v)
#define shmi_cas_rlx_64(p, e, v)                                              \
    model_cas_64(MODEL_SITE(MODEL_CAS, MODEL_RLX), p, e, v)
#define shmi_faa_rlx_32(p, v) model_rmw_32(MODEL_SITE(MODEL_FAA, MODEL_RLX), p, v)
#define shmi_faa_rlx_64(p, v) model_rmw_64(MODEL_SITE(MODEL_FAA, MODEL_RLX), p, v)
#define shmi_faa_32(p, v) model_rmw_32(MODEL_SITE(MODEL_FAA, MODEL_ACQ_REL), p, v)
#define shmi_faa_64(p, v) model_rmw_64(MODEL_SITE(MODEL_FAA, MODEL_ACQ_REL), p, v)
#define shmi_swap_32(p, v)                                                    \
    model_rmw_32(MODEL_SITE(MODEL_SWAP, MODEL_ACQ_REL), p, v)
#define shmi_swap_64(p, v)                                                    \
    model_rmw_64(MODEL_SITE(MODEL_SWAP, MODEL_ACQ_REL), p, v)
#define shmi_fence_acq() model_fence(MODEL_SITE(MODEL_FENCE, MODEL_ACQ))
#define shmi_fence_rel() model_fence(MODEL_SITE(MODEL_FENCE, MODEL_REL))
#define shmi_fence_sc()                                                       \
    model_fence(MODEL_SITE(MODEL_FENCE, MODEL_SC | MODEL_ACQ_REL))
#define shmi_fence_compiler() ((void)0)
#define shmi_copy_in(to, from, n)                                             \
    model_copy(MODEL_SITE(MODEL_COPY_IN, MODEL_RLX), to, from, n)
#define shmi_copy_out(to, from, n)                                            \
    model_copy(MODEL_SITE(MODEL_COPY_OUT, MODEL_RLX), to, from, n)
#define shmi_relax() ((void)0)
#define shmi_prefetch_r(p) ((void)(p))
#define shmi_prefetch_w(p) ((void)(p))

/* Plain copies, where the headers are sure that nobody else is there: the
 * engine checks that it is so (a race is a failure).                      */
#undef memcpy
#undef memset
#define memcpy(to, from, n)                                                   \
    model_memcpy(MODEL_SITE(MODEL_PLAIN_WRITE, MODEL_RLX), to, from, n)
#define memset(to, byte, n)                                                   \
    model_memset(MODEL_SITE(MODEL_PLAIN_WRITE, MODEL_RLX), to, byte, n)

#endif /* SHMC_MODEL_H */
