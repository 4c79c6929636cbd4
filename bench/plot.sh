#!/bin/bash
# Draws what bench/scaling.sh has measured: docs/bench_speed.svg and docs/bench_memory.svg, a line for each device,
# precision and way of bench/results/size_*.csv; its name also has the layer, weights, threads, machine and program where
# these are not the same in all rows.
# usage: bench/plot.sh [CSV ...]          (CSV: as `pareidolia bench --csv` prints)
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

# A file for each line, and its title in another one; a row: megapixels, megapixels a second, bytes a pixel at the peak,
# of tensors as packed, of signs and winners. "-": not known. Texts may be in quotes, and have commas in them.
awk -v lines="$lines" '
    function split_row(row, field,    n, c, i, quoted) {
        delete field
        n = 1
        for (i = 1; i <= length(row); i++) {
            c = substr(row, i, 1)
            if (c == "\"") quoted = !quoted
            else if (c == "," && !quoted) n++
            else field[n] = field[n] c
        }
        return n
    }
    BEGIN { differ = split("layer weights threads cores cpu gpu version commit", name, " ") }
    FNR == 1 {
        delete column
        n = split_row($0, field)
        for (i = 1; i <= n; i++) column[field[i]] = i
        next
    }
    {
        rows++
        split_row($0, field)
        pixels = field[column["width"]] * field[column["height"]]
        title[rows] = field[column["device"]] ", " field[column["precision"]]
        if (field[column["tile"]] > 0) title[rows] = title[rows] ", tiles of " field[column["tile"]]
        for (i = 1; i <= differ; i++) {
            value[rows, i] = column[name[i]] ? field[column[name[i]]] : ""
            if (rows > 1 && value[rows, i] != value[1, i]) differs[i] = 1
        }
        peak = field[column["peak_bytes"]]
        numbers[rows] = pixels / 1e6 " " field[column["megapixels_per_second"]] " " \
                        (peak ? peak / pixels : "-") " " field[column["bytes_per_pixel"]] " " \
                        field[column["kept_bytes_per_pixel"]]
    }
    END {
        for (r = 1; r <= rows; r++) {
            t = title[r]
            for (i = 1; i <= differ; i++) {
                if (!differs[i] || value[r, i] == "") continue
                t = t ", " value[r, i] (name[i] ~ /^(threads|cores)$/ ? " " name[i] : "")
            }
            if (!(t in file)) {
                file[t] = sprintf("%s/%03d", lines, ++count)
                print t > (file[t] ".title")
                close(file[t] ".title")
            }
            print numbers[r] > file[t]
        }
    }' "$@"

# draw FILE TITLE COLUMN...: the columns of every line that has them; of several, the next ones dashed and dotted.
draw() {
    local file=$docs/$1 title=$2 line name column number=0 dash plots=()

    shift 2
    for line in "$lines"/???; do
        [ -e "$line" ] || continue
        name=$(tr -d "'\\\\" <"$line.title")
        number=$((number + 1)) dash=0
        for column in "$@"; do
            dash=$((dash + 1))
            awk -v c="$column" '$c != "-" { found = 1 } END { exit !found }' "$line" || continue
            plots+=("'$line' using 1:$column with linespoints lc $number dt $dash pt 7 ps 0.4 title '$name${names[column]:-}' noenhanced")
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
    } >"$lines/plot"
    gnuplot "$lines/plot"
    echo "$file"
}

names=()
draw bench_speed.svg "a step's speed, megapixels a second" 2
names=([3]=": at the peak, everything" [4]=": tensors" [5]=": signs and winners")
draw bench_memory.svg "memory, bytes a pixel" 3 4 5
