# shellcheck shell=sh disable=SC2034 # what is set here is for who sources it
# Sourced by the scripts beside it, each of which runs the program as a user would: usage: sh SCRIPT PROGRAM.
# The cases run in an empty directory, without the user's weights and labels; a case that fails must leave no file
# there. Set UPDATE=1 to rewrite the expected help texts.
set -u

program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)
data=$here/../data
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/cache" "$work/run"
cd "$work/run" || exit 1

user_weights=${PAREIDOLIA_WEIGHTS:-}
export XDG_CACHE_HOME="$work/cache"
unset PAREIDOLIA_WEIGHTS PAREIDOLIA_LABELS
export ASAN_OPTIONS="${ASAN_OPTIONS:-}" LC_ALL=C
failures=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}

# run ARGUMENT...: runs the program; its output is then in $work/out, $work/err, its status in $status.
run() {
    "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# compare WHAT PATTERN FILE LABEL: the file's text must match the shell pattern.
compare() {
    text=$(cat "$3")
    # shellcheck disable=SC2254 # the pattern is meant as one
    case $text in
    $2) ;;
    *)
        fail "$4: $1"
        printf 'expected: %s\nactual:   %s\n' "$2" "$text"
        ;;
    esac
}

# expect STATUS OUT ERR ARGUMENT...: runs the program and compares exit status, stdout and stderr; the latter two are
# shell patterns. A failing command must leave the directory as it was.
expect() {
    wanted=$1
    out=$2
    err=$3
    shift 3
    before=$(ls -A)
    run "$@"
    [ "$status" -eq "$wanted" ] || fail "$*: exit status $status, not $wanted"
    compare stdout "$out" "$work/out" "$*"
    compare stderr "$err" "$work/err" "$*"
    [ "$wanted" -eq 0 ] || [ "$(ls -A)" = "$before" ] || fail "$*: left files behind: $(ls -A)"
}

# expect_file FILE ARGUMENT...: the program succeeds and prints to stdout just what FILE (beside this script) holds.
expect_file() {
    file=$here/$1
    shift
    run "$@"
    [ "$status" -eq 0 ] || fail "$*: exit status $status"
    [ "${UPDATE:-0}" = 0 ] || cp "$work/out" "$file"
    diff -u "$file" "$work/out" || fail "$*: stdout is not $file"
    compare stderr '' "$work/err" "$*"
}

# same FILE FILE: both hold the same bytes.
same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

skip() {
    echo "SKIPPED: $*"
}

finish() {
    echo "$failures checks failed"
    [ "$failures" -eq 0 ]
}
