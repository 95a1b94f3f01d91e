"""Ask an artefact: texts in, answers out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from bertc.artefact.kinds import ANSWERS
from bertc.cli.columns import column_option
from bertc.cli.command import Command, force_option, option
from bertc.cli.engine_option import engine_option, told_choice
from bertc.cli.output import Output, check_stdout, is_terminal
from bertc.cli.paths import Reads, Writes
from bertc.cli.progress import shown_progress
from bertc.core.progress import SILENCE
from bertc.errors import EXIT_PASSED, InputError

if TYPE_CHECKING:
    from bertc.core.progress import Progress
    from bertc.data.rows import Row
    from bertc.evaluate.task import Task
    from bertc.jobs.predict import Predictor


@click.command("predict", cls=Command)
@click.argument("out", type=Reads())
@option("--text", "texts", multiple=True, help="A text (for question answering: the question). Repeatable.")
@option("--pair", "pairs", multiple=True, help="The text's second text (the question's context). Repeatable.")
@option(
    "--input",
    "source",
    type=Reads(str),
    metavar="FILE",
    help="A file of texts: TSV, CSV, JSONL, Parquet, plain lines, SQuAD, CoNLL; - reads plain lines from stdin.",
)
@column_option("columns", "The column of the file that fills a role, by name or by number from 1. Repeatable.")
@option("-o", "--out", "target", type=Writes(ANSWERS), metavar="FILE", help="Write JSON lines to a file.")
@force_option(ANSWERS)
@engine_option()
@option("--threads", type=click.IntRange(min=0), metavar="N", default=0, help="Threads; 0 is all cores. Default: 0.")
@option("--batch", type=click.IntRange(min=1), metavar="N", default=256, help="Rows held at a time. Default: 256.")
def command(
    output: Output,
    out: Path,
    texts: tuple[str, ...],
    pairs: tuple[str, ...],
    source: str | None,
    columns: tuple[tuple[str, str], ...],
    target: Path | None,
    force: bool,
    engine: str | None,
    allow_failed: bool,
    threads: int,
    batch: int,
) -> int:
    """Ask the engine in the folder OUT, without the checkpoint it was built from.

    \b
      bertc predict OUT --text "a gripping film"
      bertc predict OUT --text "who wrote it?" --pair "It was written by Ada."
      bertc predict OUT --input texts.jsonl -o answers.jsonl

    A line of JSON per text, in their order, in bounded memory (null for an empty text); for --text in a terminal,
    plain text.
    """
    if bool(texts) == (source is not None):
        raise click.UsageError("give either --text or --input FILE (--input - reads lines from stdin)")
    if columns and source is None:
        raise click.UsageError("--column is of the file that --input names; give both")
    if pairs and source is not None:
        raise click.UsageError("--pair is of the text that --text gives; give both")
    if target is None:
        check_stdout("bertc predict without -o")
    if pairs and len(pairs) != len(texts):
        raise click.UsageError(f"{len(texts)} texts came with {len(pairs)} pairs; give one --pair for each --text")
    from bertc.jobs.predict import predictor_from_path  # the runtime is loaded when it is asked for

    chosen = told_choice(output, out, engine, allow_failed=allow_failed)
    with predictor_from_path(chosen.folder, threads=threads) as predictor, ExitStack() as files:
        if predictor.caution:
            output.warn(predictor.caution)
        rows = _file_rows(predictor, source, dict(columns)) if source is not None else _text_rows(texts, pairs)
        answers = predictor.predict_rows(rows, batch=batch)
        if source is None and target is None and not output.json and is_terminal():
            _print_plain(texts, answers, predictor.task)
        else:
            stream = _opened(target, files, force=force)
            progress = SILENCE if target is None else files.enter_context(shown_progress(output))
            _write_lines(answers, stream, output, progress)
    return EXIT_PASSED


def _text_rows(texts: tuple[str, ...], pairs: tuple[str, ...]) -> Iterator[Row]:
    from bertc.data.rows import row_from_texts

    for number, (text, pair) in enumerate(zip_longest(texts, pairs), start=1):
        yield row_from_texts(text, *(() if pair is None else (pair,)), id=str(number), source="--text")


def _file_rows(predictor: Predictor, source: str, columns: dict[str, str]) -> Iterable[Row]:
    from bertc.data.dataset import rows_from_path
    from bertc.data.rows import row_from_texts

    if source != "-":
        return rows_from_path(source, layout=predictor.task.layout, columns=columns)
    if columns:
        raise InputError("stdin is read as plain lines, which have no columns; leave --column away")
    lines = ((number, line.strip()) for number, line in enumerate(sys.stdin, start=1))
    return (row_from_texts(text, source="stdin", line=number) for number, text in lines)


def _opened(target: Path | None, files: ExitStack, *, force: bool) -> TextIO:
    """Open the file of answers, which appears when all of them are there; stdout without one."""
    if target is None:
        return sys.stdout
    from bertc.cli.result_files import finished_file

    work = files.enter_context(finished_file(target, ANSWERS, force=force))
    return files.enter_context(work.open("w", encoding="utf-8"))


def _write_lines(answers: Iterable[dict[str, Any] | None], stream: TextIO, output: Output, progress: Progress) -> None:
    """Write a line of JSON per answer, and say how many texts were empty."""
    count = empty = 0
    progress.stage("predict")
    for answer in answers:
        count += 1
        empty += answer is None
        stream.write(json.dumps(answer, ensure_ascii=False) + "\n")
        progress.advance()
    progress.end()
    if empty:
        output.warn(f"{empty} of {count} texts are empty; their answers are null")


def _print_plain(texts: tuple[str, ...], answers: Iterable[dict[str, Any] | None], task: Task) -> None:
    """Print the best answer beside its text."""
    from bertc.cli.output import printable

    for text, answer in zip(texts, answers, strict=True):
        if len(texts) > 1:
            click.echo(printable(text))
        for line in ["(empty: no answer)"] if answer is None else task.lines(answer):
            click.echo(printable(("  " if len(texts) > 1 else "") + line))
