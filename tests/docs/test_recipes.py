"""The recipes of CONTRIBUTING.md, carried out in a copy of the repository."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from configs.yaml_file import read_yaml
from tests.docs.markdown import FENCED, ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^## (Add .+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def steps(recipe):
    """(text, code blocks) of each numbered step."""
    blocks = []

    def keep(match):
        blocks.append(match[2])
        return f"\0{len(blocks) - 1}\0"

    for step in re.split(r"^\d+\. ", FENCED.sub(keep, recipe), flags=re.MULTILINE)[1:]:
        text = re.sub("\0\\d+\0", "", step)
        yield " ".join(text.split()), [blocks[int(n)] for n in re.findall("\0(\\d+)\0", step)]


def carry_out(root, text, blocks):
    """Do what a step says, and return the commands that it ends with."""
    names = re.findall(r"`([^`]+)`", text)
    if re.match(r"`[\w/]+\.py`:", text):
        write_new(root / names[0], blocks[0])
    elif "to the import in the last line of" in text:
        add_imports(root / names[-1], names[:-1])
    elif placed := re.search(r"to `(\w+)` in `([\w/]+\.py)`", text):
        add_entry(root / placed[2], placed[1], blocks[0] if blocks else f'    "{names[0]}",\n')
    elif text.startswith("Copy "):
        copy_config(root, text, names, blocks)
    else:
        assert text.startswith("`python "), f"unknown step: {text}"
        return [names[0]]
    return []


def write_new(path, code):
    assert not path.exists()
    path.write_text(code)


def add_imports(path, names):
    """Into the import that is the last statement of a module."""
    text = path.read_text()
    last = ast.parse(text).body[-1]
    assert isinstance(last, ast.ImportFrom)
    last.names += [ast.alias(name) for name in names]
    head = text.splitlines()[: last.lineno - 1]
    path.write_text("\n".join([*head, f"{ast.unparse(last)}  # noqa: E402, F401\n"]))


def add_entry(path, name, entry):
    """At the beginning of a mapping or a list."""
    text, count = re.subn(
        rf"^({name}\b.* = [{{\[])", lambda m: f"{m[1]}\n{entry}", path.read_text(), flags=re.M
    )
    assert count == 1, f"{path}: {name}"
    path.write_text(text)


def copy_config(root, text, names, blocks):
    """A config with another section, another name, or another entry of a list."""
    source = root / names[0]
    target = source.with_name(names[1])
    assert not target.exists()
    config = source.read_text()
    if renamed := re.search(r"write `(.+?)` for `(.+?)`", text):
        assert config.count(renamed[2]) == 1
        target.write_text(config.replace(renamed[2], renamed[1]))
        return
    config, change = read_yaml(source), yaml.safe_load(blocks[0])
    if isinstance(change, list):
        config["train_dataset"]["wrapper"]["args"]["low"] += change
    else:
        assert sum(replace(config, key, value) for key, value in change.items()) == len(change)
    target.write_text(yaml.safe_dump(config))


def replace(section, key, value):
    """How often a key stands in a mapping or below; there it has another value now."""
    found = key in section
    if found:
        section[key] = value
        return 1
    return sum(replace(inner, key, value) for inner in section.values() if isinstance(inner, dict))


def run(cwd, *arguments):
    """Python with these arguments; it must succeed."""
    program = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        program, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path):
    left_out = shutil.ignore_patterns(".*", "__pycache__", "load", "save")
    return Path(shutil.copytree(ROOT, tmp_path / "copy", ignore=left_out))


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_recipe(copy, title):
    before = set(copy.rglob("*.py"))
    commands = []
    for text, blocks in steps(RECIPES[title]):
        commands += carry_out(copy, text, blocks)
    new = set(copy.rglob("*.py")) - before
    assert new
    for check in (["check"], ["format", "--check"]):
        run(copy, "-m", "ruff", *check, "--no-cache", *new)
    assert [command.split()[:3] for command in commands] == [
        ["python", "scripts/docs_tables.py", "--tables"],
        ["python", "-m", "pytest"],
    ]
    written, tested = (run(copy, *shlex.split(command)[1:]) for command in commands)
    assert "docs/" in written
    passed = re.search(r"(\d+) passed", tested)
    assert passed, tested
    assert int(passed[1]) >= 3, tested


def test_there_is_a_recipe_for_each_kind():
    assert list(RECIPES) == [
        "Add an encoder",
        "Add a decoder",
        "Add a continuous model",
        "Add a dataset or a wrapper",
        "Add a degradation",
    ]
