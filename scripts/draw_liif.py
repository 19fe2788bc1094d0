"""Draw docs/liif.png: coord, cell, latent codes, rel_coord and the local ensemble.

    python scripts/draw_liif.py

The codes and their weights are those that models/base.py finds for the query. Needs matplotlib
(requirements-dev.txt).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.base import blend, corners
from utils import make_cell, make_coord

OUTPUT = Path("docs/liif.png")
CODES = (3, 4)  # h, w
PIXELS = (18, 24)  # H, W of the output
QUERY = (6, 13)  # row and column of the output pixel that is asked for
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC5599")  # of z_00, z_01, z_10, z_11
NAMES = ("00", "01", "10", "11")

Point = tuple[float, float]


def nearest_codes(query: torch.Tensor) -> tuple[list[Point], list[float]]:
    """Coordinates (row, col) and weights of the four codes of a query (2,)."""
    found = list(corners(query.view(1, 1, 2), *CODES, ensemble=True))
    grid = make_coord(CODES, flatten=False)
    centres = [grid[c.row.item(), c.col.item()].tolist() for c in found]
    one_hot = [row.view(1, 1, 4) for row in torch.eye(4)]
    weights = blend(one_hot, [c.rel_coord for c in found]).flatten().tolist()
    return [(row, col) for row, col in centres], weights


def draw_cell(axes: Axes, query: Point) -> None:
    """The output pixel around the query."""
    height, width = make_cell(PIXELS).tolist()
    corner = (query[1] - width / 2, query[0] - height / 2)
    axes.add_patch(Rectangle(corner, width, height, fc="white", ec="black", lw=1.3, zorder=3))
    axes.plot(query[1], query[0], "x", color="black", ms=6, mew=1.8, zorder=4)


def note(axes: Axes, text: str, at: Point, place: Point, align: str = "left") -> None:
    """Text at place with a thin line to a point, both (row, col)."""
    axes.annotate(
        text,
        xy=at[::-1],
        xytext=place[::-1],
        ha=align,
        va="center",
        arrowprops={"arrowstyle": "-", "lw": 0.9, "color": "#555555", "shrinkA": 3, "shrinkB": 0},
        zorder=5,
    )


def draw_plane(axes: Axes, query: Point, codes: list[Point]) -> None:
    """The whole plane: axes, all codes, the query and its cell."""
    h, w = CODES
    for i in range(1, h):
        axes.axhline(-1 + 2 * i / h, color="#CCCCCC", lw=1, zorder=0)
    for j in range(1, w):
        axes.axvline(-1 + 2 * j / w, color="#CCCCCC", lw=1, zorder=0)
    rows, cols = make_coord(CODES).T.tolist()
    axes.plot(cols, rows, "o", color="#999999", ms=8, zorder=2)
    (top, left), (bottom, right) = codes[0], codes[3]
    frame = {"fc": "#F3F3F3", "ec": "#555555", "ls": (0, (4, 3)), "lw": 1.1, "zorder": 1}
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, **frame))
    for (row, col), colour in zip(codes, COLOURS, strict=True):
        axes.plot(col, row, "o", color=colour, ms=10, zorder=3)
    draw_cell(axes, query)
    height, width = make_cell(PIXELS).tolist()
    note(axes, "query $x$: the coord\nof an output pixel", query, (-0.36, 0.33))
    edge = (query[0] + height / 2, query[1] + width / 4)
    note(axes, "cell: the size of that\npixel, $(2/H,\\ 2/W)$", edge, (0.2, 0.28))
    note(axes, "latent code,\nat the centre of\nan input pixel", (2 / 3, -0.25), (0.67, -0.14))
    axes.set(xlim=(-1, 1), ylim=(1, -1), xticks=[-1, -0.5, 0, 0.5, 1], yticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_aspect(h / w)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("column $\\longrightarrow$")
    axes.set_ylabel("$\\longleftarrow$ row")
    axes.set_title("1. The plane: $h \\times w = 3 \\times 4$ latent codes", y=-0.12)


def draw_ensemble(axes: Axes, query: Point, codes: list[Point], weights: list[float]) -> None:
    """Close-up: four rectangles, each in the colour of the code whose weight it is."""
    row, col = query
    for (v_row, v_col), colour, weight, name in zip(
        codes[::-1], COLOURS, weights, NAMES, strict=True
    ):  # the rectangle towards code 3 - t belongs to code t
        corner = (min(col, v_col), min(row, v_row))
        width, height = abs(col - v_col), abs(row - v_row)
        axes.add_patch(Rectangle(corner, width, height, fc=colour, alpha=0.3, lw=0))
        text = f"weight of $z_{{{name}}}$\n{weight:.2f}"
        place = (corner[0] + width / 2, corner[1] + height / 2)
        axes.text(*place, text, ha="center", va="center")
    axes.set_axis_off()


def draw() -> Figure:
    """Both panels."""
    query_point = make_coord(PIXELS, flatten=False)[QUERY]
    codes, weights = nearest_codes(query_point)
    query = (query_point[0].item(), query_point[1].item())
    figure = Figure(figsize=(10.4, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    draw_plane(left, query, codes)
    draw_ensemble(right, query, codes, weights)
    return figure


def main() -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    draw().savefig(OUTPUT)
    print(OUTPUT)


if __name__ == "__main__":
    main()
