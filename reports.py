"""Format the results of evaluations as tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from files.whole import written_whole
from metrics import METRICS, PSNR

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Result:
    """The result of one model on one test set at one scale.

    Attributes:
        set: Name of the set.
        scale: Scale of the set; None in the published form of test configs, which does not name it.
        values: Means over the images, by the names of `METRICS`.
        images: Number of images.
        model: Name that the user gave.
        error: Why there are no numbers; empty if there are.
        details: Further plain values for JSON.
    """

    set: str
    scale: float | None
    values: Mapping[str, float] = field(default_factory=dict)
    images: int = 0
    model: str = ""
    error: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.set if self.scale is None else f"{self.set} x{self.scale:g}"

    @property
    def printed(self) -> dict[str, str]:
        """The values as printed, by metric."""
        return {
            name: f"{self.values[name]:.{metric.digits}f}"
            for name, metric in METRICS.items()
            if name in self.values and not self.error
        }


Scale = float | None
Row = tuple[str, list[Result | None]]  # a name, and a cell per scale


def _grid(results: Sequence[Result]) -> tuple[str, list[Scale], list[list[Row]]]:
    """Get the metrics, the scales, and for each set a row per model, named if there are several."""
    measured = {PSNR}.union(*(result.values for result in results))
    titles = [metric.title for name, metric in METRICS.items() if name in measured]
    scales = sorted({result.scale for result in results}, key=lambda scale: scale or 0)
    models = list(dict.fromkeys(result.model for result in results))
    cells = {(result.set, result.model, result.scale): result for result in results}
    groups = [
        [
            (
                f"{name}, {model}" if len(models) > 1 else name,
                [cells.get((name, model, scale)) for scale in scales],
            )
            for model in models
        ]
        for name in dict.fromkeys(result.set for result in results)
    ]
    return " / ".join(titles), scales, groups


def markdown(results: Sequence[Result]) -> str:
    """Make a table of sets, or sets and models, by scales; aligned and valid Markdown."""
    measured, scales, groups = _grid(results)
    heads = ["" if scale is None else f"x{scale:g}" for scale in scales]
    rows = [
        [name.replace("|", "\\|"), *(_cell(result) for result in row)]
        for group in groups
        for name, row in group
    ]
    return align([measured, *heads], rows)


def _cell(result: Result | None) -> str:
    return " / ".join(result.printed.values() if result else []) or "-"


def align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align a Markdown table whose first column is text and whose others are numbers."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    widths = [widths[0], *(max(5, width) for width in widths[1:])]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (head, *rows)
    ]
    rule = "|" + "-" * (widths[0] + 2) + "|" + "".join("-" * (w + 1) + ":|" for w in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def latex(results: Sequence[Result]) -> str:
    """Make a LaTeX tabular with rules of booktabs; the best of several models is bold."""
    measured, scales, groups = _grid(results)
    heads = ["" if scale is None else rf"$\times${scale:g}" for scale in scales]
    blocks = []
    for group in groups:
        columns = [_bold_best(column) for column in zip(*(row for _, row in group), strict=True)]
        cells = zip(*columns, strict=True)
        blocks.append(
            [_line([_escaped(name), *row]) for (name, _), row in zip(group, cells, strict=True)]
        )
    rule = "\n\\midrule\n" if len(groups[0]) > 1 else "\n"
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(scales)}}}",
            r"\toprule",
            _line([measured, *heads]),
            r"\midrule",
            rule.join("\n".join(block) for block in blocks),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _bold_best(column: Sequence[Result | None]) -> list[str]:
    """Make the cells of several models at one scale; equal printed values are equally good."""
    rows = [result.printed if result else {} for result in column]
    best = {}
    for name, metric in METRICS.items() if len(column) > 1 else ():
        values = [row[name] for row in rows if name in row]
        best[name] = (max if metric.more_is_better else min)(values, key=float, default="")
    return [
        " / ".join(
            rf"\textbf{{{value}}}" if value == best.get(name) else value
            for name, value in row.items()
        )
        or "--"
        for row in rows
    ]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """Make a JSON object of ``about`` and the list of results.

    A value that was not computed or is infinite is null.
    """
    rows = [
        {
            "model": result.model,
            "set": result.set,
            "scale": result.scale,
            **{name: result.values.get(name) for name in METRICS},
            "images": result.images,
            **({"error": result.error} if result.error else {}),
            **result.details,
        }
        for result in results
    ]
    return json.dumps(_finite({**about, "results": rows}), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(results: Sequence[Result]) -> str:
    """Make a CSV with a header; there is a model column if there are several models.

    Unknown values are empty.
    """
    several = len({result.model for result in results}) > 1
    fields = [*(["model"] if several else []), "set", "scale", *METRICS, "images"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for result in results:
        known = {**vars(result), **dict.fromkeys(METRICS), **result.values}
        values = [known[name] for name in fields]
        writer.writerow("" if isinstance(v, float) and math.isnan(v) else v for v in values)
    return text.getvalue()


FORMS: dict[str, Callable[[Sequence[Result], Mapping[str, Any]], str]] = {
    "markdown": lambda results, _: markdown(results),
    "latex": lambda results, _: latex(results),
    "json": as_json,
    "csv": lambda results, _: as_csv(results),
}


def write_tables(
    tables: Mapping[str, Path], results: Sequence[Result], about: Mapping[str, Any]
) -> None:
    """Write each table whole or not at all.

    Args:
        tables: Files of the tables, by their form.
        about: See `as_json`.

    Raises:
        OSError: If a table cannot be written.
    """
    for form, path in tables.items():
        with written_whole(path) as file:
            file.write(f"{FORMS[form](results, about).rstrip()}\n".encode())
