/* The back end on the compiler's __atomic, and copies by atomic words.    */
#undef SHMC_USE_BUILTIN_ATOMICS
#define SHMC_USE_BUILTIN_ATOMICS 1
#define SHMC_STRICT_COPIES 1
#define SHMCOMM_IMPLEMENTATION
#include "shmcomm_platform.h"
#include "platform_atomics_cases.h"

int
main(void)
{
    assert_string_equal(SHMI_BACKEND_NAME, "builtin");
    return cmocka_run_group_tests(atomics_cases, NULL, NULL);
}
