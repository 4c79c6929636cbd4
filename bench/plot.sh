#!/bin/bash
# Draws what bench/scaling.sh has measured: docs/bench_speed.svg, docs/bench_memory.svg and docs/bench_limit.svg, a line
# for each device, precision and way of bench/results/size_*.csv.
# usage: bench/plot.sh [CSV ...]          (CSV: as `pareidolia bench --csv` prints; the limit wants --profile)
# environment: DOCS (docs)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "plot.sh: $*" >&2
    exit 1
}

command -v gnuplot >/dev/null || fail "there is no gnuplot; the Debian package gnuplot-nox has it"
[ $# -gt 0 ] || set -- bench/results/size_*.csv
[ -e "$1" ] || fail "there is no $1; bench/scaling.sh measures it"
docs=${DOCS:-docs}
mkdir -p "$docs"
lines=$(mktemp -d)
trap 'rm -rf "$lines"' EXIT

# A file for each line, named as its title; a row: megapixels, megapixels a second, bytes a pixel at the peak, of tensors
# as packed, of signs and winners, how many times the limit's time a step takes. "-": not measured.
awk -F, -v lines="$lines" '
    FNR == 1 { delete column; for (i = 1; i <= NF; i++) column[$i] = i; next }
    {
        pixels = $column["width"] * $column["height"]
        title = $column["device"] ", " $column["precision"]
        if ($column["tile"] > 0) title = title ", tiles of " $column["tile"]
        floor = $column["floor_seconds"]
        far = "-"
        if (floor > 0) far = $column["seconds_per_step"] / floor
        print pixels / 1e6, $column["megapixels_per_second"], $column["peak_bytes"] / pixels,
              $column["bytes_per_pixel"], $column["kept_bytes_per_pixel"], far > (lines "/" title)
    }' "$@"

# draw FILE TITLE COLUMN...: the columns of every line that has them; of several, the next ones dashed and dotted.
draw() {
    local file=$docs/$1 title=$2 line column number=0 dash plots=()

    shift 2
    for line in "$lines"/*; do
        number=$((number + 1)) dash=0
        for column in "$@"; do
            dash=$((dash + 1))
            awk -v c="$column" '$c != "-" { found = 1 } END { exit !found }' "$line" || continue
            plots+=("'$line' using 1:$column with linespoints lc $number dt $dash pt 7 ps 0.4 title '${line##*/}${names[column]:-}'")
        done
    done
    [ ${#plots[@]} -gt 0 ] || { echo "plot.sh: nothing for $file: no row has what it shows" >&2; return 0; }
    {
        echo "set terminal svg size 1200,480 font 'sans-serif,13' background 'white'"
        echo "set output '$file'"
        echo "set title \"$title\""
        echo "set xlabel 'megapixels'"
        echo "set datafile missing '-'"
        echo "set logscale x; set grid; set yrange [0:*]; set key outside right top Left reverse"
        [ "$file" != "$docs/bench_memory.svg" ] || echo "set logscale y; set yrange [*:*]"
        (IFS=, && echo "plot ${plots[*]}")
    } >"$lines.gp"
    gnuplot "$lines.gp"
    rm "$lines.gp"
    echo "$file"
}

names=()
draw bench_speed.svg "a step's speed, megapixels a second" 2
names=([3]=": at the peak, everything" [4]=": tensors" [5]=": signs and winners")
draw bench_memory.svg "memory, bytes a pixel" 3 4 5
names=()
draw bench_limit.svg "a step's time / the time it takes at least at the rates of a product and a copy" 6
