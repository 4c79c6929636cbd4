#!/bin/sh
# Tests weights/fetch.sh against a mirror in a temporary directory (file:// addresses), so without any network.
# Exit 77 where curl is absent: wget does not know file://.
set -u

fetch=$(cd "$(dirname "$0")/../.." && pwd)/weights/fetch.sh
command -v curl >/dev/null || {
    echo "SKIPPED: curl is not installed"
    exit 77
}

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/mirror"
export XDG_CACHE_HOME="$work/cache"
export PAREIDOLIA_WEIGHTS_URL="file://$work/mirror"
unset PAREIDOLIA_WEIGHTS_MD5

name=inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5
file=$work/cache/pareidolia/$name
failures=0

# run STATUS ARGUMENT...: runs fetch.sh, keeps its output in $out and $err, and checks the exit status.
run() {
    wanted=$1
    shift
    "$fetch" "$@" >"$work/out" 2>"$work/err"
    status=$?
    out=$(cat "$work/out")
    err=$(cat "$work/err")
    check "exit status $status is $wanted" [ "$status" -eq "$wanted" ]
}

# check WHAT COMMAND...: counts and prints a failure unless the command succeeds.
check() {
    what=$1
    shift
    "$@" || {
        failures=$((failures + 1))
        printf 'FAILED %s: %s\nstdout: %s\nstderr: %s\n' "$scene" "$what" "$out" "$err"
    }
}

# has TEXT PART
has() {
    case $1 in *"$2"*) ;; *) return 1 ;; esac
}

lines() {
    wc -l <"$1" | tr -d ' '
}

scene='usage'
run 0 --help
check "the help names the variable for mirrors" has "$out" PAREIDOLIA_WEIGHTS_URL
run 2 --nonsense
check "an unknown option is named" has "$err" --nonsense

scene='absent from the mirror'
run 1
check "one line" [ "$(lines "$work/err")" -eq 1 ]
check "it names the address" has "$err" "$PAREIDOLIA_WEIGHTS_URL/$name"

scene='wrong checksum'
echo 'not the weights' >"$work/mirror/$name"
run 1
check "one line" [ "$(lines "$work/err")" -eq 1 ]
check "it says so" has "$err" 'wrong checksum'
check "no file" [ ! -e "$file" ]
check "no part" [ ! -e "$file.part" ]

scene='fetched'
head -c 100000 /dev/zero | tr '\0' 'w' >"$work/mirror/$name"
PAREIDOLIA_WEIGHTS_MD5=$(md5sum <"$work/mirror/$name" | cut -d' ' -f1)
export PAREIDOLIA_WEIGHTS_MD5
run 0
check "prints the path alone" [ "$out" = "$file" ]
check "nothing on stderr" [ -z "$err" ]
check "the same bytes" cmp "$file" "$work/mirror/$name"
check "no part" [ ! -e "$file.part" ]

scene='there already'
mv "$work/mirror/$name" "$work/mirror/away"
run 0
check "one line" [ "$(lines "$work/out")" -eq 1 ]
check "it names the file" has "$out" "$file"
mv "$work/mirror/away" "$work/mirror/$name"

scene='damaged in the cache'
echo damage >"$file"
run 0
check "fetched again" cmp "$file" "$work/mirror/$name"

scene='resumed'
rm "$file"
head -c 60000 "$work/mirror/$name" >"$file.part"
run 0
check "the same bytes" cmp "$file" "$work/mirror/$name"

scene='resumed from a part that is another file'
rm "$file"
head -c 60000 /dev/zero >"$file.part"
run 1
check "it says so" has "$err" 'wrong checksum'
run 0
check "the next try is right" cmp "$file" "$work/mirror/$name"

scene='whole part'
mv "$file" "$file.part"
run 0
check "renamed" cmp "$file" "$work/mirror/$name"

scene='no network'
rm "$file"
export PAREIDOLIA_WEIGHTS_URL=http://127.0.0.1:1
started=$(date +%s)
run 1
check "within 20 seconds" [ $(($(date +%s) - started)) -lt 20 ]
check "one line" [ "$(lines "$work/err")" -eq 1 ]
check "it names the address" has "$err" "$PAREIDOLIA_WEIGHTS_URL/$name"

echo "$failures checks failed"
[ "$failures" -eq 0 ]
