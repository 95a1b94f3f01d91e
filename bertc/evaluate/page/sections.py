"""The sections of report.html below the verdict: cost, errors, ranges, what ran in INT8, data, provenance."""

from __future__ import annotations

from collections import Counter

from bertc.evaluate.page.charts import bars, histogram_chart
from bertc.evaluate.page.heat import heat_map, quiet_roles
from bertc.evaluate.page.markup import (
    Markup,
    digest,
    duration,
    join,
    moment,
    plain_name,
    section,
    significant,
    size,
    table,
    tag,
)
from bertc.evaluate.report import DataSource, Report, SitePart


def warnings_section(report: Report) -> Markup | None:
    """List the warnings, or nothing."""
    if not report.warnings:
        return None
    items = tag("ul", *(tag("li", warning) for warning in report.warnings))
    return tag("section", tag("h2", "Warnings", id="warnings"), items, class_="warnings", aria_labelledby="warnings")


def cost_section(report: Report) -> Markup:
    """Show size and latency beside float."""
    return section("Size and speed", _sizes(report), _latencies(report), identity="cost")


def _sizes(report: Report) -> Markup:
    engine = report.engine
    full = max(engine.reference_bytes or 0, engine.bytes, engine.onnx_bytes, 1)
    lines = [("float", engine.reference_bytes, "float"), ("engine", engine.bytes, "engine")]
    if engine.onnx_bytes not in (0, engine.bytes):
        lines.append(("model.onnx", engine.onnx_bytes, "engine"))
    rows = [
        (name, bars([(count / full, kind)], title=f"{name}: {size(count)}"), size(count))
        for name, count, kind in lines
        if count is not None
    ]
    return table(("", "", "size"), rows, caption="Size on disk", numbers=(2,))


def _latencies(report: Report) -> Markup | None:
    if not report.latency:
        return None
    names = sorted({name for row in report.latency for name in row.others})
    rows = []
    for row in report.latency:
        reference = row.reference_milliseconds
        others = [row.others.get(name) for name in names]
        lengths = [(reference, "float"), (row.milliseconds, "engine"), *((other, "other") for other in others if other)]
        slowest = max(length for length, _ in lengths) or 1.0
        drawing = bars([(length / slowest, kind) for length, kind in lengths], title="times relative to the slowest")
        rows.append(
            (
                f"{row.batch} \N{MULTIPLICATION SIGN} {row.length}",
                drawing,
                significant(reference),
                significant(row.milliseconds),
                f"{reference / row.milliseconds:.2f}\N{MULTIPLICATION SIGN}" if row.milliseconds else "\N{EN DASH}",
                *("\N{EN DASH}" if other is None else significant(other) for other in others),
            )
        )
    head = ("batch \N{MULTIPLICATION SIGN} tokens", "", "float", "engine", "float / engine", *names)
    kinds = (("float", "float"), ("engine", "engine"), *((name, "other") for name in names))
    key = tag("p", *(tag("span", name, class_=f"key {kind}") for name, kind in kinds), class_="keys")
    caption = "Milliseconds per batch; the bars in this order"
    return join([table(head, rows, caption=caption, numbers=range(2, len(head))), key])


def errors_section(report: Report) -> Markup | None:
    """Draw the error per layer and role, and the ranges of the worst sites."""
    heat = heat_map(report.sites)
    shown = [site for site in report.sites if site.histogram is not None]
    if heat is None and not shown:
        return None
    quiet = quiet_roles(report.sites)
    note = tag("p", "Float by the scheme: " + ", ".join(quiet) + ".", class_="lead") if heat and quiet else None
    order = {name: index for index, name in enumerate(report.worst_sites)}
    shown.sort(key=lambda site: (order.get(site.site, len(order)), -(site.error or 0.0)))
    figures = tag("div", *(_range_figure(site) for site in shown), class_="ranges") if shown else None
    ranges = tag("h3", "Ranges of the worst sites") if shown else None
    lead = "Where the engine's values differ from float's, by role (downwards, in the order of the data) and layer."
    return section("Error by layer and role", heat, note, ranges, figures, identity="errors", note=lead)


