"""Measure the speed of rendering.

    python -m benchmarks.bench_model --config C.yaml --size 128 --scale 4

For each size and scale, it reports the seconds to encode and for the whole call, decoded Mpixel/s,
the whole call relative to the floor (the decoder's hidden layers as matrix products, for every
corner), and with --literal how many times faster the call is than the published computation
(`models/literal`). With --beside, it also times the whole call beside a process that never sleeps.
"""

from __future__ import annotations

from cli.threads import wait_asleep

if __name__ == "__main__":
    wait_asleep()  # as the programs do

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import models
from benchmarks.measure import (
    DEFAULT_CONFIG,
    busy_process,
    in_turn,
    model_name,
    model_spec,
    peak_mib,
    report,
)
from cli.command import add_gpu_option, choose_devices, run
from engine import batched_predict
from models.channels import colour_channels
from models.decoders.mlp import MLP
from models.literal import FORMULAS
from models.reading.latent import INPUT_SKIPS
from utils import make_cell, make_coord

EVAL_BSIZE = 30000  # of the published test configs
FLOOR_ROWS = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of rendering.")
    parser.add_argument("--config", nargs="+", default=[DEFAULT_CONFIG])
    parser.add_argument("--size", type=int, nargs="+", default=[128], help="side of the input")
    parser.add_argument("--scale", type=float, nargs="+", default=[4.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--literal", action="store_true", help="time the published computation too")
    parser.add_argument("--beside", action="store_true", help="beside a busy process, too")
    add_gpu_option(parser)
    args = parser.parse_args()
    device = choose_devices(args.gpu)[0]
    rows = []
    for path in args.config:
        spec = model_spec(path)
        model = models.make(spec).eval().to(device)
        name = model_name(spec)
        for size in args.size:
            for scale in args.scale:
                row = measure(
                    model, spec["name"], size, scale, args.rounds, args.literal, args.beside
                )
                rows.append({"model": name, "size": size, "scale": scale, **row})
    report("model", device, rows)


@torch.no_grad()
def measure(
    model: Any,
    kind: str,
    size: int,
    scale: float,
    rounds: int,
    literal: bool,
    beside: bool = False,
) -> dict[str, Any]:
    """Measure one row of the table."""
    device = next(model.parameters()).device
    inp = torch.rand(1, colour_channels(model), size, size, device=device)
    side = round(size * scale)
    coord = make_coord((side, side)).to(device).unsqueeze(0)
    cell = make_cell((side, side)).to(device).expand_as(coord)
    functions: dict[str, Callable[[], Any]] = {
        "encode": lambda: model.encode(inp),
        "whole": lambda: batched_predict(model, inp, coord, cell, EVAL_BSIZE),
    }
    hidden = hidden_layers(model)
    corners = 4 if getattr(model, "local_ensemble", False) else 1
    if hidden:
        functions["floor"] = lambda: run_floor(hidden, side * side * corners, device)
    if literal:
        functions["literal"] = lambda: run_literal(model, kind, inp, coord, cell)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = in_turn(functions, rounds, device)
    row: dict[str, Any] = {
        "encode s": seconds["encode"],
        "whole s": seconds["whole"],
        "decode Mpixel/s": side * side / 1e6 / (seconds["whole"] - seconds["encode"]),
        "whole/floor": seconds["whole"] / seconds["floor"] if hidden else "-",
    }
    if literal:
        row["times faster"] = seconds["literal"] / seconds["whole"]
        wanted = run_literal(model, kind, inp, coord, cell)
        error = (batched_predict(model, inp, coord, cell, EVAL_BSIZE) - wanted).abs().max()
        row["largest difference"] = error.item()
    if beside:
        chosen = {k: f for k, f in functions.items() if k in ("whole", "literal")}
        with busy_process():
            crowded = in_turn(chosen, rounds, device)
        row["whole beside s"] = crowded["whole"]
        row["beside/alone"] = crowded["whole"] / seconds["whole"]
        if literal:
            row["times faster beside"] = crowded["literal"] / crowded["whole"]
    return {**row, "peak MiB": peak_mib(device)}


def hidden_layers(model: nn.Module) -> list[nn.Linear]:
    """List the layers of the decoder that have as many outputs as inputs."""
    decoder = getattr(model, "imnet", None)
    if not isinstance(decoder, MLP):
        return []
    return [layer for layer in decoder.linears if layer.in_features == layer.out_features]


def run_floor(layers: list[nn.Linear], rows: int, device: torch.device) -> None:
    x = torch.rand(FLOOR_ROWS, layers[0].in_features, device=device)
    for _ in range(rows // FLOOR_ROWS):
        y = x
        for layer in layers:
            y = layer(y)


def run_literal(model: Any, kind: str, inp: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
    feat = model.encoder(inp.expand(-1, 3, -1, -1))
    parts = zip(coord.split(EVAL_BSIZE, 1), cell.split(EVAL_BSIZE, 1), strict=True)
    rgb = torch.cat([FORMULAS[kind](model, inp, feat, *part) for part in parts], dim=1)
    skip = INPUT_SKIPS.get(model.input_skip) if kind in ("liif", "lmliif") else None
    return rgb if skip is None else rgb + skip(inp, coord)  # published models have no skip


if __name__ == "__main__":
    run(main)
