#!/bin/sh
# shellcheck disable=SC2086 # $options and the like are lists of words
# What is planned before a dream: the table and its JSON, what is refused and how, tiles that change nothing, and the
# planned bytes beside those that a dream takes.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

export OMP_WAIT_POLICY=passive

cp "$data/small.png" picture.png
small="--device cpu --weights embedded"
notice='pareidolia: the weights are the small network that is built in; *'

# Command lines
size='must be a size above 0, such as 6G, 512M, *'
expect 2 '' 'pareidolia: plan needs --size WxH (pareidolia plan --help says more)' plan
expect 2 '' 'pareidolia: --size 512: must be WIDTHxHEIGHT, each 1 to 1000000' plan --size 512
expect 2 '' 'pareidolia: --size 0x512: must be WIDTHxHEIGHT, *' plan --size 0x512
expect 2 '' 'pareidolia: "a.png" is one argument too many: plan takes options only' plan a.png
for command in 'plan --size 512x512' 'dream picture.png' 'dump picture.png'; do
    expect 2 '' "pareidolia: --memory 0: $size" $command --memory 0
    expect 2 '' "pareidolia: --memory -1: $size" $command --memory -1
    expect 2 '' "pareidolia: --memory abc: $size" $command --memory abc
    expect 2 '' "pareidolia: --memory 6X: $size" $command --memory 6X
    expect 2 '' 'pareidolia: --tile -1: must be 0 to 1000000' $command --tile -1
    expect 2 '' 'pareidolia: --tile 1.5: must be a whole number, *' $command --tile 1.5
done

# Sizes that dream refuses, and octaves that do nothing
expect 1 '' 'pareidolia: --size: the picture is 1x1 pixels; *' plan --size 1x1 $small
expect 1 '' 'pareidolia: --size: the picture is 106x200 pixels; activation_41 is stimulated from 107x107 on' \
    plan --size 106x200 $small
expect 0 'cpu, fp32, up to activation_41, weights embedded
*
     1 * 56x40  *nothing is stimulated
*
     4 *154x110 *[0-9]
*in one piece, * MB for the network and * MB for pictures
* MB in this process; about *' "$notice" plan --size 154x110 $small
expect 1 '' '*the smallest of 30 octaves, *' plan --size 160x120 --octaves 30 $small

# What cannot fit: one sentence with the bytes, before anything is computed.
for device in cpu reference; do
    expect 1 '' "$notice
pareidolia: 512x512 pixels take * MB for the network, in tiles, and * MB for pictures; $device has 1.0 MB that --memory allows; *" \
        plan --size 512x512 --device $device --weights embedded --memory 1M
done
expect 1 '' "$notice
pareidolia: 100000x100000 pixels take * for the network, in tiles, and 360.00 GB for pictures; cpu has * free; *" \
    plan --size 100000x100000 $small
expect 1 '' 'pareidolia: 160x120 pixels take *; cpu has 0.1 MB that --memory allows; *' \
    dream picture.png $small --memory 100000 --quiet
expect 1 '' '*pareidolia: *160x120 pixels take *; cpu has 0.1 MB that --memory allows; *' \
    dump picture.png $small --memory 100000

# Numbers of the JSON: number NAME, of the object itself.
number() { sed -n 's/^	"'"$1"'":[[:space:]]*\([0-9.e+-]*\),*$/\1/p' "$work/out"; }
plan_json() {
    run plan $small --layer activation_3 --json "$@"
    [ "$status" -eq 0 ] || fail "plan $*: exit status $status, $(cat "$work/err")"
}
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > 0 && a + 0 <= b + 0) }'; }
plan_json --size 1600x1024
[ "$(number tile)" = 0 ] || fail "no limit, and tiles of $(number tile)"
at_most "$(number network_bytes)" "$(number device_bytes)" || fail "network_bytes above device_bytes"
at_most "$(number device_bytes)" "$(number peak_bytes)" || fail "device_bytes above peak_bytes"
whole=$(number device_bytes)
[ "$(grep -c '"silent"' "$work/out")" -eq 4 ] || fail "$(grep -c '"silent"' "$work/out") octaves, not 4"
# A limit leads to tiles that fit; a smaller one to smaller ones.
plan_json --size 1600x1024 --memory 100000000
tile=$(number tile)
at_most "$(number device_bytes)" 100000000 || fail "100 MB allowed, $(number device_bytes) planned"
at_most "$tile" 1599 || fail "100 MB allowed, $whole bytes wanted: tiles of $tile"
plan_json --size 1600x1024 --memory 10000000
at_most "$(number network_bytes)" 10000000 || fail "10 MB allowed, $(number network_bytes) planned for the network"
at_most "$(number tile)" "$((tile - 1))" || fail "10 MB allowed: tiles of $(number tile), and $tile with 100 MB"
# A machine that is thought of: more than any has.
plan_json --size 100000x100000 --memory 900T
# Tiles are multiples of what the layer can, at least one, and said so.
run plan $small --layer mixed0 --size 160x120 --octaves 1 --tile 3
case $(cat "$work/out") in
*'tiles that own 8 pixels a side and compute '*) ;;
*) fail "--tile 3: $(cat "$work/out")" ;;
esac

