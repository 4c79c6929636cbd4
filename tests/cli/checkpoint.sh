#!/bin/sh
# shellcheck disable=SC2086 # $dream and the like are lists of words
# Checkpoints as a user meets them: killed renders that go on to the same bytes, and everything that is refused. The
# number of kills for each device can be given behind the program's name.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

export OMP_WAIT_POLICY=passive
kills=${2:-4}
! grep -aq __asan_init "$program" || kills=2 # ten times as slow

cp "$data/small.png" picture.png
cpu="picture.png --device cpu --weights embedded --layer mixed0 --octaves 2 --quiet"
dream="$cpu --iterations 3"
state="--checkpoint state --checkpoint-every 0"
advice='take an earlier checkpoint or begin anew'

# Keeping changes nothing; a finished dream's last checkpoint has the steps of both octaves, and gives the same
# picture and log again. Nothing is kept where the time has not come.
expect 0 '' '' dream $dream -o whole.png --log whole.json
expect 0 '' '' dream $dream -o kept.png $state --log kept.json
same whole.png kept.png
expect 0 '' '' dream $dream -o again.png --resume state --log again.json
same whole.png again.png
steps() { grep -E '"(loss|mean_abs_gradient)"' "$1"; }
steps whole.json >whole.steps
for log in kept again; do
    steps $log.json | diff whole.steps - || fail "$log.json has other steps than whole.json"
done
[ "$(wc -l <whole.steps)" -eq 12 ] || fail "whole.json has $(wc -l <whole.steps) numbers, not 12"
seconds() { sed -n 's/^	"seconds":[[:space:]]*\([0-9.e-]*\).*/\1/p' "$1"; }
awk -v kept="$(seconds kept.json)" -v again="$(seconds again.json)" 'BEGIN { exit !(again > kept / 2) }' ||
    fail "a dream that was gone on with forgets its time: $(seconds again.json) s, and $(seconds kept.json) s before"
expect 0 '' '' dream $dream -o never.png --checkpoint never --checkpoint-every 100000
[ ! -e never ] || fail "a checkpoint was kept before its time"
rm -f kept.* again.* whole.json whole.steps never.png

# The file may be read and written at once, and the picture have another name and format.
expect 0 '' '' dream picture.png --resume state --checkpoint state --device cpu --weights embedded --layer mixed0 \
    --octaves 2 --iterations 3 -o again.png --quiet --threads 1
same whole.png again.png
cp picture.png renamed.png
expect 0 '' '' dream renamed.png --resume state --device cpu --weights embedded --layer mixed0 --octaves 2 \
    --iterations 3 -o again.png --quiet --no-recipe
expect 0 '' '' dream $dream --no-recipe -o nameless.png
same nameless.png again.png
rm -f nameless.png
rm -f again.png renamed.png

# Not checkpoints, or not whole
printf 'Dear diary\n' >text
: >empty
mkdir directory
mkfifo pipe
head -c 300 state >cut_header
bytes=$(wc -c <state)
head -c "$((bytes - 1))" state >short
{ cat state && echo; } >longer
{ head -c 200000 state && printf 'XXXX' && tail -c +200005 state; } >damaged
{ head -c 60 state && printf 'XXXX' && tail -c +65 state; } >damaged_header
{ printf 'pareidolia checkpoint 9\n' && tail -c +25 state; } >future
expect 1 '' 'pareidolia: none: cannot be opened: No such file or directory' dream $dream --resume none
expect 1 '' 'pareidolia: directory: is not a regular file, so not a checkpoint' dream $dream --resume directory
expect 1 '' 'pareidolia: pipe: is not a regular file, so not a checkpoint' dream $dream --resume pipe
expect 1 '' 'pareidolia: text: is not a checkpoint of this program*s' dream $dream --resume text
expect 1 '' 'pareidolia: empty: is not a checkpoint of this program*s' dream $dream --resume empty
expect 1 '' 'pareidolia: picture.png: is not a checkpoint of this program*s' dream $dream --resume picture.png
expect 1 '' "pareidolia: short: is cut off: * of its * bytes are there; $advice" dream $dream --resume short
expect 1 '' "pareidolia: cut_header: is cut off after 300 bytes; $advice" dream $dream --resume cut_header
expect 1 '' "pareidolia: longer: *; $advice" dream $dream --resume longer
expect 1 '' "pareidolia: damaged: is damaged: *; $advice" dream $dream --resume damaged
expect 1 '' "pareidolia: damaged_header: is damaged: *; $advice" dream $dream --resume damaged_header
expect 1 '' 'pareidolia: future: is a checkpoint of version 9, *' dream $dream --resume future

