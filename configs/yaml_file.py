"""Read YAML files strictly: a repeated key, which silently wins in YAML, is an error."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import yaml

from errors import UserError
from files.paths import expand

# Marks that editors put before a text to state its encoding.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class StrictLoader(yaml.SafeLoader):
    """A `SafeLoader` that refuses a key given twice."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
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
    loader.flatten_mapping(node)  # puts keys merged by `<<` first, so that own keys win
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _decode(data: bytes, path: str | Path) -> str:
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text, wrong = data.decode(encoding), -1
    except UnicodeDecodeError as error:
        text, wrong = data[: error.start].decode(encoding, errors="replace"), data[error.start]
    if "\0" in text:  # UTF-16 without a mark
        text, wrong = text[: text.index("\0")], 0
    if wrong < 0:
        return text
    name = encoding.removesuffix("-sig").upper()
    line = text.count("\n") + 1
    raise UserError(f"{path}:{line}: the byte 0x{wrong:02x} is no text in {name}; save it as UTF-8")


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        UserError: As in `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path), path)


def read_text(path: str | Path) -> bytes:
    """Read the bytes of a config file, only once, so that it may be a pipe.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        return Path(expand(str(path))).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None


def parse_yaml(data: bytes, path: str | Path) -> dict[str, Any]:
    """Parse the mapping in the bytes of a YAML file, in UTF-8, or in UTF-16 with a mark.

    Args:
        data: The bytes.
        path: Path to name in messages.

    Raises:
        UserError: If the data is not text, is not YAML, repeats a key, or holds no mapping.
    """
    text = _decode(data, path)
    try:
        loaded = yaml.load(text, Loader=StrictLoader)
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
