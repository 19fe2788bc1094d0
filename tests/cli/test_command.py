"""Output that cannot be written, in processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = """
import sys
from cli.command import outlive_output, run

def main():
    if {outlives}:
        outlive_output()
    for number in range(20000):
        print(f"line {{number}}")
        print(f"line {{number}}", file=sys.stderr)

run(main)
"""


def start(outlives, **streams):
    code = LINES.format(outlives=outlives)
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **streams)


@pytest.mark.parametrize(("outlives", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_pipe_that_nobody_reads(outlives, status, stream):
    other = "stderr" if stream == "stdout" else "stdout"
    process = start(outlives, **{stream: subprocess.PIPE, other: subprocess.PIPE})
    getattr(process, stream).close()
    said = getattr(process, other).read().decode()
    assert process.wait(60) == status
    assert "Traceback" not in said
    assert len(said.splitlines()) == 20000 or not outlives


@pytest.mark.parametrize(("outlives", "status"), [(True, 0), (False, 1)])
def test_a_full_disk_under_the_output(outlives, status):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        process = start(outlives, stdout=full, stderr=subprocess.PIPE)
        error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == status
    assert ("error: No space left on device" in error) == (not outlives)
    assert "Traceback" not in error


def test_a_terminal_that_does_not_block_gets_it_all():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with start(True, stdout=writer, stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        time.sleep(0.5)  # it is full
        with os.fdopen(reader) as lines:
            assert len(lines.read().splitlines()) == 20000
    assert process.returncode == 0


def test_output_that_is_closed_from_the_start(tmp_path):
    """What is opened next is not taken for it, whatever a library prints."""
    code = (
        "import os; from cli.command import outlive_output; outlive_output();"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); os.write(1, b'x'); os.write(2, b'x');"
        "raise SystemExit(file.fileno() <= 2)"
    )
    command = f'exec "{sys.executable}" -c "$0" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, code], cwd=ROOT, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""
