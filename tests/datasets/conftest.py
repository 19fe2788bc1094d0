from pathlib import Path

import numpy as np
import pytest

from datasets.image_file import write_pixels


@pytest.fixture
def noise(tmp_path: Path) -> str:
    """A folder of five images of 40 x 50 pixels of noise."""
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        write_pixels(tmp_path / "photos" / f"{i}.png", pixels)
    return str(tmp_path / "photos")
