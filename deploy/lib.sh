# shellcheck shell=bash
# What deploy/run, deploy/install, deploy/package and tests/run share: packages, Bazel, ports. Sourced; defines functions only.

PARKWAY_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# Lines of our own go to stderr: stdout belongs to what is run.
say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# The packages that deploy/packages lists for any of the purposes given.
packages_for() {
  local purpose
  for purpose in "$@"; do
    awk -v purpose="$purpose" '$1 == purpose { print $2 }' "$PARKWAY_ROOT/deploy/packages"
  done
}

# Those of the packages given that are not installed.
missing_packages() {
  comm -23 <(printf '%s\n' "$@" | sort -u) \
    <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null |
      awk '$2 == "installed" { print $1 }' | sort -u)
}

# Runs systemctl on the services that installing the packages given would start, where systemd runs.
_services() {
  local verb=$1 package
  shift
  [[ -d /run/systemd/system ]] || return 0
  for package in "$@"; do
    case $package in
      nginx | haproxy | redis-server | postgresql)
        # shellcheck disable=SC2086  # a verb may carry an option
        "${AS_ROOT[@]}" systemctl $verb "$package.service" >/dev/null 2>&1 || true
        ;;
    esac
  done
}

# Installs what is missing for the purposes given, and says so. Servers that come along are wanted
# as programs only: they are neither started now nor at the next boot.
install_packages() {
  local wanted missing log
  command -v apt-get >/dev/null ||
    die "this machine has no apt; install what deploy/packages lists by other means"
  mapfile -t wanted < <(packages_for "$@")
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  ((${#missing[@]})) || return 0
  AS_ROOT=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "missing packages, and neither root nor sudo to install them: ${missing[*]}"
    AS_ROOT=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  _services "mask --runtime" "${missing[@]}"
  if ! { "${AS_ROOT[@]}" apt-get update &&
    "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    _services "unmask --runtime" "${missing[@]}"
    tail -n 20 "$log" >&2
    die "apt-get could not install them (all it said: $log)"
  fi
  _services "unmask --runtime" "${missing[@]}"
  _services disable "${missing[@]}"
  rm -f "$log"
}

# Sets BAZEL, the command that Bazel is started with. $PARKWAY_BAZEL replaces it ("bazel
# --output_base=/elsewhere"); a home folder that cannot be written to needs another place.
find_bazel() {
  read -r -a BAZEL <<<"${PARKWAY_BAZEL:-bazel}"
  command -v "${BAZEL[0]}" >/dev/null || die "no ${BAZEL[0]} (Debian package bazel-bootstrap)"
  if [[ -z ${HOME:-} ]]; then
    HOME=$(getent passwd "$EUID" | cut -d: -f6)
    export HOME
  fi
  if [[ -z ${PARKWAY_BAZEL:-} && (-z $HOME || ! -w $HOME) ]]; then
    BAZEL+=("--output_user_root=${TMPDIR:-/tmp}/parkway-bazel-$EUID")
  fi
}

# build CONFIG TARGET...: builds, and sets BUILT to the folder that the results are in, which no
# build of another configuration changes.
build() {
  local config=$1
  shift
  find_bazel
  say "building parkway ($config)"
  (cd "$PARKWAY_ROOT" && "${BAZEL[@]}" build "--config=$config" "$@" >&2) ||
    die "parkway does not build"
  BUILT=$(cd "$PARKWAY_ROOT" && "${BAZEL[@]}" info "--config=$config" bazel-bin 2>/dev/null)
}

# build_daemon CONFIG: builds the daemon alone and sets DAEMON to its path.
build_daemon() {
  build "$1" //proxy:parkway
  DAEMON=$BUILT/proxy/parkway
  [[ -x $DAEMON ]] || die "built, but there is no $DAEMON"
}

# free_port FROM: the first port from there on that nobody on 127.0.0.1 listens on.
free_port() {
  local port
  for ((port = $1; port < $1 + 1000; ++port)); do
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "no free port between $1 and $port"
}

# answers URL PID: waits until the URL answers; fails if the process ends or ten seconds pass.
answers() {
  local turn
  for ((turn = 0; turn < 100; ++turn)); do
    kill -0 "$2" 2>/dev/null || return 1
    curl -sf -m 2 -o /dev/null "$1" && kill -0 "$2" 2>/dev/null && return 0
    sleep 0.1
  done
  return 1
}
