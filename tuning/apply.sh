#!/bin/sh
# Raises what stands in the way of very many connections, and records what was there before. See README.md.
#
# Raises only: what is good enough is left alone, so running it twice changes nothing. Each file is recorded
# before it is changed, so that revert.sh can undo a run that was cut short as well.
set -eu
name=apply.sh
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tuning/lib.sh
. "$here/lib.sh"

usage() {
    cat <<USAGE
usage: tuning/apply.sh [--dry-run] [--no-persist] [--connections N] [--with GROUP,…] [--user NAME]
                       [--root DIR]

  --dry-run        say what would change, change nothing (needs no root)
  --no-persist     only the running kernel: no files in /etc, so that a restart of the host undoes it
  --connections N  connections to hold on this host (default 100000)
  --with GROUP     also what is a trade-off of the whole host:
                     timeouts    keepalive and FIN for a proxy on this host
                     congestion  fq, bbr, no slow start after idle
                     pages       transparent huge pages only where asked for
                     governor    processors at full clock
                     steering    RPS, XPS and interrupts of real interfaces
                     all         all of these
  --user NAME      who starts the server from a login (default fanwheel)
  --root DIR       work on the copy of a file system under DIR, for trying it out

exit code: 0 done, 1 something needed could not be set, 2 wrong arguments. tuning/revert.sh undoes it.
USAGE
}

options "--dry-run --no-persist --connections --with --user --root" "$@"
need_root
failed=0
sysctls=
boot=

say() { printf '%-7s %s\n' "$1" "$2"; }
reason() { printf '%-7s   %s\n' '' "$1"; }

cannot() {
    say FAILED "$1" >&2
    failed=1
}

# Makes a folder, after noting which ones are missing, innermost first. (That of the record is noted in it
# afterwards; revert.sh removes that one anyway.)
make_folder() {
    missing=
    folder=$1
    while [ ! -d "$folder" ]; do
        missing="$missing${folder#"$root"}
"
        folder=$(dirname "$folder")
    done
    [ -n "$missing" ] || return 0
    if [ "$1" = "$state" ]; then mkdir -p "$1" || return 1; fi
    printf %s "$missing" >> "$state/folders" && mkdir -p "$1"
}

