# Sourced by `check` and `test`: runs suites one after another, keeps their output in target/suites and
# adds up what they say. A Rust test that the kernel keeps from running prints a line that starts with
# `SKIPPED: ` and the reason; it counts as skipped and the reason is shown.

passed=0 failed=0 skipped=0
logs=$PWD/target/suites
mkdir -p "$logs"
seconds_at_start=$SECONDS

# step NAME COMMAND...: one check that passes or fails as a whole.
step() {
    local name=$1
    shift
    if logged "$name" "$@"; then count "$name" 1 0 0; else count "$name" 0 1 0; fi
}

# suite NAME COMMAND...: counts the tests by the closing lines of cargo, of node's TAP, or `N passed, N failed`.
suite() {
    local name=$1 status=0 p f s
    shift
    logged "$name" "$@" || status=$?
    read -r p f s < <(tally "$logs/$name.log")
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then
        f=1 # it did not build, or died before it could count
    elif [ $((p + f + s)) = 0 ]; then
        echo "$name: ran no test" >>"$logs/$name.log"
        f=1
    fi
    count "$name" "$p" "$f" "$s"
}

# rust NAME ARGUMENT...: cargo test, as a suite. Tests on real databases, brokers and guests depend on when the machine gets
# round to what. One that fails is tried once more, by itself; it counts as passed if it does then, and is named. More
# than a handful are not tried again.
rust() {
    local name=$1 status=0 p f s target test
    shift
    logged "$name" cargo test --locked --no-fail-fast "$@" -- --show-output || status=$?
    read -r p f s < <(tally "$logs/$name.log")
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then
        f=1 # as in `suite`
    fi
    failures "$logs/$name.log" >"$logs/$name.failures"
    if [ "$f" -ge 1 ] && [ "$f" -le 5 ] && [ "$(failed_tests "$logs/$name.log" | wc -l)" = "$f" ]; then
        while read -r target test; do
            # shellcheck disable=SC2086 # the target is an option and its value
            if cargo test --locked ${target/=/ } -- --exact "$test" --show-output >"$logs/$name.again.log" 2>&1 </dev/null &&
                grep -q '^test result: ok. 1 passed' "$logs/$name.again.log"; then
                echo
                echo "    !! failed, and passed when it was tried again: $target $test"
                p=$((p + 1)) f=$((f - 1))
            fi
        done < <(failed_tests "$logs/$name.log")
        if [ "$f" = 0 ]; then
            cat "$logs/$name.failures"
        fi
    fi
    count "$name" "$p" "$f" "$s"
}

# Prints "--test=PROGRAM TEST" of each test that failed in a log of cargo's.
failed_tests() {
    awk '
        $1 == "Running" && $2 == "unittests" { target = $3 ~ /main.rs$/ ? "--bins" : "--lib" }
        $1 == "Running" && $2 ~ /^tests\// {
            split($2, part, "/")
            sub(/\.rs$/, "", part[2])
            target = "--test=" part[2]
        }
        $1 == "Doc-tests" { target = "" }
        /^test .* \.\.\. FAILED$/ && target != "" { print target, $2 }' "$1"
}

# skip NAME REASON: a suite that this machine cannot run.
skip() {
    echo "SKIPPED: $2" >"$logs/$1.log"
    count "$1" 0 0 1
}

logged() {
    local name=$1
    shift
    printf '%-12s ' "$name"
    seconds_at_start=$SECONDS
    "$@" >"$logs/$name.log" 2>&1 </dev/null
}

# Prints "passed failed skipped" of a log.
tally() {
    awk '
        /^test result: /  { p += $4; f += $6; s += $8 }
        /^# pass [0-9]+$/ { p += $3 }
        /^# (fail|cancelled) [0-9]+$/ { f += $3 }
        /^# skipped [0-9]+$/ { s += $3 }
        /^SKIPPED: /      { p -= 1; s += 1 }
        /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; s += $5 }
        END { print (p < 0 ? 0 : p) + 0, f + 0, s + 0 }' "$1"
}

# count NAME PASSED FAILED SKIPPED: adds to the sums and prints the suite's row; shows why, where it must.
count() {
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    echo "$2 passed, $3 failed, $4 skipped ($((SECONDS - seconds_at_start)) s)" | sed 's/^/| /'
    grep '^SKIPPED: ' "$logs/$1.log" | sort | uniq -c | sed 's/^/    !! /' || true
    if [ "$3" != 0 ]; then
        failures "$logs/$1.log"
        echo "---- the end of target/suites/$1.log"
        tail -n 30 "$logs/$1.log"
        echo "----"
    fi
}

# Prints what a log says of the tests that failed, which in a long log is far from its end: what cargo puts between
# `failures:` and a program's result, TAP's `not ok` with what follows, and a word FAILED anywhere.
failures() {
    awk '
        /^failures:$/                 { showing = 1 }
        /^test result: /              { if (showing) print; showing = 0; next }
        /^not ok /                    { behind = 25 }
        showing || behind-- > 0 || /FAILED/ { if (++lines <= 300) print substr($0, 1, 400) }' "$1"
}

# The closing line, and the status that goes with it.
closing() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

# What `check` and `test` both ask of the sources.
lint() {
    step fmt cargo fmt --all -- --check
    step clippy cargo clippy --locked --all-targets -- -D warnings
    # As the fuzz targets and the examples take it.
    step bare cargo check --locked --quiet --no-default-features
    step doc env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
    step deny cargo deny --log-level error check --hide-inclusion-graph bans licenses sources
}
