#!/bin/bash
# How the cost of a megapixel grows with the picture, in one piece and in tiles, and what threads bring: measured by
# `pareidolia bench --csv`, from 256x256 (0.07 megapixels) to the largest picture that memory and patience allow.
# usage: bench/scaling.sh
# Writes bench/results/size_DEVICE.csv (a row a measurement, both ways), threads_DEVICE.csv (on the CPU only) and the
# tables scaling_DEVICE.md, also to stdout.
# environment: DEVICE (cpu), PRECISION (the device's first; several with commas), LAYER (activation_41), TILE (1024),
# LIMIT (10: seconds that a step may take), SECONDS_EACH (1), THREADS_SIZES (512,1024), PAREIDOLIA_WEIGHTS, PROGRAM
# (build/pareidolia), RESULTS (bench/results)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || { sed -n '4,9s/^# //p' "$0" >&2; exit 2; }
device=${DEVICE:-cpu} tile=${TILE:-1024} program=${PROGRAM:-build/pareidolia} results=${RESULTS:-bench/results}
common=(--device "$device" --layer "${LAYER:-activation_41}" --seconds "${SECONDS_EACH:-1}" --csv)
[ -z "${PRECISION:-}" ] || common+=(--precision "$PRECISION")
name=${device%%:*}
sizes=$results/size_$name.csv threads=$results/threads_$name.csv tables=$results/scaling_$name.md
mkdir -p "$results"
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

# Files become whole, or stay as they were. One after another, under one header:
join() { # FILE PART...
    awk 'FNR > 1 || NR == 1' "${@:2}" >"$parts/joined"
    mv "$parts/joined" "$1"
}

"$program" bench "${common[@]}" --limit "${LIMIT:-10}" >"$parts/whole"
"$program" bench "${common[@]}" --limit "${LIMIT:-10}" --tile "$tile" >"$parts/tiles"
join "$sizes" "$parts/whole" "$parts/tiles"

# 1, 2, 3, 4, then doubled, and all.
counts() {
    local all n

    all=$(nproc)
    for ((n = 1; n < all; n = n < 4 ? n + 1 : 2 * n)); do
        echo "$n"
    done
    echo "$all"
}
if [ "$name" = cpu ]; then
    for count in $(counts); do
        "$program" bench "${common[@]}" --sizes "${THREADS_SIZES:-512,1024}" --threads "$count" >"$parts/threads_$count"
    done
    for count in $(counts); do
        echo "$parts/threads_$count"
    done >"$parts/list"
    mapfile -t list <"$parts/list"
    join "$threads" "${list[@]}"
fi

# Texts, which may contain commas, stand behind all columns that are read here.
size_table() {
    awk -F, -v tile="$tile" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        {
            pixels = $column["width"] * $column["height"]
            row = $column["device"] ", " $column["precision"] "," pixels
            if (!(row in seen)) {
                seen[row] = 1; rows[++count] = row
                head[row] = sprintf("%s, %s | %dx%d | %.2f", $column["device"], $column["precision"],
                                    $column["width"], $column["height"], pixels / 1e6)
            }
            peak = $column["peak_bytes"] ? sprintf("%.0f", $column["peak_bytes"] / 1e6) : "-"
            cost = sprintf("%.3f | %s | %.1f", $column["seconds_per_step"] / pixels * 1e6, peak,
                           $column["bytes_per_pixel"])
            if ($column["tile"] > 0)
                tiles[row] = $column["tiles"] " | " sprintf("%.2f", $column["work"]) " | " cost
            else
                whole[row] = cost
        }
        END {
            print "| device | picture | MP | in one piece: s a MP | peak MB | B/pixel |" \
                  " in tiles of " tile ": tiles | work | s a MP | peak MB | B/pixel |"
            print "|---|---|---|---|---|---|---|---|---|---|---|"
            for (r = 1; r <= count; r++) {
                row = rows[r]
                print "| " head[row] " | " (row in whole ? whole[row] : "- | - | -") " | " \
                      (row in tiles ? tiles[row] : "- | - | - | - | -") " |"
            }
        }' "$sizes"
}

threads_table() {
    awk -F, '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        {
            what = $column["precision"] " | " $column["width"] "x" $column["height"]
            seconds = $column["seconds_per_step"]; n = $column["threads"]
            if (!(what in one)) { one[what] = seconds; whats[++count] = what }
            line[what] = line[what] sprintf("| %s | %d | %.4f | %.2f | %.0f%% |\n", what, n, seconds,
                                            one[what] / seconds, 100 * one[what] / seconds / n)
        }
        END {
            print "| precision | picture | threads | s a step | faster | of linear |"
            print "|---|---|---|---|---|---|"
            for (i = 1; i <= count; i++) printf "%s", line[whats[i]]
        }' "$threads"
}

{
    # The program names its own version and commit, in the last two columns.
    echo "$(date +%F), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
        "$(awk -F, 'NR == 2 { print "pareidolia " $(NF - 1) " at " ($NF == "" ? "?" : $NF) }' "$sizes")"
    echo "${LAYER:-activation_41}, loss and gradient; work: pixels that are computed for each of the picture"
    echo
    size_table
    if [ "$name" = cpu ]; then
        echo
        threads_table
    fi
} >"$parts/tables"
mv "$parts/tables" "$tables"
cat "$tables"
