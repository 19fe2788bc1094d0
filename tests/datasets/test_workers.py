"""Processes that read: without shared memory, however they are started, and when they cannot be."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch.utils.data import Dataset

from datasets.image_folder import ImageFolder
from datasets.loader import BatchLoader
from datasets.wrappers import (
    SRImplicitDownsampled,
    SRImplicitDownsampledFast,
    SRImplicitPairedFast,
)

ROOT = Path(__file__).parents[2]
SAMPLING = {"inp_size": 6, "scale_max": 4, "augment": True}


@pytest.fixture
def folder(noise):
    return ImageFolder(noise)


class Pairs(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def pixels(self, index):
        image = self.images.pixels(index)
        return image[:, ::2, ::2], image

    __getitem__ = pixels


class Flipped(SRImplicitDownsampled):
    """Its own draw, as CONTRIBUTING shows; floats."""

    def draw(self, index, rng):
        inp, target = super().draw(index, rng)
        return 1 - inp / 255, target


class Rounded(SRImplicitDownsampled):
    """Its own sample."""

    def _sample(self, index, inp, target, rng):
        sample = super()._sample(index, inp, target, rng)
        return {**sample, "gt": sample["gt"].round(), "file": str(index)}


class Published(Dataset):
    """A wrapper in the published style: plain indices, a dict of tensors."""

    def __init__(self, images):
        self.samples = SRImplicitDownsampled(images, **SAMPLING, sample_q=9)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return {**self.samples[index], "half": torch.rand(2).bfloat16() * 0 + index}


WRAPPERS = {
    "sampled": lambda images: SRImplicitDownsampled(images, **SAMPLING, sample_q=10),
    "whole": lambda images: SRImplicitDownsampled(images, scale_min=3),
    "fast": lambda images: SRImplicitDownsampledFast(images, **SAMPLING),
    "paired-fast": lambda images: SRImplicitPairedFast(Pairs(images), 6),
    "own draw": lambda images: Flipped(images, **SAMPLING, sample_q=10),
    "own sample": lambda images: Rounded(images, **SAMPLING, sample_q=10),
    "published": Published,
}


def epochs(loader, count=2):
    batches = []
    for epoch in range(count):
        loader.set_epoch(epoch)
        batches += [dict(batch) for batch in loader]
    return batches


def assert_same(one, two):
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == b[key].dtype
                assert torch.equal(value, b[key]), key
            else:
                assert value == b[key]


def literal(samples, keys):
    return torch.utils.data.default_collate([samples[key] for key in keys])


@pytest.mark.parametrize("name", WRAPPERS)
def test_batches_are_the_samples_with_and_without_workers(folder, name):
    samples = WRAPPERS[name](folder)
    none = BatchLoader(samples, 2, shuffle=True, seed=7, num_workers=0)
    two = BatchLoader(samples, 2, shuffle=True, seed=7, num_workers=2)
    wanted = []
    for epoch in range(2):
        none.set_epoch(epoch)
        wanted += [literal(samples, keys) for keys in none.batches]
    assert_same(epochs(none), wanted)
    assert_same(epochs(two), wanted)


@pytest.mark.parametrize("name", WRAPPERS)
def test_workers_need_no_shared_memory(folder, name, monkeypatch):
    def none_left(*_, **__):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    for method in ("_new_shared", "_share_fd_cpu_", "_share_filename_cpu_", "_new_using_fd_cpu"):
        monkeypatch.setattr(torch.UntypedStorage, method, none_left)
    samples = WRAPPERS[name](folder)
    wanted = epochs(BatchLoader(samples, 2, shuffle=True, num_workers=0), 1)
    got = epochs(BatchLoader(samples, 2, shuffle=True, num_workers=2), 1)
    assert_same(got, wanted)


def failing(function, after, error):
    calls = []

    def fails(*args, **kwargs):
        calls.append(1)
        if len(calls) > after:
            raise error
        return function(*args, **kwargs)

    return fails


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("what", ["queues", "processes"])
def test_where_no_processes_can_be_started_the_main_one_reads(
    folder, what, after, monkeypatch, capfd
):
    samples = WRAPPERS["sampled"](folder)
    wanted = epochs(BatchLoader(samples, 2, num_workers=0))
    loader = BatchLoader(samples, 2, num_workers=2)
    children = multiprocessing.active_children()
    if what == "queues":
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        broken = failing(torch.multiprocessing.Queue, after, error)
        monkeypatch.setattr(torch.multiprocessing, "Queue", broken)
    else:
        error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        monkeypatch.setattr(os, "fork", failing(os.fork, after, error))
    assert_same(epochs(loader), wanted)
    said = capfd.readouterr().err
    assert said == (
        "the data is read without further processes: none can be started: "
        f"{os.strerror(error.errno)}\n"
    )
    assert multiprocessing.active_children() == children


STARTED = """
import sys
import torch
from datasets.loader import BatchLoader
from tests.datasets.test_workers import ImageFolder, WRAPPERS, assert_same, epochs

if __name__ == "__main__":
    root, method, as_default = sys.argv[1:]
    if as_default:
        torch.multiprocessing.set_start_method(method)
    context = None if as_default else method
    for cache, name in {"none": "sampled", "in_memory": "own sample"}.items():
        samples = WRAPPERS[name](ImageFolder(root, cache=cache))
        options = {"shuffle": True, "seed": 5}
        none = BatchLoader(samples, 2, num_workers=0, **options)
        one = BatchLoader(samples, 2, num_workers=1, multiprocessing_context=context, **options)
        assert_same(epochs(one), epochs(none))
    print("same")
"""


@pytest.mark.parametrize(
    ("method", "as_default"),
    [("forkserver", "yes"), pytest.param("spawn", "", marks=pytest.mark.slow)],
)
def test_processes_may_be_started_in_any_way(folder, method, as_default, tmp_path):
    script = tmp_path / "started.py"
    script.write_text(STARTED)
    done = subprocess.run(
        [sys.executable, str(script), str(folder.file(0).parent), method, as_default],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("same\n", "")


KILLED = """
import sys
from datasets.loader import BatchLoader
from tests.datasets.test_workers import ImageFolder, WRAPPERS

if __name__ == "__main__":
    samples = WRAPPERS["whole"](ImageFolder(sys.argv[1], repeat=100000, cache="in_memory"))
    loader = BatchLoader(samples, 4, num_workers=2, multiprocessing_context=sys.argv[2] or None)
    for number, batch in enumerate(loader):
        if number == 3:
            print("reading", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end within seconds")
@pytest.mark.parametrize("method", ["", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_killed_program_end_at_once_and_silently(folder, method, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    with (tmp_path / "stderr").open("w+") as stderr:
        program = subprocess.Popen(
            [sys.executable, str(script), str(folder.file(0).parent), method],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        assert program.stdout.readline() == b"reading\n"
        workers = [
            child
            for child in psutil.Process(program.pid).children(recursive=True)
            if "resource_tracker" not in " ".join(child.cmdline())
        ]
        assert len(workers) == 2
        program.send_signal(signal.SIGKILL)
        program.wait()
        gone, alive = psutil.wait_procs(workers, timeout=20)  # a busy machine takes some
        assert (len(gone), alive) == (len(workers), [])
        time.sleep(0.1)
        stderr.seek(0)
        said = stderr.read()
        assert "Traceback" not in said
        assert method or not said  # Python's tracker of semaphores has its say under "spawn"
        program.stdout.close()