# Of other settings, another picture, other weights: named, with both values.
made='pareidolia: state: was made with'
expect 0 '' '' dream picture.png --device cpu --weights embedded --layer mixed0 --octaves 1 --iterations 1 --quiet \
    -o other.png
expect 1 '' "$made --layer mixed0, not mixed1*" dream $dream --resume state --layer mixed1
expect 1 '' "$made --step 0.01, not 0.02*" dream $dream --resume state --step 0.02
expect 1 '' "$made --octaves 2, not 3*" dream $dream --resume state --octaves 3
expect 1 '' "$made --octave-scale 1.4, not 1.5*" dream $dream --resume state --octave-scale 1.5
expect 1 '' "$made --iterations 3, not 4*" dream $dream --resume state --iterations 4
expect 1 '' "$made --max-loss 20, not none*" dream $dream --resume state --max-loss none
expect 1 '' "$made --clip yes, not no*" dream $dream --resume state --no-clip
expect 1 '' "$made --precision fp32, not bf16*" dream $dream --resume state --precision bf16
expect 1 '' "$made --device cpu, not reference*" dream $dream --resume state --device reference
expect 1 '' "$made weights *, not *" dream $dream --resume state --clip --weights untrained
expect 1 '' "$made picture *, not *" dream other.png --resume state --device cpu --weights embedded --layer mixed0 \
    --octaves 2 --iterations 3 --quiet
rm -f other.png

# Tiles are part of the result, too, and need not be said again.
expect 1 '' "pareidolia: state: was made in one piece, not with --tile 64; leave the option out" dream $dream --resume state --tile 64
expect 0 '' '' dream $dream --resume state --tile 120 -o again.png
same whole.png again.png # as tiles at the border own more, 120 is all of it
tiles="$dream --layer activation_3"
expect 0 '' '' dream $tiles --tile 64 -o tiles.png --checkpoint tiles --checkpoint-every 0 --log tiles.json
grep -q '"tile":[[:space:]]*64' tiles.json || fail "the log does not say the tile"
expect 0 '' '' dream $tiles --resume tiles -o again.png
same tiles.png again.png
expect 0 '' '' dream $tiles --resume tiles --tile 64 -o again.png
same tiles.png again.png
expect 1 '' 'pareidolia: tiles: was made with --tile 64, not 32; leave the option out' \
    dream $tiles --resume tiles --tile 32
# Sides are rounded to what the layer can: said so, and the same command line goes on.
expect 0 '' '' dream $tiles --tile 63 -o rounded.png --checkpoint tiles --checkpoint-every 0 --log tiles.json
grep -q '"tile":[[:space:]]*62' tiles.json || fail "the log does not say the tile that was taken: $(grep tile tiles.json)"
expect 0 '' '' dream $tiles --tile 63 --resume tiles -o again.png
same rounded.png again.png
rm -f tiles tiles.* rounded.png again.png

