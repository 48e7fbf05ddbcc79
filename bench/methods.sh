#!/bin/sh
# Every method on the small trained models, held-out perplexity: the tables of docs/methods.md on standard output.
#   bench/methods.sh build/sinter ../shared/data > tables.md
set -eu
[ $# -eq 2 ] || { echo "usage: $0 SINTER DATA" >&2; exit 2; }
sinter=$1 data=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ppl MODEL FLAGS.. : perplexity after `sinter compress FLAGS`, or of the dense model without flags
ppl() {
  name=$1 from=$data/models/$1 window=256
  shift
  if [ $# -gt 0 ]; then
    rm -rf "$work/out"
    "$sinter" compress "$from" --out "$work/out" --calibration "$data/tinystories/tinystories.train.txt" \
      --samples 64 --seq-len $window --quiet "$@" > "$work/log" || { cat "$work/log" >&2; exit 1; }
    from=$work/out
  fi
  "$sinter" perplexity "$from" --text "$data/tinystories/tinystories.test.txt" --seq-len $window \
    --max-chunks 128 --quiet --json "$work/ppl.json" > /dev/null
  sed -n 's/.*"ppl": *\([0-9.e+]*\).*/\1/p' "$work/ppl.json" | head -1 | xargs printf '%.2f'
  echo "$name $*" >&2
}

row() {  # LABEL CELLS..
  printf '| %s |' "$1"
  shift
  printf ' %s |' "$@"
  echo
}

head_row() {
  row "$@"
  printf '|---|'
  shift
  for _ in "$@"; do printf -- '---:|'; done
  echo
}

# The flags of a pattern; 8 does not divide the ffn width of stories260K, whose down_proj stays dense there.
pattern() {  # MODEL PATTERN
  case $2 in
    4:8) echo "--pattern 4:8$([ "$1" = stories260K ] && echo ' --skip down_proj')" ;;
    *:*) echo "--pattern $2" ;;
    *) echo "--sparsity $2" ;;
  esac
}

for model in stories260K babyllama361; do
  echo "### $model"
  echo
  echo "Dense: $(ppl $model)."
  echo
  head_row pruned magnitude Wanda 'Wanda, variant' DSnoT SparseGPT
  for p in 0.5 0.6 0.7 0.75 2:4 4:8; do
    f=$(pattern $model $p)
    variant=-
    [ "${p#*:}" = "$p" ] && variant=$(ppl $model --method wanda --set variant=1 $f)
    row $p "$(ppl $model --method magnitude $f)" "$(ppl $model --method wanda $f)" "$variant" \
      "$(ppl $model --method dsnot $f)" "$(ppl $model --method sparsegpt $f)"
  done
  echo
  head_row 'DSnoT from' 'its start' DSnoT 'attention only' 'as published'
  for start in wanda magnitude sparsegpt; do
    for p in 0.6 0.7 2:4; do
      d="--method dsnot --set initial=$start $(pattern $model $p)"
      published=-  # differs in no setting of n:m
      [ $p = 2:4 ] || published=$(ppl $model $d --set same_sign=0 --set overrun=1)
      row "$start, $p" "$(ppl $model $d --set cycles=0)" "$(ppl $model $d)" \
        "$(ppl $model $d --set attention_only=1)" "$published"
    done
  done
  echo
  head_row quantised RTN GPTQ 'GPTQ, act-order' 'GPTQ, MSE grid' 'GPTQ, symmetric'
  for b in 4 3 2; do
    for g in -1 32; do
      q="--bits $b --group-size $g"
      row "$b bits, $([ $g = -1 ] && echo rows || echo groups of $g)" "$(ppl $model --method rtn $q)" \
        "$(ppl $model --method gptq $q)" "$(ppl $model --method gptq $q --act-order)" \
        "$(ppl $model --method gptq $q --mse)" "$(ppl $model --method gptq $q --sym)"
    done
  done
  echo
  head_row 'pruned and 4 bits' Wanda SparseGPT 'SparseGPT, groups of 32'
  for p in 0.5 2:4; do
    f="$(pattern $model $p) --bits 4"
    row $p "$(ppl $model --method wanda $f)" "$(ppl $model --method sparsegpt $f)" \
      "$(ppl $model --method sparsegpt $f --group-size 32)"
  done
  echo
done
