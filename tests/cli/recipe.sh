#!/bin/sh
# shellcheck disable=SC2086 # $quick and $quiet are several arguments
# What a picture says it was made with, and doing it again: by the command line that is printed, and by --from.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"

cp "$data/small.png" picture.png
quick="--device cpu --weights embedded --octaves 2 --iterations 2 --quiet"
fine="--layer activation_3[1,5-9],mixed0:-0.5 --step 0.1 --max-loss none --no-clip --strength 0.75"
embedded='pareidolia: the weights are the small network *'

expect_file help_recipe.txt recipe --help

# again FILE: both ways give the bytes of FILE, although its source and the default's name are elsewhere.
again() {
    name=$1
    shift
    rm -rf shell
    mkdir shell
    cp picture.png shell
    ln -s "$program" shell/pareidolia
    expect 0 'pareidolia dream *' '' recipe "$name"
    (
        cd shell || exit 1
        [ ! -e ../mask.png ] || cp ../mask.png .
        PATH=.:$PATH sh ../../out >/dev/null 2>&1
    )
    case $name in
    *.jpg) same "$name" shell/picture_dream.jpg ;;
    *) same "$name" shell/picture_dream.png ;;
    esac
    rm -rf shell
    expect 0 '' '' dream --from "$name" --quiet "$@"
    case $name in
    *.jpg) same "$name" "${name%.jpg}_again.jpg" ;;
    *) same "$name" "${name%.png}_again.png" ;;
    esac
    rm -f ./*_again.*
}

expect 0 '' '' dream picture.png $quick $fine -o fine.png
again fine.png
again fine.png --threads 1
expect 0 '' '' dream picture.png $quick $fine -o fine.jpg --quality 71
again fine.jpg
expect 0 '' '' dream picture.png $quick --layer mixed0 --bits 16 --width 131 --keep-colors -o plain.png
again plain.png
expect 0 '' '' dream picture.png $quick --layer mixed0 --height 70 --width 131 -o plain.png
again plain.png
expect 0 '' '' dream picture.png $quick --layer activation_3 --tile 64 -o tiles.png
again tiles.png
cp tiles.png whole.png
expect 0 '' '' dream --from whole.png --tile 0 --quiet # one piece, other rounding
cmp -s whole.png whole_again.png && fail "--tile 0 has not put aside the recipe's tiles"
rm -f whole*.png
expect 0 '' '' dream picture.png $quick --layer mixed0 --max-side 80 --save-octaves . -o plain.png
same plain.png final_dream.png
again plain.png

# On other devices, and by the defaults of this machine.
expect 0 '' '' dream picture.png $quick --device reference --layer activation_3 --max-side 60 -o slow.png
again slow.png
rm -f slow.png tiles.png

# Pictures after an octave say which; what is done again is the whole dream.
octave='dream_at_scale_(42, 57).png'
expect 0 'pareidolia dream picture.png *
\# *
\# The picture is the one after an octave; *' '' recipe "$octave"
expect 0 '' "$embedded
pareidolia: $octave is the picture after one of the octaves; this does the whole dream
*" dream --from "$octave" -o whole.png
same whole.png plain.png
rm -f dream_at* final_dream.png whole.png

# So do pictures of a dream that was interrupted.
"$program" dream picture.png $quick --layer mixed0 --iterations 1000000 --step 0 -o part.png --checkpoint state \
    --checkpoint-every 0 2>"$work/err" &
child=$!
while [ ! -s state ] && kill -0 $child 2>/dev/null; do sleep 0.02; done
kill -TERM $child
wait $child
[ $? -eq 130 ] || fail "interrupted: $(cat "$work/err")"
expect 0 'pareidolia dream picture.png *--iterations 1000000 *interrupted; this does the whole dream.' '' recipe part.png
expect 0 '*"partial":	true,*"iterations":	1000000,*' '' recipe part.png --json
expect 0 '' "*
pareidolia: part.png is of a dream that was interrupted; this does the whole dream
*" dream --from part.png --iterations 2 --step 0.1
expect 0 '' '' dream picture.png $quick --layer mixed0 --step 0.1 -o direct.png
same part_again.png direct.png
rm -f part.png part_again.png direct.png state

# A mask goes along by its name, and is compared.
expect 0 '' '' dream picture.png $quick --layer mixed0 --max-side 160 -o mask.png
expect 0 '' '' dream picture.png $quick --layer mixed0 --mask mask.png -o masked.png
again masked.png
cp mask.png kept.png
cp picture.png mask.png
expect 1 '' 'pareidolia: mask.png: is not the mask that masked.png was made with, but another of that name; to take it nevertheless say dream --from masked.png --mask mask.png' \
    dream --from masked.png --quiet
expect 0 '' '' dream --from masked.png --quiet --no-mask -o other.png
expect 0 '' '' dream picture.png $quick --layer mixed0 -o direct.png
same other.png direct.png
mkdir away
mv masked.png kept.png away
mv away/kept.png mask_kept.png
mv mask.png away
mv mask_kept.png mask.png
expect 0 '' '' dream --from away/masked.png --quiet -o other.png # the mask here is the one, not that beside it
same other.png away/masked.png
mv away/masked.png .
rm -rf away direct.png
cp mask.png kept.png
# It may have the size of the source where the picture is resized.
expect 0 '' '' dream picture.png $quick --layer mixed0 --mask mask.png --max-side 100 -o masked_small.png
again masked_small.png
expect 2 '' 'pareidolia: --mask and --no-mask: only *' dream picture.png --mask mask.png --no-mask
expect 0 '' '' dream --from masked.png --quiet --mask kept.png -o other.png
rm mask.png
expect 1 '' 'pareidolia: masked.png: was made with mask.png, which is neither beside it nor *' dream --from masked.png
rm -f masked.png masked_small.png kept.png other.png

# What is said besides counts: it gives what it would give without --from.
overrides() {
    expect 0 '' '*' dream --from fine.png -o from.png "$@"
    expect 0 '' '*' dream picture.png $quick $fine -o direct.png "$@"
    same from.png direct.png
    rm -f from.png direct.png
}
overrides --step 0.2 --octaves 1
overrides --layer mixed0
overrides --max-side 90
overrides --weights untrained --max-loss 3 --iterations 1
overrides --tile 48
overrides --bits 16
overrides --keep-colors
expect 0 '' '' dream --from fine.png --clip --quiet -o from.png
expect 0 '*--clip *' '' recipe from.png
expect 0 '' '' dream --from plain.png --height 70 --quiet -o from.png # not beside --max-side 80
expect 0 '*"size":	"93x70"*' '' recipe --json from.png
expect 0 '' '' dream --from from.png --device reference --quiet -o slow.png
expect 0 '*"device":	"reference"*"precision":	"fp64"*' '' recipe --json slow.png
rm -f slow.png from.png

expect 0 '' '' dream picture.png $quick --layer mixed0 --keep-colors -o kept.png
expect 0 '' '' dream --from kept.png --no-keep-colors --quiet -o from.png
expect 0 '' '' dream picture.png $quick --layer mixed0 -o direct.png
same from.png direct.png
rm -f kept.png from.png direct.png

# The recipe's tiles are for its layer, device, precision and weights.
expect 0 '' '' dream picture.png $quick --layer activation_3 --tile 64 -o tiles.png
expect 0 '' '' dream --from tiles.png --layer activation_4 --quiet -o from.png
expect 0 '*--tile 160 *' '' recipe from.png
expect 0 '' '' dream --from tiles.png --strength 0.5 --quiet -o from.png
expect 0 '*--tile 64 *' '' recipe from.png
rm -f tiles.png from.png

# Where they do not fit, others are taken, and said: as much memory as will do in tiles and not in one piece.
# Sanitizers, and the libraries of a GPU, want more address space than that to begin with.
# shellcheck disable=SC3045 # which every sh here has
if ! (ulimit -v 250000 && "$program" --version >"$work/out" 2>&1); then
    skip "tiles that do not fit: this program's address space cannot be limited"
else
    expect 0 '' '' dream picture.png $quick --octaves 1 --iterations 1 --layer activation_3 --width 1600 --threads 1 -o big.png
    said=0
    for kilobytes in 450000 425000 400000 375000 350000 325000 300000 275000 250000; do
        # shellcheck disable=SC3045 # which every sh here has
        (ulimit -v $kilobytes && "$program" dream --from big.png --threads 1 -o from.png >"$work/out" 2>"$work/err")
        if grep -q 'big.png was made with --tile 1600, which does not fit here; other bytes may come out' "$work/err"; then
            said=1
            break
        fi
    done
    [ $said -eq 1 ] || fail "tiles that do not fit: $(cat "$work/err")"
    rm -f big.png from.png
fi

# Another picture's depth is its own, but for the recipe's own picture.
expect 0 '' '' dream picture.png $quick --layer mixed0 --bits 16 -o deep.png
expect 0 '' '' dream --from deep.png --quiet -o from.png
same deep.png from.png
expect 0 '' '' dream --from deep.png picture.png --quiet -o from.png
expect 0 '*--bits 8 *' '' recipe from.png
rm -f deep.png from.png

# A file of weights that has the name of those that are built in is not these.
cp "$here/../../weights/half_width.safetensors" embedded
expect 0 '' '' dream picture.png $quick --weights ./embedded --layer mixed0 --no-clip -o named.png
expect 0 '*"weights_file":	"embedded (file)"*' '' recipe --json named.png
expect 0 "*
*, weights 'embedded (file)' (*
\# Give it --weights FILE, too, where it finds others than these by itself." '' recipe named.png
grep -q -e --weights=embedded "$work/out" && fail "a file is taken for the built-in network"
rm -f embedded named.png

# Another picture, under its own name; tiles are chosen for it.
cp picture.png other.png
expect 0 '' '' dream --from fine.png other.png --max-side 90 --quiet
expect 0 '' '' dream picture.png $quick $fine --max-side 90 -o direct.png
expect 0 'pareidolia dream other.png *--tile 90 *' '' recipe other_dream.png
rm -f other_dream.png direct.png

# What may differ is said.
expect 0 '' "$embedded
pareidolia: fine.png was made with --device cpu, not reference; other bytes may come out
pareidolia: fine.png was made with --precision fp32, not fp64; *" dream --from fine.png --device reference -o x.png
expect 0 '' "*
pareidolia: fine.png was made with weights *, not *; other bytes may come out
*" dream --from fine.png --weights untrained -o x.png --iterations 0

# The source is looked for beside the picture, then here; another one of its name is refused unless it is named.
mkdir away
cp fine.png away
expect 0 '' '' dream --from away/fine.png --quiet
same fine.png fine_again.png
cp x.png away/picture.png
expect 0 '' '' dream --from away/fine.png --quiet # the one here is of the hash
same fine.png fine_again.png
mv picture.png moved.png
another='is not the picture that * was made with, but another of that name; to take it nevertheless say dream --from away/fine.png away/picture.png'
expect 1 '' "pareidolia: away/picture.png: $another" dream --from away/fine.png --quiet
expect 0 '' '' dream --from away/fine.png away/picture.png --quiet -o x.png
expect 1 '' 'pareidolia: fine.png: was made with picture.png, which is neither beside it nor in the current directory*' \
    dream --from fine.png
expect 0 '' '' dream --from fine.png moved.png --quiet -o x.png
mv moved.png picture.png
rm -rf away x.png fine_again.png

# None
none='has no recipe; pictures have one that pareidolia dream has made without --no-recipe'
expect 0 '' '' dream picture.png $quick $fine -o none.png --no-recipe
expect 1 '' "pareidolia: none.png: $none" recipe none.png
expect 1 '' "pareidolia: picture.png: $none" recipe picture.png
expect 1 '' "pareidolia: picture.png: $none" dream --from picture.png other.png
expect 1 '' 'pareidolia: nothing.png: cannot be opened: *' recipe nothing.png
expect 2 '' 'pareidolia: recipe needs PICTURE *' recipe
grep -aq "$work\|small.png\|$(id -un)@" fine.png && fail "the recipe says where it was made"
grep -aq picture none.png && fail "--no-recipe leaves something behind"
expect 0 '' '' dream --from fine.png --no-recipe --quiet -o again.png
same none.png again.png
rm -f again.png none.png

# Names that a shell, a terminal or an option would take for something else
odd=$(printf '%s' "-it's; \$(rm -rf x) \"%41\" caf\303\251" | sed 's/x/&/')
odd=$(printf '%s\nline \033[2J \342\200\256 \302\233 \303.png' "$odd")
cp picture.png "./$odd"
expect 0 '' '' dream "./$odd" $quick --layer mixed0 -o odd.png
expect 0 '*' '' recipe odd.png
tr -d '\012\040-\176\303\251' <"$work/out" >stray
[ ! -s stray ] || fail "recipe prints control characters: $(od -c stray)"
rm -rf shell stray
mkdir shell
mv "./$odd" shell
ln -s "$program" shell/pareidolia
(cd shell && PATH=.:$PATH && sh ../../out >/dev/null 2>&1)
same odd.png "shell/${odd%.png}_dream.png"
expect 1 '' '*was made with -it*%0Aline %1B\[2J %E2%80%AE %C2%9B %C3.png, which is neither*' dream --from odd.png
mv "shell/$odd" .
expect 0 '' '' dream --from odd.png --quiet
same odd.png odd_again.png
rm -rf shell odd.png odd_again.png "./$odd"

# So do names in sentences.
odd=$(printf 'caf\303\251 \033[2J \342\200\256 \302\233 \303.png')
expect 1 '' "$(printf 'pareidolia: caf\303\251 ?[[]2J [?][?][?] [?][?] [?].png: cannot be opened: *')" dream "$odd"

# Names
expect 2 '' 'pareidolia: fine.png: is the picture of --from; give the result another name' \
    dream --from fine.png -o fine.png
expect 2 '' 'pareidolia: --log fine.png: is the picture of --from; give the log another name' \
    dream --from fine.png --log fine.png
cp plain.png final_dream.png
expect 1 '' 'pareidolia: --save-octaves .: would write over final_dream.png there, the picture of --from; *' \
    dream --from final_dream.png --save-octaves .
rm final_dream.png

# Damaged, or made up: edited in a JPEG, so that the length stays. A setting is checked as on the command line, and none
# is taken that is not one of a dream.
edited() {
    reason=$1
    shift
    LC_ALL=C sed "$@" fine.jpg >edited.jpg
    cmp -s fine.jpg edited.jpg && fail "sed $*: changes nothing"
    expect 1 '' "pareidolia: edited.jpg: $reason" dream --from edited.jpg
}
recipe='its recipe is damaged'
edited "$recipe: it lacks --octaves" 's/^--octaves=2$/x-octaves=2/'
edited "its recipe: --octaves 0: must be 1 to 100" 's/^--octaves=2$/--octaves=0/'
edited "its recipe: --octave-scale 0.4: must be above 1" 's/^--octave-scale=1/--octave-scale=0/'
edited "$recipe: no setting of a dream is called --log" 's/^weights-file=/--log=xxxxxxx=/'
edited "$recipe: no setting of a dream is called --checkpoint" 's/^--octave-scale=/--checkpoint=xx/'
edited "$recipe: no name of a file is the value of picture-file" 's/^picture-file=picture/picture-file=..\/pict/'
edited "$recipe: it cannot be read what is the value of --device" 's/^--device=cpu/--device=%1/'
edited "$recipe: no printable text is the value of --device" 's/^--device=cpu/--device=%1b/'
edited "$recipe: neither yes nor no is the value of --clip" 's/^--clip=no/--clip=mo/'
edited "$recipe: twice there is --quality" 's/^weights-file=embedded/--quality=xxxxxxxxxxx/'
edited "$recipe: a line is not NAME=VALUE" 's/^--quality=/--quality+/'
edited 'has a recipe of version 2; this program reads version 1' 's/pareidolia recipe 1/pareidolia recipe 2/'
edited 'its recipe: --layer: there is no layer "activation_X"; *' 's/^--layer=activation_3/--layer=activation_X/'
edited 'its recipe: --bits 9: must be 8 or 16, or 0' 's/^--bits=8$/--bits=9/'
edited "$recipe: no number is the value of --bits" 's/^--bits=8$/--bits=x/'
edited "$recipe: no version is the value of version" 's/^version=./version=x/'
edited "$recipe: no hash is the value of picture" 's/^picture=.../picture=%0a/'
edited "$recipe: no hash is the value of weights" 's/^weights=../weights=; /'
edited "$recipe: no size is the value of picture-size" 's/^picture-size=160x/picture-size=160+/'
edited "$recipe: no name of a file is the value of weights-file" 's/^weights-file=embedded/weights-file=..\/..%41/'
edited "$recipe: a line is not NAME=VALUE" 's/^weights-file=/Weights_file=/'
# Another name of the weights: shown as a word, in its line
LC_ALL=C sed 's/^weights-file=embedded/weights-file=%0a;"rm./' fine.jpg >edited.jpg
expect 0 "*
\# pareidolia *, weights '%0A;\"rm.' (*), of a picture of 160x120 (*)
\# Give it --weights FILE, too, *" '' recipe edited.jpg
# A device that this program does not have: another is taken, and said.
LC_ALL=C sed 's/^--device=cpu/--device=gpu/' fine.jpg >edited.jpg
expect 0 '' "*
pareidolia: edited.jpg was made with --device gpu, not *" dream --from edited.jpg -o elsewhere.jpg
rm elsewhere.jpg
head -c 300 fine.png >edited.png
expect 1 '' 'pareidolia: edited.png: *' recipe edited.png

finish
