"""Filtering pixels with a kernel, the borders being mirrored."""

from __future__ import annotations

import numpy as np


def filtered(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Pixels (H, W, C) filtered with a kernel (2r+1, 2r+1) that is symmetric about its centre.

    Computed by Fourier transforms: the time does not depend on r.

    Returns:
        float32 of the levels of ``pixels``.
    """
    r = len(kernel) // 2
    height, width = pixels.shape[:2]
    padded = _mirrored(_mirrored(pixels, r, 0), r, 1).astype(np.float32)
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1))
    size = (_fast_length(height + 2 * r), _fast_length(width + 2 * r))
    spectrum = np.fft.rfft2(planes, s=size)
    spectrum *= np.fft.rfft2(kernel.astype(np.float32), s=size)
    result = np.fft.irfft2(spectrum, s=size)
    return result[:, 2 * r : 2 * r + height, 2 * r : 2 * r + width].transpose(1, 2, 0)


def filtered_separably(pixels: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """As `filtered` with the kernel ``rows[:, None] * cols``, both symmetric and of odd length."""
    for axis, weights in enumerate((rows, cols)):
        pixels = _filtered_along(pixels, weights.astype(np.float32), axis)
    return pixels


def _filtered_along(pixels: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    r, length = len(weights) // 2, pixels.shape[axis]
    padded = _mirrored(pixels, r, axis).astype(np.float32)
    lines = padded if axis == 0 else padded.swapaxes(0, 1)  # a view; numpy walks it as it lies
    result = weights[r] * lines[r : r + length]
    pair = np.empty_like(result)
    for k in range(1, r + 1):
        np.add(lines[r - k : r - k + length], lines[r + k : r + k + length], out=pair)
        pair *= weights[r + k]
        result += pair
    return result if axis == 0 else result.swapaxes(0, 1)


def _mirrored(pixels: np.ndarray, r: int, axis: int) -> np.ndarray:
    """r more lines on both sides, mirrored about the first and last pixel."""
    n = pixels.shape[axis]
    place = np.abs(np.arange(-r, n + r)) % max(2 * n - 2, 1)
    return pixels.take(np.minimum(place, 2 * n - 2 - place) if n > 1 else place * 0, axis)


def _fast_length(n: int) -> int:
    """The next number with no prime factor above 5, of which transforms are fast."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
