"""Paths as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from errors import UserError


def is_path(argument: str) -> bool:
    """Tell whether an argument of this name is a path: ``root_path..`` (folders) or ``.._file``."""
    return argument.startswith("root_path") or argument.endswith("_file")


def expand(path: str) -> str:
    """Replace ``~`` and environment variables, ``$NAME`` or ``${NAME}``, in a path.

    A path that exists on disk exactly as written stays as it is.

    Raises:
        UserError: If a variable is not defined; the message names it.
    """
    if Path(path).exists():
        return path

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise UserError(f"{path}: there is no environment variable {name}; export it first")
        return os.environ[name]

    return re.sub(r"\$(?:([A-Za-z_]\w*)|\{([^}]*)\})", value, os.path.expanduser(path))  # noqa: PTH111
