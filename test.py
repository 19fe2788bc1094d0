"""Evaluate PSNR on test sets.

python test.py --config configs/test/set5.yaml configs/test/set14.yaml --model M.pth
python test.py --config configs/test/set5.yaml --scale 4 --model M.pth --save pictures
python test.py --config configs/test/set5.yaml --scale 3.7 --model bicubic M.pth --markdown set5.md
python test.py --config configs/test/set5.yaml --model M.pth@0.25 M.pth@0.5 M.pth
"""

from __future__ import annotations

from cli.interrupt import end_at_once
from cli.threads import wait_asleep

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds
    wait_asleep()

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from cli.command import add_gpu_option, add_model_option, outlive_output, run
from errors import UserError
from evaluation.cases import choose_cases
from evaluation.check import Plan
from evaluation.run import Report, evaluate
from files.paths import expand
from metrics import METRICS, PSNR
from models.checkpoint import checkpoint_file, split_name
from parallel import Group, joined, start_each
from reports import FORMS, Result, markdown, write_tables


def main() -> None:
    args = parse_args()
    if any((args.save, args.markdown, args.json, args.csv, args.latex)):
        outlive_output()
    start_each(args.gpu)
    with joined(args.gpu) as group:
        say_results(args, group)


def say_results(args: argparse.Namespace, group: Group) -> None:
    """Print the results of every model on every case of the configs, in the first process."""
    cases = choose_cases(args.config, args.scale, group)
    tables = {form: path for form in FORMS if (path := getattr(args, form)) is not None}
    inputs = [*args.config, *(checkpoint_file(split_name(name)[0]) for name in args.model)]
    problems = group.gather(output_problems(args.save, tables if group.is_first else {}, inputs))
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    measured = tuple(name for name in METRICS if name == PSNR or getattr(args, name))
    plan = Plan(args.ensemble, measured, args.save, args.workers)

    def tell(result: Result, report: Report) -> None:
        say(result, len(cases) > 1, len(args.model) > 1)
        with suppress(OSError):  # they are written once more at the end
            write_tables(tables, report.results, report.about)

    report = evaluate(args.model, cases, plan, group, tell)
    if group.is_first:
        if len(report.results) > 1:
            print(markdown(report.results))
        write_tables(tables, report.results, report.about)
    if missing := report.missing:
        if len(report.results) > 1:
            raise UserError(f"{missing} of {len(report.results)} results are missing, see above")
        sys.exit(1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate PSNR on test sets.")
    parser.add_argument("--config", required=True, nargs="+", metavar="C.yaml")
    add_model_option(parser, several=True)
    parser.add_argument(
        "--scale",
        type=_scale,
        nargs="+",
        metavar="S",
        help="only these scales; tests that shrink their images themselves take any",
    )
    for name, metric in METRICS.items():
        if name != PSNR:
            parser.add_argument(f"--{name}", action="store_true", help=metric.about)
    parser.add_argument(
        "--ensemble", action="store_true", help="average over eight flips and rotations"
    )
    parser.add_argument("--save", type=_path, metavar="DIR", help="keep the pictures in DIR")
    for form in FORMS:
        parser.add_argument(f"--{form}", type=_path, metavar="FILE", help="write the table")
    parser.add_argument("--workers", type=_count, metavar="N", help="processes that load images")
    add_gpu_option(parser)
    args = parser.parse_args()
    models = {_one_model(name) for name in args.model}
    if len(models) < len(args.model):
        parser.error("--model: a model is named twice")
    return args


def _one_model(name: str) -> tuple[Path, float]:
    """Make a key that is the same for all names of a model at a strength."""
    bare, strength = split_name(name)
    return checkpoint_file(bare).resolve(), 1.0 if strength is None else strength


def _path(text: str) -> Path:
    return Path(expand(text))


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 1 <= scale < math.inf:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text!r}")
    return scale


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text!r}")
    return int(text)


def output_problems(
    save: Path | None, tables: dict[str, Path], inputs: Sequence[str | Path]
) -> list[str]:
    """Report outputs that cannot be written; inputs are the files that are read."""
    inputs = [path for path in inputs if Path(path).exists()]
    problems = []
    for path in tables.values():
        if not path.parent.is_dir():
            problems.append(f"{path}: there is no such folder")
        elif path.is_dir():
            problems.append(f"{path}: is a folder; name a file")
        elif path.exists() and not path.is_file():
            problems.append(f"{path}: is no file; name one")
        elif path.exists() and any(map(path.samefile, inputs)):
            problems.append(f"{path}: would be overwritten, and is what the table is made of")
        else:
            problems += _unwritable(path.parent)
    for one, two in combinations(tables, 2):
        if tables[one].absolute() == tables[two].absolute():
            problems.append(f"--{one} and --{two} name one file: {tables[one]}")
    if save is not None:
        there = next(path for path in (save, *save.absolute().parents) if path.exists())
        problems += _unwritable(there) if there.is_dir() else [f"{there}: is no folder"]
    return problems


def _unwritable(folder: Path) -> list[str]:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"{folder}: cannot be written to: {error.strerror}"]


def say(result: Result, several_cases: bool, several_models: bool) -> None:
    """Print one result, or why there is none."""
    names = [result.title] * several_cases + [result.model] * several_models
    name = ", ".join(names)
    if result.error:
        print(f"error: {name}{': ' if name else ''}{result.error}", file=sys.stderr, flush=True)
        return
    psnr, *others = (
        f"{value:.4f}" if metric == PSNR else f"{METRICS[metric].title} {value:.4f}"
        for metric, value in result.values.items()
    )
    print(f"{name or 'result'}: {', '.join([psnr, *others])}", flush=True)


if __name__ == "__main__":
    run(main)
