#!/bin/sh
# What bench measures, at small sizes: names, counts, and what follows from what; never how long anything takes.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

export PAREIDOLIA_WEIGHTS=untrained
notice='pareidolia: the weights are untrained, so the shapes mean nothing; weights/fetch.sh gets real ones'
quick="--seconds 0.01 --layer mixed2"

expect_file help_bench.txt bench --help

# shellcheck disable=SC2086 # $quick is several arguments
{
    # The table, and where sizes end
    expect 0 "pareidolia [0-9]*.[0-9]*, up to mixed2, weights untrained
* cores*

device * precision * picture * ms a step * least * most * batches * direct
cpu * fp32 * 128x128 * 1 *
cpu * fp32 * 160x120 * 1 *
reference * fp64 * 128x128 * 1 *
reference * fp64 * 160x120 * 1 *

A step is *
peak: the most that the process held, *" "$notice" bench $quick --device cpu,reference --sizes 128,160x120
    expect 0 '*cpu * 256x256 *' "$notice
pareidolia: cpu, fp32: a step of 512x512 pixels would take about [0-9]* s, and --limit is 0" \
        bench $quick --device cpu --limit 0
    [ "$(grep -c '^cpu' "$work/out")" -eq 1 ] || fail "--limit 0 leaves more than one size"
    expect 0 '*128x128*activation_3 *convolution *backward *all 1 * stimulation *all together *, direct * of it' "$notice" \
        bench $quick --device cpu --sizes 128 --profile

    # CSV: a row a result, with the machine's columns
    expect 0 'device,precision,width,height,*,version,commit
cpu,fp32,128,128,*
cpu,bf16,128,128,*' "$notice" bench $quick --device cpu --precision fp32,bf16 --sizes 128 --csv
    cp "$work/out" rows.csv

    # JSON: everything, in one piece and in tiles
    expect 0 '{*}' "$notice" bench $quick --device cpu --sizes 160x128 --profile --dream --json
    cp "$work/out" whole.json
    expect 0 '{*}' "$notice" bench $quick --device cpu --sizes 160x128 --threads 1 --tile 32 --json
    cp "$work/out" tiles.json
}
expect 0 '[[]*]' '' layers --size 160x128 --json
cp "$work/out" layers.json
if command -v python3 >/dev/null; then
    python3 -c 'import csv, json, math
rows = list(csv.DictReader(open("rows.csv")))
whole = json.load(open("whole.json"))
tiles = json.load(open("tiles.json"))
layers = {layer["name"]: layer for layer in json.load(open("layers.json"))}

def near(a, b):
    return math.isclose(a, b, rel_tol=1e-9)

# Multiply-adds of all that mixed2 needs
needed, names, adds = set(), ["mixed2"], 0
while names:
    name = names.pop()
    if name in needed:
        continue
    needed.add(name)
    layer = layers[name]
    names += layer["inputs"]
    if layer["kind"] == "convolution":
        adds += math.prod(layer["output"]) * math.prod(layer["kernel"]) * layers[layer["inputs"][0]]["output"][2]

positive = ["seconds_per_step", "least_seconds_per_step", "steps", "megapixels_per_second", "flops_per_step", "gflops",
            "most_seconds_per_step", "batches", "bytes_per_pixel", "kept_bytes_per_pixel", "startup_seconds",
            "load_seconds", "first_plan_seconds", "plan_seconds", "first_step_seconds"]
for report in whole, tiles:
    machine, (result,) = report["machine"], report["results"]
    assert machine["cores"] > 0 and machine["os"] and "libdnnl" in machine["libraries"] and machine["version"]
    assert result["device"] == "cpu" and result["precision"] == "fp32" and result["layer"] == "mixed2"
    assert result["width"] == 160 and result["height"] == 128 and result["weights"] == "untrained"
    assert all(result[name] > 0 for name in positive)
    assert result["least_seconds_per_step"] <= result["seconds_per_step"] <= result["most_seconds_per_step"]
    assert 3 <= result["batches"] <= result["steps"]
    assert result["load_seconds"] > result["startup_seconds"]
    assert result["flops_per_step"] == 4 * adds
    assert near(result["gflops"] * result["seconds_per_step"], 4e-9 * adds)
    assert near(result["megapixels_per_second"] * result["seconds_per_step"], 160 * 128 / 1e6)
    assert result["kept_bytes_per_pixel"] < result["bytes_per_pixel"]
    assert result["peak_of"] == "process" and result["bytes_per_pixel"] * 160 * 128 < result["peak_bytes"]

