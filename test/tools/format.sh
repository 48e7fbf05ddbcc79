#!/bin/sh
# Fails for a source file that `make format` would change. Run from the repository's root.
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' '*.inl' | xargs clang-format-14 --dry-run --Werror
