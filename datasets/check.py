"""Whether images fit what is made of them, and whether they can be read: before a run begins."""

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

THREADS = 8  # disks and networks answer several questions at once
CHUNK = 64  # the most images that a thread takes at a time: what a Ctrl-C waits for
LISTED = 10  # more images than this, all with the same problem, are one line


def check_sizes(
    samples: Any,
    scale: float | None = None,
    shave: int = 0,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> None:
    """Compare the sizes of the images, read from their headers, with what is to be made of them.

    Datasets that have no method ``size``, and wrappers that have no `size_problem` of their own way
    to draw, are not checked.

    Args:
        samples: A wrapper dataset.
        scale: That pairs must have; if None, the pairs of a folder must have the same.
        shave: Pixels that an evaluation cuts off at each border of a target.
        skip_unreadable: Leave out what cannot be read, which is a problem otherwise.
        progress: Show a bar on a terminal, if it takes seconds.

    Raises:
        UserError: Names every image that does not fit, one a line.
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
        progress: Show a bar on a terminal, if it takes seconds.

    Returns:
        A line for each that cannot be read.
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
    """What is wrong with the files of a pair, of which reading the pair names the first only."""
    lines = []
    for file in dataset.files(index) if callable(getattr(dataset, "files", None)) else ():
        try:
            read_image(file)
        except UserError as error:
            lines.append(str(error))
    return lines


def _judges_sizes(samples: Any) -> bool:
    """Whether a wrapper's `size_problem` is about its own `draw`, not one that was replaced."""
    if not isinstance(samples, SampleWrapper):
        return False
    owners = [
        next(kind for kind in type(samples).__mro__ if name in vars(kind))
        for name in ("size_problem", "draw")
    ]
    return issubclass(*owners)


def _all_shaved(samples: SampleWrapper, sizes: Any, shave: int) -> str | None:
    """Find whether an evaluation cuts off all of a target."""
    target = samples.target_size(sizes) if shave else None
    if target is None or min(target) > 2 * shave:
        return None
    height, width = target
    return f"nothing of {height}x{width} pixels is left after shaving {shave} a side"


def _other_scales(
    samples: Any, sizes: dict[int, Any], wanted: float | None
) -> Iterator[tuple[int, str]]:
    """Pairs whose scale is not the wanted one, or that of most pairs of their folders."""
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
    """The results of 0, 1, .. in order."""

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
    pool.shutdown()  # a process must not be forked beside threads
