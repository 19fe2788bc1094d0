"""Give a checkpoint of an LM model the tables of controllable multi-scale rendering.

    python scripts/cmsr_tables.py --model save/lm/epoch-last.pth --input photos --output lm-cmsr.pth

The tables are measured on the low-resolution images of a folder, or read from a YAML or JSON file
``{scale: {smaller scale: largest intensity}}``. See `models.cmsr`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.command import run
from configs.spec import UserError
from configs.yaml_file import read_yaml
from datasets.image_file import read_image, to_unit
from datasets.image_folder import ImageFolder
from engine import PUBLISHED_NORM, clip_cell
from models.checkpoint import load_checkpoint, model_from, save_checkpoint
from models.cmsr import LEAST_SCALE, Table, parse_cmsr
from models.lmf import Modulated
from utils import make_cell, make_coord, normalise, sample_bilinear, sample_nearest

SMALLER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
SAMPLES = torch.linspace(0, 1, 101)  # intensities that are looked at
NEAR = 1e-3  # of a sample
QUERIES = 30000


def main() -> None:
    args = parse_args()
    checkpoint = load_checkpoint(args.model)
    model = model_from(checkpoint, args.model).eval()
    if not isinstance(model, Modulated):
        name = checkpoint["model"]["name"]
        raise UserError(f"{args.model}: {name!r} has no modulation; an LM model is needed")
    model.cmsr = None
    if args.tables is not None:
        tables = parse_cmsr({"s2m_tables": read_yaml(args.tables)}, args.tables).s2m_tables
    else:
        norm = (checkpoint.get("data_norm") or PUBLISHED_NORM)["inp"]
        tables = {scale: measure(model, args, scale, norm) for scale in sorted(args.scale)}
    cmsr_spec = {"mse_threshold": args.mse, "s2m_tables": tables}
    spec = checkpoint["model"]
    checkpoint["model"] = {**spec, "args": {**spec["args"], "cmsr_spec": cmsr_spec}}
    save_checkpoint(
        args.output, {k: checkpoint[k] for k in ("model", "data_norm") if k in checkpoint}
    )
    for scale, table in tables.items():
        print(f"x{scale:g}: " + ", ".join(f"x{s:g} up to {t:.2f}" for s, t in table.items()))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tables of controllable multi-scale rendering.")
    parser.add_argument("--model", required=True, metavar="M.pth")
    parser.add_argument("--output", required=True, type=Path, metavar="N.pth")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", metavar="DIR", help="low-resolution images")
    source.add_argument("--tables", type=Path, metavar="T.yaml", help="tables there are already")
    parser.add_argument(
        "--scale", type=float, nargs="+", default=[6.0, 8.0, 12.0], metavar="S", help="6 8 12"
    )
    parser.add_argument(
        "--mse", type=float, default=2e-5, help="largest error of normalised colours; 2e-5"
    )
    parser.add_argument(
        "--side", type=int, default=64, metavar="N", help="of images, from the middle"
    )
    args = parser.parse_args()
    if min(args.scale) <= LEAST_SCALE:
        raise UserError(f"--scale: up to x{LEAST_SCALE:g} everything is rendered; give larger ones")
    if args.side < 1:
        raise UserError(f"--side {args.side}: expected a positive number")
    return args


@torch.no_grad()
def measure(model: Modulated, args: argparse.Namespace, scale: float, norm: Any) -> Table:
    """Per smaller scale the largest intensity at which it does on all images."""
    table: Table = {float(small): 1.0 for small in SMALLER if small < scale}
    for file in tqdm(ImageFolder(args.input).files, desc=f"x{scale:g}", disable=None):
        pixels = to_unit(torch.from_numpy(read_image(file)).permute(2, 0, 1))
        top, left = (max(0, (n - args.side) // 2) for n in pixels.shape[1:])
        inp = pixels[:, top : top + args.side, left : left + args.side].unsqueeze(0)
        found = thresholds(model, normalise(inp, norm, 1), list(table), scale, args.mse)
        table = {small: min(table[small], found[small]) for small in table}
    largest = 1.0
    for small in reversed(table):  # what a scale can do, a larger one can
        largest = table[small] = min(table[small], largest)
    return {**table, scale: 1.0}


def thresholds(
    model: Modulated, inp: Tensor, smaller: list[float], scale: float, most: float
) -> Table:
    """Of one image, (1, 3, h, w) normalised.

    Intensities are looked at from the weakest; where the picture of a smaller scale, enlarged, is
    too far from the full one, it is the next scale's turn.
    """
    h, w = inp.shape[-2:]
    latent = model.encode(inp)
    size = (round(h * scale), round(w * scale))
    codes, strength = model.modulate(latent, cells(model, size, (h, w)))

    def picture(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        coord, cell = make_coord(size).unsqueeze(0), cells(model, size, (h, w))
        parts = [model.render(latent, codes, part, cell) for part in coord.split(QUERIES, 1)]
        return coord, torch.cat(parts, dim=1)

    coord, full = picture(size)
    strength = sample_nearest(strength, coord)[0, :, 0]
    found, first = {}, 0
    for small in smaller:
        own = (int(h * small), int(w * small))
        enlarged = sample_bilinear(picture(own)[1].mT.unflatten(2, own), coord)
        errors = (enlarged - full).square().mean(-1)[0]
        while first < len(SAMPLES):
            near = (strength - SAMPLES[first]).abs() <= NEAR
            if near.any() and errors[near].mean() > most:
                break
            first += 1
        found[small] = round(SAMPLES[first - 1].item(), 2) if first else 0.0
    return found


def cells(model: Modulated, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """That of the pixels of a picture, (1, 1, 2), as it is rendered."""
    return clip_cell(model, make_cell(size), grid).view(1, 1, 2)


if __name__ == "__main__":
    run(main)
