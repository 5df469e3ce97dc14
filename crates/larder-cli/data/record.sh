#!/usr/bin/env bash
# Records the page-cache lookups of a cargo session as a trace: record.sh CRATE_DIR OUT.u32.zst
#
# Needs root, a kernel that has the tracepoint filemap:mm_filemap_get_pages, tracefs, python3, zstd.
# CRATE_DIR is a crate with a main.rs and a lib.rs, whose dependencies are fetched; the script works
# on a copy of it.
set -euo pipefail
crate=${1:?usage: record.sh CRATE_DIR OUT.u32.zst}
out=${2:?usage: record.sh CRATE_DIR OUT.u32.zst}
here=$(cd "$(dirname "$0")" && pwd)
tracing=/sys/kernel/tracing
events="mm_filemap_get_pages mm_filemap_map_pages mm_filemap_fault"

for event in $events; do
  [ -e "$tracing/events/filemap/$event" ] || { echo "no tracepoint $event in $tracing" >&2; exit 1; }
done

scratch=$(mktemp -d)
stop() {
  echo 0 >"$tracing/tracing_on"
  for event in $events; do echo 0 >"$tracing/events/filemap/$event/enable"; done
  echo >"$tracing/set_event_pid"
  rm -rf "$scratch"
}
trap stop EXIT

cp -R "$crate" "$scratch/crate"
cat >"$scratch/session.sh" <<'SESSION'
set -euo pipefail
cargo() { command cargo "$@" --quiet --offline --locked; }
edit() { echo "// edited" >>"$1"; }
cargo check
cargo build
edit src/main.rs
cargo check
cargo test
edit src/lib.rs
cargo build
cargo test
SESSION

echo 0 >"$tracing/tracing_on"
echo >"$tracing/trace"
echo 131072 >"$tracing/buffer_size_kb"
# The tracer follows only the recorded shell and its children.
echo 1 >"$tracing/options/event-fork"
for event in $events; do echo 1 >"$tracing/events/filemap/$event/enable"; done
(
  cd "$scratch/crate"
  bash -c 'echo $$ >"$1/set_event_pid"; echo 1 >"$1/tracing_on"; exec bash "$2"' \
    record "$tracing" "$scratch/session.sh" >"$scratch/session.log" 2>&1
) || { cat "$scratch/session.log" >&2; exit 1; }
echo 0 >"$tracing/tracing_on"

# A lost event would leave a gap in the trace.
if grep -hE '^(overrun|dropped events): [1-9]' "$tracing"/per_cpu/cpu*/stats; then
  echo "events were lost; raise buffer_size_kb" >&2
  exit 1
fi
python3 "$here/pages_to_u32.py" <"$tracing/trace" >"$scratch/trace.u32"
zstd --ultra -22 --long=24 --force --quiet "$scratch/trace.u32" -o "$out"
