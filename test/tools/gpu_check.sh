#!/bin/sh
# gpu_check.sh --arch   prints the CMake architecture of the card at hand
# gpu_check.sh BUILD    runs BUILD/test_cuda on it, then again under compute-sanitizer where that is installed, and
#                       writes bench/results/gpu-<card>-<date>-check.json. Run from the repository's root.
set -u
say() { echo "gpu-check: $*" >&2; }
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
[ -n "$card" ] || { say "no CUDA device on this machine (nvidia-smi finds none)"; exit 1; }
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)
if [ "$1" = --arch ]; then
  # The "a" of sm_90a: instructions that exist on Hopper alone.
  case $capability in 9.0) echo 90a-real ;; *) echo "$(echo "$capability" | tr -d .)-real" ;; esac
  exit
fi

test=$1/test_cuda
[ -x "$test" ] || { say "$test is missing; make cuda builds it"; exit 1; }
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
status=0

echo "$card, compute capability $capability: $test"
"$test" > "$logs/test" 2>&1 || status=1
cat "$logs/test"
if grep -q 'skipped: no CUDA device' "$logs/test"; then say "CUDA cannot use this machine's device"; exit 1; fi
# count passed|failed|skipped: from doctest's "test cases: 13 | 13 passed | 0 failed | 1 skipped"
count() { sed -n "s/.*test cases:.* \([0-9][0-9]*\) $1.*/\1/p" "$logs/test" | tail -n 1; }
[ "$(count passed)" ] || { say "$test ended without a summary"; exit 1; }

# sanitize TOOL: clean, failed, not installed, or not supported. A refused allocation is a test, not a finding.
sanitize() {
  command -v compute-sanitizer > /dev/null || { echo "not installed"; return; }
  if timeout 240 compute-sanitizer --tool "$1" --report-api-errors no --error-exitcode 9 "$test" > "$logs/$1" 2>&1
  then echo clean
  elif grep -q 'Device not supported' "$logs/$1"; then echo "not supported"
  else tail -n 40 "$logs/$1" >&2; echo failed; fi
}
memcheck=$(sanitize memcheck)
racecheck=$(sanitize racecheck)
case "$memcheck $racecheck" in *failed*) status=1 ;; esac

name=$(echo "$card" | sed 's/^NVIDIA *//' | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
out=bench/results/gpu-$name-$(date -u +%F)-check.json
mkdir -p bench/results
cat > "$out" << EOF
{"card": "$card", "compute_capability": "$capability",
 "driver": "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)",
 "commit": "$(git rev-parse --short HEAD 2> /dev/null || echo unknown)", "date": "$(date -u +%FT%TZ)",
 "test_cuda": {"passed": $(count passed), "failed": $(count failed), "skipped": $(count skipped)},
 "memcheck": "$memcheck", "racecheck": "$racecheck"}
EOF
cat "$out"
exit $status
