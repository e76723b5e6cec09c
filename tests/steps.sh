# Runs the steps of a suite and says one line for each; tests/check and tests/run source it.
#
# A suite queues its steps with `step`, then calls `run_steps`. Every step runs even when an earlier one
# failed, so that one run tells everything. The output of each step is kept in target/test-output under the
# step's name; only the failed part of it is shown. The end is the sum of all tests, and a non-zero code if
# anything failed.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# Crowds of clients need files, and what systems allow a shell by default is little.
ulimit -n "$(ulimit -Hn)" 2>/dev/null
output=${CARGO_TARGET_DIR:-target}/test-output
# How much of a failed step is shown.
detail_lines=200
tail_lines=40
step_names=()
step_commands=()
failed_steps=()

# Queues a step: step NAME COMMAND...
step() {
    step_names+=("$1")
    shift
    step_commands+=("${*@Q}")
}

# Queues the steps that both suites begin with.
quick_steps() {
    step format cargo fmt --all --check
    step lint cargo clippy --locked --all-targets --quiet -- -D warnings
    step build-tests cargo test --locked --quiet --no-run
    step unit cargo test --locked --no-fail-fast --lib --bins
    step tidy cargo test --locked --no-fail-fast --test tidy
    step sim cargo test --locked --no-fail-fast --test sim
}

# Adds up the sums of tests in files, as "N passed, N failed, N skipped". Both forms of sums count:
# `test result: ok. 3 passed; 0 failed; 1 ignored; …` and `3 passed, 0 failed, 1 skipped`.
sum_of() {
    cat "$@" | awk '
        /^test result: / || /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
            for (i = 2; i <= NF; i++) {
                word = $i; gsub(/[;,]/, "", word)
                if (word == "passed") passed += $(i - 1)
                if (word == "failed") failed += $(i - 1)
                if (word == "ignored" || word == "skipped") skipped += $(i - 1)
            }
        }
        END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
}

# Shows the failed part of a step's output: the reports of failed tests if it has any, else its end.
details_of() {
    if grep -q '^failures:$' "$1"; then
        awk '
            /^failures:$/ { on = 1 }
            /^stack backtrace:/ { trace = 1 }
            !trace && (on || /^error/) { print }
            /^note: Some details are omitted/ { trace = 0 }
            /^test result: / { on = trace = 0 }' "$1"
    elif grep -q ' \.\.\. FAILED' "$1"; then
        grep ' \.\.\. FAILED' "$1"
    else
        tail -n "$tail_lines" "$1"
    fi | head -n "$detail_lines" | sed 's/^/    /'
    echo "    all of it: $1"
}

# Runs one queued step: run_step INDEX
run_step() {
    local name=${step_names[$1]} start=$SECONDS code=0 sum verdict=ok
    local kept=$output/$name left=$((${#step_names[@]} - $1 - 1))
    printf '%-12s ' "$name"
    eval "${step_commands[$1]}" </dev/null >"$kept" 2>&1 || code=$?
    sum=$(sum_of "$kept")
    [ "$sum" != "0 passed, 0 failed, 0 skipped" ] || sum=
    if [ "$code" != 0 ]; then
        failed_steps+=("$name")
        verdict="FAILED with code $code"
    fi
    printf '%-40s %5d s %3d to go\n' "$verdict${sum:+, $sum}" $((SECONDS - start)) "$left"
    if [ "$code" != 0 ]; then details_of "$kept"; fi
}

# Runs all that is queued; its code is that of the suite.
run_steps() {
    local at sum
    mkdir -p "$output"
    rm -f "$output"/*
    for at in "${!step_names[@]}"; do run_step "$at"; done
    sum=$(sum_of "$output"/*)
    if [ ${#failed_steps[@]} -gt 0 ]; then echo "failed steps: ${failed_steps[*]}"; fi
    echo "total: $sum"
    # A run without a single passed test has tested nothing.
    [ ${#failed_steps[@]} -eq 0 ] && [ "${sum%% *}" -gt 0 ]
}
