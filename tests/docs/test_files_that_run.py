"""The lists of files in docs/architecture.md are those that run."""

import subprocess
import sys

from scripts.docs_tables import FILE_LINE, PART
from scripts.files_that_run import files_called
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")


def test_lists_are_those_of_a_run():
    """In a process of its own: what is remembered from earlier calls does not run again."""
    program = [sys.executable, "scripts/files_that_run.py"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    measured = {}
    for line in done.stdout.splitlines():
        if line.startswith("  "):
            measured[title].append(line.strip())  # noqa: F821
        else:
            title = line.partition(":")[0]
            measured[title] = []
    written = {name: before for _, name, before, _ in PART.findall(PAGE)}
    for name, listed in measured.items():
        lines = FILE_LINE.findall(written[name])
        assert [file for file, _ in lines] == listed, "run python scripts/docs_tables.py"
        assert all(text for _, text in lines)
    assert measured.keys() == {"batch", "training step", "rendering"}


def test_functions_count_and_bodies_of_classes_do_not():
    import utils
    from datasets.order import EpochBatches

    with files_called() as called:

        class Body:
            pass

        utils.make_coord((2, 2))
        len(str(EpochBatches))
        utils.make_cell((2, 2))
    assert called == ["utils.py"]
    utils.make_coord((2, 2))
    assert called == ["utils.py"], "the hook is gone"
    assert sys.getprofile() is None
