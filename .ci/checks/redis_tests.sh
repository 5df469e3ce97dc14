#!/usr/bin/env bash
# Runs Redis's own tests, those of the commands that larder has, against larder as an external server.
#
#   LARDER_SERVER=target/debug/larder bash .ci/checks/redis_tests.sh [UNIT…]
#   LARDER_PEER=redis bash .ci/checks/redis_tests.sh [UNIT…]    the same against redis-server, which then
#                                          refuses every command that redis_tests_commands.txt lacks
#
# Each unit gets a fresh server. The tests come from Debian's source package and are unpacked below
# target/; nothing of them is kept in the repository. redis_tests_skipped.txt names the tests that cannot
# run, with the reason. A failure, a line there that skips nothing, or another number of passed tests than
# redis-server has fails the whole.
#
#   LARDER_REDIS_SOURCES  a folder with Redis's sources, instead of the package

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

version=7.0.15
sha256=4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982
skipped=$PWD/.ci/checks/redis_tests_skipped.txt
commands=$PWD/.ci/checks/redis_tests_commands.txt
target=${CARGO_TARGET_DIR:-$PWD/target}
[[ $target == /* ]] || target=$PWD/$target
home=$target/redis-tests
# A unit takes four seconds at most; a test that waits for what never comes ends after a minute.
unit_seconds=240
idle_seconds=60

# What redis-server passes, restricted as above. It is exact: a test that silently no longer runs is found.
declare -A expected=()
units=()
while read -r unit count; do
    units+=("$unit")
    expected[$unit]=$count
done <<'END'
unit/type/string 68
unit/type/incr 21
unit/expire 55
unit/keyspace 35
unit/scan 5
unit/multi 26
unit/pubsub 24
unit/tracking 48
unit/protocol 15
unit/type/hash 22
unit/introspection 18
unit/other 10
END

# Says why nothing was run. The run does not fail: the tests belong to others, and may be out of reach.
leave() {
    echo "SKIPPED: Redis's tests ($*)"
    exit 0
}

die() {
    echo "error: $*"
    exit 1
}

# Downloads the source package with a private configuration of apt, because the machine's own seldom
# names sources, and is not ours to change.
download() {
    local apt=$home/apt
    command -v apt-get >/dev/null || leave "no apt-get here to download their sources"
    rm -rf "$apt"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,sources.list.d}
    cp /etc/apt/sources.list "$apt/sources.list" 2>/dev/null || : >"$apt/sources.list"
    cp /etc/apt/sources.list.d/*.{list,sources} "$apt/sources.list.d/" 2>/dev/null
    sed -i -E 's/^Types:.*/Types: deb-src/' "$apt"/sources.list.d/*.sources 2>/dev/null
    sed -i -E 's/^deb /deb-src /' "$apt"/sources.list "$apt"/sources.list.d/*.list 2>/dev/null
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/sources.list.d";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
END
    (
        cd "$apt" || exit 1
        export APT_CONFIG=$apt/apt.conf
        timeout 120 apt-get -qq update && timeout 120 apt-get -qq source --download-only --tar-only redis
    ) >"$apt/log" 2>&1
    local archive=$apt/redis_$version.orig.tar.gz
    if [[ ! -f $archive ]]; then
        tail -n 5 "$apt/log"
        leave "apt-get does not have the sources of redis $version"
    fi
    sha256sum --check --quiet <<<"$sha256  $archive" || die "$archive is not what it was"
    tar -xzf "$archive" -C "$home" || die "$archive cannot be unpacked"
    # What two tests expect of HVALS is asked for even when they are skipped, and the rest would fail with it.
    sed -i -E 's/^( *\} )\[lsort \[r hvals [a-z]+\]\]$/\1{}/' "$home/redis-$version/tests/unit/type/hash.tcl"
    # One test is made only with a certain allocator, but what it asks for has to hold with each.
    sed -i -E 's/^if \{.*jemalloc.*mem_allocator\].*/if 1 {/' "$home/redis-$version/tests/unit/type/string.tcl"
    rm -rf "$apt"
}

# A port that was free just now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Configuration by which redis-server has the commands of the list alone: whole commands are renamed
# away, so that they are unknown; a subcommand can only be forbidden.
write_restriction() {
    local port server
    port=$(free_port)
    redis-server --port "$port" --save '' --dir "$home" >/dev/null &
    server=$!
    wait_for_server "$port" "$server"
    redis-cli -p "$port" command list | tr '[:upper:]' '[:lower:]' | sort >"$home/all"
    stop_server "$server"
    sed 's/#.*//' "$commands" | tr -s ' ' '\n' | grep . | sort >"$home/allowed"
    grep -v '|' "$home/all" | while read -r name; do
        grep -qE "^$name(\||$)" "$home/allowed" || echo "rename-command $name \"\""
    done >"$home/restricted.conf"
    # Only for those commands whose subcommands the list names one by one.
    grep '|' "$home/all" | while read -r name; do
        grep -q "^${name%%|*}|" "$home/allowed" || continue
        grep -qxF "$name" "$home/allowed" || printf ' -%s' "$name"
    done | sed 's/^/user default on nopass ~* \&* +@all/' >>"$home/restricted.conf"
}

start_server() {
    local port=$1
    if [[ $peer == redis ]]; then
        redis-server "$home/restricted.conf" --port "$port" --save '' --dir "$home" >"$log.server" 2>&1 &
    else
        "$LARDER_SERVER" serve --port "$port" >"$log.server" 2>&1 &
    fi
    server=$!
    wait_for_server "$port" "$server"
}

wait_for_server() {
    local port=$1 server=$2 tries
    for ((tries = 0; tries < 200; tries++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'PING\r\n' >&3 && read -r -t 5 reply <&3 &&
            [[ $reply == +PONG* ]]) 2>/dev/null && return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    [[ ! -f ${log-} ]] || cat "$log.server"
    die "the server does not answer at port $port"
}

# A server that runs an endless script does not end when it is asked to.
stop_server() {
    local tries
    kill "$1" 2>/dev/null
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

count() {
    grep -ac "^\[$1\]: " "$log"
}

# Runs one unit; prints its line of the table, and adds to `wrong` what is wrong with it.
run_unit() {
    local unit=$1 port began=$SECONDS status=0 ok failed left_out ignored listed
    log=$home/log/${unit//\//_}
    awk -F '\t' -v unit="$unit" '!/^#/ && $1 == unit { print $2 }' "$skipped" >"$log.skip"
    port=$(free_port)
    start_server "$port"
    # In a process group of its own, which `timeout` ends as a whole.
    (cd "$sources" && timeout --kill-after=5 $unit_seconds ./runtest --host 127.0.0.1 \
        --port "$port" --baseport 21532 --singledb --ignore-encoding --ignore-digest --durable \
        --timeout $idle_seconds --tags "-slow -needs:debug -needs:repl -needs:save -needs:pfdebug" \
        --skipfile "$log.skip" --single "$unit") </dev/null >"$log.raw" 2>&1
    status=$?
    kill -0 "$server" 2>/dev/null || wrong+=("$unit: the server has ended; see $log.server")
    stop_server "$server"
    server=
    sed 's/\x1b\[[0-9;]*m//g' "$log.raw" >"$log"
    ok=$(count ok) failed=$(count err) left_out=$(count skip) ignored=$(count ignore)
    printf '%-20s %4d passed %4d failed %4d skipped %4d not for external servers  %3d s\n' \
        "$unit" "$ok" "$failed" "$left_out" "$ignored" $((SECONDS - began))
    total_ok=$((total_ok + ok)) total_failed=$((total_failed + failed)) total_out=$((total_out + left_out))
    if ((failed > 0)); then
        grep -a -A 3 '^\[err\]: ' "$log" | cut -c 1-240
        wrong+=("$unit: $failed tests failed")
    elif ((status == 124 || status == 137)); then
        wrong+=("$unit: over its limit of $unit_seconds s")
    elif ((status != 0)); then
        grep -a -A 4 -E '^\[(exception|TIMEOUT)\]: ' "$log" | cut -c 1-240 || tail -n 5 "$log"
        wrong+=("$unit: the runner ended with $status")
    fi
    # A test in a loop is skipped more than once, so names are compared.
    listed=$(sort -u "$log.skip" | comm -23 - <(sed -n 's/^\[skip\]: //p' "$log" | sort -u))
    [[ -z $listed ]] || wrong+=("$unit: the list skips what is not there: $listed")
    if ((failed == 0 && ok != ${expected[$unit]})); then
        wrong+=("$unit: $ok tests passed, not ${expected[$unit]}")
    fi
}

peer=${LARDER_PEER:-larder}
case $peer in
redis) command -v redis-server >/dev/null && command -v redis-cli >/dev/null || leave "no redis-server" ;;
larder) [[ -x ${LARDER_SERVER:?the path of the program larder} ]] || die "no program $LARDER_SERVER" ;;
*) die "LARDER_PEER is $peer; use redis, or leave it out" ;;
esac
command -v tclsh8.6 tclsh8.5 >/dev/null || leave "no tclsh"
(($# == 0)) || units=("$@")
for unit in "${units[@]}"; do [[ -n ${expected[$unit]-} ]] || die "no unit $unit"; done

awk -F '\t' '!/^(#|$)/ && !(NF == 3 && $1 ~ /^unit\// && $2 && $3) { print FILENAME ": not three fields: " $0; bad = 1 }
    END { exit bad }' "$skipped" || exit 1

rm -rf "$home/log"
mkdir -p "$home/log"
sources=${LARDER_REDIS_SOURCES:-$home/redis-$version}
if [[ ! -x $sources/runtest ]]; then
    [[ -z ${LARDER_REDIS_SOURCES-} ]] || die "no Redis sources in $sources"
    download
fi
[[ $peer != redis ]] || write_restriction

server=
trap '[[ -z $server ]] || stop_server "$server"' EXIT
total_ok=0 total_failed=0 total_out=0 wrong=()
for unit in "${units[@]}"; do run_unit "$unit"; done
printf '%-20s %4d passed %4d failed %4d skipped\n' total $total_ok $total_failed $total_out
((${#wrong[@]} == 0)) || printf 'error: %s\n' "${wrong[@]}"
((${#wrong[@]} == 0))
