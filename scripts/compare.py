"""Draw a test set as a comparison: input, bicubic, model and truth, side by side.

python scripts/compare.py --config configs/quickstart/test.yaml --scale 4 --output comparison.png
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

import datasets
from cli.command import add_gpu_option, add_model_option, choose_devices, outlive_output, run
from configs.load import choose_scales, load_test
from datasets.image_file import check_output, write_image
from datasets.loader import make_loader
from datasets.wrappers import SampleWrapper
from engine import PUBLISHED_NORM
from errors import UserError
from models.channels import colour_channels
from models.checkpoint import load_model
from training.picture import comparison


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw input, bicubic, model and truth.")
    parser.add_argument("--config", required=True, metavar="C.yaml", help="a test config")
    parser.add_argument("--scale", type=float, default=4.0, help="as of test.py; default 4")
    parser.add_argument("--side", type=int, default=240, help="pixels shown of each picture")
    parser.add_argument("--output", default="comparison.png", metavar="O.png")
    add_model_option(parser)
    add_gpu_option(parser)
    args = parser.parse_args()
    outlive_output()
    check_output(args.output)
    cases = load_test(args.config, datasets=datasets.registry)
    published = [case for case in cases if case.scale is None]
    chosen = choose_scales(cases, [args.scale], datasets=datasets.registry)
    case = next(iter([*chosen, *published]), None)
    if case is None:
        raise UserError(f"--scale {args.scale:g}: not in {args.config}")
    model, norm = load_model(args.model)
    channels = colour_channels(model)
    samples = make_loader(case.config.test_dataset, channels=channels, num_workers=0).samples
    if not isinstance(samples, SampleWrapper):
        raise UserError(f"{args.config}: its wrapper does not say which pixels it takes")
    device = choose_devices(args.gpu)[0]
    picture = comparison(
        model.to(device), samples, norm or PUBLISHED_NORM, device, case.config.eval_bsize, args.side
    )
    write_image(args.output, picture)
    print(f"{args.output}: input, bicubic, {args.model}, truth")


if __name__ == "__main__":
    run(main)
