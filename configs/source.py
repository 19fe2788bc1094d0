"""A config as the user gave it: a file, and what the command line says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.overrides import override
from configs.yaml_file import parse_yaml, read_text


@dataclass(frozen=True)
class Source:
    """A config, not checked yet.

    Attributes:
        path: Of the file, for messages.
        raw: Its mapping, with the values of the command line.
        text: A YAML file of this, to keep with a run: the file itself if nothing was changed.
    """

    path: str
    raw: dict[str, Any]
    text: bytes


def read_source(path: str, settings: Sequence[str] = ()) -> Source:
    """Read a config, which may come from a pipe.

    Args:
        settings: As of `override`.

    Raises:
        UserError: If the file cannot be read, or a setting be made.
    """
    text = read_text(path)
    raw = parse_yaml(text, path)
    if settings:
        raw = override(raw, settings)
        said = "".join(f"# --set {setting!r}\n" for setting in settings)
        kept = yaml.safe_dump(raw, sort_keys=False)
        text = f"# {path!r}\n{said}{kept}".encode(errors="backslashreplace")
    return Source(path, raw, text)


def is_pipe(path: str) -> bool:
    """Whether a path is something that can be read only once, such as ``<(sed ... C.yaml)``."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()
