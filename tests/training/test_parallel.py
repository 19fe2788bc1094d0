"""Several processes train and evaluate as one does."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.programs import ended, load, run, same, train_config
from tests.training.ranks import Ranks
from tests.training.test_survival import logged

ROOT = Path(__file__).parents[2]
DOUBLE, SINGLE = "tests/training/in_double.py", "train_liif.py"

# Twelve samples are three batches of 5, 5 and 2: parts differ in size, and some are empty.
UNEVEN = {
    "train_dataset": {**train_config()["train_dataset"], "batch_size": 5},
    "grad_clip": 0.1,
    "accumulate": 2,
    "ema": 0.9,
    "epoch_max": 2,
    "loss": "mse",
}
NO_VALIDATION = {"val_dataset": None, "epoch_val": None}


def start(folder, count, program, *args, name="r", **changes):
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**changes)))
    return Ranks(folder, count, program, "--config", "c.yaml", "--name", name, *args)


def assert_close(one, two):
    one, two = (load(run_folder / "epoch-last.pth") for run_folder in (one, two))
    for part in ("model", "optimizer"):
        flat = [torch.utils._pytree.tree_leaves(saved[part]["sd"]) for saved in (one, two)]
        for a, b in zip(*flat, strict=True):
            if isinstance(a, torch.Tensor):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory):
    """A run of six steps in one process, in float64."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "photos").symlink_to(photos / "photos")
    start(folder, 1, DOUBLE, **UNEVEN).finish(0)
    return folder / "save/r"


@pytest.mark.parametrize("count", [2, 3])
def test_processes_train_as_one(folder, alone, count):
    out, error = start(folder, count, DOUBLE, **UNEVEN).finish(*[0] * count)
    assert error == ""
    assert f"on {count} x cpu" in out
    assert out.count("epoch 1/2") == 1
    assert_close(alone, folder / "save/r")
    for one, two in zip(logged(alone), logged(folder / "save/r"), strict=True):
        assert one == pytest.approx(two, abs=1e-9)
    assert load(alone / "epoch-last.pth")["model"]["sd"]["unused"].tolist() == [1, 1, 1]


def test_validation_is_the_same_to_the_last_digit(folder):
    still = {"optimizer": {"name": "sgd", "args": {"lr": 1e-30}}, "epoch_max": 1}
    found = set()
    for count in (1, 2, 3):
        start(folder, count, SINGLE, name=str(count), **still).finish(*[0] * count)
        found.add(logged(folder / f"save/{count}")[0]["psnr"])
    assert len(found) == 1


def test_test_py_shares_the_images(folder, photos):
    config = {"test_dataset": train_config()["val_dataset"], "eval_type": "benchmark-2"}
    (folder / "t.yaml").write_text(yaml.safe_dump(config))
    args = ["--config", "t.yaml", "--model", str(photos / "m.pth")]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together = subprocess.run(
        [sys.executable, *torchrun, str(ROOT / "test.py"), *args, "--save", "pictures"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert together.stdout == run(folder, "test.py", *args).stdout
    assert len(list((folder / "pictures").rglob("*.png"))) == 3


@pytest.mark.parametrize(("killed", "left"), [(0, 1), (1, 0)])
def test_a_killed_process_ends_the_others(folder, killed, left):
    section = copy.deepcopy(UNEVEN["train_dataset"])
    section["dataset"]["args"]["repeat"] = 10000
    ranks = start(folder, 2, SINGLE, **{**UNEVEN, **NO_VALIDATION, "train_dataset": section})
    while not (folder / "save/r/epoch-last.pth").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    began = time.monotonic()
    ranks.signal(killed, signal.SIGKILL)
    codes = [0, 0]
    codes[killed], codes[left] = -signal.SIGKILL, 1
    _, error = ranks.finish(*codes)
    assert time.monotonic() - began < 30
    assert error.startswith("error: another process of this run has ended")
    assert len(error.splitlines()) == 1
    assert error.endswith("repeat the command with --resume\n")
    saved = load(folder / "save/r/epoch-last.pth")["step"]
    assert saved > 1 if killed == 1 else saved == 1  # the first saves what it has


def test_two_stop_by_a_signal_to_one_and_one_goes_on(folder, alone):
    ranks = start(folder, 2, DOUBLE, **UNEVEN)
    ranks.wait_for("epoch 1/")
    ranks.signal(1, signal.SIGTERM)
    ranks.finish(143, 143)
    assert load(folder / "save/r/epoch-last.pth")["epoch"] == 1
    out, _ = start(folder, 1, DOUBLE, "--resume", **UNEVEN).finish(0)
    assert "processes was 2, is 1: the last bits may differ" in out
    assert_close(alone, folder / "save/r")


@pytest.mark.slow
def test_three_processes_resume_bit_for_bit(folder):
    config = {**NO_VALIDATION, "epoch_max": 2}
    start(folder, 3, SINGLE, name="whole", **config).finish(0, 0, 0)
    ranks = start(folder, 3, SINGLE, **config)
    ranks.wait_for("epoch 1/")
    ranks.signal(0, signal.SIGTERM)
    ranks.finish(143, 143, 143)
    start(folder, 3, SINGLE, "--resume", **config).finish(0, 0, 0)
    assert same(ended(folder / "save/whole"), ended(folder / "save/r"))
    assert logged(folder / "save/whole") == logged(folder / "save/r")


def test_a_mistake_of_all_is_said_once(folder):
    _, error = start(folder, 3, SINGLE, batch=3).finish(1, 1, 1)
    assert error.count("error: ") == 1
    assert "batch" in error


def test_a_mistake_of_one_is_said_by_it(folder):
    start(folder, 1, SINGLE, epoch_max=1).finish(0)
    _, error = start(folder, 2, SINGLE).finish(1, 1)  # the first alone looks at the folder
    assert len(error.splitlines()) == 1
    assert "save/r: holds a run" in error


def test_other_files_in_another_process_are_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "photos").symlink_to(folder / "photos")
    text = yaml.safe_dump(train_config())
    (folder / "c.yaml").write_text(text)
    (other / "c.yaml").write_text(text.replace("0.001", "0.1"))
    _, error = Ranks([folder, other], 2, SINGLE, "--config", "c.yaml").finish(1, 1)
    assert len(error.splitlines()) == 1
    assert "config or images differ between the processes" in error


@pytest.mark.slow
def test_one_that_hangs_is_ended_with_one_that_dies():
    code = """
import os, signal, time, parallel
parallel.GRACE = 1
parallel.start_each("cpu,cpu")
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 137
    assert done.stderr == "error: a process of the run was ended by SIGKILL\n"


@pytest.mark.slow
def test_several_devices_start_several_processes(folder):
    config = train_config(**{**UNEVEN, **NO_VALIDATION, "epoch_max": 4000})
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / SINGLE), "--config", "c.yaml", "--gpu", "cpu,cpu"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    head = [process.stdout.readline() for _ in range(3)]
    assert "on 2 x cpu" in head[0]
    assert head[2].startswith("epoch 1/")
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert "stopped after epoch" in out
