#!/usr/bin/env bash
# tokenizers: a batch of one text goes to a pool of threads; encode does the same work where it is called.
#
# Versions: tokenizers 0.23.3.
# Measured: 2026-11, Python 3.11, Linux, x86-64, 2 cores.
# Expected: encode_batch([text]) is encode(text) in a list: one text leaves nothing to do in parallel.
# Seen: the first batch, of a single text, starts a thread for each core, and the caller waits for one of them. Alone on a
# machine both take the same time; where other threads have the cores (an engine's), the caller waits for the scheduler.
# A server with an INT8 engine on two cores answered 708 requests a second with the batch and 810 with encode, one run
# each.
# TOKENIZERS_PARALLELISM=false keeps the batch with the caller as well.
#
#   tokenizers 0.23.3, 2 cores
#   guess: 1 thread in each line
#   encode                                    1 thread
#   encode_batch of one text                  3 threads
#   the same, TOKENIZERS_PARALLELISM=false    1 thread
#
# Matters to: whoever tokenizes single texts beside an engine that uses all cores, and thinks of forks: the pool is there
# after one text, as if many had been encoded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3
unset TOKENIZERS_PARALLELISM RAYON_NUM_THREADS
cat > threads.py <<'PYTHON'
import os
import sys

from tokenizers import Tokenizer, models

tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
if sys.argv[1] == "encode":
    tokenizer.encode("a")
else:
    tokenizer.encode_batch(["a"])
print(len(os.listdir("/proc/self/task")))
PYTHON
venv/bin/python -c 'import os, tokenizers; print(f"tokenizers {tokenizers.__version__}, {os.cpu_count()} cores")'
echo "guess: 1 thread in each line"
single=$(venv/bin/python threads.py encode)
batch=$(venv/bin/python threads.py batch)
serial=$(TOKENIZERS_PARALLELISM=false venv/bin/python threads.py batch)
echo "encode                                    $single thread"
echo "encode_batch of one text                  $batch threads"
echo "the same, TOKENIZERS_PARALLELISM=false    $serial thread"
[ "$single" = 1 ] && [ "$serial" = 1 ] && [ "$batch" -gt 1 ] && exit 0
echo "the behaviour is no longer so"
exit 1