# Dreams say it, too; and the log.
expect 0 '' '*
160x120 in 6 tiles that own 64 pixels a side and compute *% more for their halos, * MB for the network and * MB for pictures; about *
*' dream picture.png $small --layer activation_3 --octaves 1 --iterations 1 --tile 64 -o tiles.png --log tiles.json
grep -q '"tile":[[:space:]]*64' tiles.json || fail "the log does not say the tile"

# A step in tiles is the step. NAME DEVICE LAYER TILE TYPE LIMIT: the worst difference, relative to the largest value.
values() { od -A n -v -t "f$2" -j 128 -w"$2" "$1"; }
near() {
    values "$1" "$3" >first.txt
    values "$2" "$3" | paste first.txt - | awk -v limit="$4" '
        function size(x) { return x < 0 ? -x : x }
        { if (size($1) > most) most = size($1); if (size($1 - $2) > worst) { worst = size($1 - $2); at = NR - 1 } }
        END { if (NR && worst <= limit * most) exit 0
              print "worst at " at " of " NR ": " worst ", largest value " most; exit 1 }' ||
        fail "$1 and $2 differ by more than $4"
}
same_step() {
    arrays="picture.png --device $1 --weights embedded --layer $2"
    run dump $arrays --activation a.npy --gradient g.npy
    [ "$status" -eq 0 ] || fail "dump $*: $(cat "$work/err")"
    loss=$(cat "$work/out")
    run dump $arrays --activation at.npy --gradient gt.npy --tile $3
    [ "$status" -eq 0 ] || fail "dump $*: $(cat "$work/err")"
    echo "$loss" "$(cat "$work/out")" | awk '{ d = $2 - $4; if (d < 0) d = -d; exit !($2 > 0 && d <= 1e-6 * $2) }' ||
        fail "$1, $2 in tiles of $3: $loss, and $(cat "$work/out")"
    near a.npy at.npy $4 $5
    near g.npy gt.npy $4 $5
}
same_step cpu activation_3 40 4 1e-5
same_step cpu mixed0 32 4 1e-5
same_step reference activation_3 64 8 1e-12
rm -f first.txt ./*.npy tiles.*

# The bytes that a dream takes are those that were planned.
peak() {
    python3 -c 'import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)' "$program" "$@"
}
if grep -aq __asan_init "$program"; then
    skip "planned and taken bytes: sanitizers take their own"
elif ! command -v python3 >/dev/null || [ ! -r /proc/self/status ]; then
    skip "planned and taken bytes: there is no python3, or no /proc"
else
    python3 -c 'import random, struct, zlib
w, h = 1600, 1024
noise = random.Random(1)
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = b"".join(b"\0" + bytes(3 * w) if y % 8 else b"\0" + noise.getrandbits(24 * w).to_bytes(3 * w, "little")
                for y in range(h))
open("large.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                              chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))'
    for options in '' '--tile 400' '--memory 100M' '--precision bf16'; do
        options="--iterations 1 $options"
        plan_json --size 1600x1024 $options
        planned=$(number peak_bytes)
        taken=$(peak dream large.png $small --layer activation_3 $options --quiet -o large_dream.jpg) ||
            fail "dream $options"
        echo "1600x1024, activation_3, $options: $planned bytes planned, $taken taken"
        awk -v a="$planned" -v b="$taken" 'BEGIN { exit !(a >= 0.9 * b && a <= 1.1 * b) }' ||
            fail "$options: $planned bytes planned, $taken taken"
    done
fi

finish
