"""The floors of ``models/``: what may import what, and what papers do not speak of."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import models

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "models").rglob("*.py"))
# Of a floor: which others its files may import from; "" is the level of `models/` itself.
BELOW = {
    "encoders": {"", "encoders"},
    "decoders": {"", "decoders"},
    "reading": {"", "decoders", "reading"},
    "literal": {"literal"},
    "continuous": {"", "encoders", "decoders", "reading", "continuous"},
}


def name_of(path: Path) -> str:
    """As it is imported: ``models.continuous.liif``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The modules of ``models`` that a file names in its imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path) if path.name == "__init__.py" else name_of(path.parent)
            base = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module
            within = {f"{base}.{alias.name}" for alias in node.names}
            names |= within & set(MODULES) or {base}
    return names & set(MODULES)


def floor(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else ""


def test_no_import_goes_in_a_circle():
    order = TopologicalSorter({name: imported(path) for name, path in MODULES.items()})
    assert len(list(order.static_order())) == len(MODULES)  # a circle raises CycleError


@pytest.mark.parametrize("part", BELOW)
def test_floors(part):
    files = [name for name in MODULES if floor(name) == part]
    assert len(files) > 1
    for name in files:
        assert {floor(other) for other in imported(MODULES[name])} <= BELOW[part], name


def test_other_files_of_the_top_are_dropped_ones():
    top = {name.split(".")[1] for name in MODULES if name.count(".") == 1}
    assert top - {*BELOW} == models.OURS


def test_files_are_short():
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 300]


def test_papers_do_not_speak_of_speed():
    """How many queries at a time, in which memory and where: that is for the floor below."""
    for path in (ROOT / "models" / "continuous").glob("*.py"):
        words = r"\b(?:memory|chunk|cache|is_grad_enabled|is_compiling|device)\b|\.(?:index|read)\("
        assert not re.findall(words, path.read_text()), path
