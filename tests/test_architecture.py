"""Imports run one way: utils, configs <- parallel <- datasets, models <- engine <- the rest."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "utils": set(),
    "configs": {"configs"},
    "parallel": {"configs"},
    "datasets": {"utils", "configs", "parallel", "datasets"},
    "models": {"utils", "configs", "models"},
    "engine": {"utils", "configs", "parallel", "datasets", "models"},
    "training": {"utils", "configs", "parallel", "datasets", "models", "engine", "training"},
    "rendering": {"utils", "configs", "parallel", "datasets", "models", "engine", "rendering"},
    "evaluation": {"utils", "configs", "parallel", "datasets", "models", "engine", "evaluation"},
    "hubconf": {"rendering"},
}
PROJECT = {*MAY_IMPORT, "train_liif", "test", "demo"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names & PROJECT


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_layers(part):
    files = [*(ROOT / part).rglob("*.py")] or [ROOT / f"{part}.py"]
    for file in files:
        assert imported(file) <= MAY_IMPORT[part], file


def test_nobody_imports_a_program():
    for file in ROOT.glob("*.py"):
        assert not imported(file) & {"train_liif", "test", "demo"}, file


def test_sources_are_found():
    assert {"liif.py", "base.py"} <= {file.name for file in (ROOT / "models").glob("*.py")}
