#!/usr/bin/env bash
# datasets: map and filter answer from the cache when a function in a module of one's own has changed.
#
# Versions: datasets 5.2.0, dill 0.4.1, pyarrow 26.0.1.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: the cache knows a function by its code, as it does for one in the script: after an edit rows are made anew.
# Seen: a function that is imported is known by its name alone, also inside a lambda: the old rows come from the cache,
# in the next process too, without a word. The same edit in the script itself is noticed. (Reported in
# huggingface/datasets 3297 in 2021, and still so.)
#
#   datasets 5.2.0, dill 0.4.1
#   guess: whoever edits the function that map gets has new rows in the next run, wherever the function stands
#   the script itself      with lower(): 'hello world 1', then with upper(): 'HELLO WORLD 0'
#   a module of one's own  with lower(): 'hello world 1', then with upper(): 'hello world 1'
#   the same, in a lambda  with lower(): 'hello world 1', then with upper(): 'hello world 1'
#
# Matters to: whoever has tokenization or cleaning in a package: a mended step has no effect on machines that ran it
# before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datasets==5.2.0 dill==0.4.1 pyarrow==26.0.1
HF_HOME="$folder" venv/bin/python - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print(f"datasets {version('datasets')}, dill {version('dill')}")
print("guess: whoever edits the function that map gets has new rows in the next run, wherever the function stands")
MODULE = "import os\n\n\ndef prepare(row):\n    return {{'text': row['text'].{method}()}}\n"
RUN = """
import sys
import datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
{function}
print(rows.map({given})["text"][0], rows.filter({test}).num_rows)
"""
HERE = "def prepare(row):\n    return {{'text': row['text'].{method}()}}"
WAYS = {
    "the script itself": (HERE, "prepare", "lambda row: prepare(row)['text'] == row['text']"),
    "a module of one's own": (
        "from steps import prepare",
        "prepare",
        "lambda row: prepare(row)['text'] == row['text']",
    ),
    "the same, in a lambda": (
        "import steps",
        "lambda row: steps.prepare(row)",
        "lambda row: steps.prepare(row) == row",
    ),
}
Path("rows.jsonl").write_text('{"text": "Hello World"}\n{"text": "quiet"}\n')


def run(way, method):
    """Return what a run of its own prints: the first row of map and the number of rows of filter."""
    function, given, test = WAYS[way]
    Path("steps.py").write_text(MODULE.format(method=method))
    script = RUN.format(function=function.format(method=method), given=given, test=test)
    Path("run.py").write_text(script)
    return subprocess.run([sys.executable, "-B", "run.py"], capture_output=True, text=True, check=True).stdout.strip()


found = {}
for way in WAYS:
    found[way] = [run(way, "lower"), run(way, "upper")]
    print(f"{way:22} with lower(): {found[way][0]!r}, then with upper(): {found[way][1]!r}")
same = found["the script itself"] == ["hello world 1", "HELLO WORLD 0"]
same = same and all(found[way] == ["hello world 1"] * 2 for way in list(WAYS)[1:])
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
