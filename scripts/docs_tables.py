"""Write the generated parts of the documentation: registered names, config keys, files that run.

    python scripts/docs_tables.py  # rewrite them
    python scripts/docs_tables.py --check  # only name those that are out of date
    python scripts/docs_tables.py --tables  # leave out the lists of files, which need a run

A part stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. Names, arguments, defaults and
summaries come from signatures and docstrings, papers from the docstrings of modules, keys from
`configs.schema`, and lists of files from a run. The text about a key, or about a listed file, is
written in the page itself and kept; a new key begins without text, a new file with its docstring.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

import datasets
import models
from cli.command import outlive_output, run
from configs.schema import TestSuite, TrainConfig
from configs.spec import Registry
from datasets import degradations
from errors import UserError
from files.whole import written_whole
from models.base import ContinuousModel, Encoder
from scripts.documented import Entry, Row, as_markdown, entries, key_rows
from scripts.files_that_run import all_lists
from training.recipe import optimizers

ROOT = Path(__file__).resolve().parents[1]
PART = re.compile(r"(<!-- table: ([\w -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
APART = {"tests", "load", "save"}
FILE_LINE = re.compile(r"\d+\. `([^`]+)`: (.*)")

Parts = Mapping[str, Callable[[str], str]]  # maps the old text of each part to the new one


def table(head: Iterable[str], rows: Iterable[Row]) -> str:
    """Make a Markdown table."""
    head = list(head)
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def names(kept: Iterable[Entry], papers: bool = True) -> str:
    """Make a table with a row for each name: what it is, its arguments and defaults, its paper."""
    head = ["name", "what it is", "arguments (default)", *["paper"] * papers]
    return table(head, (e.row if papers else e.row[:-1] for e in kept))


def arguments(kept: Iterable[Entry], apart: Iterable[str]) -> str:
    """Make a table of names and their arguments except ``apart``, a row per docstring entry."""
    kept, rows = list(kept), list[Row]()
    names = {entry.factory.__name__: entry.name for entry in kept}
    for entry in kept:
        rows.append([f"**`{entry.name}`**", "", "", entry.summary])
        shown = [a for a in entry.arguments if a.name not in {*apart}]
        for _, group in groupby(shown, key=lambda a: a.entry):
            alike = list(group)
            meaning = re.sub(r"`(\w+)`", lambda m: f"`{names.get(m[1], m[1])}`", alike[0].meaning)
            words = ", ".join(f"`{a.name}`" for a in alike)
            rows.append(["", words, ", ".join(a.default for a in alike), meaning])
    return table(["name", "argument", "default", "meaning"], rows)


def keys(rows: Iterable[Row], before: str, notes: list[str]) -> str:
    """Make a table of keys: what each takes and its default, then the notes from the page."""
    written = {line[0]: line[3:] for line in cells(before)}
    empty = [""] * len(notes)
    filled = ([*row, *written.get(row[0], empty)] for row in rows)
    return table(["key", "takes", "default", *notes], filled)


def cells(text: str) -> Iterator[Row]:
    """Yield the cells of each row of a Markdown table."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def files(listed: Iterable[str], before: str) -> str:
    """Make a numbered list of files, with text from the page, or else from their docstrings.

    A file that has moved to another folder keeps its text.
    """
    written = dict(FILE_LINE.findall(before))
    moved = {Path(file).name: line for file, line in written.items()}
    lines = []
    for file in listed:
        line = written.get(file) or moved.get(Path(file).name) or summary_of(ROOT / file)
        lines.append(f"`{file}`: {line}")
    return "".join(f"{number}. {line}\n" for number, line in enumerate(lines, 1))


def every_file() -> str:
    """Make a table of all code files of the project, by folder, with their docstrings."""
    rows = []
    for folder in code_folders():
        for file in sorted((ROOT / folder).glob("*.py")):
            if text := summary_of(file):
                rows.append([f"`{file.relative_to(ROOT).as_posix()}`", text])
    return table(["file", "what it is"], rows)


def summary_of(file: Path) -> str:
    """Get the first paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return as_markdown(text.split("\n\n")[0])


def code_folders() -> list[str]:
    """List the root and all folders with code of the project, each before its subfolders."""
    first = (f for f in ROOT.iterdir() if f.name[0] != "." and f.name not in APART)
    found = {file.parent.relative_to(ROOT) for folder in first for file in folder.rglob("*.py")}
    return [".", *sorted(folder.as_posix() for folder in found)]


def parts(measured: bool = True) -> Parts:
    """Make the functions that turn the old text of each part of the documentation into the new.

    Args:
        measured: Measure the lists of files that run; else these lists stay.
    """

    def of(registry: Registry, keep: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        return [entry for entry in entries(registry) if keep(entry)]

    def is_wrapper(entry: Entry) -> bool:
        return "dataset" in entry.supplied

    def is_part(entry: Entry) -> bool:
        return not issubclass(entry.made, (Encoder, ContinuousModel))

    encoders = of(models.registry, lambda e: issubclass(e.made, Encoder))
    continuous = of(models.registry, lambda e: issubclass(e.made, ContinuousModel))
    lists = dict[str, list[str]]()

    def listed(name: str) -> Callable[[str], str]:
        def write(before: str) -> str:
            if not measured:
                return before
            lists.update(lists or all_lists())
            return files(lists[name], before)

        return write

    return {
        "encoders": lambda _: names(encoders),
        "models": lambda _: names(continuous),
        "decoders": lambda _: names(of(models.registry, is_part)),
        "datasets": lambda _: arguments(
            of(datasets.registry, lambda e: not is_wrapper(e)), apart=()
        ),
        "wrappers": lambda _: arguments(of(datasets.registry, is_wrapper), apart=["dataset"]),
        "degradations": lambda _: arguments(of(degradations.registry), apart=["p"]),
        "optimizers": lambda _: names(of(optimizers), papers=False),
        "training keys": lambda b: keys(key_rows(TrainConfig), b, ["meaning", "format"]),
        "test keys": lambda b: keys(key_rows(TestSuite), b, ["meaning"]),
        "files": lambda _: every_file(),
        "batch": listed("batch"),
        "training step": listed("training step"),
        "rendering": listed("rendering"),
    }


def renewed(text: str, writers: Parts, page: str) -> tuple[str, list[str]]:
    """Rewrite the parts of a page, and list the names of those that changed.

    Raises:
        UserError: If the page has an unknown part.
    """
    changed = []

    def replace(match: re.Match[str]) -> str:
        start, name, before, end = match.groups()
        if name not in writers:
            raise UserError(f"{page}: no table is called {name!r}; there are {', '.join(writers)}")
        after = writers[name](before)
        if after != before:
            changed.append(name)
        return start + after + end

    return PART.sub(replace, text), changed


def pages() -> list[Path]:
    """List the pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    parser.add_argument("--tables", action="store_true", help="leave lists of files as they are")
    args = parser.parse_args()
    outlive_output()
    writers, stale = parts(measured=not args.tables), []
    for page in pages():
        name, text = page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")
        after, changed = renewed(text, writers, name)
        stale += [f"{name}: {table}" for table in changed]
        if changed and not args.check:
            with written_whole(page) as file:
                file.write(after.encode())
    for line in stale:
        print(line)
    if stale and args.check:
        raise UserError("parts of the documentation are stale: run python scripts/docs_tables.py")


if __name__ == "__main__":
    run(main)
