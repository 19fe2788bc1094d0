"""Evaluate PSNR on test sets.

python test.py --config configs/test/set5.yaml configs/test/set14.yaml --model M.pth
python test.py --config configs/test/set5.yaml --scale 4 --model M.pth --save pictures
python test.py --config configs/test/set5.yaml --scale 3.7 --model bicubic M.pth --markdown set5.md
python test.py --config configs/test/set5.yaml --model M.pth@0.25 M.pth@0.5 M.pth
"""

from __future__ import annotations

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds

import argparse
import datetime
import math
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch

import datasets
from cli.command import add_gpu_option, add_model_option, outlive_output, run
from configs.load import TestCase, choose_scales, load_test
from errors import UserError
from evaluation.check import CheckedCase, CheckedModel, Plan, check_cases, check_models
from evaluation.results import evaluate_all, norms_differ
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
        evaluate(args, group)


def evaluate(args: argparse.Namespace, group: Group) -> None:
    """Every model on every case of the configs; the first process says the results."""
    cases = choose_cases(args.config, args.scale, group)
    tables = {form: path for form in FORMS if (path := getattr(args, form)) is not None}
    inputs = [*args.config, *(checkpoint_file(split_name(name)[0]) for name in args.model)]
    problems = group.gather(output_problems(args.save, tables if group.is_first else {}, inputs))
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    measured = tuple(name for name in METRICS if name == PSNR or getattr(args, name))
    plan = Plan(args.ensemble, measured, args.save, args.workers)
    models = check_models(args.model, group)
    checked = check_cases(cases, models, plan, group)
    say_problems(models, checked, group)
    results = {
        (model.name, str(case)): Result(
            case.name, case.scale, model=model.name, error=error or "not evaluated yet"
        )
        for model in models
        for case, error in ((c.case, model.error or c.error) for c in checked)
    }
    facts = about(models, group)
    for result in evaluate_all(models, checked, plan, group):
        results[result.model, result.title] = result
        if group.is_first:
            say(result, len(cases) > 1, len(models) > 1)
            with suppress(OSError):  # they are written once more at the end
                write_tables(tables, list(results.values()), facts)
    rows = list(results.values())
    if group.is_first:
        if len(rows) > 1:
            print(markdown(rows))
        write_tables(tables, rows, facts)
    if missing := sum(bool(row.error) for row in rows):
        if len(rows) > 1:
            raise UserError(f"{missing} of {len(rows)} results are missing, see above")
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
    """What is the same for all names of a model at a strength."""
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


def choose_cases(
    paths: Sequence[str], scales: Sequence[float] | None, group: Group
) -> list[TestCase]:
    """The cases of the configs, or those of the given scales.

    Raises:
        UserError: With all mistakes of all configs; or if a scale has no case, or a case is there
            twice.
    """
    suites, problems = [], []
    for path in paths:
        try:
            suites.append(load_test(path, datasets=datasets.registry))
        except UserError as error:
            problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(problems))
    chosen = suites
    if scales is not None:
        chosen = [choose_scales(suite, scales, datasets=datasets.registry) for suite in suites]
    cases = [case for suite in chosen for case in suite]
    for suite, kept in zip(suites, chosen, strict=True):
        lacking = sorted(set(scales or ()) - {case.scale for case in kept})
        if missing := set(lacking) - {case.scale for case in cases}:
            known = sorted({c.scale for suite in suites for c in suite if c.scale is not None})
            listed = ", ".join(f"{s:g}" for s in known) or "none (published form: one scale)"
            raise UserError(
                f"--scale {min(missing):g}: not in the configs, and none of their tests shrinks "
                f"its images itself; their scales: {listed}"
            )
        if lacking and group.is_first:
            named = ", ".join(f"x{scale:g}" for scale in lacking)
            names = ", ".join(dict.fromkeys(case.name for case in suite))
            print(f"{names}: no test of {named}, left out", file=sys.stderr)
    titles = [str(case) for case in cases]
    if again := next((name for name in titles if titles.count(name) > 1), None):
        raise UserError(f"{again} is in the configs twice: give them different names")
    return cases


def output_problems(
    save: Path | None, tables: dict[str, Path], inputs: Sequence[str | Path]
) -> list[str]:
    """What cannot be written as the options say; inputs are the files that are read."""
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


def say_problems(
    models: Sequence[CheckedModel], cases: Sequence[CheckedCase], group: Group
) -> None:
    """What the checks have found; a `UserError` if nothing is left to evaluate."""
    lines = [line for model in models for line in model.error.splitlines()]
    titles: dict[str, list[str]] = {}  # of cases, by what is wrong with them
    for checked in cases:
        for line in checked.error.splitlines():
            titles.setdefault(line, []).append(str(checked.case))
    for line, names in titles.items():
        lines.append(f"{', '.join(names)}: {line}" if len(cases) > 1 else line)
    if all(model.error for model in models) or all(checked.error for checked in cases):
        raise UserError("\n".join(lines))
    if not group.is_first:
        return
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    for note in dict.fromkeys(note for checked in cases for note in checked.notes):
        print(note, file=sys.stderr)
    if len({model.channels for model in models if not model.error}) > 1:
        print("gray and RGB models measure different pixels: do not compare them", file=sys.stderr)
    for model, checked in product(models, cases):
        if norms_differ(checked.case, model):
            name = f"{checked.case}, {model.name}" if len(models) > 1 else str(checked.case)
            what = "data_norm of the config differs from the checkpoint's, which is used"
            print(f"{name}: {what}", file=sys.stderr)


def say(result: Result, several_cases: bool, several_models: bool) -> None:
    """One result, or why there is none."""
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


def about(models: Sequence[CheckedModel], group: Group) -> dict[str, Any]:
    """What JSON says of the models, and of where they were evaluated."""
    device = torch.cuda.get_device_name(group.device) if group.device.type == "cuda" else "cpu"
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "numpy", "pillow")},
        },
        "machine": {"platform": platform.platform(), "device": device, "processes": group.world},
        "models": [
            {
                "name": model.name,
                "file": model.file,
                "sha256": model.sha256,
                **_blend(model),
                "parameters": model.parameters,
                **({"error": model.error} if model.error else {}),
            }
            for model in models
        ],
    }


def _blend(model: CheckedModel) -> dict[str, Any]:
    """What the weights of a model at a strength are made of, besides its own file."""
    if model.strength is None:
        return {}
    keys = ("strength", "base", "base_sha256")
    return {key: getattr(model, key) for key in keys}


if __name__ == "__main__":
    run(main)
