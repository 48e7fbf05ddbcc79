#!/bin/sh
# layer_solve.sh PYTHON [SINTER [PASSES]]   PYTHON: of an environment with torch (python3 -m venv V; V/bin/pip install
# torch); SINTER: the program, build/sinter by default. Compares the layer solve with the authors' algorithm in PyTorch,
# in turn, and writes bench/results/<machine>-layer-solve-<date>.json. About 6 minutes a pass on two cores. Run it on a
# quiet machine, from the repository's root.
set -eu
python=${1:?the Python of an environment with torch}
sinter=${2:-build/sinter}
passes=${3:-3}
machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
out=bench/results/$machine-layer-solve-$(date -u +%F).json
mkdir -p bench/results
threads=$(nproc)
OMP_NUM_THREADS=$threads "$python" bench/peers/layer_solve.py --sinter "$sinter" --out "$out" --passes "$passes" \
  --threads "$threads" --commit "$(git rev-parse --short HEAD 2> /dev/null || echo unknown)"
echo "$out"
