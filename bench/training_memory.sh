#!/bin/sh
# Peak memory of training on frozen weights: random 4-bit codes in the shapes of TinyLlama-1.1B (all 22 blocks, or 4) and
# of some blocks of LLaMA-7B. Prints what --dry-run expects, without and with all rows of the embedding, beside what was
# measured: a run of two steps looks up some of them.
#
#     bench/training_memory.sh BUILD DIR [ROW]...     run from the repository's root; DIR needs 3 GB
build=$1 dir=$2
shift 2
[ $# -gt 0 ] || set -- prompt spp prompt-plain spp-plain spp-fused lora 7b-2 7b-4
mkdir -p "$dir" || exit 1
number() { sed -n "s/.*\"$1\": \([0-9.e+]*\).*/\1/p" "$2" | tail -1; }

echo "row            model                  tokens          expected    measured"
for row in $*; do
  # The two whole models choose checkpoints of activations by themselves.
  size=1.1b layers=4 pattern=2:4 length=512 options="--no-grad-checkpoint"
  case $row in
    prompt) layers=22 pattern=all length=1024 options= ;;
    spp) layers=22 options= ;;
    prompt-plain) pattern=all ;;
    spp-fused) options="--no-grad-checkpoint --dropout 0" ;;
    7b-2) size=7b layers=2 pattern=all options="--grad-checkpoint" ;;
    7b-4) size=7b layers=4 pattern=all options="--grad-checkpoint" ;;
    spp-plain | lora) ;;
    *) echo "unknown row $row" >&2 && exit 2 ;;
  esac
  case $row in
    spp*) task="finetune --method spp --rank 16" ;;
    lora) task="finetune --method lora --rank 8" ;;
    *) task="prompt --tokens 100" ;;
  esac
  model="$dir/$size-$layers-$pattern"
  [ -d "$model" ] || "$build/packed_model" $size "$model" $layers 4 $pattern || exit 1
  set -- ${task%% *} "$model" ${task#* } $options --seq-len $length --batch 1 --steps 2 --data "$model/text.txt" \
    --out "$dir/out" --quiet
  "$build/sinter" "$@" --dry-run --json "$dir/$row-expected.json" >/dev/null || exit 1
  rm -rf "$dir/out" "$dir"/out.*
  "$build/sinter" "$@" --json "$dir/$row-measured.json" >/dev/null || exit 1
  awk -v row=$row -v model="$size, $layers blocks, $pattern" -v tokens=$length \
    -v all="$(number memory_bytes "$dir/$row-expected.json")" -v e="$(number embedding_bytes "$dir/$row-expected.json")" \
    -v m="$(number peak_rss_bytes "$dir/$row-measured.json")" 'BEGIN {
      g = 1073741824
      printf "%-14s %-22s %6d %5.3f .. %5.3f GiB %6.3f GiB\n", row, model, tokens, (all - e)/g, all/g, m/g
    }'
done
