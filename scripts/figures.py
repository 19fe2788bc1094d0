"""What the scripts that draw pictures for the documentation share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from files.whole import written_whole

Panel = tuple[str, np.ndarray]  # a label, which may have several lines, and pixels (H, W, 3)


def draw_panels(rows: Sequence[Sequence[Panel]], side: int, label: int, gap: int) -> Figure:
    """Draw rows of square pictures, each with its label above it.

    Args:
        side: Side of a picture in the figure's pixels, a multiple of its own.
        label, gap: Pixels above each row, and between pictures.
    """
    width = max(map(len, rows)) * (side + gap) + gap
    height = len(rows) * (side + label + gap)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for row, panels in enumerate(rows):
        for column, (text, pixels) in enumerate(panels):
            left, top = gap + column * (side + gap), label + row * (side + label + gap)
            bottom = height - top - side
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            axes.imshow(pixels, interpolation="nearest")
            axes.set_axis_off()
            place = axes.transAxes
            axes.text(0, 1 + 4 / side, text, transform=place, va="bottom", linespacing=1.1)
    return figure


def save_figure(figure: Figure, output: Path, **options: Any) -> None:
    """Write a figure as PNG, whole or not at all, and print how large it is.

    Args:
        options: Arguments of ``Figure.savefig``.
    """
    output.parent.mkdir(exist_ok=True)
    encoded = io.BytesIO()
    figure.savefig(encoded, **options)
    with written_whole(output) as file:
        file.write(encoded.getbuffer())
    print(f"{output}: {output.stat().st_size // 1024} KiB")