def _range_figure(site: SitePart) -> Markup:
    assert site.histogram is not None
    facts = [
        f"error {significant(100 * site.error, 2)} %" if site.error is not None else None,
        f"step {significant(site.scale)}" if site.scale is not None else None,
        f"zero point {site.zero_point}" if site.zero_point else None,
        f"alone it moves the scores by {significant(site.sensitivity, 2)} (mse)"
        if site.sensitivity is not None
        else None,
    ]
    caption = tag("figcaption", tag("strong", site.site), tag("span", " \N{MIDDLE DOT} ".join(filter(None, facts))))
    title = f"Magnitudes at {site.site} during calibration, counts on a logarithmic scale"
    return tag("figure", caption, histogram_chart(site.histogram, amax=site.amax, title=title))


def lowering_section(report: Report) -> Markup:
    """Say what ran in INT8, what was fused and what stayed in float."""
    part = report.quantization
    facts: list[tuple[str, str]] = [
        ("sites in INT8", str(part.sites_int8)),
        ("sites in float", str(len(part.sites_float))),
    ]
    if part.gemms_int8 is not None:
        facts.append(("matrix products in INT8", str(part.gemms_int8)))
    if part.gemms_float is not None:
        facts.append(("matrix products in float", str(part.gemms_float)))
    if part.roles:
        facts.append(("INT8 per role", ", ".join(f"{role} {count}" for role, count in part.roles.items())))
    if part.embeddings:
        facts.append(("embedding tables", part.embeddings))
    content = tag("div", _facts(facts), _fused(report), class_="columns")
    lead = "Counted in the graph that the engine itself runs."
    return section("What runs in INT8", content, _float_sites(report), identity="lowering", note=lead)


def sparsity_section(report: Report) -> Markup | None:
    """Say which GEMMs are sparse, what that cost each, and whether the target gains from it."""
    part = report.sparsity
    if part is None:
        return None
    source = "as in the checkpoint" if part.criterion == "checkpoint" else f"by {part.criterion}"
    facts: list[tuple[str, str]] = [
        ("sparsity", f"{part.pattern} {source}" + (", channels permuted" if part.permuted else "")),
        ("tensors", f"{part.tensors}, " + ("verified in the file" if part.verified else "NOT verified in the file")),
        ("use", f"none on {report.engine.target}: {part.unused}" if part.unused else "the target skips the zeros"),
    ]
    dash = "\N{EN DASH}"
    rows = [
        (
            gemm.site,
            gemm.state,
            dash if gemm.kept_energy is None else significant(gemm.kept_energy),
            dash if gemm.output_error is None else significant(gemm.output_error),
            gemm.reason,
        )
        for gemm in part.gemms
    ]
    head = ("GEMM", "", "energy kept", "output error", "reason")
    lines = table(head, rows, caption="Share of the squared weights kept, and relative square error", numbers=(2, 3))
    return section("Sparsity", _facts(facts), lines if rows else None, identity="sparsity")


def _fused(report: Report) -> Markup | None:
    part = report.quantization
    names = [*part.fused, *(name for name in part.fused_expected if name not in part.fused)]
    if not names:
        return None
    rows = []
    for name in names:
        count, expected = part.fused.get(name, 0), part.fused_expected.get(name)
        short = expected is not None and count < expected
        rows.append(
            (plain_name(name), f"{count}", "" if expected is None else f"{expected}", "missing" if short else "")
        )
    return table(("fused", "found", "implied", ""), rows, caption="Fused nodes", numbers=(1, 2))


def _float_sites(report: Report) -> Markup | None:
    """Group the sites that stayed in float by reason: a whole role is one line, not twelve."""
    if not report.quantization.sites_float:
        return None
    by_reason: dict[str, list[str]] = {}
    for site in report.quantization.sites_float:
        by_reason.setdefault(site.reason, []).append(site.site)
    rows = [(_abbreviated(sites), str(len(sites)), reason) for reason, sites in by_reason.items()]
    caption = "Sites that the scheme asks for and the engine runs in float"
    return table(("sites", "count", "reason"), rows, caption=caption, numbers=(1,))


def _abbreviated(sites: list[str]) -> Markup:
    """Write `role, 6 layers` for the sites of one role, each by name in the title."""
    roles = Counter(site.rpartition(".")[2] for site in sites)
    text = ", ".join(role if count == 1 else f"{role} ({count} layers)" for role, count in roles.items())
    return tag("span", sites[0] if len(sites) == 1 else text, title=", ".join(sites))


