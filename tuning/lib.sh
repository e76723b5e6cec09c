# shellcheck shell=sh
# Whoever sources this uses what is set here, and sets `name`.
# shellcheck disable=SC2034,SC2154
# What apply.sh, check.sh and revert.sh share: options, the table, readings, judgements.
#
# POSIX sh and awk, nothing else. Sourced with `name` and `here` set to the script's name and folder. Knows no
# single key but `nofile` and the files of steering; all others stand in host.table.

umask 022
root=
connections=100000
groups=" limits "
user=fanwheel
service=fanwheel.service
dry_run=false
persist=true
ALL_GROUPS="limits timeouts congestion pages governor steering"

refuse() {
    echo "tuning/$name: $*" >&2
    exit 2
}

# options ALLOWED "$@": the flags that ALLOWED names.
options() {
    allowed=$1
    shift
    while [ $# -gt 0 ]; do
        case " $allowed --help " in *" $1 "*) ;; *)
            refuse "unknown argument '$1'; see tuning/$name --help" ;;
        esac
        case "$1" in
            --help) usage; exit 0 ;;
            --dry-run) dry_run=true ;;
            --no-persist) persist=false ;;
            *)
                [ $# -ge 2 ] || refuse "$1 needs a value; see tuning/$name --help"
                option "$1" "$2"
                shift ;;
        esac
        shift
    done
    # Not below a folder that the server's user may write to: revert.sh believes what it finds here.
    state=$root/var/lib/fanwheel-tuning
    check_table
}

# Whoever edits the table and slips should hear it before a wrong value is written.
check_table() {
    wrong=$(awk '
        BEGIN {
            form = "at-least [0-9]+ [0-9]+( [0-9]+)?|at-most [0-9]+|(memory|span) [0-9]+ [0-9]+"
            form = form "|choice .+|shown"
        }
        $1 == "need" { $1 = $1; if ($0 !~ "^need (" form ")$") print }' "$here/host.table" 2>&1) ||
        refuse "$here/host.table: cannot be read"
    [ -z "$wrong" ] || refuse "$here/host.table: not understood: $wrong"
}

option() {
    case "$1" in
        --root)
            [ -d "$2" ] || refuse "--root $2: is no folder"
            # Whole, so that no change of folder, and no name that begins with a dash or a space, matters.
            root=$(CDPATH='' cd -- "$2" && pwd) || refuse "--root $2: cannot be entered"
            root=${root%/} ;;
        --user)
            case "$2" in '' | *[!A-Za-z0-9_.-]*) refuse "--user $2: is no name of a user" ;; esac
            user=$2 ;;
        --connections)
            case "$2" in
                '' | *[!0-9]* | 0* | ?????????*)
                    refuse "--connections $2: must be a number from 1 to 99999999" ;;
            esac
            connections=$2 ;;
        --with)
            [ "$2" != all ] || { groups=" $ALL_GROUPS "; return 0; }
            for group in $(echo "$2" | tr , ' '); do
                case " $ALL_GROUPS " in
                    *" $group "*) groups="$groups$group " ;;
                    *) refuse "--with $2: must be of: $ALL_GROUPS all" ;;
                esac
            done ;;
    esac
}

# Whoever may not write should hear it before anything is tried.
need_root() {
    if [ "$(id -u)" != 0 ] && [ -z "$root" ] && ! $dry_run; then
        echo "tuning/$name: changes the kernel's settings, so it must run as root: sudo $here/$name" >&2
        echo "tuning/$name: --dry-run shows what it would do and needs no root; nothing was changed" >&2
        exit 1
    fi
}

memory_pages() {
    page=$(getconf PAGESIZE 2>/dev/null || echo 4096)
    awk -v page="$page" '/^MemTotal:/ { printf "%d", $2 * 1024 / page; found = 1 }
        END { if (!found) print 0 }' "$root/proc/meminfo" 2>/dev/null || echo 0
}

# rows CONNECTIONS MEMORY_PAGES: for each key a line key|unit|how|need|group|from|why|price|size, `need`
# computed and `size` saying what from.
rows() {
    awk -v n="$1" -v memory="$2" '
        function at_least(floor, percent, ceiling,    value) {
            value = int(n * percent / 100)
            if (value < floor) value = floor
            return ceiling != "" && value > ceiling ? ceiling : value
        }
        function need_of(    words, rest, high) {
            split(field["need"], words, " ")
            rest = substr(field["need"], length(words[1]) + 2)
            if (words[1] == "at-least") return sprintf("%d", at_least(words[2] + 0, words[3] + 0, words[4]))
            if (words[1] != "memory") return rest
            high = at_least(words[2] + 0, words[3] + 0, "")
            if (high > int(memory / 4)) high = int(memory / 4)
            return sprintf("%d %d %d", int(high / 2), int(high * 2 / 3), high)
        }
        function size_of(    words, text) {
            split(field["need"], words, " ")
            if (words[1] == "at-least" && words[3] > 0) {
                text = words[3] " % of " n " connections, at least " words[2]
                return words[4] ? text ", at most " words[4] : text
            }
            if (words[1] != "memory") return "the same for any number of connections"
            text = words[3] / 100 " for each of " n " connections, at least " words[2]
            return text ", at most a quarter of " memory
        }
        function row(    how) {
            if (!("key" in field)) return
            how = field["need"]
            sub(/ .*/, "", how)
            printf "%s|%s|%s|%s|", field["key"], field["unit"], how, need_of()
            printf "%s|%s|%s|", field["group"], field["from"], field["why"]
            printf "%s|%s\n", field["price"], size_of()
            for (word in field) delete field[word]
        }
        /^#/ { next }
        NF == 0 { row(); next }
        {
            text = $2
            for (at = 3; at <= NF; at++) text = text " " $at
            if ($1 in field) text = field[$1] " " text
            field[$1] = text
        }
        END { row() }' "$here/host.table"
}

