"""Put two artefacts or two tables side by side."""

from __future__ import annotations

from typing import Any

import click

from bertc.cli.command import Command, FiniteRange, option
from bertc.cli.engine_option import engine_option
from bertc.cli.misplaced_flags import PERCENTILE, check_percentile, refuse_given
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.cli.tables import print_facts, print_table
from bertc.core.number_text import figure
from bertc.core.plugins import CALIBRATORS
from bertc.errors import EXIT_PASSED

Facts = dict[str, Any]


@click.command("compare", cls=Command)
@click.argument("first", type=Reads(str))
@click.argument("second", type=Reads(str))
@option(
    "--calibrator",
    type=click.Choice(CALIBRATORS.names()),
    metavar="NAME",
    help=f"Of tables: {', '.join(CALIBRATORS.names())}. Default: percentile.",
)
@option(
    "--percentile",
    type=FiniteRange(50, 100, min_open=True),
    metavar="N",
    help="Of tables: the percentile. Default: 99.99, and the maximum on the residual stream.",
)
@option("--sites", type=click.IntRange(min=0), metavar="N", default=10, help="Sites to show. Default: 10.")
@engine_option()
def command(
    output: Output,
    first: str,
    second: str,
    calibrator: str | None,
    percentile: float | None,
    sites: int,
    engine: str | None,
    allow_failed: bool,
) -> int:
    """Compare FIRST with SECOND: two artefacts' metrics, sizes, latency and decisions, or two tables' ranges.

    Rows that both artefacts were validated on are paired, and the drop from FIRST's engine to SECOND's has its own
    interval. The sites whose ranges differ most come first.
    """
    from bertc.calibrate.method import RangeMethod
    from bertc.jobs.compare import compare_paths
    from bertc.jobs.engine_choice import EngineWish

    check_percentile(calibrator, percentile)
    method = RangeMethod(calibrator=calibrator or PERCENTILE, percentile=percentile)
    facts = compare_paths(first, second, method, EngineWish(target=engine, allow_failed=allow_failed))
    if facts["kind"] == "artefacts":
        refuse_given({"--calibrator": calibrator, "--percentile": percentile}, "tables, and these are artefacts")
    else:
        refuse_given({"--engine": engine, "--allow-failed": allow_failed}, "artefacts, and these are tables")
    if output.json:
        output.print_json(facts)
        return EXIT_PASSED
    if facts["kind"] == "artefacts":
        _print_artefacts(output, facts)
    else:
        pairs = [(name, _both(facts[name])) for name in ("data", "rows")]
        print_facts(output, pairs)
    _print_sites(output, facts, sites)
    for text in facts["notes"]:
        output.say(f"note: {text}")
    return EXIT_PASSED


def _both(values: list[Any]) -> str:
    return f"{values[0]} | {values[1]}"


def _print_artefacts(output: Output, facts: Facts) -> None:
    from bertc.report.text import interval_text

    rows = [
        ("target", *facts["targets"]),
        ("verdict", *map(_verdict, facts["passed"], facts["unvalidated"])),
        ("size", *(f"{size / 1e6:.1f} MB" for size in facts["engine_bytes"])),
        ("all files", *(f"{size / 1e6:.1f} MB" for size in facts["bytes"])),
    ]
    rows.append(("rows", *("-" if count is None else str(count) for count in facts["rows"])))
    rows += [(metric["metric"], *map(_figure, metric["engine"])) for metric in facts["metrics"]]
    for shape in facts["latency"]:
        times = (f"{time:.2f} ms" for time in shape["milliseconds"])
        rows.append((f"{shape['batch']}x{shape['length']}", *times))
    print_table(output, ("", "first", "second"), rows, numbers=2)
    paired = facts["paired"]
    if paired is None:
        return
    main = paired["metrics"][0]
    output.say(f"{paired['rows']} rows paired, {len(paired['flipped'])} decided otherwise by the second")
    output.say(f"{main['metric']}: drop {figure(main['drop'], sign=True)}{interval_text(main['drop_ci95'])}")


def _verdict(passed: bool, unvalidated: bool) -> str:
    return "unvalidated" if unvalidated else "passed" if passed else "not passed"


def _figure(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _print_sites(output: Output, facts: Facts, count: int) -> None:
    rows = [
        (site["site"], *(f"{value:.4g}" for value in site["amax"]), f"{site['ratio']:.3f}")
        for site in [site for site in facts["sites"] if site["ratio"] is not None][:count]
    ]
    if rows:
        output.say()
        print_table(output, ("site", "first's range", "second's range", "ratio"), rows, numbers=3)
