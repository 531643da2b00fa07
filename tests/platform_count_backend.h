/* platform_count_backend.h - a back end that counts what it is asked for;
 * the least that one has to supply.
 * SPDX-License-Identifier: MIT                                            */
#ifndef PLATFORM_COUNT_BACKEND_H
#define PLATFORM_COUNT_BACKEND_H

#define SHMC_BACKEND_WAITS 1

static unsigned backend_atomics, backend_fences, backend_copies, backend_pauses;

#define COUNTED(N, T)                                                         \
    SHMC_INLINE T shmi_load_rlx_##N(const T *p)                               \
    { backend_atomics++; return *p; }                                         \
    SHMC_INLINE T shmi_load_acq_##N(const T *p)                               \
    { backend_atomics++; return *p; }                                         \
    SHMC_INLINE void shmi_store_rlx_##N(T *p, T v)                            \
    { backend_atomics++; *p = v; }                                            \
    SHMC_INLINE void shmi_store_rel_##N(T *p, T v)                            \
    { backend_atomics++; *p = v; }                                            \
    SHMC_INLINE T shmi_swap_##N(T *p, T v)                                    \
    { const T was = *p; backend_atomics++; *p = v; return was; }              \
    SHMC_INLINE T shmi_faa_##N(T *p, T d)                                     \
    { return shmi_swap_##N(p, *p + d); }                                      \
    SHMC_INLINE bool shmi_cas_##N(T *p, T *expected, T desired)               \
    {                                                                         \
        const T was = *p;                                                     \
        const bool same = was == *expected;                                   \
        (void)shmi_swap_##N(p, same ? desired : was);                         \
        *expected = was;                                                      \
        return same;                                                          \
    }                                                                         \
    SHMC_INLINE bool shmi_cas_acq_##N(T *p, T *expected, T desired)           \
    { return shmi_cas_##N(p, expected, desired); }                            \
    SHMC_INLINE bool shmi_cas_rel_##N(T *p, T *expected, T desired)           \
    { return shmi_cas_##N(p, expected, desired); }                            \
    SHMC_INLINE bool shmi_cas_rlx_##N(T *p, T *expected, T desired)           \
    { return shmi_cas_##N(p, expected, desired); }                            \
    SHMC_INLINE T shmi_faa_rlx_##N(T *p, T d) { return shmi_faa_##N(p, d); }
COUNTED(32, uint32_t)
COUNTED(64, uint64_t)
#undef COUNTED

SHMC_INLINE void shmi_fence_acq(void) { backend_fences++; }
SHMC_INLINE void shmi_fence_rel(void) { backend_fences++; }
SHMC_INLINE void shmi_fence_sc(void) { backend_fences++; }
SHMC_INLINE void shmi_fence_compiler(void) { }
SHMC_INLINE void shmi_relax(void) { backend_pauses++; }
SHMC_INLINE void shmi_prefetch_r(const void *p) { (void)p; }
SHMC_INLINE void shmi_prefetch_w(const void *p) { (void)p; }

SHMC_INLINE void
shmi_copy_in(void *shared_dst, const void *src, size_t bytes)
{
    backend_copies++;
    memcpy(shared_dst, src, bytes);
}

SHMC_INLINE void
shmi_copy_out(void *dst, const void *shared_src, size_t bytes)
{
    backend_copies++;
    memcpy(dst, shared_src, bytes);
}

#endif /* PLATFORM_COUNT_BACKEND_H */
