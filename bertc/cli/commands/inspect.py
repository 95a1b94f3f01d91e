"""Show what is in a checkpoint, table, artefact or ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bertc.cli.command import Command, FiniteRange, option
from bertc.cli.engine_option import engine_option
from bertc.cli.misplaced_flags import PERCENTILE, check_percentile, refuse_given
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.cli.tables import print_facts, print_table
from bertc.core.plugins import CALIBRATORS, TASKS
from bertc.errors import EXIT_PASSED

Facts = dict[str, Any]
SHOWN_LABELS = 20
SHOWN_NAMES = 3
KINDS = {
    "checkpoint": "a checkpoint",
    "table": "a calibration table",
    "artefact": "an artefact",
    "onnx": "an ONNX file",
}
OUTCOMES = {
    "int8": "will run in INT8",
    "slow": "will run in INT8, but slowly",
    "broken": "will be wrong or refuse to run",
    "float": "will run in float",
    "gone": "are not in the optimized graph",
}
READS = {"cls": "the first token", "mean": "the mean of the tokens"}
"""By the pooling of an exit: what it reads."""

SATURATES = (
    "this CPU has no VNNI instructions: sums of products saturate, and answers are wrong, unless a session sets "
    "session.x64quantprecision to 1"
)


@click.command("inspect", cls=Command)
@click.argument("path", type=Reads(str))
@option("--task", type=click.Choice(TASKS.names()), metavar="TASK", help="Of a checkpoint: its task.")
@option(
    "--calibrator",
    type=click.Choice(CALIBRATORS.names()),
    metavar="NAME",
    help=f"Of a table: {', '.join(CALIBRATORS.names())}. Default: percentile.",
)
@option(
    "--percentile",
    type=FiniteRange(50, 100, min_open=True),
    metavar="N",
    help="Of a table: the percentile. Default: 99.99, and the maximum on the residual stream.",
)
@engine_option()
def command(
    output: Output,
    path: str,
    task: str | None,
    calibrator: str | None,
    percentile: float | None,
    engine: str | None,
    allow_failed: bool,
) -> int:
    """Describe PATH: a checkpoint (folder or hub id), a calibration table, an artefact's folder, or an ONNX file.

    \b
      bertc inspect OUT                    # files (verified), engine, verdict, range and error of each site
      bertc inspect CHECKPOINT             # sizes and head
      bertc inspect calibration.json       # origin, and the range of each site
      bertc inspect quantized.onnx         # which products ONNX Runtime runs in INT8 here, and why not the others

    A checkpoint that no build would take is described, and then refused with the build's sentence and exit code.

    An ONNX file may be of any tool (quantize_static, quantize_dynamic, NNCF, ...): it is opened with ONNX Runtime on
    the CPU, and the graph that ONNX Runtime makes of it is read.
    """
    from bertc.calibrate.method import RangeMethod
    from bertc.jobs import inspect as inspection
    from bertc.jobs.engine_choice import EngineWish

    check_percentile(calibrator, percentile)
    method = RangeMethod(calibrator=calibrator or PERCENTILE, percentile=percentile)
    kind = inspection.kind_of_path(path)
    options: dict[str, dict[str, Any]] = {
        "checkpoint": {"--task": task},
        "table": {"--calibrator": calibrator, "--percentile": percentile},
        "artefact": {"--engine": engine, "--allow-failed": allow_failed},
    }
    for other in sorted(options.keys() - {kind} if Path(path).exists() else ()):
        refuse_given(options[other], f"{KINDS[other]}, and {path} is {KINDS[kind]}")
    readers: dict[str, Callable[[], Facts]] = {
        "checkpoint": lambda: inspection.facts_of_checkpoint(path, task=task),
        "table": lambda: inspection.facts_of_table(Path(path), method),
        "artefact": lambda: inspection.facts_of_artefact(
            Path(path), EngineWish(target=engine, allow_failed=allow_failed)
        ),
        "onnx": lambda: inspection.facts_of_onnx(Path(path)),
    }
    facts = readers[kind]()
    if output.json:
        output.print_json(facts)
    else:
        printers = {"checkpoint": _print_checkpoint, "table": _print_table, "artefact": _print_artefact}
        (printers | {"onnx": _print_onnx})[kind](output, facts)
    refused = facts.get("refused")
    if refused is None:
        return EXIT_PASSED
    output.fail(f"error: {refused['reason']}")
    return int(refused["exit_code"])


def _print_checkpoint(output: Output, facts: Facts) -> None:
    print_facts(
        output,
        [
            ("checkpoint", facts["path"]),
            ("digest", facts["digest"]),
            ("family", facts["family"]),
            ("layers", f"{facts['layers']} of width {facts['hidden']}, {facts['heads']} heads"),
            ("feed-forward", f"{facts['intermediate']}, {facts['activation']}"),
            ("vocabulary", f"{facts['vocabulary']} tokens"),
            ("length", f"at most {facts['max_length']} tokens ({facts['positions']} positions)"),
            ("parameters", f"{facts['parameters'] / 1e6:.1f} million"),
            ("ignored", f"{facts['ignored_bytes'] / 1e6:.1f} MB that are no part of the model"),
            *(("note", note) for note in facts["notes"]),
            *head_lines(facts["head"]),
            *exit_lines(facts["exits"]),
        ],
    )


def head_lines(head: Facts) -> list[tuple[str, str]]:
    """Describe a head in lines."""
    lines = [("task", str(head["task"]))]
    labels = head.get("labels", ())
    if labels:
        more = f", ... ({len(labels)} in all)" if len(labels) > SHOWN_LABELS else ""
        lines.append(("labels", ", ".join(labels[:SHOWN_LABELS]) + more))
    crf = head.get("crf")
    if crf is not None:
        lines.append(("CRF", f"over {crf['over']}" + ", constrained by the scheme of the tags" * crf["constrained"]))
    lstm = head.get("lstm")
    if lstm is not None:
        layers = " and ".join(" + ".join(map(str, widths)) for widths in lstm["widths"])
        lines.append(("LSTM", f"{layers} units, over {lstm['over']}"))
    lines += exit_lines(head.get("exits", ()))
    rest = {name: value for name, value in head.items() if name not in ("task", "labels", "crf", "lstm", "exits")}
    return lines + [(name.replace("_", " "), words_of_value(value)) for name, value in rest.items()]


def exit_lines(exits: Sequence[Facts]) -> list[tuple[str, str]]:
    """Say behind which layers, counted from 1, texts can leave, and what those classifiers read; nothing without."""
    if not exits:
        return []
    layers = ", ".join(str(each["layer"] + 1) for each in exits)
    read = " and ".join(dict.fromkeys(READS[each["pooling"]] for each in exits))
    return [("exits", f"behind layers {layers}, on {read}")]


def words_of_value(value: Any) -> str:
    """Write a value of a head without a program's signs: parts by their names, those that say nothing left out."""
    if isinstance(value, Mapping):
        said = (each for each in value.items() if each[1] not in (None, (), "") and each[1] is not False)  # 0 is
        told = {name.replace("_", " "): part for name, part in said}
        return ", ".join(name if part is True else f"{name} {words_of_value(part)}" for name, part in told.items())
    if isinstance(value, (list, tuple)):
        between = "; " if any(isinstance(each, Mapping) for each in value) else ", "
        return between.join(words_of_value(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_table(output: Output, facts: Facts) -> None:
    origin = [(name.replace("_", " "), str(value)) for name, value in facts["origin"].items()]
    lines = [("table", facts["path"]), ("checkpoint", facts["checkpoint"]), *origin]
    exponent = facts["exponent"]
    lines.append(("smoothing", "none" if exponent is None else f"exponent {exponent:g}"))
    print_facts(output, lines)
    output.say()
    rows = [
        (site["site"], _note(site), number(site["largest"]), number(site["amax"]), percent(site["error"]))
        for site in facts["sites"]
    ]
    print_table(output, ("site", "", "largest", f"{facts['calibrator']}", "error"), rows, numbers=3)
    for site in facts["sites"]:
        if "refused" in site:
            output.say(f"refused: {site['refused']}")


def _note(site: Facts) -> str:
    return "smoothed" if site["smoothed"] else "fixed by hand" if "fixed" in site else ""


def _print_artefact(output: Output, facts: Facts) -> None:
    from bertc.report.text import verdict_text

    checkpoint, quantization, accuracy = facts["checkpoint"], facts["quantization"], facts["accuracy"]
    lines = [
        ("artefact", f"{facts['path']}: all {len(facts['files'])} files are as they were built"),
        ("verdict", verdict_text(facts["passed"], unvalidated=facts["unvalidated"])),
        ("target", facts["target"]),
        *engines_lines(facts),
        ("mode", "none" if quantization["mode"] is None else f"INT8 mode {quantization['mode']}"),
        ("weights", quantization["weights"]),
        ("sites", f"{quantization['sites_int8']} in INT8, {len(quantization['sites_float'])} in float"),
        *engine_lines(facts["engine"], quantization),
        ("checkpoint", f"{checkpoint['name']}, {checkpoint['layers']} layers, digest {checkpoint['digest']}"),
        *head_lines(facts["head"]),
        ("length", f"at most {facts['max_length']} tokens"),
        ("built", f"{facts['created']} by bertc {facts['bertc']} on {facts['cpu']}"),
        ("runs here", "yes" if not facts["lacking_here"] else f"no: it needs {'; '.join(facts['lacking_here'])}"),
        ("size", f"{facts['engine']['bytes'] / 1e6:.1f} MB, with all files {facts['bytes'] / 1e6:.1f} MB"),
    ]
    if accuracy is not None:
        change = f"{accuracy['reference']:.4f} (float) -> {accuracy['engine']:.4f}, {accuracy['samples']} rows"
        lines.insert(2, ("metric", f"{accuracy['metric']} {change}"))
    print_facts(output, lines)
    output.say()
    print_table(output, ("file", "bytes"), [(name, str(size)) for name, size in facts["files"].items()], numbers=1)
    if facts["sites"]:
        output.say()
        rows = [
            (site["site"], number(site["amax"]), percent(site["error"]), number(site["sensitivity"]))
            for site in facts["sites"]
        ]
        print_table(output, ("site", "amax", "error", "effect on outputs"), rows, numbers=3)
        output.say()
        print_facts(output, [("worst sites", ", ".join(facts["worst_sites"]) or "not measured")])
    print_facts(output, [("warning", text) for text in facts["warnings"]])


def engines_lines(facts: Facts) -> list[tuple[str, str]]:
    """Say which of several engines is described, why, and what was found of each."""
    from bertc.report.text import verdict_text

    if not facts["engines"]:
        return []
    verdicts = (
        f"{each['target']} {verdict_text(each['passed'], unvalidated=each['unvalidated'])}" for each in facts["engines"]
    )
    return [("engines", ", ".join(verdicts)), ("described", facts["choice"])]


def engine_lines(engine: Facts, quantization: Facts) -> list[tuple[str, str]]:
    """Say what runs: the runtime, what it calls by kind, and what of it is in float, and why."""
    lines = [("engine", engine["runtime"])] if engine["runtime"] else []
    calls = ", ".join(f"{count} {kind}" for kind, count in engine["operators"].items())
    if calls:
        lines.append(("calls", calls))
    for what, listed in (("site", quantization["sites_float"]), ("gemm", engine["float_gemms"] or ())):
        reasons: dict[str, list[str]] = {}
        for each in listed:
            name = f"{each[what]} (BF16)" if each.get("precision") == "bf16" else each[what]
            reasons.setdefault(each["reason"], []).append(name)
        lines += [(f"float {what}s", f"{', '.join(names)}: {reason}") for reason, names in reasons.items()]
    return lines


def _print_onnx(output: Output, facts: Facts) -> None:
    verdicts, count = facts["verdicts"], facts["count"]
    print_facts(
        output,
        [
            ("file", f"{facts['path']}: opset {facts['opset']}, by {facts['producer'] or 'a tool that does not say'}"),
            ("read with", f"onnxruntime {facts['onnxruntime']} on {facts['cpu']}"),
            *(
                ("products", f"{verdicts[name]} of {count} {words}")
                for name, words in OUTCOMES.items()
                if verdicts[name] or name == "int8"
            ),
            *([("warning", SATURATES)] if facts["saturates"] else []),
        ],
    )
    groups: dict[tuple[str, str], list[Facts]] = {}
    for product in facts["products"]:
        if product["reason"]:
            groups.setdefault((product["verdict"], product["reason"]), []).append(product)
    for (verdict, reason), products in groups.items():
        number_of = sum(product["count"] for product in products)
        names = ", ".join(product["name"] for product in products[:SHOWN_NAMES])
        more = "" if len(products) <= SHOWN_NAMES else f", and {len(products) - SHOWN_NAMES} more"
        runs_as = ", ".join(sorted({product["runs_as"] for product in products}))
        output.say()
        output.say(f"{number_of} of {count} products {OUTCOMES[verdict]}, because")
        print_facts(output, [("  reason", reason), ("  runs as", runs_as or "-"), ("  which", names + more)])


def number(value: float | None) -> str:
    """Write a number with four digits; a dash for none."""
    return "-" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """Write a fraction as per cent; a dash for none."""
    return "-" if value is None else f"{value:.2%}"
