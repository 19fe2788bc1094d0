"""What models do with images: prediction, evaluation, and rendering at any size."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from configs.schema import EVAL_TYPE
from datasets.loader import BatchLoader
from errors import UserError
from models.reading.skip import ChannelsError
from parallel import ALONE, Group, is_failure
from utils import (
    Averager,
    border,
    calc_psnr,
    calc_ssim,
    denormalise,
    make_cell,
    make_coord,
    normalise,
)

DataNorm = Mapping[str, Mapping[str, list[float]]]

IDENTITY_NORM: DataNorm = {key: {"sub": [0.0], "div": [1.0]} for key in ("inp", "gt")}
# What the published code trains and renders with; its checkpoints do not say so.
PUBLISHED_NORM: DataNorm = {key: {"sub": [0.5], "div": [0.5]} for key in ("inp", "gt")}


@torch.no_grad()
def batched_predict(
    model: Any, inp: Tensor, coord: Tensor, cell: Tensor | None, bsize: int | None
) -> Tensor:
    """Encode an image once and query it ``bsize`` coordinates at a time.

    Args:
        model: With ``gen_feat`` and ``query_rgb``.
        inp: (B, 3, h, w), normalised; gray images have one channel for three, here and below.
        coord, cell: (B, Q, 2); or a grid (B, H, W, 2) and a cell per image (B, 2).
        bsize: Queries at a time, of a grid whole rows; None: all at once. A model whose queries see
            each other is given all at once.

    Returns:
        (B, Q, 3) or, of a grid, (B, 3, H, W); chunks change nothing but rounding, as long as a
        `one_cell` model is given one cell.
    """
    if cell is not None:
        cell = clip_cell(model, cell, inp.shape[-2:])
    model.gen_feat(inp)
    is_grid = coord.ndim == 4
    if getattr(model, "spans_queries", False):
        bsize = None
    step = max(1, (bsize or coord[0, ..., 0].numel()) // (coord.shape[2] if is_grid else 1))
    chunks = []
    for start in range(0, max(1, coord.shape[1]), step):
        part = slice(start, start + step)
        cells = cell if cell is None or is_grid else cell[:, part]
        chunks.append(model.query_rgb(coord[:, part], cells))
    return torch.cat(chunks, dim=2 if is_grid else 1)


def clip_cell(model: Any, cell: Tensor, size: Sequence[int]) -> Tensor:
    """Cells (..., 2) no smaller than at the largest scale that the model renders with them.

    The published tests multiply by max(scale / 4, 1), with the scale of the rows for both; here
    each side has its own.

    Args:
        size: (h, w) of the input.
    """
    scale = getattr(model, "largest_scale", None)
    if scale is None:
        return cell
    return torch.maximum(cell, cell.new_tensor([2 / (scale * n) for n in size]))


def self_ensemble(
    model: Any, inp: Tensor, coord: Tensor, cell: Tensor | None, bsize: int | None
) -> Tensor:
    """The mean of `batched_predict`, whose arguments it takes, over eight flips and rotations.

    Source: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW
    2017, section 3.4.
    """
    total = torch.zeros((), device=inp.device)
    for rows, columns, turned in product((False, True), repeat=3):
        image, place, size = inp, coord, cell
        for flipped, dim in ((rows, 0), (columns, 1)):
            if flipped:
                image = image.flip(dim - 2)
                place = place * place.new_tensor([-1.0, 1.0] if dim == 0 else [1.0, -1.0])
        if turned:
            image, place = image.mT, place.flip(-1)
            size = None if size is None else size.flip(-1)
        total = total + batched_predict(model, image, place, size, bsize)
    return total / 8


class Evaluated(NamedTuple):
    """One image of an evaluation.

    Attributes:
        number: In its set, from 0.
        psnr: In dB.
        picture: (3, H, W) in [0, 1]; None if the sample is no whole image.
        ssim: Where it was asked for.
        size: (H, W) of the picture.
    """

    number: int
    psnr: float
    picture: Tensor | None
    ssim: float = math.nan
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measure:
    """What is measured, and how.

    Attributes:
        eval_type: ``benchmark-S``, ``div2k-S``, ``gray`` (see `calc_psnr`), or None: all pixels,
            RGB.
        eval_bsize: Queries at a time.
        ensemble: Average over the eight flips and rotations (`self_ensemble`).
        ssim: Compute SSIM, too.

    Raises:
        UserError: If there is no such eval_type.
    """

    eval_type: str | None = None
    eval_bsize: int | None = None
    ensemble: bool = False
    ssim: bool = False

    def __post_init__(self) -> None:
        _parse_eval_type(self.eval_type)

    @property
    def protocol(self) -> str | None:
        return _parse_eval_type(self.eval_type)[0]

    @property
    def scale(self) -> float | None:
        """That of eval_type; None if it says none."""
        return _parse_eval_type(self.eval_type)[1]

    @property
    def shave(self) -> int:
        """Pixels that are cut off at each border."""
        return border(self.protocol, self.scale or 1)


class Scores(NamedTuple):
    """Means over the images of a set, and the images.

    Attributes:
        psnr: Mean of those that are finite, in dB; infinite if none is.
        ssim: Mean; NaN if it was not asked for.
        images: Of all processes, in their order, without their pictures.
    """

    psnr: float
    ssim: float
    images: list[Evaluated]

    @property
    def exact(self) -> int:
        """Images that were reproduced exactly, so that their PSNR is infinite."""
        return sum(math.isinf(image.psnr) for image in self.images)


@torch.no_grad()
def evaluate(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    measure: Measure,
    data_norm: DataNorm | None = None,
    numbers: Iterator[int] | None = None,
) -> Iterator[Evaluated]:
    """Predict every sample and compare it with its target, one image at a time.

    Args:
        loader: Batches ``{inp, coord, cell, gt}``, pixels in [0, 1].
        model: In evaluation mode; batches follow it to its device.
        data_norm: ``{inp: {sub, div}, gt: {sub, div}}``; identity if None.
        numbers: Of the samples; from 0 if None.

    Raises:
        UserError: If whole images are needed and the samples are none, or the samples have other
            channels than the model gives or than data_norm is for.
    """
    norm = data_norm or IDENTITY_NORM
    protocol, scale = measure.protocol, measure.scale or 1
    predict = self_ensemble if measure.ensemble else batched_predict
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    numbers = numbers or count()
    for batch in loader:
        batch = to_device(batch, device)
        check_data_norm(norm, batch["inp"].shape[1])
        inp = normalise(batch["inp"], norm["inp"], 1)
        pred = predict(model, inp, batch["coord"], batch["cell"], measure.eval_bsize)
        check_channels(pred, batch["gt"])
        if batch["coord"].ndim == 4:
            pred, batch = pred.flatten(2).mT, as_queries(batch)
        pred = denormalise(pred, norm["gt"], 2).clamp(0, 1)
        for sr, hr, *place in zip(pred, batch["gt"], batch["coord"], batch["cell"], strict=True):
            number = next(numbers)
            size = _whole_image(*place)
            if size is None and (protocol is not None or measure.ssim):
                needs = f"eval_type {measure.eval_type}" if protocol else "SSIM"
                raise UserError(
                    f"{needs} needs whole images, so the wrapper must not have "
                    "sample_q, nor inp_size if its name ends in -fast"
                )
            picture = None
            if size is not None:
                sr, hr = (x.T.unflatten(1, size) for x in (sr, hr))
                picture = sr
            try:
                psnr = calc_psnr(sr, hr, protocol, scale).item()
                ssim = calc_ssim(sr, hr, protocol, scale) if measure.ssim else math.nan
            except ValueError as error:
                raise UserError(f"image {number + 1} of the set: {error}") from None
            yield Evaluated(number, psnr, picture, ssim, size)


def score(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    measure: Measure,
    data_norm: DataNorm | None = None,
    verbose: bool = False,
    on_image: Callable[[Evaluated], None] | None = None,
    group: Group = ALONE,
    heed: Callable[[], Any] | None = None,
) -> Scores:
    """Means over images of each image's PSNR and SSIM; further arguments as of `evaluate`.

    An image reproduced exactly has no finite PSNR; it is left out of that mean, with a warning.
    What fails in one process, fails in all of them.

    Args:
        verbose: Show a progress bar with the mean so far.
        on_image: Called with each result of this process, e.g. to keep its picture.
        group: The processes that share the loader's batches.
        heed: Called after every batch, equally often in all processes.
    """
    model.eval()
    bar = progress_bar(loader, "val", hidden=not verbose)
    numbers = loader.numbers() if isinstance(loader, BatchLoader) else count()
    found: list[Evaluated] = []
    failure: Exception | None = None

    def after_batch() -> None:
        group.fail_alike(failure)
        if heed is not None:
            heed()

    for batch in group.in_step(_Caught(bar), after_batch):
        try:
            if isinstance(batch, Exception):
                raise batch
            for result in evaluate([batch], model, measure, data_norm, numbers):
                if on_image is not None:
                    on_image(result)
                found.append(result._replace(picture=None))
        except Exception as error:
            if not is_failure(error):
                raise
            failure = error
        if not bar.disable:
            bar.set_postfix(psnr=f"{_mean_psnr(found):.4f}")
    # The order of a sum decides its last bits.
    found = sorted(group.gather(found), key=lambda result: (result.number, result.psnr))
    ssim = Averager()
    for result in found:
        ssim.add(result.ssim)
    scores = Scores(_mean_psnr(found), ssim.item(), found)
    if scores.exact and group.is_first:
        warnings.warn(
            f"{scores.exact} images are reproduced exactly and left out of the mean PSNR",
            stacklevel=2,
        )
    return scores


def eval_psnr(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    data_norm: DataNorm | None = None,
    eval_type: str | None = None,
    eval_bsize: int | None = None,
    **options: Any,
) -> float:
    """Mean PSNR of a set in dB; options as of `score`."""
    return score(loader, model, Measure(eval_type, eval_bsize), data_norm, **options).psnr


@torch.no_grad()
def super_resolve(
    model: nn.Module,
    image: Tensor,
    size: tuple[int, int],
    data_norm: DataNorm | None = None,
    bsize: int = 30000,
) -> Tensor:
    """Render an image at any size.

    Args:
        model: In evaluation mode; the image follows it to its device.
        image: (3, h, w) in [0, 1].
        size: (H, W) of the result.
        data_norm: Of the model; that of the published checkpoints if None.
        bsize: Queries at a time.

    Returns:
        (3, H, W) in [0, 1], on the CPU.

    Raises:
        UserError: If the image has other channels than the model gives, or data_norm is for others.
    """
    norm = data_norm or PUBLISHED_NORM
    check_data_norm(norm, len(image))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inp = normalise(image.to(device).unsqueeze(0), norm["inp"], 1)
    coord = make_coord(size).to(device).unsqueeze(0)
    cell = make_cell(size).to(device).expand_as(coord)
    pred = batched_predict(model, inp, coord, cell, bsize)
    if pred.shape[2] != len(image):
        raise ChannelsError(pred.shape[2], len(image))
    return denormalise(pred, norm["gt"], 2).clamp(0, 1)[0].T.unflatten(1, size).cpu()


def progress_bar(batches: Iterable[Any], title: str, hidden: bool = False, **options: Any) -> Any:
    """On a terminal, and unless hidden; options as of tqdm."""
    off = hidden or sys.stderr is None or not sys.stderr.isatty()
    return tqdm(batches, desc=title, leave=False, dynamic_ncols=True, disable=off, **options)


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch there; pinned memory is copied while the program goes on."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}


def channel_dim(colours: Tensor) -> int:
    """Of the colours of a batch: (B, Q, 3), or of a grid (B, 3, H, W)."""
    return 1 if colours.ndim == 4 else 2


def as_queries(samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch, or one sample, with its queries as a list (..., Q, 2), be they a grid or not."""
    if samples["coord"].ndim == samples["cell"].ndim:
        return dict(samples)
    coord = samples["coord"].flatten(-3, -2)
    cell = samples["cell"].unsqueeze(-2).expand_as(coord)
    return {**samples, "coord": coord, "cell": cell, "gt": samples["gt"].flatten(-2).mT}


