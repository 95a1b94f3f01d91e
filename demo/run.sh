#!/usr/bin/env bash
# The demo: a build that passes, a prediction, and a damaged build that the gate stops. Run it with `make demo`.
# In: BERTC and PYTHON (the commands of the environment), DEMO_TEXT. Out: out/demo, out/damaged.
set -euo pipefail
cd "$(dirname "$0")/.."

BERTC=${BERTC:-.venv/bin/bertc}
PYTHON=${PYTHON:-.venv/bin/python}
TEXT=${DEMO_TEXT:-I was charged twice for the same order}
VALIDATION=demo/data/validation.tsv

step() { printf '\n== %s\n' "$1"; }

mkdir -p out
step "1 of 3: build demo/model to INT8 mode 1 and validate the engine"
"$BERTC" build demo/model -o out/demo --calibration-data demo/data/train.tsv --validation-data "$VALIDATION" \
    --int8-mode 1

step "2 of 3: ask the engine"
"$BERTC" predict out/demo --text "$TEXT"

step "3 of 3: the same build with the range of one site divided by ten; the gate has to stop it"
"$PYTHON" demo/damage.py out/demo/calibration.json out/damaged-calibration.json
code=0
"$BERTC" build demo/model -o out/damaged --calibration out/damaged-calibration.json \
    --calibration-data demo/data/train.tsv --validation-data "$VALIDATION" --int8-mode 1 || code=$?
if [ "$code" -ne 1 ]; then
    echo "demo: the damaged build ended with exit code $code, but the gate's 1 was expected" >&2
    exit 1
fi
echo "The gate stopped the damaged build: exit code 1, as it should be."

cat <<'END'

== The demo is complete
The INT8 engine is in out/demo: native.json and native.safetensors, the same model as model.onnx for every other tool,
the tokenizer, and the report (open out/demo/report.html in a browser).
To compile a checkpoint of your own:
    .venv/bin/bertc build CHECKPOINT -o OUT --calibration-data TRAIN.tsv --validation-data VALIDATION.tsv
END
