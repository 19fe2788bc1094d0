"""Filter pixels with a kernel, with mirrored borders."""

from __future__ import annotations

import numpy as np

NOTHING = 1e-7  # smaller weights at the ends of a kernel are left out


def filtered(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Filter pixels (H, W, C) with a kernel (2r+1, 2r+1) that is symmetric about its centre.

    It uses Fourier transforms, so the time does not depend on r.

    Returns:
        float32 with the level of white of ``pixels``.
    """
    from scipy import fft  # type: ignore[import-untyped]  # slow to import, and most programs never filter

    r = len(kernel) // 2
    height, width = pixels.shape[:2]
    size = [fft.next_fast_len(n + 2 * r, real=True) for n in (height, width)]
    padded = _mirrored(_mirrored(pixels, r, 0, size[0]), r, 1, size[1])
    spectrum = fft.rfft2(padded.transpose(2, 0, 1).astype(np.float32, order="C"))
    spectrum *= fft.rfft2(kernel.astype(np.float32), size)
    result = fft.irfft2(spectrum, size, overwrite_x=True)
    return result[:, 2 * r : 2 * r + height, 2 * r : 2 * r + width].transpose(1, 2, 0)


def filtered_separably(pixels: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Filter with the kernel ``rows[:, None] * cols``, both symmetric and of odd length."""
    for axis, weights in enumerate((rows, cols)):
        pixels = _filtered_along(pixels, weights.astype(np.float32), axis)
    return pixels


def _filtered_along(pixels: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    while len(weights) > 1 and weights[0] < NOTHING:
        weights = weights[1:-1]
    r, length = len(weights) // 2, pixels.shape[axis]
    lines = _mirrored(pixels, r, axis, length + 2 * r).astype(np.float32, copy=False)
    lines = lines if axis == 0 else lines.swapaxes(0, 1)  # a view; numpy walks it in memory order
    result = weights[r] * lines[r : r + length]
    pair = np.empty_like(result)
    for k in range(1, r + 1):
        np.add(lines[r - k : r - k + length], lines[r + k : r + k + length], out=pair)
        pair *= weights[r + k]
        result += pair
    return result if axis == 0 else result.swapaxes(0, 1)


def _mirrored(pixels: np.ndarray, r: int, axis: int, length: int) -> np.ndarray:
    """Pad with r mirrored lines before the first, and others after the last up to a length."""
    last = pixels.shape[axis] - 1
    place = np.abs(np.arange(-r, length - r)) % max(2 * last, 1)
    return pixels.take(np.minimum(place, abs(2 * last - place)), axis)
