#!/bin/sh
# Dreams and dumps of a small picture by the embedded network, which is what there is without weights: what is printed and written, the same bytes each time.
. "$(dirname "$0")/expect.sh"

cp "$data/small.png" picture.png
notice='pareidolia: the weights are the small network that is built in; weights/fetch.sh gets the real ones'
clipped='pareidolia: with that network pixels are held to their range after each step (--no-clip: not)'
quick="--device cpu --layer activation_3 --octaves 2 --iterations 2"

# shellcheck disable=SC2086 # $quick is several arguments
{
    expect 0 '' "$notice
$clipped
160x120 in one piece, * MB for the network and * MB for pictures; about *
octave 1/2 (114x85): 2 steps, loss *, * s
octave 2/2 (160x120): 2 steps, loss *, * s
picture_dream.png" dream picture.png $quick --threads 2
    expect 0 '' '' dream picture.png $quick --threads 2 --quiet -o twice.png
    expect 0 '' '' dream picture.png $quick --threads 1 --quiet -o one_thread.png
    same picture_dream.png twice.png
    same picture_dream.png one_thread.png
    cmp -s picture.png picture_dream.png && fail "the dream is the picture"

    expect 0 '' "$notice
160x120 in one piece*
octave*" dream picture.png $quick --no-clip -o free.png --step 0.2
    expect 0 '' "$notice
160x120 in one piece*
octave*" dream picture.png $quick --clip -o clipped.png --step 0.2
    expect 0 '' '' dream picture.png $quick --quiet -o quiet.png --step 0.2
    same clipped.png quiet.png
    cmp -s clipped.png free.png && fail "clipping changes nothing"
    expect 2 '' 'pareidolia: --clip and --no-clip: only one of them can be meant' dream picture.png --clip --no-clip

    mkdir octaves
    expect 0 '' '' dream picture.png $quick --quiet -o log.jpg --log log.json --save-octaves octaves
    [ "$(ls octaves)" = 'dream_at_scale_(120, 160).png
dream_at_scale_(85, 114).png
final_dream.png' ] || fail "--save-octaves wrote: $(ls octaves)"
    same octaves/final_dream.png picture_dream.png
    compare log '{*"program":	"pareidolia",*"layer":	"activation_3",*"octaves":	\[{*"height":	85,*"width":	114,*"silent":	false,*"steps":	\[{*"loss":	[0-9].*"mean_abs_gradient":	*}, {*}\]*}, {*}\]
}' log.json log.json
    compare settings '*"settings":	{*"clip":	true,*"strength":	1,*"keep_colors":	false,*"quality":	95*},*' log.json log.json
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
log = json.load(open("log.json"))
sys.exit([len(o["steps"]) for o in log["octaves"]] != [2, 2] or log["max_loss"] != 20)' || fail "log.json"
    else
        skip "whether the log is valid JSON: there is no python3"
    fi

    # The loss that ends an octave
    expect 0 '' "*
octave 1/2 (114x85): 0 steps, ended by loss *
octave 2/2 (160x120): 0 steps, ended by loss *
out.png" dream picture.png $quick -o out.png --max-loss 0.0001
    expect 1 '' "*at octave 2 the gradient left the range of numbers; take a smaller step" \
        dream picture.png $quick -o nan.png --step 1e38 --max-loss none
}

# An octave that is too small is said; so are too many octaves.
expect 0 '' "*
octave 1/2 (80x60): too small for mixed3 to be stimulated; left as it is
octave 2/2 (160x120): 1 step, *" dream picture.png -o out.png --device cpu --layer mixed3 --octaves 2 --octave-scale 2 \
    --iterations 1
expect 1 '' '*the smallest of 30 octaves, * would be 0x0 pixels; take fewer octaves or a smaller scale' \
    dream picture.png -o none.png --device cpu --layer activation_1 --octaves 30

# One step, for comparison: 128 bytes of header and the values
expect 0 'loss [0-9].[0-9]*' "$notice" \
    dump picture.png --device cpu --layer activation_3 --activation a.npy --gradient g.npy
[ "$(wc -c <a.npy)" -eq $((128 + 57 * 77 * 32 * 4)) ] || fail "a.npy: $(wc -c <a.npy) bytes"
[ "$(wc -c <g.npy)" -eq $((128 + 120 * 160 * 3 * 4)) ] || fail "g.npy: $(wc -c <g.npy) bytes"
expect 0 'loss [0-9].[0-9]*' "$notice" dump picture.png --layer activation_1 --device reference --gradient g8.npy
[ "$(wc -c <g8.npy)" -eq $((128 + 120 * 160 * 3 * 8)) ] || fail "g8.npy: $(wc -c <g8.npy) bytes"

# Targets that the embedded network does not reach; the same weights by name and from a file.
expect 1 '' 'pareidolia: mixed6 is not in these weights: embedded: conv2d_51 has no kernel (*); weights/fetch.sh gets the real network*, or take a target up to mixed5' \
    dream picture.png -o none.png --device cpu --layer mixed6 --octaves 1
expect 0 'loss [0-9].[0-9]*' "$notice" dump picture.png --device cpu --layer activation_3 --weights embedded --gradient g2.npy
expect 0 'loss [0-9].[0-9]*' '' dump picture.png --device cpu --layer activation_3 --gradient g3.npy \
    --weights "$here/../../weights/half_width.safetensors"
same g.npy g2.npy
same g.npy g3.npy
finish
