"""Choose the size of the tiles in which a picture is encoded."""

from __future__ import annotations

import sys

import psutil
import torch

from rendering.reach import Memory

OVERLAP = (
    32  # pixels around a tile, when the user asks for tiles but the model sees all of the image
)
SMALLEST = 32
SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, SMALLEST)


def free_memory(device: torch.device) -> float:
    """Get the number of bytes that tiles may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    return psutil.virtual_memory().available / 4


def side_that_fits(
    height: int, width: int, memory: Memory, reach: int | None, free: float, budget: float
) -> int:
    """Choose the side of a picture's tiles; its longer side if it is to be encoded whole.

    Args:
        memory, reach: See `find_memory` and `find_reach`.
        free: Number of bytes available for one plane.
        budget: Number of bytes for one plane beyond which more would not make it faster.
    """
    whole = max(height, width)

    def needed(side: int, around: int = 0) -> float:
        seen = min(side + 2 * around, height) * min(side + 2 * around, width)
        band = min(side, height) * width
        return seen * memory.encoding + band * memory.latent

    if reach is None or needed(whole) <= budget:
        return whole
    fitting = [side for side in SIDES if needed(side, reach) <= free] or [SMALLEST]
    # A tile smaller than what is seen around it would cost more time than the memory it saves.
    side = next((s for s in fitting if s <= 2 * reach or needed(s, reach) <= budget), SMALLEST)
    seen_whole = side + 2 * reach >= whole and needed(whole) <= free
    return whole if seen_whole else side


def side_as_asked(tile: int, whole: int, reach: int | None) -> int:
    """Get the side that the user asks for, and warn if tiles will not be exact."""
    if tile < whole and reach is None:
        print(
            f"warning: this model sees all of the image; tiles that overlap by {OVERLAP} "
            "pixels will not give quite the same colours",
            file=sys.stderr,
        )
    return min(tile, whole)
