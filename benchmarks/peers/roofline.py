"""Products per second of every engine beside what the cores reach at most, as a table and as a picture."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from figures import fastest, quartiles, table
from yardsticks import PRODUCTS

Document = Mapping[str, Any]
SHOWN = {
    "bertc native 1": "#b5402a",
    "bertc native 2 channel": "#d98a5f",
    "bertc openvino 1": "#8f6a1f",
    "bertc ort-cpu 1": "#c9a94f",
    "NNCF INT8": "#2a6fb5",
    "OpenVINO BF16": "#8db4dc",
    "ORT dynamic INT8": "#7a7a7a",
    "llama.cpp Q8_0": "#3f8f5b",
}
"""Engines of the picture; of those whose names begin so, the fastest at the shape."""


def products(dimensions: Mapping[str, Any], shape: str, *, first_tokens: bool = False) -> int:
    """Return how many products a model has at a shape: its linear layers and the two of attention.

    With `first_tokens` the last layer gives nothing but the first token of every text, as bertc's classifiers do.
    """
    batch, length = map(int, shape.split("x"))
    hidden, layers, intermediate = (dimensions[name] for name in ("hidden", "layers", "intermediate"))

    def of_layer(queries: int) -> int:
        linear = batch * length * 2 * hidden**2 + batch * queries * (2 * hidden**2 + 2 * hidden * intermediate)
        return linear + 2 * batch * queries * length * hidden

    return (layers - 1) * of_layer(length) + of_layer(1 if first_tokens else length)


def peaks(document: Document) -> dict[str, tuple[str, list[float]]]:
    """Return, for each shape, the yardstick that was the fastest, and its products per second in each round."""
    found = {}
    for shape, times in document.get("yardsticks", {}).items():
        speeds = {name: [1e3 * PRODUCTS[name] / milliseconds for milliseconds in own] for name, own in times.items()}
        if speeds:
            name = max(speeds, key=lambda name: median(speeds[name]))
            found[shape] = (name, speeds[name])
    return found


def shares(count: int, milliseconds: Sequence[float], peak: Sequence[float]) -> list[float]:
    """Return the part of the peak in every round, for an engine of so many products."""
    return [1e3 * count / taken / most for taken, most in zip(milliseconds, peak, strict=True)]


def roofline_table(document: Document) -> list[str]:
    """Write every engine's products per second and its part of the peak, and what bertc's engines multiply of them."""
    most = peaks(document)
    if not most:
        return []
    dimensions = document["dimensions"]
    rows = [["*the most*", *(f"{median(peak) / 1e9:.0f} ({name})" for name, peak in most.values())]]
    for engine in document["engines"]:
        cells = [
            _share(document["latency"][shape].get(engine["name"]), products(dimensions, shape), peak)
            for shape, (_, peak) in most.items()
        ]
        if any(cells):
            rows.append([engine["name"], *cells])
    lead = (
        "10^9 products per second, and the part of the most that the cores reach (median within a round, quartiles). "
    )
    lead += (
        "The most is the faster of two yardsticks that take turns with the engines: GEMMs by bertc's native engine, "
    )
    lead += "and oneDNN's through torch; it is less than what the arithmetic units could do. Every engine is counted "
    lead += "with all products of the model"
    if dimensions["first_tokens"]:
        cut = {shape: products(dimensions, shape, first_tokens=True) / products(dimensions, shape) for shape in most}
        lead += "; bertc's compute the last layer for first tokens alone, which is "
        lead += ", ".join(f"{part:.2f} of them at {shape}" for shape, part in cut.items())
    return ["## Products per second", "", f"{lead}.", "", *table(["engine", *most], rows)]


def _share(milliseconds: Sequence[float] | None, count: int, peak: Sequence[float]) -> str:
    if not milliseconds:
        return ""
    low, middle, high = quartiles(shares(count, milliseconds, peak))
    return f"{count / median(milliseconds) / 1e6:.0f}, {middle:.0%} ({low:.0%} to {high:.0%})"


def roofline(document: Document) -> str:
    """Draw products per second at every shape as bars, and the most that the cores reach as a line."""
    most = peaks(document)
    names = [engine["name"] for engine in document["engines"]]
    widest = max((median(peak) for _, peak in most.values()), default=1.0)
    left, width, step, top = 170, 430, 17, 44
    drawn = []
    for shape, (_, peak) in most.items():
        figures = document["latency"][shape]
        peak_x = left + width * median(peak) / widest
        first = top
        drawn.append(f'<text x="12" y="{top - 6}" font-weight="bold">{shape.replace("x", " x ")}</text>')
        for label, colour in SHOWN.items():
            name = fastest(figures, [name for name in names if name.startswith(label)])
            if name is None:
                continue
            count = products(document["dimensions"], shape)
            speed, part = 1e3 * count / median(figures[name]), median(shares(count, figures[name], peak))
            long = width * speed / widest
            drawn.append(f'<text x="{left - 8}" y="{top + 11}" text-anchor="end">{html.escape(label)}</text>')
            drawn.append(f'<rect x="{left}" y="{top}" width="{long:.1f}" height="13" fill="{colour}"/>')
            drawn.append(f'<text x="{left + long + 6:.1f}" y="{top + 11}">{speed / 1e9:.0f}, {part:.0%}</text>')
            top += step
        drawn.append(
            f'<path d="M{peak_x:.1f} {first - 4}V{top}" stroke="#000" stroke-dasharray="4 3"/>'
            f'<text x="{peak_x:.1f}" y="{first - 8}" text-anchor="middle">{median(peak) / 1e9:.0f}</text>'
        )
        top += 34
    title = "10^9 products per second, and the part of the most that the cores reach (dashed): "
    title += f"{document['checkpoint']}, {document['threads']} threads"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{top}" font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="18" font-weight="bold">{html.escape(title)}</text>'
        f"{''.join(drawn)}</svg>\n"
    )
