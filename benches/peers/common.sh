# What the peers' scripts share; sourced by them: . "$(dirname "$0")/../common.sh"
# Sets `here`, the peer's folder, `root`, that of the project, `out`, what the peer builds into, and
# HEARTBEAT_MS.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
out=${PEERS_DIR:-$root/target/peers}/$(basename "$here")
mkdir -p "$out"
out=$(cd "$out" && pwd)
log=$out/build.log
export HEARTBEAT_MS=${HEARTBEAT_MS:-15000}
# Not every runtime raises this itself.
ulimit -Sn "$(ulimit -Hn)"

# Servers are where only root looks.
have() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null 2>&1; }

# Says in one line what is missing, and ends the build with the code that means so.
missing() {
    echo "$*"
    exit 3
}

# Packages of servers would start them: /usr/sbin/policy-rc.d, if there is none, says no meanwhile.
without_starting() {
    local policy=/usr/sbin/policy-rc.d code=0
    if [ -e "$policy" ]; then "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    "$@" || code=$?
    rm -f "$policy"
    return "$code"
}

apt() {
    DEBIAN_FRONTEND=noninteractive without_starting \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >"$log" 2>&1
}

# Installs Debian packages for the programs or files (patterns) that are missing:
# debian PROGRAM|/FILE=PACKAGE...
debian() {
    local pair packages=()
    for pair in "$@"; do
        case $pair in
            /*) compgen -G "${pair%%=*}" >/dev/null || packages+=("${pair#*=}") ;;
            *) have "${pair%%=*}" || packages+=("${pair#*=}") ;;
        esac
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! have apt-get; then missing "needs: apt-get install ${packages[*]}"; fi
    # Lists of packages that are a few days old often still do.
    apt "${packages[@]}" || { apt-get update -qq </dev/null >/dev/null 2>&1; apt "${packages[@]}"; } \
        || missing "apt-get could not install ${packages[*]}: $(tail -n 1 "$log")"
}

# True if what is built was built from these sources: fresh SOURCE...
fresh() { [ -e "$out/built-from" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$out/built-from")" ]; }

# Notes what was built, for `fresh`: built SOURCE...
built() { cat "$@" | sha256sum >"$out/built-from"; }

# Runs a step of a build; its output goes to the log, and its last words to the reader if it fails.
step() { "$@" </dev/null >"$log" 2>&1 || missing "$1 failed: $(tail -n 1 "$log") (log: $log)"; }
