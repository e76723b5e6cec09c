#!/bin/sh
# Restores what apply.sh has recorded, after whole runs, half runs and several runs. See README.md.
#
# What has been restored is struck from the record at once, so that this can be cut short and run again too.
set -eu
name=revert.sh
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tuning/lib.sh
. "$here/lib.sh"

usage() {
    cat <<USAGE
usage: tuning/revert.sh [--dry-run] [--root DIR]

  --dry-run   say what would be restored, change nothing (needs no root)
  --root DIR  work on the copy of a file system under DIR

exit code: 0 all is as it was, 1 something could not be restored (its record is kept), 2 wrong arguments
USAGE
}

options "--dry-run --root" "$@"
need_root
failed=0

say() { printf '%-7s %s\n' "$1" "$2"; }

same() { [ "$(cat "$1"; echo .)" = "$(cat "$2"; echo .)" ]; }

# Writes the record back. A file that shows its choice in brackets takes only the word.
restore() {
    if [ ! -e "$2" ]; then
        cp -p "$1" "$2" 2>/dev/null
        return
    fi
    { cat "$1" > "$2"; } 2>/dev/null && same "$1" "$2" && return 0
    { value_of "$1" > "$2"; } 2>/dev/null && [ "$(value_of "$1")" = "$(value_of "$2")" ]
}

if [ ! -d "$state" ]; then
    echo "Nothing is recorded in $state, so there is nothing to restore."
    exit 0
fi
rm -f "$state"/new.*

while read -r record; do
    [ -n "$record" ] || continue
    target=${record#"$state/before"}
    if [ ! -e "$root$target" ] && case "$target" in /etc/*) false ;; *) true ;; esac; then
        say gone "$target"
        rm -f "$record"
    elif $dry_run; then
        say would "$target = $(value_of "$record") (now $(value_of "$root$target"))"
    elif restore "$record" "$root$target"; then
        say restored "$target"
        rm -f "$record"
    else
        say FAILED "$target: cannot be written; its record is kept" >&2
        failed=1
    fi
done <<RECORDS
$(find "$state/before" -type f 2>/dev/null | sort)
RECORDS

while read -r record; do
    [ -n "$record" ] || continue
    target=${record#"$state/absent"}
    if $dry_run; then
        say would "remove $target"
    elif rm -f "$root$target" 2>/dev/null; then
        say removed "$target"
        rm -f "$record"
    else
        say FAILED "$target: cannot be removed; its record is kept" >&2
        failed=1
    fi
done <<RECORDS
$(find "$state/absent" -type f 2>/dev/null | sort)
RECORDS

if $dry_run || [ $failed != 0 ]; then exit $failed; fi

# Folders that apply.sh made, where nobody else has put anything into them: before the record goes, so that a
# run that is cut short here is not the last, and those above the record after it.
folders=$(sort -r "$state/folders" 2>/dev/null || :)
remove_folders() {
    for folder in $folders; do rmdir "$root$folder" 2>/dev/null || :; done
}
remove_folders
rm -rf "$state"
remove_folders
exit $failed
