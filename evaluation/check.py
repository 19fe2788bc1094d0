"""What is to be evaluated, looked at before the first image is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import nn

from configs.command import first_line
from configs.load import TestCase
from configs.schema import EVAL_TYPE
from configs.spec import UserError
from datasets.image_file import EXTENSIONS, FORMATS
from datasets.loader import BatchLoader, make_loader
from datasets.wrappers import SRImplicitDownsampled
from engine import DataNorm, Measure
from evaluation.pictures import in_the_way, picture_files
from models.checkpoint import checkpoint_file, load_model
from parallel import Group, reason


@dataclass(frozen=True)
class Plan:
    """How everything is evaluated.

    Attributes:
        ensemble, ssim: As of `Measure`.
        save: Folder of the pictures; None: they are not kept.
        workers: As of `BatchLoader`.
    """

    ensemble: bool = False
    ssim: bool = False
    save: Path | None = None
    workers: int | None = None

    def measure(self, case: TestCase) -> Measure:
        return Measure(case.config.eval_type, case.config.eval_bsize, self.ensemble, self.ssim)


@dataclass(frozen=True)
class CheckedModel:
    """A model that was loaded once, or why it cannot be.

    Attributes:
        name: As the user calls it.
        file: None of the baseline.
        sha256: Of the file.
        parameters: How many.
        data_norm: That it was trained with; None if its file does not say.
        error: In lines; empty if there is none.
    """

    name: str
    file: str | None = None
    sha256: str | None = None
    parameters: int | None = None
    data_norm: DataNorm | None = None
    error: str = ""


@dataclass(frozen=True)
class CheckedCase:
    """A test case whose files were looked at, or why it cannot be evaluated.

    Attributes:
        files: Of its images, in their order.
        pictures: For each model the files that the pictures go to; empty if they are not kept.
        error: In lines; empty if there is none.
    """

    case: TestCase
    files: list[str]
    pictures: dict[str, list[Path]]
    error: str = ""


def check_models(names: Sequence[str], group: Group) -> list[CheckedModel]:
    """Load all models, one at a time."""

    def check(name: str) -> CheckedModel:
        try:
            return _open(name)[1]
        except Exception as error:
            return CheckedModel(name, error=reason(error))

    own = [check(name) for name in names]
    return [
        _agreed(
            found,
            [model.sha256 for model in found],
            f"{found[0].name}: differs between the processes; each needs the same file",
        )
        for found in zip(*group.gather([own]), strict=True)
    ]


def check_cases(
    cases: Sequence[TestCase], models: Sequence[str], plan: Plan, group: Group
) -> list[CheckedCase]:
    """List the files of all cases, read their headers, and see where the pictures would go."""
    size = cache(_size)

    def check(case: TestCase) -> CheckedCase:
        files, pictures, problems = [], {}, []
        try:
            loader = _loader(case, num_workers=0)
            files = _files(loader)
            problems += _problems(loader, files, plan.measure(case), size)
            if plan.save is not None:
                pictures = picture_files(plan.save, models, case, files)
                problems += in_the_way(chain.from_iterable(pictures.values()))
        except Exception as error:
            problems.append(reason(error))
        return CheckedCase(case, files, pictures, "\n".join(problems))

    own = [check(case) for case in cases]
    return [
        _agreed(
            found,
            [case.files for case in found],
            "the images differ between the processes; each needs the same files",
        )
        for found in zip(*group.gather([own]), strict=True)
    ]


Seen = TypeVar("Seen", CheckedModel, CheckedCase)


def _agreed(found: Sequence[Seen], seen: Sequence[object], difference: str) -> Seen:
    """Of what the processes have found: an error, or what all have seen alike."""
    first = next((item for item in found if item.error), found[0])
    if first.error or all(other == seen[0] for other in seen):
        return first
    return replace(first, error=difference)


def expected_scale(case: TestCase) -> float | None:
    """Of a test's pairs; None if neither its row nor its eval_type says one."""
    if case.scale is not None:
        return case.scale
    match = EVAL_TYPE.fullmatch(case.config.eval_type or "")
    return float(match[2]) if match else None


def _loader(case: TestCase, **options: Any) -> BatchLoader:
    """Of one process or, with ``group``, of all; does not talk to the others."""
    return make_loader(case.config.test_dataset, **options)


def _files(loader: BatchLoader) -> list[str]:
    return [loader.file_name(i) for i in range(loader.batches.length)]


def reopen_case(checked: CheckedCase, plan: Plan, group: Group) -> BatchLoader:
    """The samples; a `UserError` if their files are not those that were checked."""
    loader = _loader(checked.case, num_workers=plan.workers, group=group)
    if _files(loader) != checked.files:
        raise UserError("its files have changed since they were checked")
    return loader


def _open(name: str) -> tuple[nn.Module, CheckedModel]:
    """A model, and what is told of it."""
    model, norm = load_model(name)
    parameters = sum(p.numel() for p in model.parameters())
    if name == "bicubic":
        return model, CheckedModel(name, parameters=parameters)
    file = checkpoint_file(name)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return model, CheckedModel(name, str(file), digest, parameters, norm)


def reopen_model(known: CheckedModel, device: torch.device) -> nn.Module:
    """The model on a device; a `UserError` if its file is not that which was checked."""
    model, found = _open(known.name)
    if found != known:
        raise UserError(f"{known.name}: has changed since it was checked")
    return model.to(device)


def _problems(
    loader: BatchLoader, files: list[str], measure: Measure, size: Callable[[str], tuple[int, int]]
) -> list[str]:
    """What fails by what the samples are, or by the headers of the images."""
    samples = loader.samples
    if (measure.protocol or measure.ssim) and getattr(samples, "sample_q", None) is not None:
        return [
            "eval_type and --ssim need whole images, so the wrapper must not have sample_q, "
            "nor inp_size if its name ends in -fast"
        ]
    problems, small = [], []
    for file in dict.fromkeys(files):
        if Path(file).suffix.lower() not in EXTENSIONS:  # a dataset that names what it likes
            continue
        try:
            height, width = size(file)
        except UserError as error:
            problems.append(str(error))
            continue
        side = min(height, width)
        if isinstance(samples, SRImplicitDownsampled) and samples.inp_size is None:
            scale = samples.scale_max
            low = math.floor(side / scale + 1e-9)
            if low < 1:
                small.append(f"{file}: {height}x{width} pixels are too few to shrink by {scale:g}")
                continue
            side = round(low * scale)
        if side <= 2 * measure.shave:
            left = f"after shaving {measure.shave} a side"
            small.append(f"{file}: nothing of {height}x{width} pixels is left {left}")
    if small:
        more = f" (and {len(small) - 1} more are too small)" if len(small) > 1 else ""
        problems.append(small[0] + more)
    return problems


def _size(file: str) -> tuple[int, int]:
    """(H, W) by the header of an image file."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise UserError(f"{file}: no such image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image: {first_line(error)}") from None
