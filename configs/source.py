"""A config as the user gave it: a file, its base, and changes from the command line.

A file may begin with ``base: FILE``, a config that it adds to and changes. Mappings of the two are
merged; any other value in the file, such as a list or null, replaces that of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from configs.overrides import override
from configs.values import shortened
from configs.yaml_file import parse_yaml, read_text
from errors import UserError
from files.paths import expand

BASE = "base"  # the key that names the base


@dataclass(frozen=True)
class Source:
    """A config that has not been checked yet.

    Attributes:
        path: Path of the file, for messages.
        raw: Mapping of the file, merged with its base and the values from the command line.
        text: YAML text of ``raw`` to store with a run; the file itself if nothing was changed.
        base: Path of the base; None without one.
        inherited: Mapping of the base.
    """

    path: str
    raw: dict[str, Any]
    text: bytes
    base: str | None = None
    inherited: Mapping[str, Any] = field(default_factory=dict)

    def file_of(self, problem: str) -> str:
        """Name the file to look into: the base if the problem is only there, or both files.

        Args:
            problem: A line that begins with a place, such as ``model.args``, and a colon.
        """
        if self.base is None:
            return self.path
        place = problem.split(": ")[0].split(".")
        ours, theirs = _at(self.raw, place), _at(self.inherited, place)
        if ours == theirs and ours is not MISSING:
            return self.base
        shared = isinstance(ours, Mapping) and isinstance(theirs, Mapping)
        return f"{self.path} (base {self.base})" if shared or ours is MISSING else self.path


def read_source(path: str | Path, settings: Sequence[str] = ()) -> Source:
    """Read a config, which may come from a pipe, and its base.

    Args:
        settings: As in `override`.

    Raises:
        UserError: If the file or its base cannot be read, or a setting cannot be applied.
    """
    path = str(path)
    text = read_text(path)
    raw = parse_yaml(text, path)
    base, inherited = None, {}
    head = [f"# {path!r}"]
    if BASE in raw:
        base = _base_path(raw.pop(BASE), path)
        inherited = _read_base(base, path)
        raw = merged(inherited, raw)
        head.append(f"# base: {base!r}")
    if settings:
        raw = override(raw, settings)
        head += [f"# --set {setting!r}" for setting in settings]
    if len(head) > 1:
        kept = yaml.safe_dump(raw, sort_keys=False)
        text = "\n".join([*head, kept]).encode(errors="backslashreplace")
    return Source(path, raw, text, base, inherited)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a config over its base: mappings are merged, other values replaced."""
    return {**base, **{key: _over(base.get(key), value) for key, value in own.items()}}


def _over(base: Any, own: Any) -> Any:
    both = isinstance(base, Mapping) and isinstance(own, Mapping)
    return merged(base, own) if both else own


def _base_path(name: Any, path: str) -> str:
    """Return the path of a base, which is relative to the file that names it."""
    if not isinstance(name, str):
        raise UserError(f"{path}: {BASE}: expected the path of a config, got {shortened(name)}")
    name = expand(name)
    if is_pipe(path) and not Path(name).is_absolute():
        raise UserError(f"{path}: {BASE}: a pipe is in no folder; give the whole path of {name}")
    return str(Path(expand(path)).parent / name)


def _read_base(base: str, path: str) -> dict[str, Any]:
    try:
        text = read_text(base)
    except UserError as error:
        raise UserError(f"{path}: {BASE}: {error}") from None
    raw = parse_yaml(text, base)
    if BASE in raw:
        raise UserError(f"{path}: {BASE}: {base} has a base itself; name one that has none")
    return raw


MISSING = object()


def _at(tree: Any, place: Sequence[str]) -> Any:
    """Return the value at a place, or the value where the path there ends; MISSING if none."""
    for step in place:
        if isinstance(tree, Mapping):
            tree = tree.get(step, MISSING)
        elif isinstance(tree, list):
            tree = tree[int(step)] if step.isdecimal() and int(step) < len(tree) else MISSING
        else:
            break
    return tree


def is_pipe(path: str) -> bool:
    """Tell whether a path can be read only once, such as ``<(sed ... C.yaml)``."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()
