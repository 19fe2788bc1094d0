"""What a command loads before it works."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RENDER = """
import sys
import torch
from models.checkpoint import load_model
from utils import make_cell, make_coord
model, _ = load_model("fast")
coord, cell = make_coord((32, 32))[None], make_cell((32, 32)).expand(1, 1024, 2)
with torch.no_grad():
    model(torch.rand(1, 3, 8, 8), coord, cell)
print(*(name for name in ("sympy", "torch._dynamo", "skimage", "scipy") if name in sys.modules))
"""


def test_rendering_loads_nothing_slow():
    done = subprocess.run(
        [sys.executable, "-c", RENDER], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
