#!/bin/sh
# What healing gives back on the small trained models: soft prompts at every level of compression and in front of every
# other level, SPP beside LoRA*. Prints the tables of docs/healing.md.
#
#     bench/healing.sh SINTER DATA OUT [MODEL].. > bench/results/healing-DATE.md
#
# About 25 minutes on two quiet cores. OUT keeps everything; the same command goes on after an interruption, and makes
# again what is removed. The last twentieth of the training text chooses: the best step of every run, and before that
# the settings below. The rest of it calibrates and teaches. The test text is only measured.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 SINTER DATA OUT [MODEL].." >&2; exit 2; }
sinter=$1 data=$2 out=$3
shift 3
[ $# -gt 0 ] || set -- stories260K babyllama361
mkdir -p "$out"
learn=$out/learn.txt valid=$out/valid.txt test=$data/tinystories/tinystories.test.txt
[ -s "$learn" ] || sed -n '1,4042p' "$data/tinystories/tinystories.train.txt" > "$learn"  # line 4043 begins a story
[ -s "$valid" ] || sed -n '4043,$p' "$data/tinystories/tinystories.train.txt" > "$valid"
window=192 levels='dense s50 s62 s75 b4 b3 b2'
start='text:Once upon a time, there was a little girl named Lily. She loved to play outside in the park.'

settings() {  # MODEL: what differs between the two
  model=$1
  mkdir -p "$out/$model"
  case $model in
    stories260K) pattern=1:4 rank=4 lora_rank=3 tokens=128 lr=0.1 spp_lr=0.05 ;;
    babyllama361) pattern=2:8 rank=16 lora_rank=9 tokens=64 lr=0.05 spp_lr=0.03 ;;
    *) echo "$0: no settings for $model" >&2; exit 2 ;;
  esac
}

# ---- runs: NAME.json in OUT/MODEL says that one is done

run() {  # NAME COMMAND..
  json=$out/$model/$1.json
  shift
  [ ! -s "$json" ] || return 0
  echo "$model: $*" >&2
  "$sinter" "$@" --quiet --json "$json.part" > "$json.log" || { cat "$json.log" >&2; exit 1; }
  mv "$json.part" "$json"
}

fresh() { [ -s "$out/$model/$1.json" ] || rm -rf "${out:?}/$model/$1"; }

at() { [ "$1" = dense ] && echo "$data/models/$model" || echo "$out/$model/$1"; }  # LEVEL: its model

compress() {  # LEVEL FLAGS..
  this=$1
  shift
  fresh "$this"
  run "$this" compress "$(at dense)" --out "$(at "$this")" --calibration "$learn" --samples 128 --seq-len $window "$@"
}

prompt() {  # NAME LEVEL FLAGS..
  this=$1 base=$2
  shift 2
  run "$this" prompt "$(at "$base")" --out "$out/$model/$this.safetensors" --data "$learn" --validation "$valid" \
    --seq-len $window --batch 2 --eval-every 100 --init "$start" "$@"
}

tune() {  # NAME LEVEL METHOD FLAGS..
  this=$1 base=$2 method=$3
  shift 3
  fresh "$this"
  run "$this" finetune "$(at "$base")" --method "$method" --out "$out/$model/$this" --data "$learn" \
    --validation "$valid" --seq-len $window --batch 8 --steps 120 --eval-every 30 --dropout 0 "$@"
}

measured() {  # NAME LEVEL FLAGS.. : on the test text
  this=$1 base=$2
  shift 2
  run "$this.test" perplexity "$(at "$base")" --text "$test" --seq-len $window --max-chunks 128 "$@"
}

compressed() {
  compress s50 --method sparsegpt --sparsity 0.5
  compress s62 --method sparsegpt --sparsity 0.625
  compress s75 --method sparsegpt --sparsity 0.75
  compress nm --method sparsegpt --pattern "$pattern"
  for bits in 4 3 2; do compress b$bits --method gptq --bits $bits --act-order --true-sequential; done
  for level in dense s75 nm; do measured $level $level; done
}

adapters() {
  for level in dense s75 nm; do
    tune spp-$level $level spp --rank "$rank" --lr "$spp_lr"
    measured spp-$level $level --adapter "$out/$model/spp-$level"
  done
  for level in s75 nm; do
    for rate in 0.001 0.005 0.02; do
      name=lora-$level-$rate
      tune "$name" $level lora --rank "$lora_rank" --lr $rate
      measured "$name" $level --adapter "$out/$model/$name"
      fresh "$name-merged"
      run "$name-merged" merge "$(at $level)" --adapter "$out/$model/$name" --remask --out "$out/$model/$name-merged"
      measured "$name-merged" "$name-merged"
    done
  done
}

