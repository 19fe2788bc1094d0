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
from typing import Any

import torch
from torch import nn

import models
from cli.command import outlive_output, run
from errors import UserError
from models.base import encoder_of
from models.checkpoint import USE, load_checkpoint, model_from, save_checkpoint
from models.encoders.edsr import ResBlock


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
    model, spec = deepened(
        model_from(checkpoint, args.checkpoint), checkpoint["model"], args.blocks
    )
    kept = {key: value for key, value in checkpoint.items() if key in USE}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, {**kept, "model": {**spec, "sd": model.state_dict()}})
    print(f"{args.output}: {spec['args']['encoder_spec']['args']['n_resblocks']} residual blocks")


def deepened(model: nn.Module, spec: dict[str, Any], more: int) -> tuple[nn.Module, dict[str, Any]]:
    """Add ``more`` blocks to a model, after the others, and return it with its new spec.

    Raises:
        UserError: If its encoder is not `edsr-baseline`.
    """
    encoder_spec = spec["args"].get("encoder_spec") or {}
    if encoder_spec.get("name") != "edsr-baseline":
        raise UserError(f"{spec['name']}: the encoder is not edsr-baseline, which has such blocks")
    old = encoder_of(model).body
    assert isinstance(old, nn.Sequential)
    had = len(old) - 1  # the last one is a convolution
    encoder_spec = {**encoder_spec, "args": {**encoder_spec["args"], "n_resblocks": had + more}}
    spec = {"name": spec["name"], "args": {**spec["args"], "encoder_spec": encoder_spec}}
    torch.manual_seed(0)
    deeper = models.make(spec)
    body = encoder_of(deeper).body
    assert isinstance(body, nn.Sequential)
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("encoder.body.")}
    deeper.load_state_dict(own, strict=False)
    for target, source in zip([*body[:had], body[-1]], old, strict=True):
        target.load_state_dict(source.state_dict())
    for block in body[had:-1]:
        assert isinstance(block, ResBlock)
        for parameter in block.body[-1].parameters():
            nn.init.zeros_(parameter)
    return deeper, spec


if __name__ == "__main__":
    run(main)
