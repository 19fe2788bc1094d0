"""Models on test cases, from their check to their results."""

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
    """What is known of an evaluation.

    Attributes:
        results: Of each model and case; what is still to come has an error that says so.
        about: What JSON says of the models, and of where they were evaluated.
    """

    results: list[Result]
    about: dict[str, Any]

    @property
    def missing(self) -> int:
        """How many results there are none of."""
        return sum(bool(result.error) for result in self.results)


def evaluate(
    names: Sequence[str],
    cases: Sequence[TestCase],
    plan: Plan,
    group: Group,
    on_result: Callable[[Result, Report], None] | None = None,
) -> Report:
    """Every model on every case; what the user should know before is printed on stderr.

    Args:
        names: Of the models.
        on_result: Called in the first process with each result, and all that is known so far.

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
