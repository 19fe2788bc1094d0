"""What imports what, without circles, and how long files are.

Imports run one way: errors, metrics <- utils <- queries, files, cli, configs <- parallel
<- datasets, models <- engine <- scoring <- the rest.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"errors", "utils", "queries", "files", "cli", "configs"}
MEASURING = {*BASE, "metrics", "parallel", "scoring", "reports"}
MAY_IMPORT = {
    "errors": set(),
    "metrics": set(),
    "utils": {"metrics"},
    "queries": {"utils"},
    "files": {"errors", "files"},
    "cli": {"errors", "files", "cli"},
    "configs": {"errors", "files", "configs"},
    "parallel": {"errors", "cli", "parallel"},
    "datasets": {*BASE, "parallel", "datasets"},
    "models": {*BASE, "models"},
    "engine": {*BASE, "parallel", "datasets", "models"},
    "scoring": {*BASE, "metrics", "parallel", "datasets", "engine"},
    "reports": {"files", "metrics"},
    "training": {*BASE, "parallel", "datasets", "models", "engine", "scoring", "training"},
    "rendering": {*BASE, "parallel", "datasets", "models", "engine", "rendering"},
    "viewing": {*BASE, "datasets", "models", "rendering", "viewing"},
    "evaluation": {*MEASURING, "datasets", "models", "engine", "evaluation"},
    "hubconf": {"rendering"},
}
PROJECT = {*MAY_IMPORT, "train_liif", "test", "demo", "view"}
LINES = 300  # the most of a file


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
        assert not imported(file) & {"train_liif", "test", "demo", "view"}, file


def test_sources_are_found():
    assert {"liif.py", "base.py"} <= {file.name for file in (ROOT / "models").rglob("*.py")}


def sources() -> list[Path]:
    """The files of the project without tests."""
    parts = {*PROJECT, "benchmarks", "scripts"}
    return [file for part in parts for file in [*(ROOT / part).rglob("*.py"), ROOT / f"{part}.py"]]


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def imports_of(file: Path, modules: set[str]) -> set[str]:
    """The modules among some that a file imports as it is imported itself.

    A package as a whole is none of them: a registry is filled by what asks it to.
    """
    found = set()
    waiting = list(ast.parse(file.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not isinstance(node, ast.FunctionDef) and "TYPE_CHECKING" not in ast.dump(node):
            waiting += ast.iter_child_nodes(node)
    return found & modules


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of which each leads to the next and the last to the first; empty if there are none."""
    done: set[str] = set()

    def walk(way: list[str]) -> list[str]:
        for following in sorted(graph[way[-1]] - done):
            if following in way:
                return way[way.index(following) :]
            if found := walk([*way, following]):
                return found
        done.add(way[-1])
        return []

    return next(filter(None, (walk([node]) for node in sorted(graph))), [])


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_have_no_circles():
    files = {module(file): file for file in sources() if file.exists()}
    modules = {name for name in files if not name.endswith("__init__")}
    graph = {name: imports_of(files[name], modules) for name in modules}
    assert graph["training.loop"] >= {"training.step", "engine", "scoring"}
    assert circle(graph) == []


def test_files_are_short():
    long = {
        str(file.relative_to(ROOT))
        for file in sources()
        if file.exists() and len(file.read_text().splitlines()) > LINES
    }
    assert not long
