"""Write photographs from scikit-image to load/quickstart: train/, val/ and one to render."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

from skimage import data

from cli.command import outlive_output, run
from datasets.image_file import write_pixels

FOLDER = Path("load/quickstart")


def main() -> None:
    outlive_output()
    left, right, _ = data.stereo_motorcycle()
    photographs = {
        "train/astronaut": data.astronaut(),
        "train/coffee": data.coffee(),
        "train/motorcycle-left": left,
        "train/motorcycle-right": right,
        "val/chelsea": data.chelsea(),
        "rocket": data.rocket(),
    }
    for name, pixels in photographs.items():
        write_pixels(FOLDER / f"{name}.png", pixels)


if __name__ == "__main__":
    run(main)
