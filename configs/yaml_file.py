"""YAML files, read strictly: a repeated key, which YAML lets silently win, is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from configs.spec import UserError


class _Loader(yaml.SafeLoader):
    """`SafeLoader` that refuses a key given twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a list or mapping cannot be a key", key.start_mark
            )
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} is given twice", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)  # puts what `<<` merges first, so that own keys win
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        UserError: If the file is missing, is not YAML, repeats a key, or holds no mapping.
    """
    return parse_yaml(read_text(path), path)


def read_text(path: str | Path) -> bytes:
    """A config file, read once: it may be a pipe."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None


def parse_yaml(data: bytes, path: str | Path) -> dict[str, Any]:
    """The mapping in the text of a YAML file; the path is for messages."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UserError(f"cannot read the config {path}: it is not a text file") from None
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UserError(f"{where}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if loaded is None:
        raise UserError(f"{path}: the file is empty")
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a mapping of keys, got {type(loaded).__name__}")
    return loaded
