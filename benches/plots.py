"""Draws the curves of a run: every plot of figures.json as SVG and PNG.

    python plots.py figures.json OUT_FOLDER
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

# Ours in strong colours, the rest in quieter ones; each name looks the same in every plot.
STYLES = [
    ("headland, f32", "#c2410c", "o"),
    ("headland, int8", "#7c3aed", "s"),
    ("headland, fresh", "#c2410c", "o"),
    ("headland, instances reused", "#7c3aed", "s"),
    ("headland, mixed requests", "#c2410c", "o"),
    ("nothing under way", "#111827", "o"),
    ("plain axum", "#111827", "^"),
    ("text-embeddings", "#0f766e", "D"),
    ("infinity", "#2563eb", "v"),
    ("FastAPI", "#6b7280", "x"),
    ("wasmtime serve, defaults", "#93c5fd", "v"),
    ("wasmtime serve, tuned, instances", "#1d4ed8", "P"),
    ("wasmtime serve, tuned", "#3b82f6", "D"),
]
PANEL_INCHES = (5.2, 3.8)
# So few values on an axis were chosen, and are its ticks. Curves of more points than that are drawn without markers.
CHOSEN_MAX = 12
# Names longer than this do not fit side by side below one panel.
LABEL_MAX = 30


def style(name):
    for start, colour, marker in STYLES:
        if name.startswith(start):
            return {"color": colour, "marker": marker, "linewidth": 2.2 if name.startswith("headland") else 1.4}
    return {"marker": "."}


def number(value, _position=None):
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def scale(axis, set_scale, logarithmic, values):
    if not logarithmic:
        return
    set_scale("log")
    axis.set_major_formatter(FuncFormatter(number))
    chosen = sorted(set(values))
    if len(chosen) <= CHOSEN_MAX:
        axis.set_ticks(chosen)
        axis.set_minor_locator(NullLocator())
        return
    # Within two decades the ticks at 2 and 5 are wanted too, and there is room for them.
    close = max(values) / min(values) < 100
    axis.set_minor_formatter(FuncFormatter(lambda v, p: number(v) if f"{v:e}"[0] in "25" else "") if close else NullFormatter())


def draw(axes, panel):
    for curve in panel["curves"]:
        points = [(x, y) for x, y in curve["points"] if (x > 0 or not panel["x_log"]) and (y > 0 or not panel["y_log"])]
        xs, ys = zip(*points)
        look = style(curve["name"])
        if len(points) > CHOSEN_MAX:
            look["marker"] = ""
        axes.plot(xs, ys, label=curve["name"], markersize=4, **look)
    every = [point for curve in panel["curves"] for point in curve["points"]]
    scale(axes.xaxis, axes.set_xscale, panel["x_log"], [x for x, _ in every if x > 0])
    scale(axes.yaxis, axes.set_yscale, panel["y_log"], [y for _, y in every if y > 0])
    if not panel["y_log"]:
        axes.set_ylim(bottom=0)
    axes.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"])
    axes.grid(True, which="major", color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=9)


def plot(figure, folder):
    panels = [panel for panel in figure["panels"] if panel["curves"]]
    width, height = PANEL_INCHES
    drawing, axes = plt.subplots(1, len(panels), figsize=(width * len(panels), height), squeeze=False)
    for one, panel in zip(axes[0], panels):
        draw(one, panel)
    handles, labels = axes[0][0].get_legend_handles_labels()
    # Below the panels: a legend inside would lie on some curve.
    long = max(map(len, labels)) > LABEL_MAX
    columns = min(len(labels), (1 if long else 2) * len(panels))
    drawing.legend(handles, labels, loc="lower center", ncol=columns, frameon=False, fontsize=9)
    rows = -(-len(labels) // columns)
    drawing.set_figheight(height + 0.25 * (rows + 1))
    drawing.tight_layout(rect=(0, 0.25 * (rows + 0.4) / drawing.get_figheight(), 1, 1))
    for kind in ["svg", "png"]:
        metadata = {"Date": None} if kind == "svg" else None
        drawing.savefig(folder / f"{figure['file']}.{kind}", dpi=130, metadata=metadata)
    plt.close(drawing)


if __name__ == "__main__":
    plt.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "headland", "font.family": "sans-serif"})
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for figure in json.loads(Path(sys.argv[1]).read_text())["plots"]:
        plot(figure, out)
