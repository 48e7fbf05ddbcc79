#!/bin/sh
# Peak memory of compressing models that are larger than memory: LLaMA-2's 7B and 70B shapes in bf16, whose blocks
# behind the first ones are holes of a sparse file. Prints what --dry-run expects beside what was measured.
#
#     bench/memory.sh BUILD DIR [7b|70b]...     run from the repository's root; DIR needs 10 GB, the runs an hour
build=$1 dir=$2
shift 2
[ $# -gt 0 ] || set -- 7b 70b
mkdir -p "$dir" || exit 1
number() { sed -n "s/.*\"$1\": \([0-9.e+]*\).*/\1/p" "$2" | tail -1; }

echo "shape  windows  blocks   expected   measured   share  seconds"
for size in $*; do
  case $size in
    7b) blocks=2 windows=16 only='layers\.[01]\.' ;;
    70b) blocks=1 windows=4 only='layers\.0\.' ;;
  esac
  "$build/huge_checkpoint" "$size" "$dir/$size" $blocks $windows 2048 || exit 1
  set -- "$dir/$size" --out "$dir/$size-out" --method sparsegpt --sparsity 0.5 --calibration "$dir/$size/windows.json" \
    --only "$only" --scratch "$dir/scratch" --quiet
  "$build/sinter" compress "$@" --dry-run --json "$dir/$size-expected.json" >/dev/null || exit 1
  rm -rf "$dir/$size-out"
  "$build/sinter" compress "$@" --json "$dir/$size-measured.json" >/dev/null || exit 1
  awk -v size="$size" -v windows=$windows -v blocks=$blocks -v a="$(number memory_bytes "$dir/$size-expected.json")" \
    -v b="$(number peak_rss_bytes "$dir/$size-measured.json")" -v s="$(number all "$dir/$size-measured.json")" \
    'BEGIN {
      g = 1073741824
      printf "%-6s %7d %7d %6.2f GiB %6.2f GiB %7.2f %8.0f\n", size, windows, blocks, a/g, b/g, a/b, s
    }'
  rm -rf "$dir/$size" "$dir/$size-out"
done
