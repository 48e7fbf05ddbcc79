#!/bin/sh
# Fails if a folder includes from a folder it may not know. Run from the repository's root.
#   folder   may include
rules='core   core
ops    core ops
cuda   core ops cuda
models core ops models
train  core ops models train
apps   core ops models train apps
test   core ops models train apps test cuda'
status=0
echo "$rules" | { while read -r from allowed; do
  bad=$(grep -rnE '^#include "[a-z]+/' "$from" --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' --include='*.inl' |
        grep -vE "\"($(echo "$allowed" | tr ' ' '|'))/" | grep -v 'ops/backend.cpp.*cuda/install.h')
  [ -z "$bad" ] || { echo "$from must not include:"; echo "$bad"; status=1; }
done; exit $status; }
