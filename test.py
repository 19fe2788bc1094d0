"""Evaluate PSNR on test sets.

python test.py --config configs/test/set5.yaml configs/test/set14.yaml --model M.pth
python test.py --config configs/test/set5.yaml --scale 4 --model M.pth --save pictures
python test.py --config configs/test/set5.yaml --ssim --ensemble --markdown set5.md
"""

from __future__ import annotations

from configs.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before torch, whose import takes seconds

import argparse
import sys
from pathlib import Path

from torch import nn

import datasets
from configs.command import add_gpu_option, add_model_option, outlive_output, run
from configs.files import written_whole
from configs.load import TestCase, load_test
from configs.spec import UserError
from datasets.image_file import write_image
from datasets.loader import make_loader
from engine import PUBLISHED_NORM, DataNorm, Evaluated, Measure, Scores, score
from models.checkpoint import load_model
from parallel import Group, joined, start_each
from reports import Result, as_csv, as_json, markdown


def main() -> None:
    args = parse_args()
    if any((args.save, args.markdown, args.json, args.csv)):
        outlive_output()
    start_each(args.gpu)
    with joined(args.gpu) as group:
        evaluate_all(args, group)


def evaluate_all(args: argparse.Namespace, group: Group) -> None:
    """Every case of the configs; the first process says the results."""
    for path in (args.markdown, args.json, args.csv):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{path}: there is no such folder")
    cases = [case for path in args.config for case in load_test(path, datasets=datasets.registry)]
    cases = choose_scales(cases, args.scale)
    titles = [title(case) for case in cases]
    if again := next((name for name in titles if titles.count(name) > 1), None):
        raise UserError(f"{again} is in the configs twice: give them different names")
    model, trained_norm = load_model(args.model)
    model.to(group.device)
    results = []
    for case in cases:
        norm = choose_norm(case, trained_norm, group)
        scores = evaluate_case(case, model, norm, group, args)
        results.append(Result(case.name, case.scale, *scores))
        if group.is_first:
            name = title(case) if len(cases) > 1 else "result"
            ssim = f", SSIM {scores.ssim:.4f}" if args.ssim else ""
            print(f"{name}: {scores.psnr:.4f}{ssim}", flush=True)
    if not group.is_first:
        return
    if len(cases) > 1:
        print(markdown(results))
    for path, form in ((args.markdown, markdown), (args.json, as_json), (args.csv, as_csv)):
        if path is not None:
            with written_whole(path) as file:
                file.write(f"{form(results).rstrip()}\n".encode())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate PSNR on test sets.")
    parser.add_argument("--config", required=True, nargs="+", metavar="C.yaml")
    add_model_option(parser)
    parser.add_argument(
        "--scale", type=float, nargs="+", metavar="S", help="only these scales of the configs"
    )
    parser.add_argument("--ssim", action="store_true", help="structural similarity, too")
    parser.add_argument(
        "--ensemble", action="store_true", help="average over eight flips and rotations"
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the pictures in DIR")
    for form in ("markdown", "json", "csv"):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--workers", type=_count, metavar="N", help="processes that load images")
    add_gpu_option(parser)
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text!r}")
    return int(text)


def choose_scales(cases: list[TestCase], scales: list[float] | None) -> list[TestCase]:
    """The cases of the given scales.

    Raises:
        UserError: If a scale has no case.
    """
    if scales is None:
        return cases
    known = sorted({case.scale for case in cases if case.scale is not None})
    if missing := [s for s in scales if s not in known]:
        listed = ", ".join(f"{s:g}" for s in known) or "none (published form: one scale)"
        raise UserError(f"--scale {missing[0]:g}: not in the configs; their scales: {listed}")
    return [case for case in cases if case.scale in scales]


def choose_norm(case: TestCase, trained: DataNorm | None, group: Group) -> DataNorm:
    """The normalisation the model was trained with; the config's if the checkpoint has none."""
    given = case.config.data_norm.model_dump() if case.config.data_norm else None
    if group.is_first and trained is not None and given is not None and trained != given:
        print(
            f"{title(case)}: data_norm of the config differs from the checkpoint's, which is used",
            file=sys.stderr,
        )
    return trained or given or PUBLISHED_NORM


def evaluate_case(
    case: TestCase,
    model: nn.Module,
    norm: DataNorm,
    group: Group,
    args: argparse.Namespace,
) -> Scores:
    """Mean PSNR and SSIM of one case; the pictures go to SAVE/NAME/xS."""
    config = case.config
    loader = make_loader(config.test_dataset, num_workers=args.workers, group=group)

    def keep(result: Evaluated) -> None:
        if result.picture is None:
            raise UserError(f"--save: {title(case)} has samples that are no whole pictures")
        scale = f"x{case.scale:g}" if case.scale else ""
        name = Path(loader.file_name(result.number)).stem
        write_image(args.save / case.name / scale / f"{name}.png", result.picture)

    return score(
        loader,
        model,
        Measure(config.eval_type, config.eval_bsize, args.ensemble, args.ssim),
        norm,
        verbose=group.is_first,
        on_image=None if args.save is None else keep,
        group=group,
    )


def title(case: TestCase) -> str:
    return case.name if case.scale is None else f"{case.name} x{case.scale:g}"


if __name__ == "__main__":
    run(main)
