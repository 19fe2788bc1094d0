"""Compute the results of the models and test cases that passed their checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from configs.load import TestCase
from datasets.degraded import SRImplicitDegraded
from datasets.wrappers import SRImplicitDownsampled
from engine import PUBLISHED_NORM, DataNorm
from errors import UserError
from evaluation.check import (
    CheckedCase,
    CheckedModel,
    Plan,
    expected_scale,
    reopen_case,
    reopen_model,
)
from evaluation.pictures import write_picture
from metrics import METRICS
from parallel import Group, reason
from reports import Result
from scoring import Evaluated, Measure, score


def evaluate_all(
    models: Sequence[CheckedModel], cases: Sequence[CheckedCase], plan: Plan, group: Group
) -> Iterator[Result]:
    """Yield the results of all models and cases that passed their checks, model by model.

    Anything that still fails, in any of the processes, becomes a result with an error.
    """
    cases = [checked for checked in cases if not checked.error]
    for known in (model for model in models if not model.error and cases):
        model, failure = None, ""
        try:
            model = group.attempt(partial(reopen_model, known, group.device))
        except Exception as error:
            failure = reason(error)
        for checked in cases:
            case = checked.case
            result = Result(case.name, case.scale, model=known.name, error=failure)
            if model is not None:
                try:
                    result = _evaluate(result, checked, known, model, plan, group)
                except Exception as error:
                    result = replace(result, error="; ".join(reason(error).splitlines()))
            yield result


def _evaluate(
    empty: Result,
    checked: CheckedCase,
    known: CheckedModel,
    model: nn.Module,
    plan: Plan,
    group: Group,
) -> Result:
    measure, norm = plan.measure(checked.case), choose_norm(checked.case, known)
    loader = group.attempt(partial(reopen_case, checked, plan, group, known.channels))

    def keep(result: Evaluated) -> None:
        if result.picture is None:
            raise UserError("--save: the samples are no whole pictures")
        write_picture(checked.pictures[known.name][result.number], result.picture)

    inputs = _origin(loader.samples, checked.case)
    try:
        scores = score(
            loader,
            model,
            measure,
            norm,
            verbose=group.is_first,
            on_image=keep if checked.pictures else None,
            group=group,
        )
    finally:
        loader.close()
    protocol = {
        "eval_type": measure.eval_type,
        "scale": expected_scale(checked.case),
        "shave": measure.shave,
        "channels": _compared(known, measure),
        **inputs,
        "data_norm": norm,
        "ensemble": plan.ensemble,
    }
    images = [
        {
            "file": checked.files[image.number],
            **{name: image.values.get(name) for name in METRICS},
            **dict(zip(("height", "width"), image.size or (None, None), strict=True)),
        }
        for image in scores.images
    ]
    details = {"protocol": protocol, "left_out": scores.exact, "per_image": images}
    return replace(empty, values=scores.values, images=len(images), details=details)


def _origin(samples: object, case: TestCase) -> dict[str, Any]:
    """Describe where the inputs come from."""
    if isinstance(samples, SRImplicitDegraded):
        return {"lr": "degraded here", "wrapper": case.config.test_dataset.wrapper}
    shrunk = isinstance(samples, SRImplicitDownsampled)
    return {"lr": "shrunk here (Pillow bicubic)" if shrunk else "files"}


def _compared(model: CheckedModel, measure: Measure) -> str:
    """Name the channels that a protocol compares."""
    if model.channels == 1:
        return "gray"
    return {"benchmark": "luma", "gray": "gray"}.get(measure.protocol or "", "RGB")


def choose_norm(case: TestCase, model: CheckedModel) -> DataNorm:
    """Get the normalisation the model was trained with, else the config's or the published one."""
    return model.data_norm or _norm_of(case) or PUBLISHED_NORM


def norms_differ(case: TestCase, model: CheckedModel) -> bool:
    """Check whether the config has another normalisation than the checkpoint."""
    given = _norm_of(case)
    return None not in (model.data_norm, given) and model.data_norm != given


def _norm_of(case: TestCase) -> DataNorm | None:
    return case.config.data_norm.model_dump() if case.config.data_norm else None
