"""train_liif.py in float64, with a parameter that the model does not use."""

import runpy
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from datasets.wrappers import SampleWrapper  # noqa: E402
from models.continuous.liif import LIIF  # noqa: E402

torch.set_default_dtype(torch.float64)
sample, init = SampleWrapper.__getitem__, LIIF.__init__


def in_double(self, key):
    return {name: value.double() for name, value in sample(self, key).items()}


def with_unused(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self.unused = nn.Parameter(torch.ones(3))


SampleWrapper.__getitem__, LIIF.__init__ = in_double, with_unused
runpy.run_path(str(ROOT / "train_liif.py"), run_name="__main__")
