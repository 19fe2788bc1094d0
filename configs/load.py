"""Load training and test YAMLs and check their values.

All mistakes in a YAML are found at once, before an image is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from configs.schema import (
    EVAL_TYPE,
    ScaledTest,
    TestConfig,
    TestSuite,
    TrainConfig,
    data_problems,
    parse_section,
    raise_problems,
    sampled_problems,
)
from configs.source import read_source
from configs.spec import Registry


@dataclass(frozen=True)
class TestCase:
    """One cell of the result table: a test of one set at one scale.

    Attributes:
        name: Row of the table.
        scale: Column; None in the published form of one test, which does not state it.
        test: Entry of the YAML that it was made from, if that has several scales.
        values: The number used here for each word in the entry's ``values``.
    """

    name: str
    scale: float | None
    config: TestConfig
    test: ScaledTest | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name if self.scale is None else f"{self.name} x{self.scale:g}"

    @property
    def shrinks(self) -> bool:
        """Whether its wrapper takes the scale, while its files are the same for all scales."""
        if self.test is None:
            return False
        section = self.test.test_dataset
        return "{scale}" in str(section.wrapper) and "{scale}" not in str(section.dataset)


def load_train(
    path: str | Path, *, models: Registry, datasets: Registry, optimizers: Registry
) -> TrainConfig:
    """Read and check a training YAML.

    Args:
        path: The file.
        models, datasets, optimizers: Registries in which its specs look up their names.

    Raises:
        UserError: If there are mistakes; lists every one in the file, one per line.
    """
    registries = {"models": models, "datasets": datasets, "optimizers": optimizers}
    source = read_source(path)
    config, problems = check_train(source.raw, **registries)
    raise_problems(source, problems)
    assert config is not None
    return config


def check_train(
    raw: Mapping[str, Any], *, models: Registry, datasets: Registry, optimizers: Registry
) -> tuple[TrainConfig | None, list[str]]:
    """Parse a mapping into a config, or None, and list every mistake in it, one per line."""
    config, problems = parse_section(TrainConfig, raw)
    for key in ("train_dataset", "val_dataset"):
        problems += data_problems(raw.get(key), key, datasets)
    problems += sampled_problems(raw.get("eval_type"), raw.get("val_dataset"), "val_dataset")
    if isinstance(raw.get("model"), dict):
        problems += models.check(raw["model"], "model")
    if isinstance(raw.get("optimizer"), dict):
        problems += optimizers.check(raw["optimizer"], "optimizer", ("params",))
    return config, problems


def load_test(path: str | Path, *, datasets: Registry) -> list[TestCase]:
    """Read and check a test YAML, in the published form or with table rows of scales.

    Raises:
        UserError: If there are mistakes; lists every one in the file, one per line.
    """
    source = read_source(path)
    raw = source.raw
    if "tests" not in raw:
        config, problems = parse_section(TestConfig, raw)
        problems += _section_problems(raw, datasets)
        raise_problems(source, problems)
        return [TestCase(Path(path).stem, None, config)]
    suite, problems = parse_section(TestSuite, raw)
    raise_problems(source, problems)
    cases = []
    for i, test in enumerate(suite.tests):
        for numbers in product(*test.values.values()):
            whole = (int(n) if n.is_integer() else n for n in numbers)
            values: dict[str, float] = dict(zip(test.values, whole, strict=True))
            for scale in test.scales:
                case, mistakes = _case(
                    str(_fill(suite.name, values)), test, values, scale, datasets
                )
                problems += [f"tests.{i}{mistake}" for mistake in mistakes]
                cases.append(case)
    raise_problems(source, problems)
    return cases


def choose_scales(
    cases: Sequence[TestCase], scales: Sequence[float], *, datasets: Registry
) -> list[TestCase]:
    """Choose the tests of some scales, and make tests for scales not listed where possible.

    These are made from each row's first test that shrinks its images itself. In rows without one,
    scales that are not listed are left out, as there are no files for them.

    Args:
        cases: Tests of one test YAML.

    Raises:
        UserError: If the test cannot be made for such a scale.
    """
    chosen = [case for case in cases if case.scale in scales]
    like = {case.name: case for case in reversed(cases) if case.shrinks}
    there = {(case.name, case.scale) for case in chosen}
    for name, scale in product(dict.fromkeys(case.name for case in cases), dict.fromkeys(scales)):
        first = like.get(name)
        if first and first.test and (name, scale) not in there:
            case, mistakes = _case(name, first.test, first.values, scale, datasets)
            raise_problems(case, [mistake.lstrip(".: ") for mistake in mistakes])
            chosen.append(case)
    return chosen


def _case(
    name: str, test: ScaledTest, values: Mapping[str, float], scale: float, datasets: Registry
) -> tuple[TestCase, list[str]]:
    """Make a test at one scale, and list its mistakes."""
    raw = _fill(test.model_dump(exclude={"scales", "values"}), {**values, "scale": scale})
    config, mistakes = parse_section(TestConfig, raw)
    mistakes = [f".{mistake}" for mistake in mistakes + _section_problems(raw, datasets)]
    match = EVAL_TYPE.fullmatch(raw["eval_type"] or "")
    if match and match[2] and not math.isclose(float(match[2]), scale, rel_tol=1e-5):
        mistakes.append(f": eval_type {match[0]} in the row x{scale:g}")
    return TestCase(name, scale, config, test, values), mistakes


def _section_problems(raw: dict[str, Any], datasets: Registry) -> list[str]:
    section = raw.get("test_dataset")
    problems = data_problems(section, "test_dataset", datasets)
    return problems + sampled_problems(raw.get("eval_type"), section, "test_dataset")


def _fill(value: Any, numbers: Mapping[str, float]) -> Any:
    """Replace words in braces in all texts; a text that is nothing else becomes the number."""
    if isinstance(value, dict):
        return {key: _fill(entry, numbers) for key, entry in value.items()}
    if isinstance(value, list):
        return [_fill(entry, numbers) for entry in value]
    for word, number in numbers.items() if isinstance(value, str) else ():
        if value == f"{{{word}}}":
            return number
        digits = f"{number:.15g}" if number < 1e15 else f"{number:.0f}"  # eval_type: no exponents
        value = value.replace(f"{{{word}}}", digits)
    return value
