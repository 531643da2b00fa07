/* platform_seccomp.h - make a system call fail in this process from now on.
 *
 *     platform_deny(SYS_membarrier, EPERM);
 *     platform_deny_if(SYS_linkat, 4, AT_SYMLINK_FOLLOW, ENOENT);
 *
 * There is no way back, so only in a child.
 * SPDX-License-Identifier: MIT                                            */
#ifndef PLATFORM_SECCOMP_H
#define PLATFORM_SECCOMP_H

#include "test_support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

/* Tell whether system calls can be filtered: whoever can looks at the address
 * of the filter first.                                                     */
static inline bool
platform_can_filter(void)
{
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;
}

#define PLATFORM_NEEDS_FILTER()                                               \
    TEST_EMULATOR_LACKS(platform_can_filter(), "filter of system calls (seccomp)")

static inline void
platform_filter(struct sock_filter *code, size_t count)
{
    struct sock_fprog program;

    program.len = (unsigned short)count;
    program.filter = code;
    TEST_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    TEST_REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* Let system call `number` fail with `error` where the low half of argument
 * `argument` (from 0) is `value`.                                         */
static inline void
platform_deny_if(long number, unsigned argument, uint32_t value, int error)
{
    const uint32_t at = (uint32_t)offsetof(struct seccomp_data, args) +
                        8 * argument;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    platform_filter(code, sizeof code / sizeof code[0]);
}

/* Let system call `number` always fail with `error`.                      */
static inline void
platform_deny(long number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    platform_filter(code, sizeof code / sizeof code[0]);
}

#endif /* PLATFORM_SECCOMP_H */
