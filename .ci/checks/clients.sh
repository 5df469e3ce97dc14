#!/usr/bin/env bash
# Runs programs that use the server through real clients, each against a fresh server.
#
# usage: clients.sh [SUITE...]    all suites, or those named; clients.sh --list names them
#
# The programs are in crates/larder-server/tests/clients, each with what it checks in its head. What they
# need is installed below target/clients, from the registries, at the versions of the lock files there. A
# suite whose needs cannot be installed is skipped, aloud.
#
#   LARDER_SERVER         the program `larder` (target/release/larder)
#   LARDER_PEER           redis: try the programs themselves, against Debian's redis-server and memcached
#   LARDER_CLIENT_SUITES  how many suites run at the same time (3: most of Django's wait for a clock)

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

all=(
    # Long ones first, so that the short ones fill the gaps.
    django-redis django-5.2 django-6.1 django-5.2-memcached django-6.1-memcached redis-benchmark
    redis-py redis-py-lock redis-py-caching redis-py-tracking
    ioredis node-redis redis-rs fred redis-cli
    pymemcache pymemcache-own meta-memcache
)
# How long a suite may take, in seconds.
patience=180

sources=$PWD/crates/larder-server/tests/clients
target=${CARGO_TARGET_DIR:-$PWD/target}
[[ $target == /* ]] || target=$PWD/$target
base=$target/clients
server=${LARDER_SERVER:-$target/release/larder}
peer=${LARDER_PEER:-}
jobs=${LARDER_CLIENT_SUITES:-3}
export LARDER_PEER=$peer RUST_BACKTRACE=0 PYTHONDONTWRITEBYTECODE=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

if [[ ${1-} == --list ]]; then
    printf '%s\n' "${all[@]}"
    exit
fi
chosen=("$@")
((${#chosen[@]} > 0)) || chosen=("${all[@]}")
for suite in "${chosen[@]}"; do
    [[ " ${all[*]} " == *" $suite "* ]] || {
        echo "no suite '$suite'; there are: ${all[*]}"
        exit 2
    }
done
if [[ -z $peer && ! -x $server ]]; then
    echo "no server at $server: build it, or say in LARDER_SERVER where it is"
    exit 2
fi

# ---------------------------------------------------------------- what the suites need

# Runs `install_$1` unless its result is there, made from these very lock files; its output is shown if it fails.
have() {
    local name=$1 stamp=$base/$1.installed said=$base/$1.install.log
    shift
    cat "$@" | cmp -s - "$stamp" && return
    rm -f "$stamp"
    if "install_$name" >"$said" 2>&1 </dev/null; then
        cat "$@" >"$stamp"
    else
        tail -n 5 "$said"
        return 1
    fi
}

# The first Python of at least the version, among those on the PATH and those of pyenv.
find_python() {
    local candidate
    for candidate in python3 python3.{11..15} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
        if "$candidate" -c "import sys, venv; sys.exit(sys.version_info < ($1))" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python of version ${1//, /.} or later with venv" >&2
    return 1
}

# A virtual environment $2 for Python $1 with the requirements $3, and the sources of $4 unpacked beside it.
install_python_packages() {
    local python environment=$base/$2 packages
    python=$(find_python "$1") || return
    rm -rf "$environment" "$environment-sources"
    "$python" -m venv "$environment" &&
        "$environment/bin/python" -m pip install --quiet --require-hashes --requirement "$sources/python/$3" &&
        "$environment/bin/python" -m pip download --quiet --no-deps --no-binary :all: --require-hashes \
            --requirement "$sources/python/$4" --dest "$environment-sources" || return
    for packages in "$environment-sources"/*.tar.gz; do
        tar -xzf "$packages" -C "$environment-sources" && rm "$packages" || return
    done
}

install_python() {
    install_python_packages "3, 11" python requirements.txt sources.txt
}

install_python_django_6_1() {
    install_python_packages "3, 12" python_django_6_1 requirements-django-6.1.txt sources-django-6.1.txt
}

install_node() {
    rm -rf "$base/node" && mkdir -p "$base/node" &&
        cp "$sources"/node/package*.json "$base/node" &&
        npm ci --prefix "$base/node" --no-audit --no-fund --ignore-scripts
}

install_redis_tools() {
    command -v redis-cli && command -v redis-benchmark && return
    [[ $EUID == 0 ]] && command -v apt-get || return
    apt-get install --yes --no-install-recommends redis-tools ||
        { apt-get update && apt-get install --yes --no-install-recommends redis-tools; }
}

# What cannot be fetched is skipped; what cannot be built is an error of ours.
build_rust() {
    cargo fetch --locked --quiet --manifest-path "$sources/rust/Cargo.toml" || return
    CARGO_TARGET_DIR=$base/rust cargo build --locked --quiet --manifest-path "$sources/rust/Cargo.toml" || {
        echo "the programs in Rust cannot be built"
        exit 1
    }
}

# Whether what the suite runs with is there, or can be installed.
prepare() {
    case $1 in
    django-6.1*) have python_django_6_1 "$sources"/python/*-6.1.txt ;;
    ioredis | node-redis) have node "$sources"/node/package*.json ;;
    redis-rs | fred) build_rust ;;
    redis-cli | redis-benchmark) install_redis_tools >/dev/null 2>&1 && have python "$sources"/python/{requirements,sources}.txt ;;
    *) have python "$sources"/python/{requirements,sources}.txt ;;
    esac
}

# ---------------------------------------------------------------- one suite

# Runs the program of a suite, for a bounded time. The server's address is $2, that for memcached $3, and the
# path of its socket $4.
run_program() {
    local python=$base/python/bin/python programs=$sources/python program
    case $1 in
    redis-py | redis-py-* | redis-cli | redis-benchmark) program=("$python" "$programs/${1//-/_}.py" "$2") ;;
    django-5.2) program=("$python" "$programs/django_suite.py" redis "$2" "$base"/python-sources/django-5.*) ;;
    django-5.2-*) program=("$python" "$programs/django_suite.py" memcached "$3" "$base"/python-sources/django-5.*) ;;
    django-6.1)
        program=("$base/python_django_6_1/bin/python" "$programs/django_suite.py" redis "$2"
            "$base"/python_django_6_1-sources/django-6.*)
        ;;
    django-6.1-*)
        program=("$base/python_django_6_1/bin/python" "$programs/django_suite.py" memcached "$3"
            "$base"/python_django_6_1-sources/django-6.*)
        ;;
    django-redis)
        program=("$python" "$programs/django_redis_suite.py" "$2" "$4" "$base"/python-sources/django_redis-*)
        ;;
    ioredis | node-redis) program=(node "$base/node/${1//-/_}.mjs" "$2") ;;
    redis-rs | fred) program=("$base/rust/debug/${1//-/_}" "$2") ;;
    pymemcache) program=("$python" "$programs/pymemcache_text.py" "$3") ;;
    pymemcache-own) program=("$python" "$programs/pymemcache_suite.py" "$3") ;;
    meta-memcache) program=("$python" "$programs/meta_memcache_leases.py" "$3") ;;
    esac
    timeout --kill-after=5 "$patience" "${program[@]}"
}

# So many ports that are free now, and different from each other.
free_ports() {
    python3 - "$1" <<'END'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in sockets))
END
}

# Starts a server at ports $1 and $2 and socket $3 in the background; its process ids are in `pids`.
start_server() {
    pids=()
    if [[ $peer == redis ]]; then
        redis-server --port "$1" --bind 127.0.0.1 --save '' --unixsocket "$3" --dir "$base" &
        pids+=($!)
        memcached -l 127.0.0.1 -p "$2" -u nobody &
        pids+=($!)
    else
        "$server" serve --port "$1" --memcached-port "$2" "${options[@]}" &
        pids+=($!)
    fi
}

# Waits until port $1 answers the line $2 with the start $3.
answers() {
    python3 - "$@" <<'END'
import socket, sys, time
port, line, start = int(sys.argv[1]), sys.argv[2].encode() + b"\r\n", sys.argv[3].encode()
end = time.monotonic() + 15
while True:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(line)
            if one.recv(100).startswith(start):
                break
    except OSError:
        pass
    if time.monotonic() > end:
        sys.exit(f"port {port} does not answer {line!r}")
    time.sleep(0.01)
END
}

# Ends what `start_server` began: politely, and by force if that does not help, which is a failure.
stop_server() {
    local pid result=0
    for pid in "${pids[@]}"; do
        kill -0 "$pid" 2>/dev/null || { echo "the server had ended by itself"; result=1; }
        kill -TERM "$pid" 2>/dev/null
        for _ in {1..100}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null && { echo "the server did not stop when asked to"; result=1; }
        wait "$pid" 2>/dev/null
    done
    return "$result"
}

# Runs suite $1 from the start of its server, at ports $2 and $3, to its end; what is said goes to a log.
run_suite() {
    local suite=$1 folder=$base/run/$1 ports=("$2" "$3") pids socket=- options=() counts good=yes begin=$SECONDS
    rm -rf "$folder" && mkdir -p "$folder"
    if [[ $peer == redis ]] || "$server" serve --help 2>&1 | grep -q -- --unixsocket; then
        socket=$folder/socket
        options+=(--unixsocket "$socket")
    fi
    # As small as memcached's own bound, which clients of memcached try.
    [[ $suite != *memcache* ]] || options+=(--max-argument 1mb)
    start_server "${ports[@]}" "$socket" >"$folder/server.log" 2>&1
    case $suite in
    *memcache*) answers "${ports[1]}" version VERSION ;;
    *) answers "${ports[0]}" PING +PONG ;;
    esac >"$folder/log" 2>&1 &&
        run_program "$suite" "127.0.0.1:${ports[0]}" "127.0.0.1:${ports[1]}" "$socket" >>"$folder/log" 2>&1 </dev/null ||
        good=
    stop_server >>"$folder/log" || good=
    grep -q "panicked at" "$folder/server.log" && echo "the server panicked" >>"$folder/log" && good=
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$folder/log" | tail -n 1)
    [[ $counts ]] || { counts="0 passed, 1 failed, 0 skipped" good=; }
    {
        echo "$suite: $counts"
        if [[ ! $good ]]; then
            echo "--- FAILED: $suite, after $((SECONDS - begin)) s; the end of $folder/log:"
            tail -n 40 "$folder/log"
            tail -n 5 "$folder/server.log"
            echo "---"
        fi
    } >"$folder/summary"
    [[ $good ]]
}

# ---------------------------------------------------------------- all of them

mkdir -p "$base/run"
began=$SECONDS
ready=() skipped=()
for suite in "${chosen[@]}"; do
    if prepare "$suite"; then
        ready+=("$suite")
    else
        echo "SKIPPED: $suite, because what it runs with cannot be installed"
        skipped+=("$suite")
    fi
done
[[ ! -d $base/node ]] || cp "$sources"/node/*.mjs "$base/node"
echo "installed in $((SECONDS - began)) s"

began=$SECONDS
read -r -a ports < <(free_ports $((2 * ${#ready[@]})))
for number in "${!ready[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    {
        run_suite "${ready[number]}" "${ports[2 * number]}" "${ports[2 * number + 1]}"
        cat "$base/run/${ready[number]}/summary"
    } &
done
wait

passed=0 failed=0 skips=0
for suite in "${ready[@]}"; do
    read -r _ number _ bad _ skip _ < <(head -n 1 "$base/run/$suite/summary")
    passed=$((passed + number)) failed=$((failed + bad)) skips=$((skips + skip))
    grep -q '^--- FAILED' "$base/run/$suite/summary" && failing+=" $suite"
done
echo "${#ready[@]} suites in $((SECONDS - began)) s"
((${#skipped[@]} == 0)) || echo "SKIPPED: ${skipped[*]}"
[[ ! ${failing-} ]] || echo "FAILED:$failing"
echo "clients: $passed passed, $failed failed, $skips skipped"
[[ ! ${failing-} ]] && ((${#ready[@]} > 0))
