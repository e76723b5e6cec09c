# shellcheck shell=sh disable=SC2034 # for those who read this file
# What the scripts of this folder share; they have set the root of the sources as their folder.

# Where things are installed, and from where, as far as the environment does not say: as an unpacked tarball
# has it.
: "${PREFIX=/usr/local}" "${SYSCONFDIR=/etc}"
: "${UNITDIR=$PREFIX/lib/systemd/system}" "${ZSH_COMPLETIONS=$PREFIX/share/zsh/site-functions}"
: "${PROGRAM=bin/fanwheel}" "${PAGES=pages}"

# The newest C library that a program may need: Ubuntu 22.04 has 2.35, Debian 12 has 2.36.
GLIBC_MAX=${GLIBC_MAX-2.35}

# The documents that are installed and packed, a path a line: all that they lead their readers to is among
# them, but for what people need who change the program.
documents() {
    # Folders are left out: npm may have put its own beside the pages.
    find README.md CHANGELOG.md SECURITY.md docs/*.md docs/*.png \
        examples/browser/* examples/publish/* examples/load/* \
        deploy/* clients/js/README.md clients/js/client.d.ts clients/js/fanwheel.min.js -prune -type f -print
}

version() { sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1; }

# Seconds of the last commit: the time of all that is packed. A checkout may be another user's, as in a
# container; an archive of the sources has no commit.
committed_s() {
    git -c safe.directory="$PWD" log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
}

# The newest version of the C library that a program names.
needed_glibc() { objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1; }
