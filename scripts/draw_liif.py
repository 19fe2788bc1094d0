"""Draw docs/liif.png, which shows coord, cell, latent codes, rel_coord and the local ensemble.

    python scripts/draw_liif.py

Needs matplotlib (requirements-dev.txt).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds


from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cli.command import outlive_output, run
from scripts.figures import save_figure
from utils import make_cell, make_coord

OUTPUT = Path("docs/liif.png")
CODES = (3, 4)  # h, w
PIXELS = (18, 24)  # H, W of the output
QUERY = (6, 13)  # row and column of the queried output pixel
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC5599")  # for z_00, z_01, z_10, z_11
NAMES = ("z_{00}", "z_{01}", "z_{10}", "z_{11}")
GRAY = "#666666"

Point = tuple[float, float]  # row, column


def nearest_codes(query: Point) -> tuple[list[Point], list[float]]:
    """Compute the positions and weights of the four codes around a query, row by row."""
    axes = [make_coord([n]).flatten().tolist() for n in CODES]
    pairs = [
        sorted(sorted(v, key=lambda v: abs(v - x))[:2]) for v, x in zip(axes, query, strict=True)
    ]
    places = [(row, col) for row in pairs[0] for col in pairs[1]]
    areas = [abs(query[0] - row) * abs(query[1] - col) for row, col in places]
    return places, [area / sum(areas) for area in reversed(areas)]


def draw_query(axes: Axes, query: Point) -> None:
    """Draw the query and its cell, the output pixel around it."""
    height, width = make_cell(PIXELS).tolist()
    corner = (query[1] - width / 2, query[0] - height / 2)
    axes.add_patch(Rectangle(corner, width, height, fc="white", ec="black", lw=1.2, zorder=3))
    axes.plot(query[1], query[0], ".", color="black", ms=7, zorder=4)


def note(axes: Axes, text: str, at: Point, place: Point) -> None:
    """Draw text that starts at ``place``, with a thin line to the point ``at``."""
    axes.annotate(
        text,
        xy=at[::-1],
        xytext=place[::-1],
        va="center",
        arrowprops={"arrowstyle": "-", "lw": 0.9, "color": GRAY, "shrinkA": 3, "shrinkB": 0},
        annotation_clip=False,
        zorder=5,
    )


def draw_plane(axes: Axes, query: Point, codes: list[Point]) -> None:
    """Draw the whole plane: axes, all codes, the query and its cell."""
    h, w = CODES
    axes.hlines([-1 + 2 * i / h for i in range(1, h)], -1, 1, color="#D5D5D5", lw=1, zorder=0)
    axes.vlines([-1 + 2 * j / w for j in range(1, w)], -1, 1, color="#D5D5D5", lw=1, zorder=0)
    rows, cols = make_coord(CODES).T.tolist()
    axes.plot(cols, rows, "o", color="#AAAAAA", ms=8, zorder=2)
    (top, left), (bottom, right) = codes[0], codes[3]
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fc="none", ec=GRAY, ls="--", zorder=1)
    )
    for (row, col), colour in zip(codes, COLOURS, strict=True):
        axes.plot(col, row, "o", color=colour, ms=10, zorder=3)
    draw_query(axes, query)
    half_width = make_cell(PIXELS)[1].item() / 2
    note(axes, "query $x$ (coord):\ncentre of an\noutput pixel", query, (-0.62, 1.08))
    cell_edge = (query[0] + half_width / 2, query[1] + half_width)
    note(axes, "cell $(2/H, 2/W)$:\nsize of the\noutput pixel", cell_edge, (-0.03, 1.08))
    note(axes, "latent code $z$ at $v$,\ncentre of an\ninput pixel", (2 / 3, 0.75), (0.64, 1.08))
    axes.set(xlim=(-1, 1), ylim=(1, -1), aspect=h / w)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])  # noqa: RUF001
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("column  $\\longrightarrow$")
    axes.set_ylabel("$\\longleftarrow$  row")
    axes.set_title(f"1.  The plane with $h \\times w = {h} \\times {w}$ latent codes", y=-0.17)


def draw_ensemble(axes: Axes, query: Point, codes: list[Point], weights: list[float]) -> None:
    """Draw a close-up: four areas, each in the colour of the code whose weight it gives."""
    row, col = query
    for i, (colour, weight, name) in enumerate(zip(COLOURS, weights, NAMES, strict=True)):
        v_row, v_col = codes[i]
        axes.plot(v_col, v_row, "o", color=colour, ms=13, zorder=3, clip_on=False)
        across, align = (-0.035, "right") if i % 2 == 0 else (0.035, "left")
        axes.text(v_col + across, v_row, f"${name}$", ha=align, va="center", fontsize=15)
        o_row, o_col = codes[3 - i]  # the area towards the opposite code gives this one's weight
        corner = (min(col, o_col), min(row, o_row))
        width, height = abs(col - o_col), abs(row - o_row)
        axes.add_patch(Rectangle(corner, width, height, fc=colour, alpha=0.28, lw=0))
        axes.text(
            corner[0] + width * (0.7 if i == 3 else 0.5),  # beside the arrow
            corner[1] + height * (0.25 if i == 3 else 0.5),
            f"weight\nof ${name}$\n{weight:.2f}",
            ha="center",
            va="center",
        )
    draw_query(axes, query)
    (top, left), (bottom, right) = codes[0], codes[3]
    axes.annotate(
        "",
        xy=(col, row),
        xytext=(left, top),
        arrowprops={"arrowstyle": "-|>", "color": COLOURS[0], "lw": 1.6, "shrinkA": 7},
        zorder=5,
    )
    axes.text(left + 0.02, top + 0.27, "rel_coord\nof $z_{00}$", color="#00507D", va="center")
    axes.text(col + 0.055, row, "$x$", fontsize=15, va="center")
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect=CODES[0] / CODES[1])
    axes.set_axis_off()
    axes.set_title("2.  The local ensemble: weight = opposite area", y=-0.215)


def draw() -> Figure:
    """Draw both panels."""
    row, col = make_coord(PIXELS, flatten=False)[QUERY].tolist()
    query = (row, col)
    codes, weights = nearest_codes(query)
    figure = Figure(figsize=(11, 4.4), dpi=150)
    draw_plane(figure.add_axes((0.07, 0.15, 0.38, 0.72)), query, codes)
    draw_ensemble(figure.add_axes((0.665, 0.18, 0.28, 0.69)), query, codes, weights)
    return figure


def main() -> None:
    outlive_output()
    with rc_context({"font.size": 11, "axes.titlesize": 12, "mathtext.fontset": "dejavusans"}):
        save_figure(draw(), OUTPUT)


if __name__ == "__main__":
    run(main)