result = whole["results"][0]
assert (result["tile"], result["tiles"], result["work"]) == (0, 1, 1)
assert result["dream_seconds"] > 0 and 0 < result["dream_steps"] <= 80
assert result["threads"] >= 1
(profile,) = whole["profile"]
operations = profile["operations"]
assert sum(operation["flops"] for operation in operations) == result["flops_per_step"]
assert near(sum(operation["seconds"] for operation in operations), profile["operations_seconds"])
assert near(sum(operation["floor_seconds"] for operation in operations), profile["floor_seconds"])
assert profile["operations_seconds"] == result["operations_seconds"]
over = [operation["seconds"] - operation["floor_seconds"] for operation in operations]
assert over == sorted(over, reverse=True)
assert profile["copy_bytes"] >= 3e6
for operation in operations:
    assert operation["bytes"] > 0 and operation["seconds"] > 0 and operation["layer"] in needed
    assert (operation["flops"] > 0) == (operation["kind"] == "convolution")
    assert near(operation["floor_seconds"], max(operation["flops"] / (1e9 * profile["peak_gflops"]),
                                               operation["bytes"] / (1e9 * profile["copy_gigabytes_per_second"])))
for direction in "forward", "backward":
    ways = [operation for operation in operations if operation["direction"] == direction]
    assert 2 * sum(operation["flops"] for operation in ways) == result["flops_per_step"]
    members = sum(operation["members"] for operation in ways if operation["kind"] == "convolution")
    assert members == sum(layers[name]["kind"] == "convolution" for name in needed)

tiled = tiles["results"][0]
assert (tiled["tile"], tiled["threads"]) == (32, 1) and tiled["tiles"] > 1 and tiled["work"] > 1
assert tiled["dream_seconds"] is None and tiled["floor_seconds"] is None and tiles["profile"] == []

assert [row["precision"] for row in rows] == ["fp32", "bf16"]
for row in rows:
    assert set(row) == set(result) | set(machine)
    assert all(float(row[name]) > 0 for name in positive) and int(row["cores"]) == machine["cores"]
    assert row["peak_bytes"] == "" or float(row["peak_bytes"]) > 0
    assert row["dream_seconds"] == "" and row["os"] == machine["os"]' || fail "the numbers"
else
    skip "what the numbers are: there is no python3"
fi

expect 2 '' 'pareidolia: --json, --csv: take one of them' bench --json --csv
expect 2 '' 'pareidolia: --profile, --tile: operations are timed in one piece only; *' bench --profile --tile 64
expect 2 '' 'pareidolia: --sizes 256x: must be SIDE or WIDTHxHEIGHT, each 1 to 1000000, *' bench --sizes 128,256x
expect 2 '' 'pareidolia: --sizes 0: must be SIDE *' bench --sizes 0
expect 2 '' 'pareidolia: --sizes 128,: there is nothing before or behind a comma' bench --sizes 128,
expect 2 '' 'pareidolia: --sizes 64: the picture is 64x64 pixels; activation_41 is stimulated from 107x107 on' \
    bench --sizes 128,64
expect 2 '' 'pareidolia: unknown device "gpu"; this program has: *' bench --device cpu,gpu
expect 2 '' 'pareidolia: the cpu device has no precision "fp64"; it has: fp32, bf16' \
    bench --device cpu --precision fp32,fp64
expect 2 '' 'pareidolia: the reference device has no precision "bf16"; *' bench --device cpu,reference --precision bf16
expect 2 '' 'pareidolia: --seconds -1: must be 0 to *' bench --seconds -1
expect 2 '' 'pareidolia: --tile -1: must be 0 to 1000000' bench --tile -1
expect 2 '' 'pareidolia: --limit soon: must be *, or none' bench --limit soon
expect 2 '' 'pareidolia: --layer: there is no layer "mixed99"; *' bench --layer mixed99
expect 2 '' 'pareidolia: "a.png" is one argument too many: bench takes options only' bench a.png
expect 1 '' 'pareidolia: cpu: none.h5: *' bench --weights none.h5 --device cpu --sizes 128

# A device that fails is named, and so is the next one.
expect 1 '' 'pareidolia: reference: none.h5: *
pareidolia: cpu: none.h5: *' bench --weights none.h5 --device cpu,reference --sizes 128

# A size that does not fit leaves the others measured.
expect 1 'device*128,128*' "$notice
pareidolia: 1000000x1000000 pixels in one piece have a tensor of *; --tile N takes smaller pieces" \
    bench --seconds 0.01 --layer activation_3 --device cpu --sizes 1000000,128 --csv

finish
