"""Measure how far a picture is from the true one. A new metric is a function and a `METRICS` row.

Evaluation, tables, files and the options of ``test.py`` follow from the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Luma of each protocol: weights of red, green and blue, and the black level, which cancels in
# differences. The weights of benchmark add up to 0.859 (studio swing), not 1; gray is ITU-R 601-2.
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
    """Compute the PSNR in dB, -10 log10 mean(((sr - hr)/rgb_range)^2), from unrounded floats.

    Args:
        sr, hr: Images (..., C, H, W) in [0, rgb_range].
        dataset: Protocol. ``None``: RGB, no border is shaved. ``"benchmark"``: the difference is
            weighted over RGB to luma (65.738, 129.057, 25.064)/256 before squaring (not for one
            channel), and a border of ``scale`` pixels is shaved. ``"div2k"``: RGB, a border of
            ``scale + 6`` is shaved. ``"gray"``: luma with the weights (0.299, 0.587, 0.114), no
            border is shaved.
        scale: Upsampling factor; a fractional one is rounded up for shaving.

    Returns:
        A 0-d tensor; infinite if the images are equal.

    Raises:
        ValueError: If the protocol is unknown or nothing is left after shaving.
    """
    valid = compared((sr - hr) / rgb_range, dataset, scale)
    return -10 * torch.log10(valid.pow(2).mean())


def calc_ssim(sr: Tensor, hr: Tensor, dataset: str | None = None, scale: float = 1) -> float:
    """Compute SSIM, with a Gaussian window of 11 x 11 pixels, from unrounded floats.

    Args:
        sr, hr: Images (C, H, W) in [0, 1].
        dataset, scale: Channels and border, as in `calc_psnr`; several channels are averaged.

    Raises:
        ValueError: As in `calc_psnr`, or if the image is smaller than the window.

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
    """Count the pixels that a protocol of `calc_psnr` shaves off each side.

    Raises:
        ValueError: If the protocol is unknown.
    """
    if dataset in (None, "gray"):
        return 0
    if dataset not in ("benchmark", "div2k"):
        raise ValueError(f"unknown PSNR protocol {dataset!r}; known: benchmark, div2k, gray, None")
    return math.ceil(scale) + (6 if dataset == "div2k" else 0)


def compared(image: Tensor, dataset: str | None, scale: float) -> Tensor:
    """Select what a protocol compares of an image, or of a difference of two; see `calc_psnr`."""
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
    """A metric, as a row of the table `METRICS`.

    Attributes:
        title: Title in the tables.
        measure: Function of (sr, hr, dataset, scale) that measures one image, as `calc_psnr` does.
        digits: Number of digits after the point in the tables.
        more_is_better: Whether the best value is the largest.
        needs_images: Whether it needs whole images, not single pixels.
        about: Help text of its option.
    """

    title: str
    measure: Callable[[Tensor, Tensor, str | None, float], Tensor | float]
    digits: int
    more_is_better: bool = True
    needs_images: bool = False
    about: str = ""


PSNR = "psnr"  # always measured; the others only if an option with their name is given
METRICS = {
    PSNR: Metric("PSNR (dB)", calc_psnr, digits=2),
    "ssim": Metric(
        "SSIM", calc_ssim, digits=4, needs_images=True, about="structural similarity, too"
    ),
}
