#!/usr/bin/env bash
# beir: an answer whose id is the question's is taken out before it is judged, and out of the caller's run.
#
# Versions: beir 2.2.0, pytrec_eval-terrier 0.5.11, sentence-transformers 6.2.0, torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: a run with the right answer first for each question has nDCG 1, whatever ids are called; evaluating changes
# no run.
# Seen: ignore_identical_ids is on, which is meant for tasks whose questions are in the corpus. Where questions and
# answers are both numbered from 0, as in a list of questions with their answers, the right answers are dropped and a
# perfect run has 0. They are deleted in the dict that was handed in, so whatever else judges it misses them too. A line
# of logging at the level of info is all.
#
#   beir 2.2.0, pytrec-eval-terrier 0.5.11
#   guess: a run with the right answer first for all questions has nDCG@10 1, whatever the ids are, and stays as it is
#   questions 0 to 49, answers a0 to a49  nDCG@10 1.000, the run had 500 answers and has 500
#   questions 0 to 49, answers 0 to 49    nDCG@10 0.000, the run had 500 answers and has 450
#   the same, ignore_identical_ids=False  nDCG@10 1.000, the run had 500 answers and has 500
#
# Matters to: whoever evaluates a corpus of one's own with numbers for ids.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check beir==2.2.0 pytrec_eval-terrier==0.5.11 \
  sentence-transformers==6.2.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from importlib.metadata import version

from beir.retrieval.evaluation import EvaluateRetrieval

print(", ".join(f"{name} {version(name)}" for name in ("beir", "pytrec-eval-terrier")))
print(
    "guess: a run with the right answer first for all questions has nDCG@10 1, whatever the ids are, and stays as it is"
)


def measured(prefix, **options):
    """Return nDCG@10 of a run with the right answers first, and how many answers the run has afterwards."""
    judged = {str(number): {f"{prefix}{number}": 1} for number in range(50)}
    run = {
        str(number): {f"{prefix}{(number + place) % 50}": 1 - place / 10 for place in range(10)} for number in range(50)
    }
    score = EvaluateRetrieval.evaluate(judged, run, [10], **options)[0]["NDCG@10"]
    return score, sum(len(answers) for answers in run.values())


found = {
    "questions 0 to 49, answers a0 to a49": measured("a"),
    "questions 0 to 49, answers 0 to 49": measured(""),
    "the same, ignore_identical_ids=False": measured("", ignore_identical_ids=False),
}
for name, (score, left) in found.items():
    print(f"{name:37} nDCG@10 {score:.3f}, the run had 500 answers and has {left}")
same = list(found.values()) == [(1, 500), (0, 450), (1, 500)]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
