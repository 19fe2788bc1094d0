"""Results of evaluations as tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Result:
    """One test set at one scale.

    Attributes:
        set: Its name.
        scale: None in the published form of test configs, which does not name it.
        psnr: Mean over the images, in dB.
        ssim: The same, or NaN if it was not computed.
        images: How many.
    """

    set: str
    scale: float | None
    psnr: float
    ssim: float
    images: int

    def __str__(self) -> str:
        return f"{self.psnr:.2f}" if math.isnan(self.ssim) else f"{self.psnr:.2f} / {self.ssim:.4f}"


def markdown(results: Sequence[Result]) -> str:
    """Sets by scales, aligned for reading and valid Markdown."""
    scales = sorted({result.scale for result in results}, key=lambda scale: scale or 0)
    heads = ["" if scale is None else f"x{scale:g}" for scale in scales]
    measured = "PSNR (dB)" if all(math.isnan(r.ssim) for r in results) else "PSNR (dB) / SSIM"
    cells = {(result.set, result.scale): str(result) for result in results}
    sets = list(dict.fromkeys(result.set for result in results))
    rows = [[name, *(cells.get((name, scale), "-") for scale in scales)] for name in sets]
    return align([measured, *heads], rows)


def align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    widths = [widths[0], *(max(5, width) for width in widths[1:])]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (head, *rows)
    ]
    rule = "|" + "-" * (widths[0] + 2) + "|" + "".join("-" * (w + 1) + ":|" for w in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def as_json(results: Sequence[Result]) -> str:
    """A list of objects; a value that was not computed, or is infinite, is null."""
    rows = [
        {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in row.items()}
        for row in map(asdict, results)
    ]
    return json.dumps(rows, indent=1)


def as_csv(results: Sequence[Result]) -> str:
    """With a head; what was not computed is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["set", "scale", "psnr", "ssim", "images"], lineterminator="\n")
    writer.writeheader()
    for row in map(asdict, results):
        writer.writerow(
            {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        )
    return text.getvalue()
