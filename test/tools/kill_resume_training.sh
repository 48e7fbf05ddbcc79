#!/bin/sh
# Kills each kind of training with SIGKILL at random steps, resumes it, and compares what it wrote with the uninterrupted
# run: every byte of the result, and the metrics line by line, but for their timings.
#
#     kill_resume_training.sh BUILD [KILLS]        run from the repository's root; KILLS of each of prompt, spp, lora, full
sinter=$1/sinter kills=${2:-20} steps=30
[ -x "$sinter" ] || { echo "skipped: $sinter is not built"; exit 0; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT

"$sinter" worlds --out "$dir/text.txt" --count 60 >/dev/null || exit 1
echo '{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
       "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}' > "$dir/config.json"
"$sinter" pretrain --config "$dir/config.json" --make-tokenizer 320 --data "$dir/text.txt" --out "$dir/dense" --steps 1 \
  --seq-len 32 --batch 4 --quiet >/dev/null || exit 1
"$sinter" compress "$dir/dense" --out "$dir/model" --method magnitude --pattern 2:4 --quiet >/dev/null || exit 1
head -c 4000 "$dir/text.txt" > "$dir/held.txt"

# (train TASK OUT FLAGS...): the run that is killed, in place of its subshell
train() {
  task=$1 out=$2
  shift 2
  case $task in
    prompt) set -- prompt "$dir/model" --tokens 4 --lr 0.02 "$@" ;;
    full) set -- finetune "$dir/model" --method full --keep-mask --lr 1e-3 "$@" ;;
    *) set -- finetune "$dir/model" --method "$task" --rank 4 --lr 0.01 "$@" ;;
  esac
  exec "$sinter" "$@" --data "$dir/text.txt" --validation "$dir/held.txt" --out "$out" --seq-len 32 --batch 4 --steps $steps \
    --eval-every 7 --snapshot-every 4 --seed 5 --threads 1 --quiet
}
random_step() { awk -v n="$(od -An -N4 -tu4 /dev/urandom)" -v most=$((steps - 1)) 'BEGIN {print 1 + int(most * n / 4294967296)}'; }
lines() { cat "$1.metrics.jsonl" 2>/dev/null | wc -l; }
curve() { sed 's/,"seconds".*//' "$1.metrics.jsonl"; }

status=0
for task in prompt spp lora full; do
  whole=$dir/$task out=$dir/$task-killed good=0 resumed=0
  (train $task "$whole" >/dev/null) || exit 1
  curve "$whole" > "$dir/curve"
  for i in $(seq "$kills"); do
    step=$(random_step)
    (train $task "$out" >/dev/null 2>&1) &
    process=$!
    # The line of the start comes before those of the steps.
    while kill -0 $process 2>/dev/null && [ "$(lines "$out")" -le "$step" ]; do :; done
    kill -9 $process 2>/dev/null
    wait $process 2>/dev/null
    [ -e "$out.state" ] && resumed=$((resumed + 1))
    [ -e "$out" ] || { (train $task "$out" --resume >/dev/null) && [ -z "$(ls "$out".state* 2>/dev/null)" ]; } || exit 1
    if diff -r "$whole" "$out" >/dev/null && curve "$out" | cmp -s - "$dir/curve"; then
      good=$((good + 1))
    else
      echo "$task, kill at step $step: the resumed run differs"
    fi
    rm -rf "$out" "$out.partial" "$out".state* "$out".metrics.jsonl*
  done
  echo "$task: $good/$kills killed runs ended with the bytes and the curve of the uninterrupted one; $resumed had a state"
  [ "$good" = "$kills" ] || status=1
done
exit $status