def check_data_norm(norm: DataNorm, channels: int) -> None:
    """Raise a `UserError` if it has numbers for another number of channels."""
    for key, stats in norm.items():
        for name, numbers in stats.items():
            if len(numbers) not in (1, channels):
                raise UserError(
                    f"data_norm: {key}.{name} has {len(numbers)} numbers for {channels} channels: "
                    "give one number, or one per channel"
                )


def check_channels(pred: Tensor, gt: Tensor) -> None:
    """Raise a `ChannelsError` if predictions and targets differ in shape."""
    if pred.shape != gt.shape:
        dim = channel_dim(gt)
        raise ChannelsError(pred.shape[dim], gt.shape[dim])


class _Caught:
    """The batches of a loader; what fails in reading them comes as the last."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.batches
        except Exception as error:
            yield error


def _mean_psnr(results: Sequence[Evaluated]) -> float:
    """Of those that are finite; infinite if none is."""
    mean = Averager()
    for result in results:
        if not math.isinf(result.psnr):
            mean.add(result.psnr)
    exact = results and all(math.isinf(result.psnr) for result in results)
    return math.inf if exact else mean.item()


def _parse_eval_type(eval_type: str | None) -> tuple[str | None, float | None]:
    """The protocol and its scale."""
    if eval_type is None:
        return None, None
    match = EVAL_TYPE.fullmatch(eval_type)
    if match is None:
        raise UserError(f"eval_type {eval_type!r}: expected benchmark-S, div2k-S or gray")
    return match[1] or match[0], float(match[2]) if match[2] else None


def _whole_image(coord: Tensor, cell: Tensor) -> tuple[int, int] | None:
    """The size of the image whose pixels a sample has in order, by its cell; None if it is not."""
    height, width = (round(2 / side) for side in cell[0].tolist())
    if height * width != len(coord):
        return None
    grid = make_coord((height, width)).to(coord)
    return (height, width) if torch.allclose(coord, grid, atol=1e-5) else None
