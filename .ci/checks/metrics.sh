#!/usr/bin/env bash
# The example `metrics` writes text that Python's prometheus_client and promtool read without complaint, in both
# formats; so do other files of metrics that are named.
#
# usage: metrics.sh [PROMETHEUS OPENMETRICS]    two files to check instead of the example's output
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/metrics
python=$work/python
mkdir -p "$work"

if (($# == 2)); then
    prometheus=$1 open_metrics=$2
else
    prometheus=$work/metrics.txt open_metrics=$work/metrics.openmetrics
    cargo build --quiet --package larder --example metrics --features metrics
    "$target/debug/examples/metrics" >"$prometheus"
    "$target/debug/examples/metrics" openmetrics >"$open_metrics"
fi

if ! PYTHONPATH=$python python3 -c 'import prometheus_client' 2>/dev/null; then
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --only-binary :all: \
        --target "$python" 'prometheus_client==0.26.0' || true
fi
if PYTHONPATH=$python python3 -c 'import prometheus_client' 2>/dev/null; then
    PYTHONPATH=$python python3 .ci/checks/metrics.py "$prometheus" "$open_metrics"
else
    echo "SKIPPED: parsing by prometheus_client, which cannot be had"
fi

if promtool=$(command -v promtool); then
    # It has advice too, such as for names; that counts as a failure.
    "$promtool" check metrics <"$prometheus"
    echo "promtool has no complaint"
else
    echo "SKIPPED: promtool (install the Debian package prometheus)"
fi
