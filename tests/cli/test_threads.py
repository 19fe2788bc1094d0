"""Programs whose idle threads sleep, unless the user has chosen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the OpenMP of other systems says it otherwise")
@pytest.mark.parametrize(("chosen", "used"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_threads_of_a_rendering_sleep_while_they_wait(tmp_path, chosen, used):
    Image.new("RGB", (6, 5)).save(tmp_path / "a.png")
    given = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    given |= {"OMP_DISPLAY_ENV": "true"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    options = ["--input", tmp_path / "a.png", "--scale", "2", "--output", tmp_path / "b.png"]
    done = subprocess.run(
        [sys.executable, ROOT / "demo.py", *options, "--model", "bicubic"],
        env=given,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"OMP_WAIT_POLICY = '{used}'" in done.stderr
