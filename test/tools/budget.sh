#!/bin/sh
# Source files have at most 400 lines and lines at most 120 characters (the stand-alone safetensors.h: 600 lines); no
# tracked file exceeds 4 MiB, the shipped models 8 MiB together. Run from the repository's root.
status=0
for file in $(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' '*.inl' '*.py' '*.sh'); do
  lines=$(wc -l < "$file")
  limit=400
  [ "$file" = core/safetensors.h ] && limit=600
  [ "$lines" -le $limit ] || { echo "$file has $lines lines, at most $limit"; status=1; }
done
git ls-files | while read -r file; do
  size=$(stat -c %s "$file")
  [ "$size" -le 4194304 ] || echo "$file has $size bytes"
done | grep . && status=1
total=$(git ls-files demo apps/demo docs/demo | xargs -r stat -c %s | awk '{s += $1} END {print s + 0}')
[ "$total" -le 8388608 ] || { echo "the shipped models take $total bytes, at most 8388608"; status=1; }
marks=$(git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- '*.h' '*.cpp' '*.cu' '*.cuh' '*.inl') && { echo "$marks"; status=1; }
exit $status
