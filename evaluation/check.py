"""Check everything that is to be evaluated before the first image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from configs.load import TestCase
from datasets.loader import BatchLoader, make_loader
from engine import DataNorm
from errors import UserError
from evaluation.pictures import in_the_way, picture_files
from metrics import METRICS, PSNR
from models.channels import colour_channels
from models.checkpoint import find_source, load_model, split_name
from models.strength import titled
from parallel import Group, reason
from scoring import Measure


@dataclass(frozen=True)
class Plan:
    """The options that apply to a whole evaluation.

    Attributes:
        ensemble, metrics: See `Measure`.
        save: Folder for the pictures; None: they are not kept.
        workers: Number of worker processes; see `BatchLoader`.
    """

    ensemble: bool = False
    metrics: tuple[str, ...] = (PSNR,)
    save: Path | None = None
    workers: int | None = None

    def measure(self, case: TestCase) -> Measure:
        return Measure(case.config.eval_type, case.config.eval_bsize, self.ensemble, self.metrics)


@dataclass(frozen=True)
class CheckedModel:
    """A model that was loaded once, or why it cannot be.

    Attributes:
        name: Name that the user gave.
        file: File of the model; None for the baseline.
        sha256: Hash of the file.
        strength, base, base_sha256: Strength that the user gave, and the file, with its hash, of
            the model whose weights are blended in.
        parameters: Number of parameters.
        channels: Number of channels of the images that it is for: 3 or 1.
        data_norm: Normalisation that it was trained with; None if its file has none.
        error: Lines of the error; empty if there is none.
    """

    name: str
    file: str | None = None
    sha256: str | None = None
    strength: float | None = None
    base: str | None = None
    base_sha256: str | None = None
    parameters: int | None = None
    channels: int = 3
    data_norm: DataNorm | None = None
    error: str = ""


@dataclass(frozen=True)
class CheckedCase:
    """A test case whose files were checked, or why it cannot be evaluated.

    Attributes:
        files: Files of its images, in order.
        pictures: Files that the pictures go to, for each model; empty if they are not kept.
        notes: Lines about how the images are read.
        error: Lines of the error; empty if there is none.
    """

    case: TestCase
    files: list[str]
    pictures: dict[str, list[Path]]
    notes: tuple[str, ...] = ()
    error: str = ""


def check_models(names: Sequence[str], group: Group) -> list[CheckedModel]:
    """Load all models once, one at a time."""

    def check(name: str) -> CheckedModel:
        try:
            return _open(name)[1]
        except Exception as error:
            return CheckedModel(name, error=reason(error))

    own = [check(name) for name in names]
    return [
        _agreed(
            found,
            [(model.sha256, model.base_sha256) for model in found],
            f"{found[0].name}: differs between the processes; each needs the same file",
        )
        for found in zip(*group.gather([own]), strict=True)
    ]


def check_cases(
    cases: Sequence[TestCase], models: Sequence[CheckedModel], plan: Plan, group: Group
) -> list[CheckedCase]:
    """List the files of all cases, read their headers, and check where the pictures would go."""

    channels = min((model.channels for model in models if not model.error), default=3)

    def check(case: TestCase) -> CheckedCase:
        files, pictures, problems = [], {}, []
        notes: tuple[str, ...] = ()
        try:
            loader = _loader(case, channels, num_workers=0)
            files = _files(loader)
            notes = tuple(loader.notes())
            problems += _whole_images(loader.samples, plan.measure(case))
            if plan.save is not None:
                titles = [titled(*split_name(model.name)) for model in models]
                made = picture_files(plan.save, titles, case, files).values()
                pictures = {model.name: paths for model, paths in zip(models, made, strict=True)}
                problems += in_the_way(chain.from_iterable(pictures.values()))
        except Exception as error:
            problems.append(reason(error))
        return CheckedCase(case, files, pictures, notes, "\n".join(problems))

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
    """Compare the findings of all processes: the result is an error, or what they agree on."""
    first = next((item for item in found if item.error), found[0])
    if first.error or all(other == seen[0] for other in seen):
        return first
    return replace(first, error=difference)


def expected_scale(case: TestCase) -> float | None:
    """Get the scale of a test's pairs; None if neither its row nor its eval_type gives one."""
    return Measure(case.config.eval_type).scale if case.scale is None else case.scale


def _loader(case: TestCase, channels: int, **options: Any) -> BatchLoader:
    """Make the loader of one process or, with ``group``, of all, without any communication."""
    shave = Measure(case.config.eval_type).shave
    return make_loader(
        case.config.test_dataset,
        scale=expected_scale(case),
        shave=shave,
        channels=channels,
        **options,
    )


def _files(loader: BatchLoader) -> list[str]:
    return [loader.file_name(i) for i in range(loader.batches.length)]


def reopen_case(checked: CheckedCase, plan: Plan, group: Group, channels: int = 3) -> BatchLoader:
    """Make the loader of a checked case; raise a `UserError` if its files have changed since."""
    loader = _loader(checked.case, channels, num_workers=plan.workers, group=group)
    if _files(loader) != checked.files:
        raise UserError("its files have changed since they were checked")
    return loader


def _open(name: str) -> tuple[nn.Module, CheckedModel]:
    """Load a model, and collect what is reported about it."""
    model, norm = load_model(name)
    found = CheckedModel(name, parameters=sum(p.numel() for p in model.parameters()))
    source = find_source(name)
    if source.file is not None:
        file, digest = str(source.file), _hash(source.file)
        channels = colour_channels(model)
        found = replace(found, file=file, sha256=digest, channels=channels, data_norm=norm)
    if source.base is not None:
        base, digest = str(source.base), _hash(source.base)
        found = replace(found, strength=source.strength, base=base, base_sha256=digest)
    return model, found


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def reopen_model(known: CheckedModel, device: torch.device) -> nn.Module:
    """Load a checked model on a device; raise a `UserError` if its file has changed since."""
    model, found = _open(known.name)
    if found != known:
        raise UserError(f"{known.name}: has changed since it was checked")
    return model.to(device)


def _whole_images(samples: Any, measure: Measure) -> list[str]:
    """Report if samples are not whole images, though these are needed."""
    if measure.needs_images and getattr(samples, "sample_q", None) is not None:
        options = [f"--{name}" for name, metric in METRICS.items() if metric.needs_images]
        return [
            f"{' and '.join(['eval_type', *options])} need whole images, so the wrapper must not "
            "have sample_q, nor inp_size if its name ends in -fast"
        ]
    return []
