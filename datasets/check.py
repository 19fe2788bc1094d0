"""Check before a run that images can be read and have sizes that fit what is made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

from datasets.image_file import UnreadableError, read_image
from datasets.wrappers import SampleWrapper, SRImplicitPaired, file_names, integer_scale
from errors import UserError

T = TypeVar("T")

THREADS = 8  # disks and networks can serve several requests at once
CHUNK = 64  # most images that a thread takes at a time; Ctrl-C waits for these
LISTED = 10  # if more images than this all have the same problem, it is reported in one line


def check_sizes(
    samples: Any,
    scale: float | None = None,
    shave: int = 0,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> None:
    """Check that the sizes of the images, read from their headers, fit the samples to be made.

    Datasets without a method ``size`` are not checked, nor are wrappers whose `size_problem` does
    not belong to their own `draw`.

    Args:
        samples: A wrapper dataset.
        scale: Scale that pairs must have; None if all pairs of a folder must have the same one.
        shave: Pixels that an evaluation cuts off at each border of a target.
        skip_unreadable: Skip images that cannot be read instead of reporting them.
        progress: Show a bar on a terminal if it takes seconds.

    Raises:
        UserError: If an image does not fit; the message names every such image, one per line.
    """
    dataset: Any = getattr(samples, "dataset", None)
    if not hasattr(dataset, "size") or not _judges_sizes(samples):
        return
    sizes: dict[int, Any] = {}
    problems: dict[int, str] = {}
    unreadable: dict[int, str] = {}

    def look(index: int) -> None:
        try:
            sizes[index] = dataset.size(index)
        except UnreadableError as error:
            unreadable[index] = str(error)
            return
        size = sizes[index]
        if problem := samples.size_problem(size) or _all_shaved(samples, size, shave):
            problems[index] = problem

    count = _distinct(dataset)
    for _ in _in_threads(look, count, "sizes", progress):
        pass
    if isinstance(samples, SRImplicitPaired):
        for index, problem in _other_scales(samples, sizes, scale):
            problems.setdefault(index, problem)
    if len(problems) == count > LISTED and len(set(problems.values())) == 1:
        raise UserError(f"{file_names(samples, 0)} and all other images: {problems[0]}")
    lines = {index: f"{file_names(samples, index)}: {text}" for index, text in problems.items()}
    if not skip_unreadable:
        lines |= unreadable
    if lines:
        raise UserError("\n".join(lines[index] for index in sorted(lines)))


def check_images(samples: Any, progress: bool = True) -> list[str]:
    """Decode every image.

    Args:
        samples: A wrapper dataset.
        progress: Show a bar on a terminal if it takes seconds.

    Returns:
        A line for each image that cannot be read.
    """
    dataset = getattr(samples, "dataset", None)
    if dataset is None:
        return []
    read = getattr(dataset, "pixels", dataset.__getitem__)

    def decode(index: int) -> list[str]:
        try:
            read(index)
        except UserError as error:
            return _each_unreadable(dataset, index) or [str(error)]
        return []

    found = _in_threads(decode, _distinct(dataset), "images", progress)
    return list(dict.fromkeys(line for lines in found for line in lines))


def _each_unreadable(dataset: Any, index: int) -> list[str]:
    """Say what is wrong with each file of a pair; reading the pair only reports the first."""
    lines = []
    for file in dataset.files(index) if callable(getattr(dataset, "files", None)) else ():
        try:
            read_image(file)
        except UserError as error:
            lines.append(str(error))
    return lines


def _judges_sizes(samples: Any) -> bool:
    """Tell whether a wrapper's `size_problem` belongs to its own `draw`, not one it replaced."""
    if not isinstance(samples, SampleWrapper):
        return False
    owners = [
        next(kind for kind in type(samples).__mro__ if name in vars(kind))
        for name in ("size_problem", "draw")
    ]
    return issubclass(*owners)


def _all_shaved(samples: SampleWrapper, sizes: Any, shave: int) -> str | None:
    """Say whether an evaluation cuts off all of a target; None if it does not."""
    target = samples.target_size(sizes) if shave else None
    if target is None or min(target) > 2 * shave:
        return None
    height, width = target
    return f"nothing of {height}x{width} pixels is left after shaving {shave} a side"


def _other_scales(
    samples: Any, sizes: dict[int, Any], wanted: float | None
) -> Iterator[tuple[int, str]]:
    """Find pairs whose scale is not the wanted one, or not that of most pairs of their folders."""
    folders: dict[Any, dict[int, int]] = defaultdict(dict)
    for index, pair in sizes.items():
        if (scale := integer_scale(*pair)) is not None:
            folders[_folders(samples.dataset, index)][index] = scale
    for scales in folders.values():
        ((usual, times),) = Counter(scales.values()).most_common(1)
        for index, scale in scales.items():
            if wanted is not None and scale != wanted:
                yield index, f"x{scale}, wanted x{wanted:g}"
            elif wanted is None and scale != usual:
                yield index, f"x{scale}, where {times} of {len(scales)} pairs are x{usual}"


def _folders(dataset: Any, index: int) -> Any:
    files = getattr(dataset, "files", None)
    return tuple(file.parent for file in files(index)) if callable(files) else None


def _distinct(dataset: Any) -> int:
    return getattr(dataset, "distinct", len(dataset))


def _in_threads(
    function: Callable[[int], T], count: int, title: str, progress: bool
) -> Iterator[T]:
    """Yield a function's results for 0, 1, .., count - 1 in order, computed in threads."""

    chunk = max(1, min(CHUNK, count // (4 * THREADS)))

    def several(start: int) -> list[T]:
        return [function(index) for index in range(start, min(start + chunk, count))]

    bar = tqdm(total=count, desc=title, leave=False, delay=2, disable=None if progress else True)
    pool = ThreadPoolExecutor(THREADS)
    try:
        with bar:
            for results in pool.map(several, range(0, count, chunk)):
                yield from results
                bar.update(len(results))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()  # processes must not be forked while threads run
