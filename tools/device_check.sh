#!/usr/bin/env bash
# What a GPU does with this project, in under ten minutes, as one JSON file.
#
#     tools/device_check.sh [OUT.json] [DATA_DIR]
#
# Takes PyTorch and the other packages from what is installed on the machine and installs nothing (no
# network is needed); PYTHON names another interpreter, DEVICE=cpu tries the script without a GPU.
# DATA_DIR holds MNIST in the hub's layout; without it that part is left out. Each part has a limit of
# its own, and one that fails is named in the file and does not stop the others.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=$(realpath -m "${1:-device-check.json}")
DATA_DIR=${2:+$(realpath "$2")}
DEVICE=${DEVICE:-cuda}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD/src:$PWD"
"$PYTHON" -c 'import torch, diffusers, safetensors, typer' || {
    echo "device_check: PyTorch, diffusers, safetensors and typer must be installed" >&2
    exit 2
}

part() { # NAME LIMIT COMMAND...: run it, keep what it prints, its seconds and its exit code
    local name=$1 limit=$2
    shift 2
    echo "device_check: $name" >&2
    local start
    start=$(date +%s.%N)
    timeout "$limit" "$@" > "$WORK/$name.out" 2> "$WORK/$name.err"
    local code=$?
    echo "$name $code $start $(date +%s.%N)" >> "$WORK/parts"
}

run() { # NAME LIMIT TASK OPTIONS...: a run with a report, whose results are kept
    local name=$1 limit=$2 task=$3
    shift 3
    part "$name" "$limit" "$PYTHON" -m ocd --quiet run "$task" --out "$WORK/runs/$name" \
        --set device="$DEVICE" --set baselines=none --set alternative=false "$@"
}

part tests 150 "$PYTHON" -m pytest -q -p no:cacheprovider -m gpu tests/test_on_a_gpu.py
part cases 90 "$PYTHON" -m benchmarks.device --device "$DEVICE"
part separation 60 "$PYTHON" -m benchmarks.separation --device "$DEVICE" --sizes small --out "$WORK"
run paper 90 digits --preset paper
run released 90 digits --preset released
if [ -n "$DATA_DIR" ]; then
    run mnist 150 mnist --data-dir "$DATA_DIR" --seeds 0,1,2
fi
"$PYTHON" tools/device_summary.py "$WORK" "$DEVICE" "$OUT"
