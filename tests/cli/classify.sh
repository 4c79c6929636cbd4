#!/bin/sh
# Keras's golden picture through the complete network of seeded weights: the five likeliest classes, as text and as
# JSON. Wants $PAREIDOLIA_GOLDEN, $PAREIDOLIA_FULL_NETWORK and $PAREIDOLIA_LABELS.
golden=${PAREIDOLIA_GOLDEN:-}
network=${PAREIDOLIA_FULL_NETWORK:-}
names=${PAREIDOLIA_LABELS:-}
if [ -z "$golden" ] || [ -z "$network" ] || [ -z "$names" ]; then
    echo "SKIPPED: not all of PAREIDOLIA_GOLDEN, PAREIDOLIA_FULL_NETWORK and PAREIDOLIA_LABELS are set"
    exit 77
fi
. "$(dirname "$0")/expect.sh"

picture=$golden/square_299x299.png

# Keras's answer, one class a line: index, probability, id, name
tr -d '[] \n' <"$golden/full_network_top5.json" | tr ',' '\n' | paste - - |
    awk -F '\t' 'NR == FNR { label[NR - 1] = $0; next } { print $1 "\t" $2 "\t" label[$1] }' "$names" - >"$work/keras"
[ "$(wc -l <"$work/keras")" -eq 5 ] || fail "full_network_top5.json: $(wc -l <"$work/keras") classes"

# The same as `classify` prints it: by its names, probabilities to two digits of a percentage
awk -F '\t' '{ printf "%4d %6.2f%%  %s (%s)\n", NR, 100 * $2, $4, $3 }' "$work/keras" >"$work/text"
expect 0 "$(cat "$work/text")" '' classify "$picture" --device cpu --weights "$network" --labels "$names"

# JSON has every digit of them.
expect 0 "*\"image\":	\"$picture\"*\"weights\":	\"$network\"*\"top\":	*" '' \
    classify "$picture" --device cpu --weights "$network" --labels "$names" --json
sed -n 's/.*"index":[^0-9]*\([0-9]*\),$/\1/p' "$work/out" >"$work/indices"
sed -n 's/.*"probability":[^0-9]*\([0-9.e-]*\),$/\1/p' "$work/out" >"$work/probabilities"
sed -n 's/.*"id":[^"]*"\(.*\)"$/\1/p' "$work/out" >"$work/ids"
paste "$work/indices" "$work/probabilities" "$work/ids" "$work/keras" | awk -F '\t' '
    $1 != $4 || $3 != $6 || $2 - $5 > 1e-4 || $5 - $2 > 1e-4 { print "JSON, Keras: " $0; wrong = 1 }
    END { exit wrong || NR != 5 }' || fail "the classes in JSON"
if command -v python3 >/dev/null; then
    python3 -m json.tool <"$work/out" >"$work/tool" 2>&1 || fail "the output is not JSON: $(cat "$work/tool")"
else
    skip "whether the output is valid JSON: there is no python3"
fi

# The labels may come from the environment, and may lack.
(
    export PAREIDOLIA_LABELS="$names"
    expect 0 "$(head -n 1 "$work/text")" '' classify "$picture" --device cpu --weights "$network" --top 1
    [ "$failures" -eq 0 ]
) || fail "labels from the environment"
expect 0 '   1 * class *' 'pareidolia: classes have numbers only: *' \
    classify "$picture" --device cpu --weights "$network" --top 1

finish
