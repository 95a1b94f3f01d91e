"""The result as Markdown tables and as a plot."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Document = Mapping[str, Any]
BASE = "NNCF INT8"
BEST_OF = {
    "NNCF INT8": ("NNCF INT8", "NNCF INT8, FP32 hint", "NNCF INT8, BF16 hint"),
    "any NNCF INT8": ("NNCF INT8",),
    "ORT dynamic INT8": ("ORT dynamic INT8",),
    "bertc": ("bertc",),
    "bertc ort-cpu": ("bertc ort-cpu",),
}
"""Beginnings of names; the first is the peer of the project's bar: its documented model at the best of three hints."""

EXACT = ("NNCF INT8",)
COLOURS = {
    "bertc": "#b5402a",
    "openvino": "#2a6fb5",
    "onnxruntime": "#7a7a7a",
    "torch": "#8a6fb0",
    "torchao": "#8a6fb0",
}


def members(document: Document, group: str) -> list[str]:
    """Return the engines of a group."""
    names = [engine["name"] for engine in document.get("engines", ())]
    if group in EXACT:
        return [name for name in names if name in BEST_OF[group]]
    return [name for name in names if name.startswith(BEST_OF[group])]


def geometric_mean(values: Sequence[float]) -> float:
    """Return it; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def spread(values: Sequence[float]) -> float:
    """Return half the range of the middle half, as a part of the median."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return (ordered[-1 - quarter] - ordered[quarter]) / 2 / median(ordered)


def fastest(figures: Mapping[str, Sequence[float]], names: Sequence[str]) -> str | None:
    """Return the engine with the least median."""
    present = [name for name in names if figures.get(name)]
    return min(present, key=lambda name: median(figures[name])) if present else None


def compared(figures: Mapping[str, Sequence[float]], ours: str, theirs: str) -> tuple[float, str]:
    """Return how many times as fast `ours` is: the median over rounds of the ratio within a round, and its range."""
    ratios = [b / a for a, b in zip(figures[ours], figures[theirs], strict=True)]
    return median(ratios), f"{median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]"


def steadiest(document: Document, group: str) -> str | None:
    """Return the one engine of a group with the best geometric mean over all shapes."""
    shapes = document.get("latency", {}).values()
    names = [name for name in members(document, group) if all(shape.get(name) for shape in shapes)]
    times = {name: geometric_mean([median(shape[name]) for shape in shapes]) for name in names}
    return min(times, key=lambda name: times[name]) if times else None


def latency_headlines(document: Document) -> list[str]:
    """Compare one engine of ours at all shapes with the peer's best at each shape."""
    lines = []
    shapes = document.get("latency", {})
    for ours, theirs in (("bertc", "NNCF INT8"), ("bertc", "any NNCF INT8"), ("bertc ort-cpu", "ORT dynamic INT8")):
        name = steadiest(document, ours)
        found, cells = [], []
        for shape, figures in shapes.items():
            peer = fastest(figures, members(document, theirs))
            if name is None or peer is None:
                continue
            ratio, text = compared(figures, name, peer)
            found.append(ratio)
            cells.append(f"{shape} {text} over {peer}")
        if found:
            mean = f"geometric mean {geometric_mean(found):.3f}, least {min(found):.2f}"
            lines.append(f"- Latency, **{name}** over the best of {theirs} at each shape: {mean} ({'; '.join(cells)}).")
    return lines


def throughput_headlines(document: Document) -> list[str]:
    """Compare our best engine in order of arrival with the peer padded so, and with the peer sorted."""
    lines = []
    found = {(row["text"], row["batch"], row["order"]): row["seconds"] for row in document.get("throughput", ())}
    for (text, batch, order), figures in found.items():
        if order != "arrival":
            continue
        ours = fastest(figures, members(document, "bertc"))
        for theirs in ("arrival", "sorted"):
            peers = found.get((text, batch, theirs), {})
            peer = fastest(peers, members(document, "any NNCF INT8"))
            if ours is None or peer is None:
                continue
            what = f"**{ours}** as texts arrive, over {peer} ({theirs})"
            if theirs == "arrival":
                said = compared(figures, ours, peer)[1]
            else:
                own_sorted = fastest(peers, members(document, "bertc"))
                said = f"{median(peers[peer]) / median(figures[ours]):.2f}x"
                said += (
                    f"; all texts at once, **{own_sorted}**: {compared(peers, own_sorted, peer)[1]}"
                    if own_sorted
                    else ""
                )
            lines.append(f"- Throughput, {text}, batch {batch}: {what}: {said}.")
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in rows), ""]


