"""Draws the plots of docs/performance.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from benchmarks.report import Medians
from benchmarks.run import ROOT
from benchmarks.systems import SYSTEMS
from benchmarks.works import DURATIONS

_NODES = (10, 100, 1_000, 10_000)


def draw(found: Mapping[str, Medians]) -> list[Path]:
    """Draw the plots of those works that have figures; return their files."""
    # The same figures give the same file: text stays text, and no date or random id is in it.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hurricane", "font.size": 9})
    drawn = []
    plots = {
        "decisions.svg": ("W9", draw_decisions),
        "durations.svg": ("durations", draw_durations),
    }
    for name, (work, plot) in plots.items():
        if work in found:
            figure = plot(found[work])
            drawn.append(ROOT / "docs" / name)
            figure.savefig(drawn[-1], metadata={"Date": None})
            plt.close(figure)
    return drawn


def draw_decisions(found: Medians) -> Any:
    """Draw what a decision costs against how many nodes there are."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for kind, label in (("streaming", "a stream of tasks"), ("queued", "all queued first")):
        rates = [found[f"W9 {nodes:,} {kind}", "hurricane"] for nodes in _NODES]
        axes.plot(_NODES, [1e9 / rate for rate in rates], marker="o", label=label)
    axes.set(xscale="log", xlabel="nodes", ylabel="ns a decision")
    axes.set_ylim(bottom=0)
    _finish(axes)
    return figure


def draw_durations(found: Medians) -> Any:
    """Draw throughput and efficiency against how long a task takes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axes, kind in ((left, "rate"), (right, "useful")):
        for system in SYSTEMS:
            points = [
                (duration, found[row, system])
                for duration in DURATIONS
                if (row := f"{duration} ms {kind}", system) in found
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=system)
        axes.set(xlabel="ms a task takes")
        axes.grid(visible=True, alpha=0.3)
    left.set(yscale="log", ylabel="tasks a second")
    right.set(ylabel="efficiency, of two cores")
    right.set_ylim(0, 1)
    _finish(right)
    return figure


def _finish(axes: Any) -> None:
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
