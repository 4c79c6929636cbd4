#!/bin/bash
# Puts the first table of bench/results/cpu_peers.md into README.md, between its marks: no figure there is typed.
# usage: bench/readme.sh
set -euo pipefail
cd "$(dirname "$0")/.."
table=bench/results/cpu_peers.md
[ -e "$table" ] || {
    echo "readme.sh: there is no $table; bench/compare_peers.sh --output $table measures it" >&2
    exit 1
}
new=$(mktemp)
trap 'rm -f "$new"' EXIT
awk -v table="$table" '
    /^<!-- end -->/ { inside = 0 }
    !inside { print }
    index($0, "<!-- " table) == 1 {
        inside = 1
        while ((getline line < table) > 0) {
            if (line ~ /^[|]/) { print line; rows++ }
            else if (rows) break
            else if (line ~ /^[0-9]/) { sub(/ *$/, "", line); print line "\n" }
        }
    }
    END { exit inside || !rows }' README.md >"$new" || {
    echo "readme.sh: README.md has no marks, or $table no table" >&2
    exit 1
}
cat "$new" >README.md
