"""List the images of a dataset: those of folders, or those that a split file names."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets.image_file import EXTENSIONS
from datasets.patience import patiently
from errors import UserError


class ImageFiles(Sequence[Path]):
    """Image files of one or more folders; stored as text, which is fast to pickle.

    Args:
        roots: The folders.
        places: Index of the folder of each file.
        names: Path of each file within its folder, with ``/``.
    """

    def __init__(self, roots: Sequence[Path], places: list[int], names: list[str]) -> None:
        self.roots = list(roots)
        self.places = places
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.roots[self.places[index]] / self.names[index]

    def select(self, indices: Sequence[int]) -> ImageFiles:
        """Return only the files of these indices, in this order."""
        names = [self.names[i] for i in indices]
        return ImageFiles(self.roots, [self.places[i] for i in indices], names)


def list_images(roots: Sequence[Path], recursive: bool = False) -> ImageFiles:
    """List all images: in the order of the folders, then by path in each.

    Hidden files and folders and our caches are left out; links to folders are followed. Files that
    are not images are skipped with a warning.

    Args:
        roots: The folders.
        recursive: Search their subfolders, too.

    Raises:
        UserError: If a folder cannot be read or has no images.
    """
    found = [_images_of(root, recursive) for root in roots]
    places = [i for i, names in enumerate(found) for _ in names]
    return ImageFiles(roots, places, [name for names in found for name in names])


def split_images(roots: Sequence[Path], split_file: Path, key: str | None) -> ImageFiles:
    """Return the images of a list in a JSON file, in its order; names are relative to the folders.

    Raises:
        UserError: If there is no such list, or not exactly one image for each name.
    """
    names = _split(split_file, key)
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: no such image folder")
    places = [[i for i, root in enumerate(roots) if (root / name).exists()] for name in names]
    if missing := [name for name, where in zip(names, places, strict=True) if not where]:
        folders = ", ".join(map(str, roots))
        raise UserError(f"{split_file}: of the list {key!r} not in {folders}: {_some(missing)}")
    for name, where in zip(names, places, strict=True):
        if len(where) > 1:
            first, second = (roots[i] / name for i in where[:2])
            raise UserError(f"{split_file}: {name} is both {first} and {second}")
    return ImageFiles(roots, [where[0] for where in places], names)


def _images_of(root: Path, recursive: bool) -> list[str]:
    images: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    try:
        for name, entry in _walk(root, "", recursive, ()):
            is_image = entry.is_file() and Path(name).suffix.lower() in EXTENSIONS
            (images if is_image else folders if entry.is_dir() else others).append(name)
    except OSError as error:
        place = error.filename or root
        raise UserError(f"{place}: cannot read the image folder: {error.strerror}") from None
    if not images:
        hint = "; recursive: true searches the folders in it" if folders and not recursive else ""
        raise UserError(f"{root}: no images here (of {', '.join(sorted(EXTENSIONS))}){hint}")
    if skipped := sorted(others if recursive else others + folders):
        warnings.warn(f"{root}: skipped, not images: {_some(skipped)}", stacklevel=5)
    return sorted(images)


def _walk(
    root: Path, within: str, recursive: bool, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield relative paths and entries; a link to a folder in ``above`` is not followed."""
    folder = root / within
    status = patiently(folder.stat)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in patiently(lambda: list(os.scandir(folder))):
        if entry.name.startswith((".", "_cache_")):
            continue
        name = f"{within}{entry.name}"
        yield name, entry
        if recursive and entry.is_dir():
            yield from _walk(root, f"{name}/", recursive, (*above, here))


def _split(path: Path, key: str | None) -> list[str]:
    try:
        split = json.loads(patiently(lambda: path.read_bytes()))
    except OSError as error:
        raise UserError(f"{path}: cannot read the split file: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: the split file is not JSON: {error}") from None
    names = split.get(key) if isinstance(split, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        known = ", ".join(map(repr, split)) if isinstance(split, dict) else "none"
        raise UserError(f"{path}: no list of names under the key {key!r}; its keys: {known}")
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise UserError(f"{path}: {twice} is in the list {key!r} twice")
    return names


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