def engines_table(document: Document) -> list[str]:
    """Write what each engine is, its accuracy, size, build and memory."""
    accuracy, build, memory = (document.get(name, {}) for name in ("accuracy", "build", "memory"))
    metric = next((score["metric"] for score in accuracy.values()), "accuracy")
    rows = []
    for engine in document["engines"]:
        name = engine["name"]
        score, made, held = accuracy.get(name), build.get(name), memory.get(name)
        agreement = "" if not score or score["agreement"] is None else f"{score['agreement']:.4f}"
        size = f"{made['bytes'] / 1e6:.1f}" if made and made["bytes"] else ""
        seconds = f"{made['seconds']:.1f}" if made and made["bytes"] else ""
        peaks = [f"{made['peak_mib']:.0f}" if made and made["bytes"] else "", f"{held['peak_mib']:.0f}" if held else ""]
        rows.append(
            [
                name,
                engine["how"],
                engine["note"],
                f"{score['engine']:.4f}" if score else "",
                agreement,
                size,
                seconds,
                *peaks,
            ]
        )
    head = ("engine", "how", "what", metric, "agreement", "MB", "build s", "build MiB", "run MiB")
    return ["## Engines", "", *table(head, rows)]


def latency_table(document: Document) -> list[str]:
    """Write milliseconds with the spread, and the ratio to the base."""
    shapes = document.get("latency", {})
    if not shapes:
        return []
    rows = []
    for engine in document["engines"]:
        name = engine["name"]
        cells, ratios = [], []
        for figures in shapes.values():
            if name not in figures:
                cells.append("")
                continue
            cells.append(f"{median(figures[name]):.2f} ±{spread(figures[name]):.0%}")
            if BASE in figures:
                ratios.append(compared(figures, name, BASE)[0])
                cells[-1] += f" ({ratios[-1]:.2f}x)"
        if any(cells):
            rows.append([name, *cells, f"{geometric_mean(ratios):.2f}x" if ratios else ""])
    head = ["engine", *(f"{shape.replace('x', ' x ')}" for shape in shapes), "geometric mean"]
    lead = f"Milliseconds per batch, median of {document.get('rounds')} rounds, ± half the middle half of them; in "
    lead += f"brackets how many times as fast as {BASE} (median of the ratios within a round)."
    return ["## Latency, batch x length", "", lead, "", *table(head, rows)]


def throughput_table(document: Document) -> list[str]:
    """Write texts per second."""
    parts = document.get("throughput", ())
    if not parts:
        return []
    rows = []
    for engine in document["engines"]:
        name = engine["name"]
        cells = []
        for part in parts:
            figures = part["seconds"]
            cells.append(
                f"{part['texts'] / median(figures[name]):.0f} ±{spread(figures[name]):.0%}" if name in figures else ""
            )
        if any(cells):
            rows.append([name, *cells])
    head = ["engine", *(f"{part['text']}, {part['batch']}, {part['order']}" for part in parts)]
    said = [
        f"{part['text']} {part['texts']:,} texts, {part['tokens']:,} tokens "
        f"({part['padded']:,} padded, batch {part['batch']}, {part['order']})"
        for part in parts
    ]
    lead = "Texts per second; text, batch, order. bertc gets each batch's texts as a list (arrival), or all (sorted)."
    return ["## Throughput", "", lead, f"{'; '.join(said)}.", "", *table(head, rows)]


def markdown(document: Document) -> str:
    """Write everything."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    lines = [
        f"# bertc beside its peers: {document['checkpoint']}",
        "",
        f"{document['cpu']}, {document['threads']} threads, {document['system']}. {versions}. {document['date']}, "
        f"commit {document['commit'][:12]}.",
        "",
        f"    {document['command']}",
        "",
    ]
    headlines = [*latency_headlines(document), *throughput_headlines(document)]
    lines += ["## Headlines", "", *headlines, ""] if headlines else []
    lines += [*engines_table(document), *latency_table(document), *throughput_table(document)]
    if document.get("failed"):
        lines += ["## Without figures", "", *(f"- {name}: {why}" for name, why in document["failed"].items()), ""]
    return "\n".join(lines)


def plot(document: Document) -> str:
    """Draw each engine's speed over all shapes, relative to the base, as bars."""
    shapes = [figures for figures in document.get("latency", {}).values() if BASE in figures]
    bars = []
    for engine in document["engines"]:
        ratios = [compared(figures, engine["name"], BASE)[0] for figures in shapes if engine["name"] in figures]
        if ratios:
            bars.append((engine["name"], engine["tool"], geometric_mean(ratios)))
    bars.sort(key=lambda bar: bar[2])
    widest = max((value for _, _, value in bars), default=1.0)
    left, width, step = 230, 420, 24
    drawn = []
    for row, (name, tool, value) in enumerate(bars):
        y = 40 + row * step
        long = width * value / widest
        drawn.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(name)}</text>')
        drawn.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="16" fill="{COLOURS.get(tool, "#7a7a7a")}"/>')
        drawn.append(f'<text x="{left + long + 6:.1f}" y="{y + 13}">{value:.2f}</text>')
    title = f"Speed relative to {BASE}, geometric mean over {len(shapes)} shapes: {document['checkpoint']}"
    height = 50 + len(bars) * step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" font-family="sans-serif" '
        'font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="22" font-weight="bold">{html.escape(title)}</text>'
        f"{''.join(drawn)}</svg>\n"
    )
