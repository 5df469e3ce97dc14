#!/usr/bin/env bash
# Prints a folder that has `valkey-server`: where it is installed, or where it is unpacked below target/. For instance
#
#   PATH=$PATH:$(bash .ci/checks/valkey.sh) cargo test -p larder-near
#
# Debian has it from release 13 on, built for a newer C library than an older release has. So its packages are
# unpacked together with those of the libraries, and its own loader starts it. Nothing is installed. Fails, and says
# why on stderr, if the packages cannot be had.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

release=trixie
target=${CARGO_TARGET_DIR:-$PWD/target}
[[ $target == /* ]] || target=$PWD/$target
home=$target/valkey

leave() {
    echo "no valkey-server: $*" >&2
    exit 1
}

if installed=$(command -v valkey-server); then
    dirname "$installed"
    exit
fi

# Downloads the packages with a private configuration of apt: the machine's own names its own release, and is not
# ours to change. Nothing counts as installed, so every library comes along.
download() {
    local apt=$home/apt
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || leave "this is not a Debian system"
    rm -rf "$home"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,sources.list.d}
    cp /etc/apt/sources.list "$apt/sources.list" 2>/dev/null || : >"$apt/sources.list"
    cp /etc/apt/sources.list.d/*.{list,sources} "$apt/sources.list.d/" 2>/dev/null || :
    # The release takes the place of the machine's own, in the two formats that sources have.
    sed -i -E "s/^Suites:.*/Suites: $release/; s/^Types:.*/Types: deb/" "$apt"/sources.list.d/*.sources 2>/dev/null || :
    sed -i -E "s/^(deb (\[[^]]*\] )?[^ ]+) [^ ]+/\1 $release/" \
        "$apt"/sources.list "$apt"/sources.list.d/*.list 2>/dev/null || :
    # Other archives, such as that of security updates, name their releases otherwise.
    sed -i '/^deb.*-security/d' "$apt"/sources.list "$apt"/sources.list.d/*.list 2>/dev/null || :
    : >"$apt/status"
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/sources.list.d";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
END
    (
        cd "$apt"
        export APT_CONFIG=$apt/apt.conf
        # A source without that release fails, and the others serve.
        timeout 180 apt-get -qq update || :
        timeout 180 apt-get -qq -y --no-install-recommends --download-only install valkey-server
    ) </dev/null >"$home/log" 2>&1 || leave "$(tail -n 3 "$home/log")"
}

# Unpacks them, and writes a program that starts the server by the loader that belongs to its libraries.
unpack() {
    local package loader
    mkdir -p "$home/unpacked" "$home/bin"
    for package in "$home"/apt/cache/archives/*.deb; do dpkg-deb --extract "$package" "$home/unpacked"; done
    rm -rf "$home/apt"
    loader=$(find "$home/unpacked/usr/lib" -name 'ld-linux*' -type f | head -n 1)
    [[ -n $loader ]] || leave "its packages have no loader"
    cat >"$home/bin/valkey-server" <<END
#!/bin/sh
exec "$loader" --argv0 valkey-server --library-path "${loader%/*}" "$home/unpacked/usr/bin/valkey-server" "\$@"
END
    chmod +x "$home/bin/valkey-server"
}

# Others may want it at the same time.
mkdir -p "$target"
exec 9>"$target/valkey.lock"
! command -v flock >/dev/null || flock 9
if ! "$home/bin/valkey-server" --version >/dev/null 2>&1; then
    download
    unpack
    "$home/bin/valkey-server" --version >&2 || leave "it does not start here"
fi
echo "$home/bin"
