#!/bin/sh
# The CPU beside the reference, by the untrained network on a small picture: the table, the JSON, and what is refused.
# That a comparison can fail is unit/compare.c's to show.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

cp "$data/small.png" picture.png
export PAREIDOLIA_WEIGHTS=untrained
notice='pareidolia: the weights are untrained, so the shapes mean nothing; weights/fetch.sh gets real ones'
quick="--device cpu --layer mixed0 --octaves 2 --iterations 2"

# shellcheck disable=SC2086 # $quick is several arguments
{
    expect 0 "cpu, fp32 against reference, fp64
picture.png, 160x120, up to mixed0, weights untrained

 * relative L2 * largest * cosine  limit * verdict
activation_* relative 1e-05 * ok
activation_* ok
* ok
(15 layers; --verbose lists all)
[0-9]* of 929984 signs of ReLUs and [0-9]* of 107264 winners of pools are flipped
loss, 0.* and 0.* relative 1e-06 * ok
gradient, each with its own signs * cosine 0.999 * ok
gradient, both with reference's signs * relative 2e-05 * ok
step, both with reference's signs * relative 2e-05 * ok
dream at 114x85, loss * and * relative 0.[0-9]* ok
dream at 160x120, loss * and * relative 0.[0-9]* ok
Dreams of cpu end up to * apart where the picture is moved by 1e-06: * is 0.08, and 2 times that." "$notice" compare picture.png $quick
    grep -q FAILED "$work/out" && fail "what has failed ends with 0"

    expect 0 "*max_pooling2d_2 *mixed0 * ok
* signs of ReLUs *step, both * ok" "$notice" \
        compare picture.png $quick --precision bf16 --verbose --steps-only
    [ "$(grep -c ' ok$' "$work/out")" -eq 19 ] || fail "--verbose lists $(grep -c ' ok$' "$work/out") lines"

    # The other way round, and a device beside itself, which is exactly equal
    expect 0 '*cosine 0.75 * ok*' "$notice" \
        compare picture.png $quick --device reference --against cpu --against-precision bf16 --steps-only
    expect 0 '{*}' "$notice" compare picture.png $quick --device reference --json
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
c = json.load(open(sys.argv[1]))
rows = c["comparisons"]
whats = [row["what"] for row in rows]
assert c["passed"] and c["image"] == "picture.png" and c["width"] == 160 and c["layer"] == "mixed0"
assert c["a"] == c["b"] == {"device": "reference", "precision": "fp64"}
assert c["signs"] == 929984 and c["signs_flipped"] == c["winners_flipped"] == 0
assert whats[:15] == ["activation"] * 15 and rows[14]["layer"] == "mixed0"
assert whats[15:] == ["loss", "gradient", "gradient_same_signs", "step_same_signs", "octave", "octave"]
assert all(row["passed"] and row["relative_l2"] == 0 for row in rows)
assert rows[-1]["a"] == rows[-1]["b"] > 0 and rows[-1]["width"] == 160
assert 0 < rows[-1]["spread"] and rows[-1]["most_relative_l2"] == 0.08 + 2 * rows[-1]["spread"]' "$work/out" || fail "the JSON"
    else
        skip "whether the output is valid JSON: there is no python3"
    fi

    # A picture of its own
    expect 0 '*
a picture that is built in, 299x299, up to mixed0, weights untrained
* ok' "$notice" compare $quick --precision bf16 --against cpu --steps-only
}

expect 2 '' 'pareidolia: --against gpu: unknown device "gpu"; this program has: *' compare --against gpu
expect 2 '' 'pareidolia: --against cpu: the cpu device has no precision "fp64"; it has: fp32, bf16' \
    compare --against cpu --against-precision fp64
expect 2 '' 'pareidolia: the cpu device has no precision "fp64"; *' compare --device cpu --precision fp64
expect 2 '' 'pareidolia: --iterations 0: must be 1 to 1000000' compare --iterations 0
expect 2 '' 'pareidolia: --layer: there is no layer "mixed99"; *' compare --layer mixed99
expect 2 '' 'pareidolia: "b.png" is one argument too many: compare takes one IMAGE' compare a.png b.png
expect 1 '' 'pareidolia: none.png: cannot be opened: No such file or directory' compare none.png
expect 1 '' 'pareidolia: */pixel.png: the picture is 1x1 pixels; activation_41 is stimulated from 107x107 on*' \
    compare "$data/pixel.png"

finish
