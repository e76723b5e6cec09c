#!/usr/bin/env bash
# Installs what the tests need beyond Rust, gcc, Python with pip and Node with npm.
# Usage: tests/install.sh PART..., of blackbox, backplane, clients, firefox, library, proxies, monitoring,
# package, lintian, fuzz, deny, scale.
# What cannot be installed is said in one line, and the tests that need it are skipped; never an error.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
updated=

# Servers are where only root looks.
have() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null 2>&1; }

# Packages of servers would start them: /usr/sbin/policy-rc.d, if there is none, says no meanwhile.
without_starting() {
    local policy=/usr/sbin/policy-rc.d code
    if [ -e "$policy" ]; then "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    "$@"
    code=$?
    rm -f "$policy"
    return "$code"
}

# Installs Debian packages for the programs that are missing: debian PROGRAM=PACKAGE...
debian() {
    local pair packages=()
    for pair in "$@"; do have "${pair%%=*}" || packages+=("${pair#*=}"); done
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        echo "install: cannot install ${packages[*]} (needs root and apt-get); tests that need it are skipped"
        return 0
    fi
    echo "install: Debian packages ${packages[*]}"
    if [ -z "$updated" ]; then apt-get update -qq </dev/null >/dev/null 2>&1; updated=1; fi
    DEBIAN_FRONTEND=noninteractive without_starting \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null 2>&1 \
        || echo "install: apt-get could not install ${packages[*]}; tests that need it are skipped"
}

# A folder made by a command is made again when the list of what belongs in it changes:
# folder LIST MADE COMMAND...
folder() {
    local list=$1 made=$2 log=target/clients/install.log
    shift 2
    if [ -d "$made" ] && cmp -s "$list" "$made/.installed-from"; then return 0; fi
    mkdir -p target/clients
    echo "install: $made"
    rm -rf "$made"
    if "$@" </dev/null >"$log" 2>&1; then
        cp "$list" "$made/.installed-from"
    else
        rm -rf "$made"
        echo "install: $made failed: $(tail -n 1 "$log"); tests that need it are skipped"
    fi
}

clients() {
    debian curl=curl node=nodejs npm=npm python3=python3 chromium=chromium chromedriver=chromium-driver
    python3 -m pip --version >/dev/null 2>&1 || debian pip=python3-pip
    folder tests/clients/node/package-lock.json tests/clients/node/node_modules \
        npm --prefix tests/clients/node ci --no-audit --no-fund
    folder examples/browser/package-lock.json examples/browser/node_modules \
        npm --prefix examples/browser ci --no-audit --no-fund
    # A folder rather than a virtual environment: it needs no further package on any Debian.
    folder tests/clients/requirements.txt target/clients/python \
        python3 -m pip install --quiet --target target/clients/python -r tests/clients/requirements.txt
}

# A second browser, of 80 MB: only for those who ask.
firefox() {
    have firefox || debian firefox-esr=firefox-esr
}

library() {
    debian node=nodejs npm=npm
    folder clients/js/package-lock.json clients/js/node_modules \
        npm --prefix clients/js ci --no-audit --no-fund
}

# Installs a cargo subcommand if it is missing: subcommand NAME VERSION. Without optimization it is built in
# a third of the time, and quick enough for what it does here.
subcommand() {
    have "cargo-$1" && return 0
    echo "install: cargo-$1 $2"
    cargo install --quiet --debug --locked --version "$2" --target-dir target/tools "cargo-$1" </dev/null \
        || echo "install: cargo-$1 could not be installed"
}

for part in "$@"; do
    case "$part" in
        blackbox)
            debian curl=curl ps=procps strace=strace openssl=openssl shellcheck=shellcheck ss=iproute2
            ;;
        backplane) debian redis-server=redis-server redis-cli=redis-tools openssl=openssl ;;
        clients) clients ;;
        firefox) firefox ;;
        library) library ;;
        proxies)
            debian python3=python3 nginx=nginx-light haproxy=haproxy varnishd=varnish caddy=caddy \
                apache2=apache2-bin openssl=openssl
            # A package of its own on Debian. It is loaded by its path, and tells nothing by a program.
            [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || debian nginx-stream=libnginx-mod-stream
            ;;
        monitoring) debian prometheus=prometheus promtool=prometheus python3=python3 ;;
        package)
            debian make=make objdump=binutils unshare=util-linux ip=iproute2 systemd-analyze=systemd \
                groff=groff-base
            /usr/bin/python3 -c 'import seccomp' 2>/dev/null || debian seccomp-for-python=python3-seccomp
            python3 -m pip --version >/dev/null 2>&1 || debian pip=python3-pip
            folder tests/package/requirements.txt target/package-python \
                python3 -m pip install --quiet --target target/package-python \
                -r tests/package/requirements.txt
            debian node=nodejs npm=npm
            folder tests/package/package-lock.json tests/package/node_modules \
                npm --prefix tests/package ci --no-audit --no-fund
            ;;
        # Brings 128 packages into a fresh system, for one of the package's checks: only for those who ask.
        lintian) debian lintian=lintian ;;
        scale) debian ip=iproute2 ;;
        fuzz) subcommand fuzz 0.13.2 ;;
        deny) subcommand deny 0.20.2 ;;
        *) echo "install: unknown part $part" >&2; exit 2 ;;
    esac
done