# Names
expect 2 '' "pareidolia: --checkpoint ./picture.png: is the picture itself; give the checkpoint another name" dream $dream --checkpoint ./picture.png
expect 2 '' "pareidolia: --checkpoint out.png: is the result; give the checkpoint another name" dream $dream -o out.png --checkpoint out.png
expect 2 '' "pareidolia: --checkpoint log: is the log; give the checkpoint another name" dream $dream --log log --checkpoint log
expect 1 '' 'pareidolia: --checkpoint: none/state: *: No such file or directory' dream $dream --checkpoint none/state
expect 1 '' 'pareidolia: --checkpoint: directory: cannot be written: it is a directory; *' \
    dream $dream --checkpoint directory
expect 1 '' 'pareidolia: --save-octaves .: would write over *' \
    dream $dream --save-octaves . --checkpoint final_dream.png
expect 2 '' 'pareidolia: --log ./state: is the checkpoint of --resume; give the log another name' \
    dream $dream --resume state --log ./state
cp state state.png
expect 2 '' 'pareidolia: state.png: is the checkpoint of --resume; give the result another name' \
    dream $dream --resume state.png -o state.png
same state state.png
rm -f state.png
expect 2 '' 'pareidolia: --checkpoint-every -1: must be 0 to 1000000' dream $dream --checkpoint-every -1
expect 2 '' 'pareidolia: --checkpoint: needs a value (FILE)' dream picture.png --checkpoint

# A disk that fills up: the checkpoint before stays whole, the dream goes on, and could go on from it elsewhere.
# shellcheck disable=SC2016 # the inner shell's
full='mount -t tmpfs -o size=280k none directory && "$@"
status=$?
ls -A directory
cp directory/state saved
exit $status'
if unshare -rm sh -c 'mount -t tmpfs -o size=280k none directory' 2>/dev/null; then
    unshare -rm sh -c "$full" sh "$program" dream $dream -o none.png --checkpoint directory/state --checkpoint-every 0 \
        >"$work/out" 2>"$work/err" || fail "full disk: exit status is not 0"
    compare stderr 'pareidolia: directory/state: cannot be written: No space left on device; the dream goes on*' \
        "$work/err" "full disk"
    compare files state "$work/out" "full disk"
    same whole.png none.png
    rm -f none.png
    expect 0 '' '' dream $dream --resume saved -o again.png
    same whole.png again.png
    rm -f saved again.png
else
    skip "full disk: no file system can be mounted here"
fi

# Killed at whatever moment, and gone on with, again and again: the same bytes. What a killed program was just writing
# stays beside the checkpoint under a name of its own.
kill_and_resume() {
    device=$1
    arguments="picture.png --device $device --weights embedded --layer mixed0 --octaves 2 --iterations $2 --quiet"
    "$program" dream $arguments -o whole.png 2>"$work/err" || {
        skip "$device: $(cat "$work/err")"
        return
    }
    done=0 hit=0
    while [ $done -lt "$kills" ]; do
        # Every other one has gone on from the one before.
        resume="--resume state"
        [ $((done % 2)) -eq 1 ] || resume=
        [ -n "$resume" ] || rm -f state
        "$program" dream $arguments -o killed.png $state $resume >"$work/out" 2>"$work/err" &
        child=$!
        while [ ! -e state ] && kill -0 $child 2>/dev/null; do sleep 0.01; done
        sleep "0.$((done * 7 % 10))$((done * 3 % 10))" # moments spread over a second
        kill -KILL $child 2>/dev/null
        wait $child 2>/dev/null
        [ $? -ne 137 ] || hit=$((hit + 1))
        compare stderr '' "$work/err" "$device, killed"
        cp state "kept.$done"
        done=$((done + 1))
    done
    [ $hit -gt 0 ] || fail "$device: nothing was killed before its end"
    for kept in kept.*; do
        expect 0 '' '' dream $arguments -o again.png --resume "$kept"
        same whole.png again.png
    done
    rm -f kept.* again.png killed.png .state.pareidolia-* .killed.png.pareidolia-*
}
kill_and_resume cpu 60
kill_and_resume reference 6
case $("$program" --version) in
*cuda*) kill_and_resume cuda 6 ;;
esac

finish
