"""Choose files for the pictures of an evaluation: all different, and never files of the user."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from configs.load import TestCase
from datasets.image_file import write_image
from errors import UserError

MARK = ("Software", "test.py --save")  # in every picture that is written here


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (3, H, W) in [0, 1] as a PNG that names this program."""
    info = PngInfo()
    info.add_text(*MARK)
    write_image(path, picture, pnginfo=info)


def picture_files(
    save: Path, models: Sequence[str], case: TestCase, files: Sequence[str]
) -> dict[str, list[Path]]:
    """Choose the files for the pictures of a case, for each model.

    They are SAVE/SET/xS/IMAGE.png or, with several models, SAVE/MODEL/SET/xS/IMAGE.png.

    Args:
        files: Files of the case's images.

    Raises:
        UserError: If two would go to one file, or the name of the set cannot name a folder.
    """
    if Path(case.name).name != case.name or case.name in ("", ".."):
        raise UserError(f"--save: the name {case.name!r} cannot be that of a folder")
    inside = Path(case.name, f"x{case.scale:g}" if case.scale else "")
    parts = distinct_names(models) if len(models) > 1 else [""]
    pictures = [f"{name}.png" for name in distinct_names(files)]
    return {
        model: [save / part / inside / picture for picture in pictures]
        for model, part in zip(models, parts, strict=True)
    }


def distinct_names(files: Sequence[str]) -> list[str]:
    """Make a name for each file: its stem, with as much of its path as makes the names unique.

    If files differ only in their endings, these stay: ``a.png`` and ``a.jpg``.

    Raises:
        UserError: If a file is there twice.
    """
    paths = [Path(os.path.normpath(Path(file).absolute())) for file in files]
    again, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise UserError(f"--save: {again} is there twice, and would be written to one file")
    for any_case, ending in product((True, False), (False, True)):  # some disks ignore case
        for depth in range(1, max(len(path.parts) for path in paths)):
            names = [_tail(path, depth, ending) for path in paths]
            if len({name.casefold() if any_case else name for name in names}) == len(names):
                return names
    raise AssertionError("different paths have different names")


def _tail(path: Path, depth: int, ending: bool) -> str:
    parents = path.parts[1:-1]
    above = parents[max(0, len(parents) + 1 - depth) :]
    return "/".join((*above, path.name if ending else path.stem))


def in_the_way(pictures: Iterable[Path]) -> list[str]:
    """Report files that pictures would replace, except pictures of an earlier run."""
    found = [path for path in pictures if os.path.lexists(path) and not _is_ours(path)]
    if not found:
        return []
    more = f", nor are {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{found[0]}: is there, and is no picture of an earlier --save{more}; name another DIR"]


def _is_ours(path: Path) -> bool:
    key, value = MARK
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(key) == value
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
