#!/bin/sh
# clang-tidy over the library and the program. $1: a build folder with compile_commands.json,
# which names the files that this build has.
flags=$(mktemp -d)
trap 'rm -rf "$flags"' EXIT
sed 's/-fvect-cost-model=dynamic//' "$1/compile_commands.json" > "$flags/compile_commands.json"  # g++ only
git ls-files 'core/*.cpp' 'ops/*.cpp' 'models/*.cpp' 'train/*.cpp' 'apps/*.cpp' | grep -v '^ops/isa/' |
  while read -r file; do grep -q "/$file\"" "$1/compile_commands.json" && echo "$file"; done |
  xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$flags" --quiet --warnings-as-errors='*' 2>/dev/null
