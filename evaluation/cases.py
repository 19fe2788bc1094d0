"""Choose which tests of the configs to run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import datasets
from configs.load import TestCase, choose_scales, load_test
from errors import UserError
from parallel import Group


def choose_cases(
    paths: Sequence[str], scales: Sequence[float] | None, group: Group
) -> list[TestCase]:
    """Load the test cases of the configs, or only those of the given scales.

    Raises:
        UserError: If the configs have mistakes, with all of them; or if a scale has no case, or a
            case is there twice.
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
