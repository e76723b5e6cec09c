#!/bin/sh
# Says whether this host has what so many connections need. Changes nothing, needs no root. See README.md.
set -eu
name=check.sh
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tuning/lib.sh
. "$here/lib.sh"

usage() {
    cat <<USAGE
usage: tuning/check.sh [--connections N] [--with GROUP,…] [--user NAME] [--root DIR]

  --connections N  connections to hold on this host (default 100000)
  --with GROUP     judge these as well: timeouts, congestion, pages, governor, steering, all
  --user NAME      who starts the server from a login (default fanwheel)
  --root DIR       look at the copy of a file system under DIR

exit code: 0 nothing is too low, 1 something is, 2 wrong arguments
USAGE
}

options "--connections --with --user --root" "$@"
low=0
unread=0
apply="sudo $here/apply.sh${root:+ --root \"$root\"} --connections $connections"

verdict() { printf '%-7s %s\n' "$1" "$2"; }

lack() {
    verdict LOW "$1"
    verdict '' "  why: $why"
    verdict '' "  fix: $2"
    low=$((low + 1))
}

check_path() {
    label=$key
    case "$key" in *\**) label=${path#"$root"} ;; esac
    if ! found=$(value_of "$path") || ! target=$(target_of "$how" "$need" "$found"); then
        verdict unread "$label: not readable, or not in the form expected"
        unread=$((unread + 1))
    elif [ "$how" = shown ]; then
        verdict left "$label = $found: $why"
    elif [ "$found" = "$target" ]; then
        verdict ok "$label = $found"
    elif [ "$group" = look ]; then
        verdict note "$label = $found, better $need: $why"
    elif ! selected "$group" "$from"; then
        verdict off "$label = $found ($(passed_by "$group" "$from"): $target)"
    else
        lack "$label = $found, needed: $target ($unit)" "$apply$with"
    fi
}

check_files() {
    places=$(nofile_places)
    [ -n "$places" ] || verdict absent "nofile: neither logins nor systemd here; this shell has $(own_limit)"
    while IFS='|' read -r place found file; do
        [ -n "$place" ] || continue
        if [ "$found" -ge "$need" ]; then
            verdict ok "nofile, $place = $found"
        else
            lack "nofile, $place = $found, needed: $need ($unit)" "$apply, which writes ${file#"$root"}"
        fi
    done <<PLACES
$places
PLACES
}

# Price and size are for those who change something.
# shellcheck disable=SC2034
while IFS='|' read -r key unit how need group from why price size; do
    with=
    if [ "$group" != limits ]; then with=" --with $group"; fi
    if [ "$key" = nofile ]; then check_files; continue; fi
    paths=$(paths_of "$key")
    if [ -z "$paths" ]; then verdict absent "$key"; continue; fi
    while read -r path; do check_path; done <<PATHS
$paths
PATHS
done <<ROWS
$(all_rows)
ROWS

echo
of=
if [ "$unread" != 0 ]; then
    echo "$unread could not be read, so nothing is said about them."
    of=", as far as it could be read"
fi
if [ "$low" = 0 ]; then
    echo "This host has what $connections connections need$of."
else
    echo "$low below what $connections connections need."
    exit 1
fi
