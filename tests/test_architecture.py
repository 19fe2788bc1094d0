"""Imports run one way: errors, utils <- files, cli, configs <- parallel <- datasets, models <-
engine <- the rest."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"errors", "utils", "files", "cli", "configs"}
MAY_IMPORT = {
    "errors": set(),
    "utils": set(),
    "files": {"errors", "files"},
    "cli": {"errors", "files", "cli"},
    "configs": {"errors", "files", "configs"},
    "parallel": {"errors", "cli", "parallel"},
    "datasets": {*BASE, "parallel", "datasets"},
    "models": {*BASE, "models"},
    "engine": {*BASE, "parallel", "datasets", "models"},
    "training": {*BASE, "parallel", "datasets", "models", "engine", "training"},
    "rendering": {*BASE, "parallel", "datasets", "models", "engine", "rendering"},
    "evaluation": {*BASE, "parallel", "datasets", "models", "engine", "evaluation"},
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
    assert {"liif.py", "base.py"} <= {file.name for file in (ROOT / "models").rglob("*.py")}
