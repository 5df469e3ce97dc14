#!/usr/bin/env bash
# The page of the server works in a real browser: Debian's Chromium, without a window.
#
# usage: page.sh [SCREENSHOTS]    the folder to which pictures of the page are written, if one is named
#
# The test is in crates/larder-server/tests/page; what it needs is installed below target/page.
#
#   LARDER_SERVER    the program `larder` (target/release/larder)
#   LARDER_CHROMIUM  the browser (chromium)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/page
server=${LARDER_SERVER:-$target/release/larder}
[[ -x $server ]] || { echo "no server at $server: build it, or say in LARDER_SERVER where it is"; exit 2; }

if ! browser=$(command -v "${LARDER_CHROMIUM:-chromium}"); then
    echo "SKIPPED: the page in a browser (install the Debian package chromium)"
    exit
fi
if ! command -v npm >/dev/null; then
    echo "SKIPPED: the page in a browser (no npm)"
    exit
fi
mkdir -p "$work"
if ! cmp -s crates/larder-server/tests/page/package-lock.json "$work/installed"; then
    cp crates/larder-server/tests/page/package{,-lock}.json "$work/"
    if ! npm ci --silent --no-audit --no-fund --prefix "$work" </dev/null; then
        echo "SKIPPED: the page in a browser (playwright-core cannot be installed)"
        exit
    fi
    cp "$work/package-lock.json" "$work/installed"
fi
LARDER_SERVER=$server LARDER_CHROMIUM=$browser LARDER_MODULES=$work \
    exec timeout 240 node crates/larder-server/tests/page/page.mjs "$@"