# paths_of KEY: the files that hold it, those that exist.
paths_of() {
    case "$1" in
        /*) pattern=${1#/} ;;
        *) pattern=proc/sys/$(printf %s "$1" | tr . /) ;;
    esac
    # From within, so that only a `*` of the key is expanded, whatever the root is called.
    # shellcheck disable=SC2086
    (cd "$root/" && for file in $pattern; do
        if [ -e "$file" ]; then printf '%s\n' "$root/$file"; fi
    done)
}

# value_of PATH: on one line; of a choice in brackets only what is chosen.
value_of() {
    text=$(cat "$1" 2>/dev/null) || return 1
    case "$text" in
        *\[*\]*) text=${text#*\[}; text=${text%%\]*} ;;
    esac
    # The words of the value, with one space between them.
    # shellcheck disable=SC2086
    set -- $text
    echo "$*"
}

# What has more digits than a shell can count (fs.file-max on some kernels) is larger than any need.
not_less() { [ ${#1} -gt 18 ] || { [ ${#2} -le 18 ] && [ "$1" -ge "$2" ]; }; }
larger() { if not_less "$1" "$2"; then echo "$1"; else echo "$2"; fi; }
smaller() { if not_less "$2" "$1"; then echo "$1"; else echo "$2"; fi; }

# target_of HOW NEED FOUND: what should be there; FOUND itself when it is good enough, so nothing is lowered.
target_of() {
    case "$1" in
        shown) echo "$3"; return 0 ;;
        choice)
            case " $2 " in *" $3 "*) echo "$3" ;; *) echo "${2%% *}" ;; esac
            return 0 ;;
        unset)
            # A mask that somebody has set is a choice; 0 and commas are none.
            case "$3" in *[!0,]*) echo "$3" ;; *) echo "$2" ;; esac
            return 0 ;;
    esac
    case "$3" in '' | *[!0-9\ ]*) return 1 ;; esac
    case "$1" in
        at-least) larger "$3" "$2" ;;
        at-most) smaller "$3" "$2" ;;
        span)
            # shellcheck disable=SC2086
            set -- $2 $3
            [ $# = 4 ] || return 1
            echo "$(smaller "$1" "$3") $(larger "$2" "$4")" ;;
        memory)
            # shellcheck disable=SC2086
            set -- $2 $3
            [ $# = 6 ] || return 1
            echo "$(larger "$1" "$4") $(larger "$2" "$5") $(larger "$3" "$6")" ;;
        *) return 1 ;;
    esac
}

# steering_row PATH UNIT HOW NEED PRICE SIZE: one of the rows below, for the reason in `why`.
steering_row() {
    echo "$1|$2|$3|$4|steering|1|$why|$5|$6"
}

# Rows for the queues of real interfaces, in the form of `rows`; loopback and virtual ones have no device.
steering_rows() {
    cpus=$(find "$root/sys/devices/system/cpu" -maxdepth 1 -name 'cpu[0-9]*' 2>/dev/null | wc -l)
    for nic in "$root"/sys/class/net/*; do
        [ -e "$nic/device" ] || continue
        queues=${nic#"$root"}/queues
        receive=$(find "$nic/queues" -maxdepth 1 -name 'rx-*' 2>/dev/null | wc -l)
        send=$(find "$nic/queues" -maxdepth 1 -name 'tx-*' 2>/dev/null | wc -l)
        queue=0
        while [ "$receive" -lt "$cpus" ] && [ "$queue" -lt "$receive" ]; do
            why="fewer queues than processors: the others take their part of the protocol work"
            price="an interrupt between processors for each packet"
            steering_row "$queues/rx-$queue/rps_cpus" mask unset "$(mask 0 1 "$cpus")" "$price" \
                "all $cpus processors"
            why="a packet is worked on where its socket's worker runs"
            steering_row "$queues/rx-$queue/rps_flow_cnt" flows at-least $((32768 / receive)) "4 bytes each" \
                "32768 over all queues"
            queue=$((queue + 1))
        done
        queue=0
        while [ "$send" -gt 1 ] && [ "$queue" -lt "$send" ]; do
            why="a processor always sends through the same queue, so that no lock moves between them"
            steering_row "$queues/tx-$queue/xps_cpus" mask unset "$(mask "$queue" "$send" "$cpus")" none \
                "$cpus processors, $send queues"
            queue=$((queue + 1))
        done
        interrupt_rows
    done
}

# The interrupts of `nic`, in turns over the processors; not where irqbalance moves them about.
interrupt_rows() {
    if pidof irqbalance >/dev/null 2>&1 && [ -z "$root" ]; then return 0; fi
    turn=0
    # A virtio interface has its interrupts one step further up.
    vectors=$nic/device/msi_irqs
    [ -d "$vectors" ] || vectors=$nic/device/../msi_irqs
    for irq in "$vectors"/*; do
        [ -e "$irq" ] || continue
        file=/proc/irq/${irq##*/}/smp_affinity_list
        [ -e "$root$file" ] || continue
        found=$(value_of "$root$file") || continue
        # Anything but all processors is somebody's choice.
        need=$found
        if [ "$cpus" -gt 1 ] && [ "$found" = "0-$((cpus - 1))" ]; then need=$((turn % cpus)); fi
        why="each queue's interrupts go to a processor of their own"
        steering_row "$file" processor choice "$need" none "$cpus processors in turns"
        turn=$((turn + 1))
    done
}

