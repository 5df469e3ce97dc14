# Runs a step within its time limit, and says at the end what came of all steps. Sourced by .ci/run.

# The limit in seconds, from the step's line `# Time limit:`. It is many times what the step takes on
# two cores with nothing built: a guard against hanging, not against slowness.
limit_of() {
    echo $((${LARDER_STEP_SECONDS:-$(sed -n 's/^# Time limit: //p' ".ci/steps/$1.sh")}))
}

# Sets cpu_seconds: the processor time that the children of this shell have used. A `$(…)` would have
# children of its own.
take_cpu_seconds() {
    local file=$work/times.$BASHPID
    times >"$file"
    cpu_seconds=$(awk 'NR == 2 { gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4) }' "$file")
    rm -f "$file"
}

# Everything goes into the step's log; what is shown lacks cargo's line for each crate.
step_in_process() {
    # On a terminal in the foreground, so that Ctrl-C reaches the step.
    local in_foreground=
    [[ ! -t 0 ]] || in_foreground=--foreground
    timeout $in_foreground --kill-after=10 "$2" bash -euo pipefail -c \
        'step=$1; source .ci/common.sh; source ".ci/steps/$step.sh"' bash "$1" </dev/null 2>&1 |
        tee -a "$work/$1.log" |
        sed -uE '/^ +(Compiling|Checking|Downloaded|Downloading|Documenting|Fresh|Adding|Locking|Updating) /d'
    return "${PIPESTATUS[0]}"
}

# Runs the step $1. With `held_back` its output appears as a whole when it has ended.
run_step() {
    local step=$1 limit began=$SECONDS cpu_seconds cpu_before status=0 result=ok
    limit=$(limit_of "$step")
    take_cpu_seconds
    cpu_before=$cpu_seconds
    : >"$work/$step.log"
    if [[ -n ${held_back-} ]]; then
        echo "(step $step begins; its log is $work/$step.log)"
        step_in_process "$step" "$limit" >"$work/$step.shown" || status=$?
    else
        printf '\n==================== %s\n' "$step"
        step_in_process "$step" "$limit" || status=$?
    fi
    if ((status == 124 || status == 137)); then
        result="FAILED: over its limit of $limit s"
    elif ((status != 0)); then
        result="FAILED"
    fi
    ((status == 0)) || echo "$step" >>"$work/failed"
    if [[ -n ${held_back-} ]]; then
        printf '\n==================== %s\n' "$step"
        cat "$work/$step.shown"
    fi
    printf -- '-------------------- %s: %s, %d s\n' "$step" "$result" $((SECONDS - began))
    take_cpu_seconds
    printf '%-12s %5d s  (processor %5d s)  %s\n' "$step" $((SECONDS - began)) \
        $((cpu_seconds - cpu_before)) "$result" >>"$work/summary"
}

# What failed, and the end of its log: once more at the end, where it is seen even if only that was kept.
report_failure() {
    local step
    while read -r step; do
        echo "what '$step' said, in short:"
        grep -E -A 2 'panicked at|ERROR: |^error|SUMMARY: ' "$work/$step.log" | tail -n 20
        echo "its last lines:"
        tail -n 12 "$work/$step.log"
    done <"$work/failed"
}

# The last words; returns whether all is well.
report() {
    local outcome=passed
    [[ ! -s $work/failed ]] || outcome="failed in step '$(head -n 1 "$work/failed")'"
    printf '\n==================== summary\n'
    cat "$work/summary"
    printf '%-12s %5d s\n' total "$SECONDS"
    if [[ -s $work/skipped ]]; then
        echo "SKIPPED:"
        sed 's/^/  /' "$work/skipped"
    fi
    if [[ $outcome == passed && $(git status --porcelain 2>/dev/null) != "$tree_before" ]]; then
        echo "the checkout is not what it was:"
        git status --porcelain
        # At a desk, somebody may just be typing.
        [[ -z ${CI-} ]] || outcome="failed: a step changed the checkout"
    fi
    if [[ -s $work/test.log ]]; then
        echo "the closing lines of cargo test, without those of binaries that have no tests:"
        awk '/^ +(Running|Doc-tests) / { name = $0 }
            /^test result:/ && !/ 0 passed; 0 failed;/ { print name; print }' "$work/test.log"
    fi
    # All test binaries of all steps in one line of the usual form.
    cat "$work"/*.log | awk '/^test result:/ { passed += $4; failed += $6; skipped += $8; any = 1 }
        END { if (any) printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
    [[ ! -s $work/failed ]] || report_failure
    echo ".ci/run: $outcome"
    [[ $outcome == passed ]]
}