prompts() {
  for level in $levels; do prompt "p-$level" "$level" --tokens "$tokens" --lr "$lr" --steps 600; done
  for level in $levels; do
    set -- "$@" --models "$level=$(at "$level")" --prompts "$level=$out/$model/p-$level.safetensors"
  done
  run transfer prompt transfer --data "test=$test" --seq-len $window --max-chunks 128 "$@"
}

curves() {
  for k in 8 32; do prompt k$k-s75 s75 --tokens $k --lr "$lr" --steps 600; done
  for rate in 0.02 0.3; do prompt lr$rate-s75 s75 --tokens "$tokens" --lr $rate --steps 600; done
  prompt long-b2 b2 --tokens "$tokens" --lr 0.03 --steps 2400
  measured long-b2 b2 --soft-prompt "$out/$model/long-b2.safetensors"
  measured b2 b2
}

# Prompts that stay nearer to the text they begin as, before the levels that they should help too.
gentle() {
  set --
  for level in s75 b2; do
    for rate in 0.0003 0.001 0.003; do
      prompt "lr$rate-$level" $level --tokens "$tokens" --lr $rate --steps 600
      set -- "$@" --prompts "$level-$rate=$out/$model/lr$rate-$level.safetensors"
    done
    set -- "$@" --prompts "$level-$lr=$out/$model/p-$level.safetensors"
  done
  for level in $levels; do set -- "$@" --models "$level=$(at "$level")"; done
  run gentle prompt transfer --data "test=$test" --seq-len $window --max-chunks 128 "$@"
}

# Twice the vectors in shorter windows, as there are no more positions.
wide() {
  window=128
  prompt wide-b2 b2 --tokens 128 --lr 0.03 --steps 2400
  measured wide-b2 b2 --soft-prompt "$out/$model/wide-b2.safetensors"
  for level in dense b2; do measured wide-$level-none $level; done
  window=192
}

# ---- tables

value() { sed -n "s/^ *\"$2\": *\([-0-9.e+]*\).*/\1/p" "$out/$model/$1.json" | head -n 1; }  # RUN FIELD

losses='
  BEGIN {
    split("dense,dense,s50,50 %,s62,62.5 %,s75,75 %,b4,4 bits,b3,3 bits,b2,2 bits,none,none", words, ",")
    for (i = 1; i in words; i += 2) label[words[i]] = words[i + 1]
  }
  function text(name,  part) {
    split(name, part, "-")
    return label[part[1]] (part[2] ? ", rate " part[2] : "")
  }
  { gsub(/[",]/, ""); field[$1] = $2 }
  /}/ && field["target:"] != "" {
    s = field["source:"]
    t = field["target:"]
    if (!((s, "seen") in nll)) source[++sources] = s
    if (!(("none", t) in nll)) target[++targets] = t
    nll[s, "seen"] = 1
    nll[s, t] = field["nll:"]
    field["target:"] = ""
  }'

prompt_table() {
  awk "$losses"'
    END {
      print "| model | perplexity | with its prompt | loss added | taken back | gap closed | beyond dense |"
      print "|---|---:|---:|---:|---:|---:|---:|"
      dense = nll["none", "dense"]
      gained = dense - nll["dense", "dense"]
      for (i = 1; i <= targets; i++) {
        t = target[i]
        added = nll["none", t] - dense
        back = nll["none", t] - nll[t, t]
        printf "| %s | %.2f | %.2f | %.3f | %.3f |", text(t), exp(nll["none", t]), exp(nll[t, t]), added, back
        if (added < 0.1) print " - | - |"
        else printf " %.0f %% | %.0f %% |\n", 100 * back / added, 100 * (back - gained) / added
      }
      print ""
    }' "$out/$model/transfer.json"
}

matrix() {  # RUN
  awk "$losses"'
    END {
      printf "| prompt of \\ model |"
      for (i = 1; i <= targets; i++) printf " %s |", text(target[i])
      printf "\n|---|"
      for (i = 1; i <= targets; i++) printf "---:|"
      for (k = 1; k <= sources; k++) {
        printf "\n| %s |", text(source[k])
        for (i = 1; i <= targets; i++) printf " %.2f |", exp(nll[source[k], target[i]])
      }
      print "\n"
    }' "$out/$model/$1.json"
}

adapter_row() {  # LABEL LEVEL LEARNED MEASURED: one row of the adapters' table
  awk -v label="$1" -v level="$2" -v n="$(value "$3" parameters)" -v before="$(value "$2.test" nll)" \
    -v after="$(value "$4.test" nll)" -v dense="$(value dense.test nll)" -v tuned="$(value spp-dense.test nll)" 'BEGIN {
      printf "| %s | %d | %.2f | %.2f |", label, n, exp(before), exp(after)
      if (level == "dense") print " - | - |"
      else printf " %.0f %% | %.0f %% |\n", 100 * (before - after) / (before - dense),
        100 * (before - after - dense + tuned) / (before - dense)
    }'
}

adapter_table() {
  echo '| model, adapter | parameters | perplexity | with it | gap closed | beyond dense |'
  echo '|---|---:|---:|---:|---:|---:|'
  adapter_row 'dense, SPP' dense spp-dense spp-dense
  for level in s75 nm; do
    label=$pattern
    [ $level = nm ] || label='75 %'
    adapter_row "$label, SPP" $level spp-$level spp-$level
    for rate in 0.001 0.005 0.02; do
      name=lora-$level-$rate
      adapter_row "$label, LoRA*, rate $rate" $level $name $name-merged
      adapter_row "$label, LoRA, its zeros filled, rate $rate" $level $name $name
    done
  done
  echo
}

closed() {  # LABEL COMPRESSED HEALED DENSE, as they were measured
  awk -v label="$1" -v before="$(value "$2.test" nll)" -v after="$(value "$3.test" nll)" \
    -v dense="$(value "$4.test" nll)" 'BEGIN {
      printf "| %s | %.2f | %.2f | ", label, exp(before), exp(after)
      printf "%.0f %% |\n", 100 * (before - after) / (before - dense)
    }'
}

