#!/usr/bin/env bash
# Everything that needs a GPU, in nine minutes: the parity tests, then each benchmark.
#
#     benchmarks/gpu.sh            PYTHON=... chooses the interpreter, OUT=... where the JSON goes,
#                                  LIMIT=... the seconds for all of it
#
# Tables go to standard output. What fails or takes too long is named at the end, the others run all
# the same, and the exit code is then 1.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

default=python3
[[ -x .venv/bin/python ]] && default=.venv/bin/python
PYTHON=${PYTHON:-$default}
OUT=${OUT:-benchmarks/results}
LIMIT=${LIMIT:-540}
export PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

failed=()

# run NAME SECONDS COMMAND...: at most so long, and not beyond what is left of all.
run() {
    local name=$1 most=$2 start=$SECONDS status=0 left=$((LIMIT - SECONDS))
    shift 2
    if ((left < 5)); then
        printf '\n== %s: left out, the time is up\n' "$name"
        failed+=("$name (left out)")
        return
    fi
    ((most > left)) && most=$left
    printf '\n== %s (at most %d s): %s\n' "$name" "$most" "$*"
    timeout --kill-after=5 "$most" "$@" </dev/null || status=$?
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
    if ((status == 124 || status == 137)); then
        failed+=("$name (stopped after $most s)")
    elif ((status != 0)); then
        failed+=("$name (exit code $status)")
    fi
}

run packages 30 "$PYTHON" -m benchmarks.lib.packages --gpu
if [[ ${failed[*]} == *"exit code 3"* ]]; then
    echo "Without a GPU there is nothing to run."
    exit 1
fi

# Only the files with such tests: the others may need packages that are not there.
mapfile -t files < <(grep -rlE 'mark\.gpu' tests --include='test_*.py' | sort)
# The project's settings for pytest name a plugin that they can do without here.
options=()
"$PYTHON" -c 'import pytest_timeout' >/dev/null 2>&1 ||
    options=(-o addopts=--import-mode=importlib -W ignore::pytest.PytestConfigWarning)
run "parity tests" 90 "$PYTHON" -m pytest -q -m gpu "${options[@]}" "${files[@]}"

run "training step" 240 "$PYTHON" -m benchmarks.speed.training_step --device cuda --repeat 3 --warmup 2 \
    --out "$OUT"
run prediction 120 "$PYTHON" -m benchmarks.speed.runtimes --model resnet50 --device cuda --rounds 5 \
    --contestants pytorch-float32 pytorch-bf16 torchvision-float32 torchvision-bf16 --out "$OUT"
run "training step at 800 x 800" 90 "$PYTHON" -m benchmarks.speed.training_step --device cuda \
    --size 800x800 --objects 15 --memory-objects --repeat 3 --warmup 2 --out "$OUT"
run parts 60 "$PYTHON" -m benchmarks.speed.parts --device cuda --rounds 3 --out "$OUT"
run assignment 45 "$PYTHON" -m benchmarks.speed.assignment --rounds 3 --out "$OUT"
run growth 75 "$PYTHON" -m benchmarks.speed.growth --device cuda --curves objects size --out "$OUT"
# Stops where the exported file's detections on the GPU are not PyTorch's.
on_cuda='import onnxruntime; assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()'
if "$PYTHON" -c "$on_cuda" >/dev/null 2>&1; then
    run "export to ONNX" 90 "$PYTHON" -m benchmarks.speed.runtimes --model light --device cuda \
        --contestants pytorch-float32 onnx-float32 --rounds 3 --out "$OUT"
else
    printf '\n== export to ONNX: left out, there is no ONNX Runtime for CUDA (onnxruntime-gpu)\n'
fi

printf '\n%d s in all\n' "$SECONDS"
if ((${#failed[@]})); then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "all done"