# mask FIRST STEP CPUS: every STEPth processor from FIRST on, in the kernel's form: groups of 32 bits in hex.
mask() {
    awk -v first="$1" -v step="$2" -v cpus="$3" 'BEGIN {
        for (cpu = first; cpu < cpus; cpu += step) group[int(cpu / 32)] += 2 ^ (cpu % 32)
        last = int((cpus - 1) / 32)
        text = sprintf("%x", group[last])
        for (at = last - 1; at >= 0; at--) text = text sprintf(",%08x", group[at])
        print text
    }'
}

# Reads units on standard input: the hard value of the last line that sets FIELD, else OTHERWISE.
last_limit() {
    awk -F '[ \t]*=[ \t]*' -v field="$1" -v otherwise="$2" '
        { sub(/^[ \t]+/, "") }
        $1 == field {
            sub(/^.*:/, "", $2)
            last = $2 ~ /^infinity/ || $2 + 0 > 2147483647 ? 2147483647 : $2 + 0
            said = 1
        }
        END { print said ? last : otherwise }'
}

# What services and logins inherit where nothing else is said: systemd's default, or the kernel's.
inherited_found() {
    if [ ! -d "$root/etc/systemd" ]; then echo 4096; return 0; fi
    cat "$root/etc/systemd/system.conf" "$root"/etc/systemd/system.conf.d/*.conf 2>/dev/null |
        last_limit DefaultLimitNOFILE 524288
}

# The hard nofile of logins: the last line of limits.conf and limits.d for `user`, else the last one for all.
limits_found() {
    cat "$root/etc/security/limits.conf" "$root"/etc/security/limits.d/*.conf 2>/dev/null |
        awk -v user="$user" -v otherwise="$(inherited_found)" '
            ($1 == user || $1 == "*") && ($2 == "-" || $2 == "hard") && $3 == "nofile" {
                last[$1] = $4 ~ /^(unlimited|infinity|-1)$/ || $4 + 0 > 2147483647 ? 2147483647 : $4 + 0
            }
            END {
                if (user in last) print last[user]
                else if ("*" in last) print last["*"]
                else print otherwise
            }'
}

# LimitNOFILE of the service: the last of its unit and drop-ins.
service_found() {
    {
        for folder in etc run usr/local/lib usr/lib lib; do
            [ -e "$root/$folder/systemd/system/$service" ] || continue
            cat "$root/$folder/systemd/system/$service"
            break
        done
        # Drop-ins of all folders are read in the order of their names.
        for folder in etc run usr/local/lib usr/lib lib; do
            for file in "$root/$folder/systemd/system/$service".d/*.conf; do
                if [ -e "$file" ]; then echo "${file##*/} $file"; fi
            done
        done | LC_ALL=C sort | while read -r _ file; do cat "$file"; done
    } | last_limit LimitNOFILE "$(inherited_found)"
}

# The hard limit that this very process has.
own_limit() {
    # Every shell that Linux systems have as sh knows -H.
    # shellcheck disable=SC3045
    ulimit -Hn
}

# nofile_places: name|found|file that would raise it, for each place of this host where the limit is given.
nofile_places() {
    if [ -d "$root/etc/security" ]; then
        echo "login of $user|$(limits_found)|$root/etc/security/limits.d/90-fanwheel.conf"
    fi
    if [ -d "$root/etc/systemd/system" ]; then
        echo "$service|$(service_found)|$root/etc/systemd/system/$service.d/90-fanwheel.conf"
    fi
}

# selected GROUP FROM: whether the row is judged and applied.
selected() {
    case "$groups" in *" $1 "*) [ "$connections" -ge "$2" ] ;; *) return 1 ;; esac
}

# Why a row is passed by: passed_by GROUP FROM
passed_by() {
    case "$groups" in *" $1 "*) echo "matters from $2 connections" ;; *) echo "only --with $1" ;; esac
}

# all_rows: the table's and the interfaces'.
all_rows() {
    rows "$connections" "$(memory_pages)"
    case "$groups" in *" steering "*) steering_rows ;; esac
}
