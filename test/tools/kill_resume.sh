#!/bin/sh
# Kills a compression of the shipped model with SIGKILL at random moments, resumes it, and compares what it wrote with
# the uninterrupted run: every file byte for byte, but for the seconds in compression.json.
#
#     kill_resume.sh BUILD [KILLS]        run from the repository's root
sinter=$1/sinter kills=${2:-50}
[ -x "$sinter" ] || { echo "skipped: $sinter is not built"; exit 0; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
"$sinter" worlds --out "$dir/text.txt" --count 300 >/dev/null || exit 1

# (run OUT FLAGS...): the compression that is killed, in place of its subshell
run() {
  out=$1
  shift
  exec "$sinter" compress apps/demo/llama --out "$out" --method sparsegpt --sparsity 0.5 --bits 4 \
    --calibration "$dir/text.txt" --samples 16 --seq-len 256 --quiet "$@"
}
seconds() { awk -v n="$(od -An -N4 -tu4 /dev/urandom)" -v most="$1" 'BEGIN {printf "%.4f", most * n / 4294967296}'; }
same() {
  sed -i '/"seconds"/d' "$1/compression.json" && diff -r "$dir/whole" "$1" >/dev/null
}

begin=$(date +%s.%N)
(run "$dir/whole" >/dev/null) || exit 1
length=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN {print b - a}')
sed -i '/"seconds"/d' "$dir/whole/compression.json"

good=0 met=0
for i in $(seq "$kills"); do
  case $((i % 2)) in
    0) set -- --scratch "$dir/scratch" ;;
    1) set -- ;;
  esac
  (run "$dir/out" "$@" >/dev/null 2>&1) &
  process=$!
  sleep "$(seconds "$length")"
  kill -9 $process 2>/dev/null
  wait $process 2>/dev/null
  [ -e "$dir/out.partial/state/manifest.json" ] && met=$((met + 1))
  [ -e "$dir/out" ] || (run "$dir/out" "$@" --resume >/dev/null) || exit 1
  if same "$dir/out" && [ ! -e "$dir/out.partial" ] && [ -z "$(ls -A "$dir/scratch" 2>/dev/null)" ]; then
    good=$((good + 1))
  else
    echo "kill $i: the resumed output differs"
  fi
  rm -rf "$dir/out" "$dir/out.partial"
done
echo "$good/$kills killed runs ended with the bytes of the uninterrupted one; $met had finished a block by then"
[ "$good" = "$kills" ]