def data_section(report: Report) -> Markup:
    """Say which texts calibrated and validated, what they share and what was cut."""
    data = report.data
    named = (("calibration", data.calibration), ("validation", data.validation))
    rows = [_source_row(name, source) for name, source in named if source is not None]
    sources = (
        table(("", "file", "rows", "digest"), rows, caption="Data", numbers=(2,), hide_caption=True) if rows else None
    )
    notes = []
    if data.validation is not None:
        notes += [_overlap_note(data.overlap, data.validation), _truncation_note(data.truncated, data.validation)]
    return section("Data", sources, *(tag("p", note) for note in notes), identity="data")


def _source_row(name: str, source: DataSource) -> tuple[str, ...]:
    return name, source.path, f"{source.rows:,}", digest(source.digest)


def _overlap_note(overlap: int, validation: DataSource) -> str:
    if not overlap:
        return "No validation row was used for calibration."
    return (
        f"{overlap:,} of {validation.rows:,} validation rows were also used for calibration; the accuracy may flatter."
    )


def _truncation_note(truncated: int, validation: DataSource) -> str:
    if not truncated:
        return "No validation row was cut to the model's length."
    return f"{truncated:,} of {validation.rows:,} validation rows were cut to the model's length."


def stages_section(report: Report) -> Markup | None:
    """Show how long each stage took."""
    if not report.stages:
        return None
    longest = max(stage.seconds for stage in report.stages) or 1.0
    total = sum(stage.seconds for stage in report.stages)
    rows = [
        (
            stage.name,
            bars([(stage.seconds / longest, "other" if stage.cached else "engine")], title=duration(stage.seconds)),
            duration(stage.seconds),
            "from the cache" if stage.cached else "",
            "\N{EN DASH}" if stage.peak_rss_mib is None else f"{stage.peak_rss_mib:,.0f} MiB",
        )
        for stage in report.stages
    ]
    head = ("stage", "", "time", "", "peak memory")
    return section("Stages", table(head, rows, caption=f"{duration(total)} in all", numbers=(2, 4)), identity="stages")


def provenance_section(report: Report) -> Markup:
    """Say what was compiled, with what, where, and how to do it again."""
    checkpoint, part, place = report.checkpoint, report.quantization, report.environment
    shape = f"{checkpoint.layers} layers, hidden {checkpoint.hidden}, {checkpoint.heads} heads"
    facts: list[tuple[str, str]] = [
        ("checkpoint", join([checkpoint.name + " " if checkpoint.name else None, digest(checkpoint.digest)])),
        ("model", f"{checkpoint.family}, {shape}, {checkpoint.parameters / 1e6:.1f} M parameters"),
        ("task", checkpoint.task),
        ("scheme", _scheme(report)),
        ("calibrator", part.calibrator or ""),
        ("target", report.engine.target + (f" ({report.engine.note})" if report.engine.note else "")),
        ("engine uses", ", ".join(report.engine.features)),
        ("processor", f"{place.cpu}, {place.threads} threads" + (f", {place.system}" if place.system else "")),
        ("features", ", ".join(place.features)),
        ("versions", ", ".join(f"{name} {version}" for name, version in place.versions.items())),
        ("made", f"{moment(report.created)} by bertc {report.bertc}"),
        ("per-row outputs", report.rows or ""),
        ("command", tag("code", report.command, class_="command")),
    ]
    return section("Where this comes from", _facts([fact for fact in facts if fact[1]]), identity="provenance")


def _scheme(report: Report) -> str:
    part = report.quantization
    words = [f"INT8 mode {part.mode}" if part.mode is not None else "no mode", f"weights {part.weights}"]
    words += [f"granularity {part.granularity}"] if part.granularity else []
    words += [f"smoothing {part.smoothing:g}"] if part.smoothing is not None else []
    words += [f"weights rounded by {part.rounding}"] if part.rounding not in (None, "nearest") else []
    words += [f"outlier channels split into {part.added_channels} more"] if part.added_channels else []
    return ", ".join(words)


def _facts(facts: list[tuple[str, str]]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")
