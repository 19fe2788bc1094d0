"""The results of models beside bicubic and published ones, as Markdown.

python scripts/results_table.py --model fast --output docs/results.md
python scripts/results_table.py --restoration --model fast M.pth

The numbers are those of test.py on Set5, Set14 and B100 in load/benchmark, or, for images with JPEG
artefacts and noise, on LIVE1, CBSD68, Set14 and B100; the costs are counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks.count_model import multiply_adds
from cli.command import add_gpu_option, add_model_option, run
from configs.load import TestCase
from configs.yaml_file import read_yaml
from errors import UserError
from evaluation.cases import choose_cases
from evaluation.check import Plan
from evaluation.run import Report, evaluate
from files.whole import written_whole
from metrics import METRICS, PSNR
from models.checkpoint import load_model
from parallel import Group, joined, start_each
from reports import Result, align


class Table(NamedTuple):
    """A table, whose columns are sets by scales."""

    title: str
    sets: tuple[str, ...]
    scales: tuple[float, ...]


SETS = ("Set5", "Set14", "B100")
TABLES = (
    Table("Integer scales", SETS, (2, 3, 4)),
    Table("Fractional and large scales", SETS, (1.5, 2.5, 3.5, 6, 8)),
)
RESTORATION = (
    Table("JPEG, on luma", tuple(f"LIVE1 q{quality}" for quality in (10, 20, 30, 40)), (1,)),
    Table("Gaussian noise, on RGB", tuple(f"CBSD68 s{sigma}" for sigma in (15, 25, 50)), (1,)),
    *(
        Table(
            f"{name}, shrunk, with noise and JPEG",
            tuple(f"{name} degraded q{quality}" for quality in (30, 75)),
            (1, 2, 2.5, 4),
        )
        for name in ("Set14", "B100")
    ),
)
CONFIGS = ("set5", "set14", "b100")
RESTORATION_CONFIGS = ("live1", "cbsd68", "set14-degraded", "b100-degraded")
ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "docs/published.yaml"
OTHERS = [name for name in METRICS if name != PSNR]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_option(parser, several=True)
    parser.add_argument(
        "--restoration", action="store_true", help="of images with JPEG artefacts and noise instead"
    )
    parser.add_argument("--ensemble", action="store_true", help="further rows with test.py's")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print it")
    add_gpu_option(parser)
    args = parser.parse_args()
    start_each(args.gpu)
    with joined(args.gpu) as group:
        text = tables_of(args.model, args.restoration, args.ensemble, group)
        if not group.is_first:
            return
    if args.output is None:
        print(text)
        return
    with written_whole(args.output) as file:
        file.write(text.encode())


def tables_of(models: Sequence[str], restoration: bool, ensemble: bool, group: Group) -> str:
    """Make the tables, either for super-resolution or for restoration.

    Args:
        ensemble: Measure each model a second time, with the mean over flips and rotations.
    """
    others = () if restoration else OTHERS
    names = RESTORATION_CONFIGS if restoration else CONFIGS
    plan = Plan(metrics=(PSNR, *others))
    with chdir(ROOT):  # the configs' paths are relative to it
        cases = choose_cases([f"configs/test/{name}.yaml" for name in names], None, group)
    rows = [
        {"name": "bicubic", **measured("bicubic", cases, plan, group)},
        *({"name": name, **row} for name, row in read_yaml(PUBLISHED).items()),
    ]
    for model in dict.fromkeys(models):
        if model == "bicubic":
            continue
        ours = {"name": f"**{model}**", **costs(model)}
        rows.append({**ours, **measured(model, cases, plan, group)})
        if ensemble:
            best = measured(model, cases, replace(plan, ensemble=True), group)
            rows.append({**ours, "name": f"**{model}**, --ensemble", **best})
    text = "\n\n".join(
        f"### {table.title}, PSNR (dB)\n\n{psnr_table(rows, table.scales, table.sets)}"
        for table in (RESTORATION if restoration else TABLES)
    )
    for name in others:
        text += f"\n\n### {METRICS[name].title}\n\n{other_table(rows, name)}"
    return f"{text}\n"


def measured(model: str, cases: Sequence[TestCase], plan: Plan, group: Group) -> Row:
    """Evaluate a model: {set: {scale: PSNR}}, and the same for other metrics under their names.

    Raises:
        UserError: If some results are missing.
    """

    def tell(result: Result, _: Report) -> None:
        said = result.error or " / ".join(result.printed.values())
        print(f"{result.title}, {model}: {said}", file=sys.stderr, flush=True)

    with chdir(ROOT):
        report = evaluate([model], cases, plan, group, tell)
    if report.missing:
        raise UserError(f"{model}: {report.missing} results are missing, see above")
    row: Row = {name: {} for name in OTHERS}
    for result in report.results:
        for kind, name in ((row, PSNR), *((row[name], name) for name in OTHERS)):
            kind.setdefault(result.set, {})[result.scale] = result.values.get(name)
    return row


def costs(name: str) -> Row:
    """Count parameters, and multiply-adds per input pixel (encoder) and output pixel (decoder)."""
    model = load_model(name)[0]
    encoder, decoder = (f"{value / 1000:.0f} k" for value in multiply_adds(model))
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": f"{parameters / 1000:.0f} k", "encoder": encoder, "decoder": decoder}


def psnr_table(rows: list[Row], scales: tuple[float, ...], sets: tuple[str, ...] = SETS) -> str:
    """Make the table of the rows that have numbers; a lone scale of 1 is not named."""
    columns = [s if scales == (1,) else f"{s} x{k:g}" for s in sets for k in scales]
    head = ["model", "parameters", "decoder", *columns]
    body = []
    for row in rows:
        values = [row.get(name, {}).get(scale) for name in sets for scale in scales]
        if any(value is not None for value in values):
            cells = [f"{value:.2f}" if value is not None else "-" for value in values]
            body.append([row["name"], row.get("parameters", "-"), row.get("decoder", "-"), *cells])
    return align(head, body)


def other_table(rows: list[Row], metric: str) -> str:
    """Make the table of another metric; published models have no such values."""
    digits = METRICS[metric].digits
    scales = [scale for table in TABLES for scale in table.scales]
    head = ["model", *(f"x{scale:g}" for scale in sorted(scales))]
    body = [
        [
            f"{row['name']}, {name}",
            *(f"{row[metric][name][scale]:.{digits}f}" for scale in sorted(scales)),
        ]
        for name in SETS
        for row in rows
        if metric in row
    ]
    return align(head, body)


if __name__ == "__main__":
    run(main)
