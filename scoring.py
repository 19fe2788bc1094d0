"""Score how well a model renders test images: metrics of each image, and their means."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from configs.schema import EVAL_TYPE
from datasets.loader import BatchLoader
from engine import (
    IDENTITY_NORM,
    DataNorm,
    as_queries,
    batched_predict,
    check_data_norm,
    progress_bar,
    self_ensemble,
    to_device,
)
from errors import ChannelsError, UserError
from metrics import METRICS, PSNR, border
from parallel import ALONE, Group, is_failure
from queries import whole_picture
from utils import Averager, denormalise, normalise


class Evaluated(NamedTuple):
    """One image of an evaluation.

    Attributes:
        number: Number in its set, from 0.
        values: Value of each metric, by name.
        picture: Picture (3, H, W) in [0, 1]; None if the sample is not a whole image.
        size: (H, W) of the picture.
    """

    number: int
    values: Mapping[str, float]
    picture: Tensor | None
    size: tuple[int, int] | None = None

    @property
    def psnr(self) -> float:
        """The PSNR in dB."""
        return self.values[PSNR]


@dataclass(frozen=True)
class Measure:
    """The metrics to measure, and how to measure them.

    Attributes:
        eval_type: Protocol: ``benchmark-S``, ``div2k-S``, ``gray`` (see `calc_psnr`), or None: all
            pixels, RGB.
        eval_bsize: Number of queries at a time.
        ensemble: Average over the eight flips and rotations (`self_ensemble`).
        metrics: Names in `METRICS` of the metrics to measure.

    Raises:
        UserError: If the eval_type is unknown.
    """

    eval_type: str | None = None
    eval_bsize: int | None = None
    ensemble: bool = False
    metrics: tuple[str, ...] = (PSNR,)

    def __post_init__(self) -> None:
        _parse_eval_type(self.eval_type)

    @property
    def protocol(self) -> str | None:
        return _parse_eval_type(self.eval_type)[0]

    @property
    def scale(self) -> float | None:
        """The scale in eval_type; None if it has none."""
        return _parse_eval_type(self.eval_type)[1]

    @property
    def shave(self) -> int:
        """The number of pixels cut off at each border."""
        return border(self.protocol, self.scale or 1)

    @property
    def needs_images(self) -> list[str]:
        """The titles of measurements that need whole images, not single pixels."""
        protocol = [f"eval_type {self.eval_type}"] if self.eval_type is not None else []
        return protocol + [METRICS[m].title for m in self.metrics if METRICS[m].needs_images]


class Scores(NamedTuple):
    """The means over the images of a set, and the images.

    Attributes:
        values: Mean of the finite values of each metric; infinite if no value is finite.
        images: Images of all processes, in order, without their pictures.
    """

    values: Mapping[str, float]
    images: list[Evaluated]

    @property
    def psnr(self) -> float:
        """The PSNR in dB."""
        return self.values[PSNR]

    @property
    def exact(self) -> int:
        """The number of images reproduced exactly, which have an infinite PSNR."""
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
        model: Model in evaluation mode; batches are moved to its device.
        data_norm: Normalisation ``{inp: {sub, div}, gt: {sub, div}}``; None: identity.
        numbers: Numbers of the samples; None: from 0.

    Raises:
        UserError: If whole images are needed but the samples are not whole, or if the samples have
            another number of channels than the model's output or data_norm.
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
        if batch["coord"].ndim == 4:
            pred, batch = pred.flatten(2).mT, as_queries(batch)
        if pred.shape != batch["gt"].shape:
            raise ChannelsError(pred.shape[2], batch["gt"].shape[2])
        pred = denormalise(pred, norm["gt"], 2).clamp(0, 1)
        for sr, hr, *place in zip(pred, batch["gt"], batch["coord"], batch["cell"], strict=True):
            number = next(numbers)
            size = whole_picture(*place)
            if size is None and measure.needs_images:
                raise UserError(
                    f"{measure.needs_images[0]} needs whole images, so the wrapper must not have "
                    "sample_q, nor inp_size if its name ends in -fast"
                )
            picture = None
            if size is not None:
                sr, hr = (x.T.unflatten(1, size) for x in (sr, hr))
                picture = sr
            try:
                values = {
                    name: float(METRICS[name].measure(sr, hr, protocol, scale))
                    for name in measure.metrics
                }
            except ValueError as error:
                raise UserError(f"image {number + 1} of the set: {error}") from None
            yield Evaluated(number, values, picture, size)


def score(
    loader: Iterable[Mapping[str, Tensor]],
    model: nn.Module,
    measure: Measure,
    data_norm: DataNorm | None = None,
    verbose: bool = False,
    on_image: Callable[[Evaluated], None] | None = None,
    group: Group = ALONE,
    on_batch: Callable[[], Any] | None = None,
) -> Scores:
    """Compute the means of metrics over images; for the other arguments see `evaluate`.

    An image reproduced exactly has no finite PSNR; it is left out of that mean, with a warning.
    If one process fails, all of them fail.

    Args:
        verbose: Show a progress bar with the mean so far.
        on_image: Called with each result of this process, e.g. to keep its picture.
        group: Processes that share the loader's batches.
        on_batch: Called after every batch, equally often in all processes.
    """
    model.eval()
    bar = progress_bar(loader, "val", hidden=not verbose)
    numbers = loader.numbers() if isinstance(loader, BatchLoader) else count()
    found: list[Evaluated] = []
    failure: Exception | None = None

    def after_batch() -> None:
        group.fail_together(failure)
        if on_batch is not None:
            on_batch()

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
            bar.set_postfix(psnr=f"{_mean(found, PSNR):.4f}")
    # The order of a sum decides its last bits.
    found = sorted(group.gather(found), key=lambda result: (result.number, result.psnr))
    scores = Scores({name: _mean(found, name) for name in measure.metrics}, found)
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
    """Compute the mean PSNR of a set in dB; for the options see `score`."""
    return score(loader, model, Measure(eval_type, eval_bsize), data_norm, **options).psnr


class _Caught:
    """The batches of a loader; an error in reading them is yielded as the last item."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.batches
        except Exception as error:
            yield error


def _mean(results: Sequence[Evaluated], metric: str) -> float:
    """Compute the mean of the finite values of a metric; infinite if no value is finite."""
    mean = Averager()
    for result in results:
        if not math.isinf(result.values[metric]):
            mean.add(result.values[metric])
    exact = results and all(math.isinf(result.values[metric]) for result in results)
    return math.inf if exact else mean.item()


def _parse_eval_type(eval_type: str | None) -> tuple[str | None, float | None]:
    """Split an eval_type into the protocol and its scale."""
    if eval_type is None:
        return None, None
    match = EVAL_TYPE.fullmatch(eval_type)
    if match is None:
        raise UserError(f"eval_type {eval_type!r}: expected benchmark-S, div2k-S or gray")
    return match[1] or match[0], float(match[2]) if match[2] else None
