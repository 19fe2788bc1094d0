"""Measure the speed of training.

    python -m benchmarks.bench_train --config C.yaml --batch 4 --size 48

It reports the optimizer steps per second on random batches that are already on the device, and with
--literal how many times faster that is than the published computation (`models/literal`), in fp32,
with torch's default optimizer, and with the loss read at every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import models
from benchmarks.measure import DEFAULT_CONFIG, in_turn, model_name, model_spec, report
from cli.command import add_gpu_option, choose_devices, run
from engine import PUBLISHED_NORM
from models.literal import FORMULAS
from training.recipe import make_optimizer
from training.step import AMP_TYPES, train_step
from utils import normalise

OPTIMIZER = {"name": "adam", "args": {"lr": 1e-4}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of training.")
    parser.add_argument("--config", nargs="+", default=[DEFAULT_CONFIG])
    parser.add_argument("--batch", type=int, default=4, help="images per step")
    parser.add_argument("--size", type=int, default=48, help="side of the input")
    parser.add_argument("--queries", type=int, default=2304, help="per image")
    parser.add_argument("--amp", nargs="*", choices=list(AMP_TYPES), default=[])
    parser.add_argument(
        "--compile",
        nargs="+",
        choices=["default", "reduce-overhead"],
        default=[],
        metavar="MODE",
        help="with torch.compile in these modes, too",
    )
    parser.add_argument("--literal", action="store_true", help="time the published computation too")
    parser.add_argument("--rounds", type=int, default=10)
    add_gpu_option(parser)
    args = parser.parse_args()
    device = choose_devices(args.gpu)[0]
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # as train_liif.py does
    rows = []
    for path in args.config:
        spec = model_spec(path)
        name = model_name(spec)
        batch = random_batch(args.batch, args.size, args.queries, device)
        steps = {
            "fp32": make_step(spec, batch),
            **{amp: make_step(spec, batch, amp=amp) for amp in args.amp},
        }
        for mode in args.compile:
            for amp in (None, *args.amp):
                steps[f"{amp or 'fp32'}, {mode}"] = make_step(spec, batch, amp, mode)
        if args.literal:
            steps["literal"] = make_literal_step(spec, batch)
        seconds = in_turn(steps, args.rounds, device)
        for kind, time in seconds.items():
            row = {"model": name, "step": kind, "steps/s": 1 / time}
            if args.literal:
                row["times faster"] = seconds["literal"] / time
            rows.append(row)
    report("train", device, rows)


def random_batch(images: int, size: int, queries: int, device: torch.device) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"inp": (images, 3, size, size), "coord": (images, queries, 2)}
    shapes["gt"] = (images, queries, 3)
    batch = {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}
    batch["coord"] = batch["coord"] * 2 - 1
    batch["cell"] = torch.full_like(batch["coord"], 2 / (2.5 * size))
    return {key: value.to(device) for key, value in batch.items()}


def make_step(
    spec: dict[str, Any], batch: dict[str, Tensor], amp: str | None = None, mode: str | None = None
) -> Callable[[], Any]:
    """Make a function that takes a step as `train_liif.py` does."""
    device = batch["inp"].device
    model = models.make(spec).to(device)
    optimizer = make_optimizer(OPTIMIZER, model.parameters())
    scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
    called: Any = torch.compile(model, mode=mode) if mode else model

    def step() -> Tensor:
        loss, _ = train_step(called, optimizer, batch, PUBLISHED_NORM, amp=amp, scaler=scaler)
        return loss

    return step


def make_literal_step(spec: dict[str, Any], batch: dict[str, Tensor]) -> Callable[[], float]:
    model = models.make(spec).to(batch["inp"].device)
    optimizer = torch.optim.Adam(model.parameters(), **OPTIMIZER["args"])  # type: ignore[arg-type]
    predict = FORMULAS[spec["name"]]

    def step() -> float:
        inp = normalise(batch["inp"], PUBLISHED_NORM["inp"], 1)
        pred = predict(model, inp, model.encoder(inp), batch["coord"], batch["cell"])
        loss = F.l1_loss(pred, normalise(batch["gt"], PUBLISHED_NORM["gt"], 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    run(main)
