"""Ctrl-C, and its like, before there is anything to lose: one line, at once."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.programs import train_config
from tests.training import ranks

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "train_liif.py": ["--config", "c.yaml"],
    "test.py": ["--config", "t.yaml", "--model", "m.pth"],
    "demo.py": ["--input", "photos/0.png", "--scale", "20", "--model", "m.pth"],
    "scripts/prepare_lr.py": ["--hr", "photos"],
}
SECOND = 3  # for slow machines


@pytest.fixture(scope="module")
def slow(photos):
    """A config whose images take long to read."""
    (photos / "many").mkdir()
    Image.fromarray(np.zeros((900, 900, 3), np.uint8)).save(photos / "black.png")
    for number in range(3000):
        (photos / f"many/{number}.png").symlink_to(photos / "black.png")
    section = copy.deepcopy(train_config()["train_dataset"])
    section["dataset"]["args"].update(root_path="many", cache="in_memory")
    config = train_config(train_dataset=section, val_dataset=None, epoch_val=None)
    (photos / "slow.yaml").write_text(yaml.safe_dump(config))
    return photos


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize("imported", ["argparse", "torch"])
def test_ctrl_c_during_imports(tmp_path, program, imported):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", ROOT / program, *COMMANDS[program]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.split("|")[-1].strip() == imported:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - began < SECOND
    said = [line for line in error.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, out, said) == (130, "", ["interrupted"])


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [("SIGINT", 130, "interrupted\n"), ("SIGTERM", 143, ""), ("SIGHUP", 129, "")],
)
def test_a_signal_while_images_are_read(slow, tmp_path, name, status, said):
    outputs = [tmp_path / "out", tmp_path / "err"]
    args = ["--config", "slow.yaml", "--name", name]
    process = ranks.start(slow, {}, outputs, "train_liif.py", args)
    time.sleep(1)
    began = time.monotonic()
    os.kill(process.pid, getattr(signal, name))
    process.join(60)
    assert time.monotonic() - began < SECOND
    assert (process.exitcode, outputs[1].read_text()) == (status, said)
    assert not (slow / "save" / name / "log.txt").exists()  # the images were not read


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_several_processes_while_images_are_read(slow, name):
    number = getattr(signal, name)
    both = ranks.Ranks(slow, 2, "train_liif.py", "--config", "slow.yaml", "--name", name)
    time.sleep(1)
    began = time.monotonic()
    for rank in range(2):
        both.signal(rank, number)
    _, error = both.finish(-number, -number)
    assert error == ""  # who has started them speaks
    assert time.monotonic() - began < SECOND


def start_two(folder, *args):
    return subprocess.Popen(
        [sys.executable, ROOT / "train_liif.py", *args, "--gpu", "cpu,cpu"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("seconds", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_ctrl_c_for_several_processes_is_one_line(slow, seconds):
    process = start_two(slow, "--config", "slow.yaml")
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - began < SECOND
    assert (process.returncode, out, error) == (130, "", "interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.5, 3, None])
def test_a_kill_of_the_parent_ends_its_processes_in_silence(slow, seconds):
    """During their imports, while images are read, and in training."""
    (slow / "c.yaml").write_text(yaml.safe_dump(train_config(epoch_max=4000)))
    args = ["--config", "c.yaml", "--overwrite"] if seconds is None else ["--config", "slow.yaml"]
    process = start_two(slow, *args)
    if seconds is None:
        while not process.stdout.readline().startswith("epoch 2/"):
            pass
    else:
        time.sleep(seconds)
    process.kill()
    out, error = process.communicate(timeout=60)  # until the last has closed them
    assert error == ""
    assert ("stopped after epoch" in out) == (seconds is None)
