# The server as its users meet it: through real clients, a browser, Prometheus' parsers, and
# beside clients that misbehave.
# Time limit: 1800

source .ci/tools.sh

# Servers to compare with, clients and a browser, which are Debian packages.
wanted=(redis-server redis-tools memcached tcl chromium prometheus)
install_packages "${wanted[@]}" || skip "Debian packages that cannot be installed; see what follows"

build_faster
# As README's command builds it, and so with the same features.
run cargo build --release --bin larder
export LARDER_SERVER=$target/release/larder

# Its folder is made by systemd, and is not here.
run "$LARDER_SERVER" serve --config crates/larder-server/deploy/larder.toml --save "$work/larder.snapshot" --check

# What `/metrics` serves is what Prometheus reads, and the page's own probes answer.
"$LARDER_SERVER" serve --port 0 --http-port 0 2>"$work/$step.said" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
page=
for _ in {1..100}; do
    page=$(sed -n 's/^larder: the page is at //p' "$work/$step.said")
    [[ -z $page ]] || break
    sleep 0.1
done
[[ -n $page ]] || die "the server did not start: $(cat "$work/$step.said")"
fetch() { run python3 -c 'import sys, urllib.request as http
request = http.Request(sys.argv[1], headers={"Accept": sys.argv[2]})
sys.stdout.write(http.urlopen(request, timeout=60).read().decode())' "$@"; }
fetch "${page}metrics" 'text/plain;version=0.0.4' >"$work/$step.prometheus"
fetch "${page}metrics" 'application/openmetrics-text;version=1.0.0' >"$work/$step.openmetrics"
fetch "${page}healthz" '*/*' >/dev/null
fetch "${page}readyz" '*/*' >/dev/null
kill "$server"
wait "$server" || die "the server did not end well: $(cat "$work/$step.said")"
run bash .ci/checks/metrics.sh
run bash .ci/checks/metrics.sh "$work/$step.prometheus" "$work/$step.openmetrics"

# The scripts say themselves what they leave out.
report_skips() {
    local line
    while read -r line; do skip "${line#SKIPPED: }"; done < <(grep '^SKIPPED: ' "$1" || true)
}
for check in clients page; do
    run bash ".ci/checks/$check.sh" 2>&1 | tee "$work/$step.$check"
    report_skips "$work/$step.$check" >/dev/null
done

# The near cache over redis-server, over valkey-server where it can be had, and over the program.
if valkey=$(bash .ci/checks/valkey.sh); then
    export PATH=$PATH:$valkey
else
    echo "the tests say what they skip"
fi
# Of the workspace, as in the step test, or everything would be built anew with other features.
run_tests cargo test --workspace --lib on_servers:: -- --nocapture
expect_tests "the near cache"
report_skips "$said"

LARDER_CHAOS_SECONDS=${LARDER_CHAOS_SECONDS:-20} run_tests cargo test --workspace --test chaos -- --nocapture
expect_tests "the program chaos"
