"""The result as Markdown tables and as a plot."""

from __future__ import annotations

import html
from collections.abc import Mapping
from statistics import median
from typing import Any

from figures import compared, fastest, geometric_mean, spread, table
from roofline import roofline_table

Document = Mapping[str, Any]
BASE = "NNCF INT8"
BEST_OF = {
    "NNCF INT8": ("NNCF INT8", "NNCF INT8, FP32 hint", "NNCF INT8, BF16 hint"),
    "any NNCF INT8": ("NNCF INT8",),
    "ORT dynamic INT8": ("ORT dynamic INT8",),
    "llama.cpp": ("llama.cpp",),
    "bertc": ("bertc",),
    "bertc native": ("bertc native",),
    "bertc native 1": ("bertc native 1",),
    "bertc native 2": ("bertc native 2",),
    "bertc openvino": ("bertc openvino ",),
    "bertc ort-cpu": ("bertc ort-cpu",),
    "other targets": ("bertc openvino", "bertc ort-cpu"),
}
"""Beginnings of names; the first is the peer of the project's bar: its documented model at the best of three hints."""

EXACT = ("NNCF INT8",)
LATENCY_PAIRS = (
    ("bertc", "NNCF INT8"),
    ("bertc", "any NNCF INT8"),
    ("bertc openvino", "NNCF INT8"),
    ("bertc native", "bertc openvino"),
    ("bertc native", "llama.cpp"),
    ("bertc native 2", "bertc native 1"),
    ("bertc ort-cpu", "ORT dynamic INT8"),
)
"""Groups: the steadiest of the first is compared with the fastest of the second at each shape."""

RATIO_BASES = ("NNCF INT8", "bertc openvino")
COLOURS = {
    "bertc": "#b5402a",
    "openvino": "#2a6fb5",
    "onnxruntime": "#7a7a7a",
    "torch": "#8a6fb0",
    "torchao": "#8a6fb0",
    "llama.cpp": "#3f8f5b",
}


def members(document: Document, group: str) -> list[str]:
    """Return the engines of a group."""
    names = [engine["name"] for engine in document.get("engines", ())]
    if group in EXACT:
        return [name for name in names if name in BEST_OF[group]]
    return [name for name in names if name.startswith(BEST_OF[group])]


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
    for ours, theirs in LATENCY_PAIRS:
        name = steadiest(document, ours)
        found, cells = [], []
        for shape, figures in shapes.items():
            peer = fastest(figures, members(document, theirs))
            if name is None or peer is None or name == peer:
                continue
            ratio, text = compared(figures[name], figures[peer])
            found.append(ratio)
            cells.append(f"{shape} {text} over {peer}")
        if found:
            mean = f"geometric mean {geometric_mean(found):.3f}, least {min(found):.2f}"
            lines.append(f"- Latency, **{name}** over the best of {theirs} at each shape: {mean} ({'; '.join(cells)}).")
    return lines


def throughput_headlines(document: Document) -> list[str]:
    """Compare our fastest engine as texts arrive with the peer in every order, and with our other targets."""
    lines = []
    found = {(row["text"], row["batch"], row["order"]): row["seconds"] for row in document.get("throughput", ())}
    for (text, batch, order), figures in found.items():
        ours = fastest(figures, members(document, "bertc"))
        if order != "arrival" or ours is None:
            continue
        compare_with = [("any NNCF INT8", "arrival"), ("any NNCF INT8", "sorted"), ("other targets", "arrival")]
        cells = []
        for theirs, their_order in compare_with:
            peers = found.get((text, batch, their_order), {})
            peer = fastest(peers, members(document, theirs))
            if peer is not None and peer != ours:
                cells.append(f"{compared(figures[ours], peers[peer])[1]} over {peer} ({their_order})")
        if cells:
            lines.append(f"- Throughput, {text}, batch {batch}: **{ours}** as texts arrive: {'; '.join(cells)}.")
    return lines


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
    """Write milliseconds with the spread."""
    shapes = document.get("latency", {})
    if not shapes:
        return []
    rows = []
    for engine in document["engines"]:
        name = engine["name"]
        cells = [
            f"{median(figures[name]):.2f} ±{spread(figures[name]):.0%}" if name in figures else ""
            for figures in shapes.values()
        ]
        if any(cells):
            rows.append([name, *cells])
    head = ["engine", *(f"{shape.replace('x', ' x ')}" for shape in shapes)]
    lead = f"Milliseconds per batch, median of {document.get('rounds')} rounds, ± half the range of the quartiles."
    return ["## Latency, batch x length", "", lead, "", *table(head, rows)]


def ratios_table(document: Document, theirs: str) -> list[str]:
    """Write how many times as fast every engine is as the fastest of a group at each shape."""
    shapes = document.get("latency", {})
    bases = {shape: fastest(figures, members(document, theirs)) for shape, figures in shapes.items()}
    if not shapes or None in bases.values():
        return []
    rows = []
    for engine in document["engines"]:
        name = engine["name"]
        found = {
            shape: compared(figures[name], figures[str(bases[shape])])
            for shape, figures in shapes.items()
            if name in figures
        }
        if found:
            cells = [found[shape][1] if shape in found else "" for shape in shapes]
            rows.append([name, *cells, f"{geometric_mean([ratio for ratio, _ in found.values()]):.2f}x"])
    head = ["engine", *(f"{shape.replace('x', ' x ')}" for shape in shapes), "geometric mean"]
    lead = "How many times as fast: the median of the ratios within a round, and their quartiles. The fastest of "
    lead += f"{theirs} is {'; '.join(f'{base} at {shape}' for shape, base in bases.items())}."
    return [f"## Latency as a ratio to the fastest of {theirs}", "", lead, "", *table(head, rows)]


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
    lead = "Texts per second; text, batch, order. bertc gets each batch's texts as a list (arrival), or all (sorted). "
    lead += "Both orders of a text are timed in the same rounds."
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
    lines += [*engines_table(document), *latency_table(document)]
    lines += [line for theirs in RATIO_BASES for line in ratios_table(document, theirs)]
    lines += [*roofline_table(document), *throughput_table(document)]
    if document.get("failed"):
        lines += ["## Without figures", "", *(f"- {name}: {why}" for name, why in document["failed"].items()), ""]
    return "\n".join(lines)


def plot(document: Document) -> str:
    """Draw each engine's speed over all shapes, relative to the best NNCF INT8 of each, as bars."""
    bases = {
        shape: (figures, fastest(figures, members(document, BASE)))
        for shape, figures in document.get("latency", {}).items()
    }
    shapes = [(figures, base) for figures, base in bases.values() if base is not None]
    bars = []
    for engine in document["engines"]:
        name = engine["name"]
        ratios = [compared(figures[name], figures[base])[0] for figures, base in shapes if name in figures]
        if ratios:
            bars.append((name, engine["tool"], geometric_mean(ratios)))
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
    title = f"Speed relative to the best of {BASE}, geometric mean over {len(shapes)} shapes: {document['checkpoint']}"
    height = 50 + len(bars) * step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" font-family="sans-serif" '
        'font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="22" font-weight="bold">{html.escape(title)}</text>'
        f"{''.join(drawn)}</svg>\n"
    )
