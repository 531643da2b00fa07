"""Rules that the BUILD files share."""

_WARN = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]

C_OPTS = ["-std=c11"] + _WARN
CXX_OPTS = ["-std=c++17"] + _WARN

def _stem(path):
    return path.rpartition("/")[2].rpartition(".")[0]

def _copts(path):
    return C_OPTS if path.endswith(".c") else CXX_OPTS

def shmc_binaries(srcs, copts = [], linkopts = [], deps = [], helpers = [], tags = []):
    """One program for each source file, named after it."""
    for src in srcs:
        native.cc_binary(
            name = _stem(src),
            srcs = [src] + helpers,
            copts = _copts(src) + copts,
            linkopts = linkopts + _libraries(_stem(src)),
            tags = tags,
            visibility = ["//visibility:public"],
            deps = ["//:all_headers"] + deps,
        )

def _tags(stem):
    # Single-stepping a program under ptrace does not go with a sanitizer's
    # runtime, nor does a model checker that swaps stacks.
    # The latter is the same program whatever the compiler or the back end.
    tags = ["local"]
    if stem.endswith("_crash_test") or stem.endswith("_model_test"):
        tags.append("no-sanitizer")
    if stem.endswith("_model_test"):
        tags += ["once", "model"]
    # What the back end of the atomics can break: itself, and races.  arm64
    # runs all on __atomic.
    if not (stem.startswith("platform_") or "_stress_" in stem):
        tags.append("no-builtin")
    return tags

def _release(stem):
    # What is stepped through is what users run, in every configuration.
    return ["-O2", "-DNDEBUG"] if stem.endswith("_crash_test") else []

def _libraries(stem):
    # What uses the adapter of a library, such as shmcomm_msgpack.h.
    return ["-lmsgpackc"] if stem.startswith("msgpack_") else []

def _size(stem):
    for kind in ["_crash_", "_stress_", "_model_"]:
        if kind in stem:
            return "medium"
    return "small"

def shmc_tests(srcs, deps = [], linkopts = [], sizes = {}):
    """One cmocka test for each source file, named after it."""
    for src in srcs:
        stem = _stem(src)
        native.cc_test(
            name = stem,
            size = sizes.get(stem, _size(stem)),
            srcs = [src],
            copts = _copts(src) + ["-Itests"] + _release(stem),
            linkopts = ["-lcmocka", "-pthread"] + linkopts + _libraries(stem),
            tags = _tags(stem),
            deps = ["//:all_headers"] + deps,
        )

def shmc_script_tests(srcs, data = []):
    """One test for each script; these run once, not in every configuration."""
    for src in srcs:
        native.sh_test(
            name = _stem(src),
            size = "medium",
            srcs = [src],
            data = data,
            tags = ["local", "once"],
        )

def shmc_examples(srcs, runner):
    """One program for each example, and a test that runs it."""
    shmc_binaries(srcs)
    for src in srcs:
        stem = _stem(src)
        native.sh_test(
            name = stem + "_test",
            size = "small",
            srcs = [runner],
            args = ["$(location :%s)" % stem],
            data = [":" + stem],
            tags = ["local", "example"],
        )
