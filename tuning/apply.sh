#!/bin/sh
# Raises the kernel's limits that a server with very many connections meets first. See tuning/README.md.
#
# Raises only: a value that is already as high is left alone, so running it twice changes nothing.
set -eu

usage() {
    cat <<USAGE
usage: tuning/apply.sh [--print] [--persist] [--connections N]

  --print          say what would change, change nothing (needs no root)
  --persist        also write /etc/sysctl.d/90-fanwheel.conf, so that it holds after a restart
  --connections N  connections to hold on this host (default 100000)
  --root DIR       work on a copy of the file system under DIR, for trying it out
USAGE
}

print=false
persist=false
connections=100000
root=
while [ $# -gt 0 ]; do
    case "$1" in
        --print) print=true ;;
        --persist) persist=true ;;
        --connections | --root)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            if [ "$1" = --root ]; then root=$2; else connections=$2; fi
            shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "tuning/apply.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
case "$connections" in
    '' | *[!0-9]* | ?????????*)
        echo "tuning/apply.sh: --connections $connections: must be a number up to 99999999" >&2
        exit 2 ;;
esac

settings=
failed=0

path_of() { printf '%s/proc/sys/%s' "$root" "$(printf %s "$1" | tr . /)"; }

# apply NAME NEW REASON: NEW differs from what is there and is not lower.
apply() {
    old=$(tr -s '\t' ' ' < "$(path_of "$1")")
    if [ "$old" = "$2" ]; then
        echo "ok      $1 = $old"
    elif $print; then
        echo "would   $1 = $2 (now $old): $3"
    elif printf '%s\n' "$2" 2>/dev/null > "$(path_of "$1")"; then
        echo "raised  $1 = $2 (was $old): $3"
    else
        echo "failed  $1 = $2 (is $old): not permitted; run as root, outside a container" >&2
        failed=1
    fi
    settings="$settings$1 = $2
"
}

# at_least NAME MIN REASON: for a value of one number.
at_least() {
    [ -r "$(path_of "$1")" ] || { echo "absent  $1"; return 0; }
    now=$(cat "$(path_of "$1")")
    # Higher than needed is somebody's choice: not touched, and not written down as ours either.
    if [ "$now" -gt "$2" ]; then echo "ok      $1 = $now"; else apply "$1" "$2" "$3"; fi
}

larger() { if [ "$1" -ge "$2" ]; then echo "$1"; else echo "$2"; fi; }
smaller() { if [ "$1" -le "$2" ]; then echo "$1"; else echo "$2"; fi; }

# Order matters: RLIMIT_NOFILE is bounded by nr_open, and all files together by file-max.
at_least fs.nr_open $((connections + 20000)) "files of one process"
at_least fs.file-max $((connections + connections / 4 + 65536)) "files of the host; each connection is one"
at_least net.core.somaxconn 16384 "connections that wait for accept when everyone returns at once"
at_least net.ipv4.tcp_max_syn_backlog 16384 "half-open connections in the same moment"
at_least net.core.netdev_max_backlog 16384 "packets that wait for a processor: a broadcast being acknowledged"
tracked="connections that a firewall keeps track of"
at_least net.netfilter.nf_conntrack_max $((connections * 2 + 65536)) "$tracked"

# In pages: where the kernel begins to save memory for TCP, and where it drops packets. An eighth, a sixth
# and a quarter of the memory; nothing is reserved by it.
if [ -r "$(path_of net.ipv4.tcp_mem)" ] && [ -r "$root/proc/meminfo" ]; then
    page=$(getconf PAGESIZE)
    pages=$(awk -v page="$page" '/^MemTotal:/ { printf "%d", $2 * 1024 / page }' "$root/proc/meminfo")
    # `read` would ask byte by byte, and /proc/sys answers only the first time.
    # shellcheck disable=SC2046
    set -- $(cat "$(path_of net.ipv4.tcp_mem)")
    low=$(larger "$1" $((pages / 8)))
    pressure=$(larger "$2" $((pages / 6)))
    high=$(larger "$3" $((pages / 4)))
    apply net.ipv4.tcp_mem "$low $pressure $high" "memory of all TCP buffers, in pages"
fi

# For a proxy or a load generator on this host: each of its connections needs a port of its own.
if [ -r "$(path_of net.ipv4.ip_local_port_range)" ]; then
    # shellcheck disable=SC2046
    set -- $(cat "$(path_of net.ipv4.ip_local_port_range)")
    first=$(smaller "$1" 10240)
    last=$(larger "$2" 65535)
    apply net.ipv4.ip_local_port_range "$first $last" "ports for connections that start on this host"
fi

if $persist && ! $print; then
    mkdir -p "$root/etc/sysctl.d"
    printf '# Written by fanwheel, tuning/apply.sh --connections %s\n%s' "$connections" "$settings" \
        > "$root/etc/sysctl.d/90-fanwheel.conf"
    echo "wrote   $root/etc/sysctl.d/90-fanwheel.conf"
fi

files=$(ulimit -Hn)
echo
echo "Files: this shell's hard limit is $files. The server raises its soft limit to the hard one by itself,"
echo "and with fd_tables = private each worker has that many. For $connections connections on W workers it"
echo "must be at least $connections / W + 400. Under systemd: LimitNOFILE= in the unit; at login: 'nofile'"
echo "in /etc/security/limits.conf; in a container: --ulimit nofile=N:N."
exit $failed
