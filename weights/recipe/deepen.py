"""Add residual blocks that change nothing yet to the EDSR encoder of a checkpoint.

    python weights/recipe/deepen.py weights/fast.pth save/deeper.pth --blocks 2

A new block ends in a convolution of zeros, so it adds nothing to its input, and the deeper model
computes the same as the old one. Training continues from there, with ``pre_train``: Chen,
Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import models
from cli.command import outlive_output, run
from errors import UserError
from models.base import encoder_of
from models.checkpoint import USE, load_checkpoint, model_from, save_checkpoint
from models.strength import with_blocks


def main() -> None:
    parser = argparse.ArgumentParser(description="Add residual blocks that change nothing yet.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--blocks", type=int, default=2, metavar="N", help="default 2")
    args = parser.parse_args()
    outlive_output()
    if args.blocks < 1:
        raise UserError(f"--blocks {args.blocks}: expected 1 or more")
    if args.output.exists():
        raise UserError(f"{args.output}: is there already; name another file")
    checkpoint = load_checkpoint(args.checkpoint)
    model = deepened(checkpoint, model_from(checkpoint, args.checkpoint), args.blocks)["model"]
    kept = {key: value for key, value in checkpoint.items() if key in USE}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, {**kept, "model": model})
    print(f"{args.output}: {model['args']['encoder_spec']['args']['n_resblocks']} residual blocks")


def deepened(checkpoint: Mapping[str, Any], model: nn.Module, more: int) -> Mapping[str, Any]:
    """Return the checkpoint of a model with so many more blocks, which come last.

    Raises:
        UserError: If its encoder is no `edsr-baseline`.
    """
    spec = checkpoint["model"]
    encoder = spec["args"].get("encoder_spec") or {}
    if encoder.get("name") != "edsr-baseline":
        raise UserError(f"{spec['name']}: the encoder is not edsr-baseline, which has such blocks")
    body = encoder_of(model).body
    assert isinstance(body, nn.Sequential)
    had = len(body) - 1  # the last one is a convolution

    def with_count(blocks: int) -> dict[str, Any]:
        args = {**(encoder.get("args") or {}), "n_resblocks": blocks}
        return {**spec, "args": {**spec["args"], "encoder_spec": {**encoder, "args": args}}}

    torch.manual_seed(0)
    fresh = models.make(with_count(had + more)).state_dict()
    return with_blocks({**checkpoint, "model": with_count(had)}, had + more, fresh)


if __name__ == "__main__":
    run(main)