# Keeps what is there, once: the second run must not take the first one's work for the original.
record() {
    rest=${1#"$root"}
    if [ -e "$state/before$rest" ] || [ -e "$state/absent$rest" ]; then return 0; fi
    make_folder "$state" || return 1
    if [ -e "$1" ]; then
        mkdir -p "$(dirname "$state/before$rest")" || return 1
        # With owner and mode, for whoever removes it meanwhile; the kernel's files keep theirs.
        case "$rest" in
            /etc/*) cp -p "$1" "$state/new.$$" ;;
            *) cat "$1" > "$state/new.$$" ;;
        esac || return 1
        # Unlike mv it does not replace what another run, which may have changed the value since, recorded.
        ln "$state/new.$$" "$state/before$rest" 2>/dev/null || [ -e "$state/before$rest" ] ||
            cp -p "$state/new.$$" "$state/before$rest" || return 1
        rm -f "$state/new.$$"
    else
        mkdir -p "$(dirname "$state/absent$rest")" || return 1
        : > "$state/absent$rest"
    fi
}

# put PATH VALUE: writes it and looks whether the kernel took it, or something that is as good.
put() {
    was_recorded=false
    [ ! -e "$state/before${1#"$root"}" ] || was_recorded=true
    if ! record "$1"; then
        cannot "$label: cannot record what was there in ${state#"$root"}; left alone"
        return 2
    fi
    { printf '%s\n' "$2" > "$1"; } 2>/dev/null || :
    now=$(value_of "$1") || now=
    [ "$(target_of "$how" "$need" "$now")" = "$now" ] && return 0
    # Nothing has changed, so this run has nothing to undo.
    if [ "$now" = "$found" ] && ! $was_recorded; then rm -f "$state/before${1#"$root"}"; fi
    return 1
}

# What must hold after a restart as well: all that this tool set, now or in an earlier run.
remember() {
    case "$key" in
        /*) boot="${boot}w ${path#"$root"} - - - - $1
" ;;
        *) sysctls="$sysctls$key = $1
" ;;
    esac
}

was_ours() {
    [ -e "$state/before${path#"$root"}" ] ||
        cat "$root"/etc/sysctl.d/90-fanwheel.conf "$root"/etc/tmpfiles.d/fanwheel.conf 2>/dev/null |
        grep -qF -e "$key = " -e "w ${path#"$root"} "
}

apply_path() {
    label=$key
    case "$key" in *\**) label=${path#"$root"} ;; esac
    if ! found=$(value_of "$path") || ! target=$(target_of "$how" "$need" "$found"); then
        say unread "$label: not readable, or not in the form expected; left alone"
    elif [ "$how" = shown ]; then
        say left "$label = $found"
        reason "$why"
    elif [ "$group" = look ]; then
        if [ "$found" = "$target" ]; then say ok "$label = $found"; else say note "$label = $found: $why"; fi
    elif [ "$found" = "$target" ]; then
        say ok "$label = $found"
        if was_ours; then remember "$found"; fi
    elif ! selected "$group" "$from"; then
        say off "$label = $found ($(passed_by "$group" "$from"): $target)"
    elif $dry_run; then
        say would "$label: $found -> $target ($unit)"
        reason "why: $why"
        reason "size: $size"
        reason "price: $price"
        remember "$target"
    else
        put "$path" "$target" && code=0 || code=$?
        case $code in
            0)
                say changed "$label: $found -> $now ($unit)"
                reason "$why; $size"
                remember "$now" ;;
            1) cannot "$label = $now, needed $target: not permitted; in a container, set it on the host" ;;
        esac
    fi
}

# write_file PATH TEXT: one of our own files.
write_file() {
    label=${1#"$root"}
    if [ -e "$1" ] && [ "$(cat "$1")" = "$2" ]; then say ok "$label"; return 0; fi
    if $dry_run; then
        say would "write $label:"
        printf '%s\n' "$2" | sed 's/^/          + /'
        return 0
    fi
    { record "$1" && make_folder "$(dirname "$1")" && printf '%s\n' "$2" > "$1"; } 2>/dev/null ||
        { cannot "$label: cannot be written"; return 0; }
    say wrote "$label"
}

MADE="# Written by fanwheel's tuning/apply.sh; tuning/revert.sh removes it."

apply_files() {
    # Whoever asks for more than the kernel allows one process does not start, or may not log in.
    most=$(value_of "$root/proc/sys/fs/nr_open") || most=$need
    if ! $dry_run && [ "$most" -lt "$need" ]; then
        cannot "nofile: needed $need, but fs.nr_open is $most, so no more is asked for"
        need=$most
    fi
    places=$(nofile_places)
    [ -n "$places" ] || say absent "nofile: neither logins nor systemd here; this shell has $(own_limit)"
    while IFS='|' read -r place found file; do
        [ -n "$place" ] || continue
        if [ "$found" -ge "$need" ]; then say ok "nofile, $place = $found"; continue; fi
        if ! $persist; then
            say off "nofile, $place = $found, needed $need: a file, so not with --no-persist"
            continue
        fi
        case "$file" in
            */limits.d/*) write_file "$file" "$MADE
$user - nofile $need" ;;
            *) write_file "$file" "$MADE
[Service]
LimitNOFILE=$need" ;;
        esac
        reason "nofile, $place: $found -> $need: $why; $size"
        if $dry_run; then continue; fi
        now=$(nofile_places | grep -F "$place|" | cut -d '|' -f 2)
        [ "$now" -ge "$need" ] ||
            cannot "nofile, $place: a file that is read after ${file#"$root"} sets it lower; change that one"
    done <<PLACES
$places
PLACES
}

while IFS='|' read -r key unit how need group from why price size; do
    if [ "$key" = nofile ]; then apply_files; continue; fi
    paths=$(paths_of "$key")
    if [ -z "$paths" ]; then say absent "$key"; continue; fi
    while read -r path; do apply_path; done <<PATHS
$paths
PATHS
done <<ROWS
$(all_rows)
ROWS

# keep FILE FIELD LINES: writes our lines and those that the file has for keys that this run has not looked at
# (a group not asked for, a module not loaded); the key is a line's word number FIELD.
keep() {
    if ! $persist || [ -z "$3" ]; then return 0; fi
    others=
    [ ! -f "$1" ] || others=$(printf %s "$3" | awk -v field="$2" -v old="$1" '
        { seen[$field] = 1 }
        END { while ((getline < old) > 0) if ($0 !~ /^#/ && NF && !($field in seen)) print }')
    write_file "$1" "$MADE
${3%?}${others:+
$others}"
}

keep "$root/etc/sysctl.d/90-fanwheel.conf" 1 "$sysctls"
keep "$root/etc/tmpfiles.d/fanwheel.conf" 2 "$boot"
if [ -d "$state" ] && ! $dry_run; then
    echo "$here/revert.sh restores what is recorded in ${state#"$root"}"
fi
exit $failed
