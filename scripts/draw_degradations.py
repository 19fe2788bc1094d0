"""Draw docs/degradations.png, which shows what the degradations do to a photograph.

    python scripts/draw_degradations.py

Needs matplotlib (requirements-dev.txt).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from skimage import data

import datasets
from cli.command import outlive_output, run
from configs.source import read_source
from datasets import degradations
from scripts.figures import draw_panels, save_figure

OUTPUT = Path("docs/degradations.png")
SIDE, ZOOM, COLUMNS = 90, 2, 5  # side of a panel in photograph pixels, their size, panels in a row
LABEL, GAP = 40, 8  # pixels above a panel, and between panels
TOP, LEFT = 64, 173  # first row and column of the part that is shown

Spec = dict[str, Any]


def spec(name: str, **args: Any) -> Spec:
    return {"name": name, "args": args}


TURNED = {"sigma": 3, "sigma_2": 0.5, "anisotropic": 1, "rotation": 30}
PANELS: list[tuple[str, list[Spec]]] = [
    ("the target", []),
    ("blur\nsigma: 1.5", [spec("blur", sigma=1.5)]),
    ("blur\nsigma: 3, sigma_2: 0.5", [spec("blur", **TURNED)]),
    ("blur, shape: plateau\nsigma: 1.5", [spec("blur", sigma=1.5, shape="plateau", size=13)]),
    ("sinc\ncutoff: 0.4", [spec("sinc", cutoff=0.4, size=21)]),
    ("noise\nsigma: 25", [spec("noise", sigma=25)]),
    ("noise\nsigma: 25, gray: 1", [spec("noise", sigma=25, gray=1)]),
    ("poisson\nscale: 2", [spec("poisson", scale=2)]),
    ("jpeg\nquality: 10", [spec("jpeg", quality=10, grid_offset=True)]),
    ("resize\nfactor: 0.4, inside: []", [spec("resize", factor=0.4, inside=[])]),
    ("gray", [spec("gray")]),
    ("noise, then jpeg", [spec("noise", sigma=25), spec("jpeg", quality=20)]),
    ("jpeg, then noise", [spec("jpeg", quality=20), spec("noise", sigma=25)]),
]
TRAININGS = {"photo-liif": 6, "real-esrgan-liif": 2}  # training configs, and the sample to show


class Photograph:
    """A dataset with one image, the part of the photograph that is shown."""

    def __init__(self) -> None:
        self.shown = data.astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE]

    def __len__(self) -> int:
        return 1

    def pixels(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.shown).permute(2, 0, 1)

    __getitem__ = pixels


def pictures() -> dict[str, np.ndarray]:
    """Make the pixels (SIDE, SIDE, 3) of all panels, by label."""
    photograph = Photograph()
    found = {}
    for label, specs in PANELS:
        chain = degradations.make_all(specs)
        rng = np.random.default_rng(0)
        found[label] = degradations.degraded(photograph.shown, chain, rng)
    for name, key in TRAININGS.items():
        raw = read_source(f"configs/train-degraded/train_{name}.yaml").raw
        wrapper = raw["train_dataset"]["wrapper"]
        changed = {"inp_size": None, "scale_max": 1, "augment": False, "sample_q": None}
        wrapper["args"].update(changed)
        samples = datasets.make(wrapper, args={"dataset": photograph})
        picture = samples[key]["inp"].permute(1, 2, 0)
        found[f"a sample of\ntrain_{name}.yaml"] = (picture * 255).round().byte().numpy()
    return found


def draw() -> Figure:
    """Draw all panels, with each pixel of the photograph as a square of whole pixels."""
    found = list(pictures().items())
    rows = [found[i : i + COLUMNS] for i in range(0, len(found), COLUMNS)]
    return draw_panels(rows, SIDE * ZOOM, LABEL, GAP)


def main() -> None:
    outlive_output()
    with rc_context({"font.size": 9}):
        save_figure(draw(), OUTPUT, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    run(main)
