"""What must be there before anything can be measured: Debian's packages and our own programs."""

import os
import shutil
import subprocess
import sys

from harness import HERE, ROOT
from peers import NGINX_MODULE

PACKAGES = {
    "wrk": "wrk", "strace": "strace", "haproxy": "haproxy", "nginx": "nginx-core", "go": "golang-go",
    NGINX_MODULE: "libnginx-mod-stream", "ip": "iproute2", "unshare": "util-linux",
    "valgrind": "valgrind",
}


def install(peers, *more):
    """What is missing of Debian's packages; `more` are commands that are needed as well."""
    needed = {"wrk", "strace", "ip", "unshare", *more}
    if "nginx" in peers:
        needed |= {"nginx", NGINX_MODULE}
    if "go" in peers:
        needed.add("go")
    if {"haproxy", "haproxy-splice"} & set(peers):
        needed.add("haproxy")
    missing = sorted(PACKAGES[tool] for tool in needed
                     if not (shutil.which(tool) or os.path.exists(tool)))
    if missing:
        print(f"installing {' '.join(missing)}", file=sys.stderr)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing],
                       check=True, stdout=subprocess.DEVNULL)


def build(bazel, peers, folder, parkway=True):
    """Paths of the programs; without parkway, those that the measurement of another needs."""
    bazel = bazel.split()
    targets = {"floor": "//tests/bench:floor", "loadgen": "//tests/bench:loadgen",
               "delay_link": "//tests/bench:delay_link",
               "epoll_pwait2": "//tests/bench:libepoll_pwait2.so"}
    if parkway:
        targets |= {"parkway": "//proxy:parkway", "growth": "//tests/bench:growth"}
    tools = bazel_build(bazel, ROOT, targets, folder)
    if "go" in peers:
        tools["go_proxy"] = os.path.join(folder, "go_proxy")
        environment = dict(os.environ, GO111MODULE="off", CGO_ENABLED="0",
                           GOCACHE=os.path.join(folder, "gocache"))
        subprocess.run(["go", "build", "-o", tools["go_proxy"], os.path.join(HERE, "go_proxy.go")],
                       check=True, env=environment)
    return tools


def bazel_build(bazel, root, targets, folder):
    subprocess.run([*bazel, "build", "--config=opt", *targets.values()], cwd=root, check=True)
    out = subprocess.run([*bazel, "info", "--config=opt", "bazel-bin"], cwd=root, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    # Copies: another build must not change what is being measured.
    return {name: shutil.copy(os.path.join(out, target[2:].replace(":", "/")),
                              os.path.join(folder, name)) for name, target in targets.items()}


def build_parkway(bazel, commit, path, folder):
    """The parkway of another commit, built from a clone that is gone afterwards."""
    clone = os.path.join(folder, "clone")
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone], check=True)
    try:
        whole = subprocess.run(["git", "rev-parse", commit + "^{commit}"], cwd=ROOT, check=True,
                               stdout=subprocess.PIPE, text=True).stdout.strip()
        subprocess.run(["git", "checkout", "--quiet", whole], cwd=clone, check=True)
        name = os.path.basename(path)
        bazel_build(bazel.split(), clone, {name: "//proxy:parkway"}, os.path.dirname(path))
        subprocess.run([*bazel.split(), "shutdown"], cwd=clone, check=False)
    finally:
        shutil.rmtree(clone)
    return path
