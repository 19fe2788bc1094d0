"""Metrics: how far a picture is from the true one. A new one is a function and a row of `METRICS`.

Evaluation, tables, files and the options of ``test.py`` follow from the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Luma of a protocol: the weights of red, green and blue, and black, which cancels in differences.
# Those of the benchmarks add up to 0.859 (studio swing), not to 1; gray is ITU-R 601-2.
LUMA = {
    "benchmark": ((65.738 / 256, 129.057 / 256, 25.064 / 256), 16 / 255),
    "gray": ((0.299, 0.587, 0.114), 0.0),
}


def calc_psnr(
    sr: Tensor,
    hr: Tensor,
    dataset: str | None = None,
    scale: float = 1,
    rgb_range: float = 1,
) -> Tensor:
    """Peak signal-to-noise ratio in dB, -10 log10 mean(((sr - hr)/rgb_range)^2), unrounded floats.

    Args:
        sr, hr: (..., C, H, W) in [0, rgb_range].
        dataset: ``None``: RGB, no border cut. ``"benchmark"``: the difference is weighted over RGB
            to luma (65.738, 129.057, 25.064)/256 before squaring (not for one channel) and a border
            of ``scale`` pixels is shaved. ``"div2k"``: RGB, a border of ``scale + 6`` is shaved.
            ``"gray"``: luma with the weights (0.299, 0.587, 0.114), no border cut.
        scale: The upsampling factor; a fractional one shaves its ceiling.

    Returns:
        0-d tensor; infinite where the images are equal.

    Raises:
        ValueError: If the protocol is unknown or nothing is left after shaving.
    """
    valid = compared((sr - hr) / rgb_range, dataset, scale)
    return -10 * torch.log10(valid.pow(2).mean())


def calc_ssim(sr: Tensor, hr: Tensor, dataset: str | None = None, scale: float = 1) -> float:
    """Structural similarity, with the Gaussian window of 11 x 11 pixels, unrounded floats.

    Args:
        sr, hr: (C, H, W) in [0, 1].
        dataset, scale: Channels and border as of `calc_psnr`; of several channels it is the mean.

    Raises:
        ValueError: As `calc_psnr`, or if the image is smaller than the window.

    Source: Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to
    structural similarity, IEEE TIP 2004; computed by scikit-image.
    """
    from skimage.metrics import structural_similarity  # takes half a second to import

    images = [compared(image, dataset, scale) for image in (sr, hr)]
    if dataset in LUMA and sr.shape[0] > 1:
        black = LUMA[dataset][1]
        images = [(image + black).unsqueeze(0) for image in images]
    one, two = (image.cpu().double().numpy() for image in images)
    if min(one.shape[-2:]) < 11:
        height, width = one.shape[-2:]
        raise ValueError(f"SSIM needs 11 rows and columns, {height}x{width} are left")
    return float(
        structural_similarity(
            one,
            two,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def border(dataset: str | None, scale: float) -> int:
    """Pixels that a protocol of `calc_psnr` shaves off each side.

    Raises:
        ValueError: If the protocol is unknown.
    """
    if dataset in (None, "gray"):
        return 0
    if dataset not in ("benchmark", "div2k"):
        raise ValueError(f"unknown PSNR protocol {dataset!r}; known: benchmark, div2k, gray, None")
    return math.ceil(scale) + (6 if dataset == "div2k" else 0)


def compared(image: Tensor, dataset: str | None, scale: float) -> Tensor:
    """What a protocol compares of an image, or of a difference of two: see `calc_psnr`."""
    shave = border(dataset, scale)
    if dataset in LUMA and image.shape[-3] > 1:
        weights = torch.tensor(LUMA[dataset][0], dtype=image.dtype, device=image.device)
        image = (image * weights[:, None, None]).sum(-3)
    height, width = image.shape[-2:]
    if min(height, width) <= 2 * shave:
        raise ValueError(f"nothing of {height}x{width} pixels is left after shaving {shave} a side")
    return image[..., shave : height - shave, shave : width - shave]


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        title: In the tables.
        measure: Its value for one image: of (sr, hr, dataset, scale), as of `calc_psnr`.
        digits: After the point, in the tables.
        more_is_better: Whether the best value is the largest.
        needs_images: Whether single pixels of an image cannot be measured.
        about: Of its option, in the help.
    """

    title: str
    measure: Callable[[Tensor, Tensor, str | None, float], Tensor | float]
    digits: int
    more_is_better: bool = True
    needs_images: bool = False
    about: str = ""


PSNR = "psnr"  # always measured; the others where an option of their name asks for them
METRICS = {
    PSNR: Metric("PSNR (dB)", calc_psnr, digits=2),
    "ssim": Metric(
        "SSIM", calc_ssim, digits=4, needs_images=True, about="structural similarity, too"
    ),
}
