# Clang beside g++: the toolchain behind --config=clang and --config=fuzz.
#
# Bazel configures the compiler that $CC names; a second one in the same workspace needs a
# repository of its own, or every change between g++ and clang would throw the first one's
# configuration away. And Bazel 4.2 with clang 14 has one gap in `layering_check`: each module map
# names those of its dependencies ("extern module"), clang writes all it read into the list of a
# compilation's inputs, and Bazel then rejects the maps two steps away as undeclared. Without these
# entries only the maps of direct dependencies are read, which is all that the check needs.
load("@bazel_tools//tools/cpp:lib_cc_configure.bzl", "get_cpu_value")
load("@bazel_tools//tools/cpp:unix_cc_configure.bzl", "configure_unix_toolchain")

_ANCHOR = "feature(name = \"module_maps\", enabled = True),"
_ADDED = "feature(name = \"module_map_without_extern_module\", enabled = True),"

def _clang_toolchain_impl(repository_ctx):
    clang = repository_ctx.which("clang")
    if clang == None:
        # Whoever asks for the toolchain is told; a build with g++ never does.
        repository_ctx.file("BUILD", "fail(\"clang is not installed (Debian package clang)\")\n")
        return
    configure_unix_toolchain(repository_ctx, get_cpu_value(repository_ctx), {"gcc": str(clang)})
    config = repository_ctx.read("cc_toolchain_config.bzl")
    if config.count(_ANCHOR) != 1:
        fail("this Bazel's toolchain has no module_maps feature where 4.2.3 has it")
    repository_ctx.delete("cc_toolchain_config.bzl")  # a link into Bazel's own files
    repository_ctx.file("cc_toolchain_config.bzl", config.replace(_ANCHOR, _ANCHOR + "\n        " + _ADDED))

clang_toolchain = repository_rule(
    configure = True,
    environ = ["PATH"],
    implementation = _clang_toolchain_impl,
)