long_table() {
  echo '| 2 bits | perplexity | with the prompt | gap closed |'
  echo '|---|---:|---:|---:|'
  closed "k = $tokens, 2400 steps" b2 long-b2 dense
  [ "$tokens" -eq 128 ] || closed 'k = 128, windows of 128, 2400 steps' wide-b2-none wide-b2 wide-dense-none
  echo
}

without() {  # LEVEL: validation loss of the model as it is
  awk -v p="$(value "p-$1" ppl_without_prompt)" 'BEGIN { print log(p) }'
}

curve() {  # LABEL RUN LEVEL STEPS: share of the gap closed on the validation text after each sixth of the run
  file=$out/$model/$2.safetensors.metrics.jsonl
  awk -v label="$1" -v steps="$4" -v before="$(without "$3")" -v dense="$(without dense)" '
    BEGIN { printf "| %s | %d |", label, steps }
    /validation_nll/ {
      match($0, /"step":[0-9]+/)
      step = substr($0, RSTART + 7, RLENGTH - 7)
      match($0, /"validation_nll":[-0-9.e]+/)
      if (step > 0 && step % (steps / 6) == 0)
        printf " %.1f |", 100 * (before - substr($0, RSTART + 17, RLENGTH - 17)) / (before - dense)
    }
    END { print "" }' "$file"
}

curve_table() {
  echo '| prompt | steps | 1/6 | 2/6 | 3/6 | 4/6 | 5/6 | end |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|'
  curve "75 %, k = $tokens, rate $lr" p-s75 s75 600
  for k in 8 32; do curve "75 %, k = $k, rate $lr" k$k-s75 s75 600; done
  for rate in 0.02 0.3; do curve "75 %, k = $tokens, rate $rate" lr$rate-s75 s75 600; done
  curve "2 bits, k = $tokens, rate $lr" p-b2 b2 600
  curve "2 bits, k = $tokens, rate 0.03" long-b2 b2 2400
  echo
}

for model; do
  settings "$model"
  compressed
  prompts
  adapters
  curves
  gentle
  [ "$tokens" -eq 128 ] || wide
done
for model; do
  settings "$model"
  printf '### %s\n\nPrompts of %s vectors.\n\n' "$model" "$tokens"
  prompt_table
  long_table
  matrix transfer
  printf 'The same with prompts that were learned at other rates.\n\n'
  matrix gentle
  printf 'SPP of rank %s, LoRA of rank %s.\n\n' "$rank" "$lora_rank"
  adapter_table
  printf 'Share of the gap that a prompt closes on the validation text, in percent.\n\n'
  curve_table
done
