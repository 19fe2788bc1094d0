"""Run an evaluation of models on test cases, from the checks to the results."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import product
from typing import Any, NamedTuple

import torch

from configs.load import TestCase
from errors import UserError
from evaluation.check import CheckedCase, CheckedModel, Plan, check_cases, check_models
from evaluation.results import evaluate_all, norms_differ
from parallel import Group
from reports import Result


class Report(NamedTuple):
    """The results of an evaluation so far.

    Attributes:
        results: Result of each model and case; those still to come have an error that says so.
        about: Facts about the models and the machine, for JSON.
    """

    results: list[Result]
    about: dict[str, Any]

    @property
    def missing(self) -> int:
        """The number of missing results."""
        return sum(bool(result.error) for result in self.results)


def evaluate(
    names: Sequence[str],
    cases: Sequence[TestCase],
    plan: Plan,
    group: Group,
    on_result: Callable[[Result, Report], None] | None = None,
) -> Report:
    """Evaluate every model on every case, after printing problems and notes to stderr.

    Args:
        names: Names of the models.
        on_result: Called in the first process with each result, and the report so far.

    Raises:
        UserError: If there is nothing to evaluate.
    """
    models = check_models(names, group)
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
        if group.is_first and on_result is not None:
            on_result(result, Report(list(results.values()), facts))
    return Report(list(results.values()), facts)


def say_problems(
    models: Sequence[CheckedModel], cases: Sequence[CheckedCase], group: Group
) -> None:
    """Print what the checks found; raise a `UserError` if nothing is left to evaluate."""
    lines = [line for model in models for line in model.error.splitlines()]
    titles: dict[str, list[str]] = {}  # titles of cases, by what is wrong with them
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


def about(models: Sequence[CheckedModel], group: Group) -> dict[str, Any]:
    """Collect the facts about the models and the machine, for JSON."""
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
    """Get what the weights of a model at a strength are blended from, besides its own file."""
    if model.strength is None:
        return {}
    keys = ("strength", "base", "base_sha256")
    return {key: getattr(model, key) for key in keys}
