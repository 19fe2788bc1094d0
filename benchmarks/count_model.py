"""Count the parameters and multiply-adds of models.

    python -m benchmarks.count_model --config C.yaml ...

It prints a Markdown table of the parameters of encoder and decoder, and the multiply-adds of matrix
products and convolutions, as computed here, per input pixel (work done once per image) and per
output pixel.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import models
from benchmarks.measure import DEFAULT_CONFIG, model_name, model_spec
from cli.command import run
from models.channels import colour_channels

SIDE = 48  # side of the input; a multiple of the windows of all encoders
QUERIES = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description="Size and cost of models.")
    parser.add_argument("--config", nargs="+", default=[DEFAULT_CONFIG], metavar="C.yaml")
    print("| model | encoder | decoder | per input pixel | per output pixel |")
    print("|---|---:|---:|---:|---:|")
    for path in parser.parse_args().config:
        spec = model_spec(path)
        model = models.make(spec).eval()
        encoder = sum(p.numel() for p in model.encoder.parameters())
        decoder = sum(p.numel() for p in model.parameters()) - encoder
        counts = [encoder, decoder, *multiply_adds(model)]
        name = model_name(spec)
        print(f"| {name} | {' | '.join(short(n) for n in counts)} |")


def multiply_adds(model: Any) -> tuple[float, float]:
    """Count per input pixel, and per query; gradients are on, so that no product is fused.

    Work that an encoder does once for an image of any size, such as joining kernels, is left out.
    """
    channels = colour_channels(model)

    def count(module: Any, *inputs: Tensor) -> float:
        with FlopCounterMode(display=False) as counter:
            module(*inputs)
        return counter.get_total_flops() / 2

    def of_model(queries: int) -> float:
        inp, coord = torch.zeros(1, channels, SIDE, SIDE), torch.zeros(1, queries, 2)
        return count(model, inp, coord, torch.full_like(coord, 1 / SIDE))

    few, many = of_model(QUERIES), of_model(2 * QUERIES)
    per_query = (many - few) / QUERIES
    one, two = (count(model.encoder, torch.zeros(1, 3, rows, SIDE)) for rows in (SIDE, 2 * SIDE))
    once = one - (two - one)
    return (few - QUERIES * per_query - once) / SIDE**2, per_query


def short(number: float) -> str:
    """Format a number with three digits: 1.22 M, 347 k, 960."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


if __name__ == "__main__":
    run(main)
