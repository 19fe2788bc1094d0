"""Shared parts of the benchmarks: timing in turn, and reports that name the machine."""

from __future__ import annotations

import datetime
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

import datasets
import models
from configs.load import load_train
from training.recipe import optimizers

DEFAULT_CONFIG = "configs/train-div2k/train_edsr-baseline-liif.yaml"


def in_turn(
    functions: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Measure the median seconds of functions, called in turn so that slow spells affect them all.

    The first round is a warm-up and does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            wait(device)
            start = time.perf_counter()
            function()
            wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


@contextmanager
def busy_process() -> Iterator[None]:
    """Run another process that computes without a pause until the block ends."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def model_spec(path: str) -> dict[str, Any]:
    """Get the spec of the model that a training config trains."""
    registries = {"models": models.registry, "datasets": datasets.registry}
    return load_train(path, optimizers=optimizers, **registries).model


def model_name(spec: dict[str, Any]) -> str:
    """Join the names of encoder and model."""
    encoder = spec["args"].get("encoder_spec") or spec["args"].get("encoder")
    return f"{encoder['name']}-{spec['name']}" if encoder else spec["name"]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(device: torch.device) -> int:
    """Get the peak memory of the GPU since its counter was reset, or of this process, in MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def report(benchmark: str, device: torch.device, rows: list[dict[str, Any]]) -> None:
    """Print a table for reading, and one line of JSON with versions, device and date."""
    widths = {key: max(len(key), *(len(_text(row[key])) for row in rows)) for key in rows[0]}
    print("  ".join(f"{key:>{width}}" for key, width in widths.items()))
    for row in rows:
        print("  ".join(f"{_text(row[key]):>{width}}" for key, width in widths.items()))
    cuda = device.type == "cuda"
    where = {
        "benchmark": benchmark,
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps({**where, "rows": rows}))


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = (line.split(":")[1].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()
