"""How tests run the programs, and the configs that they run them on."""

import contextlib
import io
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from skimage.data import astronaut

from tests.cases import SPECS

ROOT = Path(__file__).parents[1]
SIZE = 54, 60  # height and width of the photographs
NORM = {"inp": {"sub": [0.5], "div": [0.5]}, "gt": {"sub": [0.5], "div": [0.5]}}


def write_photos(folder, height, width):
    """Three parts of a photograph."""
    folder.mkdir(parents=True)
    image = astronaut()
    for i, (top, left) in enumerate([(0, 150), (200, 100), (300, 300)]):
        part = image[top : top + height, left : left + width]
        Image.fromarray(part).save(folder / f"{i}.png")


def run(cwd, program, *args):
    """A command in this process, which saves the start of a new one."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, [program, *map(str, args)]
    code = 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = argv
    if isinstance(code, str):
        err.write(f"{code}\n")
        code = 1
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())


def succeeds(cwd, program, *args):
    done = run(cwd, program, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(cwd, program, *args):
    """The error, which must be lines that start with ``error:`` and no traceback."""
    done = run(cwd, program, *args)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines, done.stderr
    return "\n".join(lines)


def train_config(**changes):
    wrapper = {"inp_size": 8, "scale_max": 3, "augment": True, "sample_q": 64}
    folder = {"name": "image-folder", "args": {"root_path": "photos"}}
    return {
        "train_dataset": {
            "dataset": {"name": "image-folder", "args": {"root_path": "photos", "repeat": 4}},
            "wrapper": {"name": "sr-implicit-downsampled", "args": wrapper},
            "batch_size": 4,
        },
        "val_dataset": {
            "dataset": folder,
            "wrapper": {"name": "sr-implicit-downsampled", "args": {"scale_min": 2}},
            "batch_size": 1,
        },
        "data_norm": NORM,
        "model": SPECS["liif"],
        "optimizer": {"name": "adam", "args": {"lr": 0.001}},
        "epoch_max": 4,
        "multi_step_lr": {"milestones": [1, 3], "gamma": 0.5},
        "epoch_val": 1,
        "epoch_save": 2,
        "eval_type": "benchmark-2",
        "eval_bsize": 3000,
        "num_workers": 0,
        **changes,
    }


def train(folder, *args, **changes):
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**changes)))
    return succeeds(folder, "train_liif.py", "--config", "c.yaml", *args)


def trained(folder, name, **changes):
    """What `train` leaves behind, from one training of all tests that ask for it; the log."""
    text = yaml.safe_dump(train_config(**changes))
    (folder / "c.yaml").write_text(text)
    run_folder = folder / "save" / name
    for path, data in _files_of_run(text).items():
        (run_folder / path).parent.mkdir(parents=True, exist_ok=True)
        (run_folder / path).write_bytes(data)
    return (run_folder / "log.txt").read_text()


@cache
def _files_of_run(text):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_photos(folder / "photos", *SIZE)
        (folder / "c.yaml").write_text(text)
        succeeds(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
        files = [path for path in (folder / "save/r").rglob("*") if path.is_file()]
        return {path.relative_to(folder / "save/r"): path.read_bytes() for path in files}


def load(path):
    return torch.load(path, weights_only=True)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


CLOCKED = {"seconds", "left", "samples_per_second"}


def ended(run_folder):
    """What a run has come to: its last checkpoint, less the clock."""
    checkpoint = load(run_folder / "epoch-last.pth")
    record = checkpoint["record"]
    return {**checkpoint, "record": {k: v for k, v in record.items() if k not in CLOCKED}}


def write_tests(folder, root="photos", scales=(2, 3.5)):
    dataset = {"name": "image-folder", "args": {"root_path": root}}
    wrapper = {"name": "sr-implicit-downsampled", "args": {"scale_min": "{scale}"}}
    section = {"dataset": dataset, "wrapper": wrapper, "batch_size": 1}
    test = {"scales": list(scales), "test_dataset": section, "eval_type": "benchmark-{scale}"}
    (folder / "suite.yaml").write_text(yaml.safe_dump({"name": "Photos", "tests": [test]}))
    wrapper = {"name": "sr-implicit-downsampled", "args": {"scale_min": 2}}
    single = {"test_dataset": {**section, "wrapper": wrapper}, "eval_type": "benchmark-2"}
    (folder / "single.yaml").write_text(yaml.safe_dump({**single, "data_norm": NORM}))


def pillow_bicubic(image, size):
    """Pillow's bicubic without its rounding to 8 bits, (H, W, 3) in [0, 255]."""
    channels = [Image.fromarray(np.float32(c)) for c in np.moveaxis(np.asarray(image), -1, 0)]
    resized = [np.asarray(c.resize(size, Image.Resampling.BICUBIC)) for c in channels]
    return np.stack(resized, -1).clip(0, 255)
