"""Programs whose idle threads sleep, unless the user has chosen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cli.threads import wait_asleep

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the OpenMP of other systems says it otherwise")
def test_threads_of_a_rendering_sleep_while_they_wait(tmp_path):
    Image.new("RGB", (6, 5)).save(tmp_path / "a.png")
    given = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    options = ["--input", tmp_path / "a.png", "--scale", "2", "--output", tmp_path / "b.png"]
    done = subprocess.run(
        [sys.executable, ROOT / "demo.py", *options, "--model", "bicubic"],
        env={**given, "OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.parametrize("chosen", ["active", "PASSIVE", ""])
def test_what_the_user_has_chosen_stays(monkeypatch, chosen):
    monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == chosen
