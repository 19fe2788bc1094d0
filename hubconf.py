"""Entry points of ``torch.hub``.

model = torch.hub.load("path/to/this/folder", "liif", "M.pth", source="local")
"""

from __future__ import annotations

import torch

from models.checkpoint import load_model

dependencies = ["torch", "numpy", "PIL", "pydantic", "yaml"]


def liif(path: str = "compact") -> torch.nn.Module:
    """The continuous model of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: A checkpoint file; the name of one in weights/; or ``bicubic``.

    Raises:
        UserError: If it is missing, damaged or of other code.
    """
    return load_model(path)[0]
