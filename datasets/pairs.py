"""Find by name which low-resolution file belongs to which high-resolution file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from datasets.image_file import EXTENSIONS
from datasets.listing import ImageFiles
from errors import UserError

STEM = "{stem}"

Key = tuple[int, str, str]  # index of the folder, subfolder, stem of the high file
Rule = Callable[[str], set[str]]  # stem of a low file -> stems that its high file may have


def check_pattern(pattern: str) -> None:
    """Raise a `UserError` unless a pattern makes the low file's stem from the high file's."""
    place = f"pair_pattern {pattern!r}"
    if pattern.count(STEM) != 1:
        raise UserError(f"{place}: needs {STEM} once, as in '{STEM}x4'")
    rest = pattern.replace(STEM, "")
    if set("{}") & set(rest):
        raise UserError(f"{place}: nothing but {STEM} is replaced")
    if set("/\\") & set(rest) or PurePosixPath(pattern).suffix.lower() in EXTENSIONS:
        raise UserError(f"{place}: give the name without folder and ending, as '{STEM}x4'")


def partners(
    low: ImageFiles, high: ImageFiles, pattern: str | None = None, subset: bool = False
) -> list[int]:
    """Find the index of the low-resolution file for each high-resolution one.

    Partners are in corresponding folders, in the same subfolder. Without a pattern, the low file
    has the name of the high one, or that name plus ``x2``, ``x3.5`` ..; all pairs follow the same
    rule if possible.

    Args:
        low, high: The files.
        pattern: Pattern of the low file's stem, with ``{stem}`` for that of the high file; low
            files with other names are then ignored.
        subset: Allow low files without a partner.

    Raises:
        UserError: If a file has no partner or several; the message names them.
    """
    keys = _keys(high, _same)
    _refuse_equal_stems(high, keys)
    rules: list[Rule] = [_scaled, _same, _either]  # the last one allows any valid meaning
    if pattern is not None:
        rules = [_matching(pattern)]
    elif subset:
        rules = [_either]
    found: list[list[int]] = []
    left: list[int] = []
    for rule in rules:
        low_keys = _keys(low, rule)
        of: dict[Key, list[int]] = {}
        for i, some in enumerate(low_keys):
            for key in some:
                of.setdefault(key, []).append(i)
        found = [of.get(key, []) for some in keys for key in some]
        used = [i for some in found for i in some]
        left = [] if subset else sorted({i for i, k in enumerate(low_keys) if k} - set(used))
        if all(len(some) == 1 for some in found) and len(set(used)) == len(used) and not left:
            return used
    raise UserError(_mistake(low, high, found, left, pattern))


def _keys(files: ImageFiles, rule: Rule) -> list[set[Key]]:
    """List the keys under which each file may be found."""
    keys = []
    for place, name in zip(files.places, files.names, strict=True):
        path = PurePosixPath(name)
        keys.append({(place, str(path.parent), stem) for stem in rule(path.stem)})
    return keys


def _same(stem: str) -> set[str]:
    return {stem}


def _scaled(stem: str) -> set[str]:
    return {re.sub(r"x\d+(\.\d+)?$", "", stem)}


def _either(stem: str) -> set[str]:
    return _same(stem) | _scaled(stem)


def _matching(pattern: str) -> Rule:
    before, after = map(re.escape, pattern.split(STEM))
    form = re.compile(f"{before}(.+){after}", re.DOTALL)

    def rule(stem: str) -> set[str]:
        match = form.fullmatch(stem)
        return {match[1]} if match else set()

    return rule


def _refuse_equal_stems(files: ImageFiles, keys: list[set[Key]]) -> None:
    first: dict[Key, int] = {}
    for i, [key] in enumerate(keys):
        if first.setdefault(key, i) != i:
            one, other = files[first[key]], files[i]
            raise UserError(f"{one} and {other}: both would have one partner; rename or remove one")


def _mistake(
    low: ImageFiles,
    high: ImageFiles,
    found: list[list[int]],
    left: list[int],
    pattern: str | None,
) -> str:
    """Describe the problem of the first file that does not have exactly one partner."""
    for i, some in enumerate(found):
        if len(some) > 1:
            hint = "" if pattern else ", or say which with pair_pattern"
            return (
                f"{low[some[0]]} and {low[some[1]]}: both are partners of {high[i]}; keep one{hint}"
            )
    owner: dict[int, int] = {}
    for i, some in enumerate(found):
        if not some:
            stem = high[i].stem
            names = pattern.replace(STEM, stem) if pattern else f"{stem}xS or {stem}"
            return f"{high[i]}: has no partner in {low.roots[high.places[i]]} ({names})"
        if owner.setdefault(some[0], i) != i:
            return f"{high[owner[some[0]]]} and {high[i]}: both have the partner {low[some[0]]}"
    return f"{low[left[0]]}: has no partner in {high.roots[low.places[left[0]]]}"
