"""What is generated in the documentation is up to date, and says what the code says."""

import pytest

import datasets
import models
from configs import schema
from datasets import degradations
from scripts.docs_tables import PART, arguments, cells, files, keys, main, names, pages, parts
from scripts.documented import Entry, entries, key_rows, takes
from training.recipe import optimizers

MEASURED = ("batch", "training step", "rendering")
REGISTRIES = [models.registry, datasets.registry, degradations.registry, optimizers]
NAMES = [entry.name for registry in REGISTRIES for entry in entries(registry)]
WRITERS = parts()
WRITTEN = {
    name: before for page in pages() for _, name, before, _ in PART.findall(page.read_text("utf-8"))
}


def test_every_part_stands_somewhere():
    assert WRITTEN.keys() == WRITERS.keys()


@pytest.mark.parametrize("part", [part for part in WRITERS if part not in MEASURED])
def test_part_is_up_to_date(part):
    assert WRITERS[part](WRITTEN[part]) == WRITTEN[part], "run python scripts/docs_tables.py"


@pytest.mark.parametrize("name", NAMES)
def test_name_is_in_one_table(name):
    lines = [line for text in WRITTEN.values() for line in text.splitlines()]
    found = [line for line in lines if line.startswith((f"| `{name}` |", f"| **`{name}`** |"))]
    assert len(found) == 1, "run python scripts/docs_tables.py"


@pytest.mark.parametrize("part", ["training keys", "test keys"])
def test_every_key_has_a_meaning(part):
    rows = list(cells(WRITTEN[part]))
    assert len(rows) > 10
    assert all(all(row[3:]) for row in rows)


def test_keys_are_those_of_the_schema():
    for part, section in (("training keys", schema.TrainConfig), ("test keys", schema.TestSuite)):
        listed = {row[0].strip("`") for row in cells(WRITTEN[part])}
        assert section.model_fields.keys() <= listed
    assert "`train_dataset.batch_size`" in WRITTEN["training keys"]
    assert "| `seed` | whole number from 0, below 4294967296 | 0 |" in WRITTEN["training keys"]


class Sample:
    """Does *this*.

    Not that.

    Args:
        size: In ``pixels``, of
            a side.
        low, high: Limits.
    """

    def __init__(self, size: int, low: float = 1e-8, high: float | None = None) -> None:
        pass


def test_a_docstring_as_rows():
    assert arguments([Entry("sample", Sample)], apart=()).splitlines()[2:] == [
        "| **`sample`** |  |  | Does *this*. |",
        "|  | `size` | needed | In `pixels`, of a side. |",
        "|  | `low`, `high` | 1.e-08, none | Limits. |",
    ]
    row = names([Entry("sample", Sample)], papers=False).splitlines()[2]
    assert row == "| `sample` | Does *this*. | `size`, `low` (1.e-08), `high` (none) |"


def test_papers_are_those_of_modules():
    papers = {entry.name: entry.paper for entry in entries(models.registry)}
    assert papers["edsr"] == "Lim et al., CVPR Workshops 2017"
    assert papers["liif"] == "Chen, Liu, Wang, CVPR 2021"
    assert papers["mlp"] == ""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9}, "whole number above 0, up to 9"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({"enum": ["a", "b", True]}, "`a`, `b` or `true`"),
        ({"type": "array", "items": {"type": "number"}}, "list of numbers"),
        ({"type": "object", "additionalProperties": True}, "`{name, args}`"),
    ],
)
def test_a_schema_in_words(what, words):
    assert takes(what) == words


def test_what_is_written_by_hand_is_kept():
    before = "| key | takes | default | meaning |\n| `seed` | old | old | of \\| all |\n"
    rows = [row for row in key_rows(schema.TrainConfig) if row[0] in ("`seed`", "`ema`")]
    kept, new = keys(rows, before, ["meaning"]).splitlines()[2:]
    assert kept == "| `seed` | whole number from 0, below 4294967296 | 0 | of \\| all |"
    assert new == "| `ema` | number above 0, below 1 | none |  |"
    before = "1. `old/utils.py`: moved\n2. `engine.py`: by hand\n"
    assert files(["utils.py", "engine.py", "errors.py"], before).splitlines() == [
        "1. `utils.py`: moved",
        "2. `engine.py`: by hand",
        "3. `errors.py`: Errors shown to the user instead of a traceback.",
    ]


def test_stale_parts_are_named_and_written(tmp_path, monkeypatch, capsys):
    page = tmp_path / "docs/a.md"
    page.parent.mkdir()
    page.write_text("A\n<!-- table: optimizers -->\nold\n<!-- end -->\nB\n")
    (tmp_path / "README.md").write_text("C\n")
    monkeypatch.setattr("scripts.docs_tables.ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["docs_tables.py", "--check"])
    with pytest.raises(Exception, match=r"run python scripts/docs_tables\.py"):
        main()
    assert capsys.readouterr().out == "docs/a.md: optimizers\n"
    assert "old" in page.read_text()
    monkeypatch.setattr("sys.argv", ["docs_tables.py"])
    main()
    head, text, tail = page.read_text().partition(WRITTEN["optimizers"])
    assert text
    assert (head, tail) == ("A\n<!-- table: optimizers -->\n", "<!-- end -->\nB\n")
