"""Values of a config that are set on the command line: ``--set optimizer.args.lr=2e-4``."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from configs.yaml_file import StrictLoader
from errors import UserError


def override(raw: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Copy a config and change values in it; they are checked later, with the rest of it.

    Args:
        raw: The mapping of a YAML file.
        settings: Texts ``key=value``: the path of keys joined by dots, with places in a list as
            numbers, and the value in YAML. Missing mappings on the path are created.

    Raises:
        UserError: If a setting is not of this form, or its path leads through something that is
            not a mapping.
    """
    changed = copy.deepcopy(raw)
    for setting in settings:
        key, equals, text = setting.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise UserError(f"--set {setting}: expected KEY=VALUE, such as optimizer.args.lr=2e-4")
        _put(changed, steps, _value(setting, text), setting)
    return changed


def _put(tree: Any, steps: list[str], value: Any, setting: str) -> None:
    *way, last = steps
    for at, step in enumerate(way):
        if isinstance(tree, dict):
            if tree.get(step) is None:
                if at == 0:
                    _refuse_part(tree, steps, setting)
                tree[step] = {}
            tree = tree[step]
        else:
            tree = tree[_place(tree, step, setting)]
    if isinstance(tree, dict):
        if not way:
            _refuse_part(tree, steps, setting)
        tree[last] = value
    else:
        tree[_place(tree, last, setting)] = value


def _refuse_part(tree: dict[str, Any], steps: list[str], setting: str) -> None:
    """Refuse ``lr=..`` where the config has ``optimizer.args.lr`` and nothing at its root."""
    wanted = ".".join(steps)
    if steps[0] in tree:
        return
    deeper = [path for path in _paths(tree) if path.endswith(f".{wanted}")]
    if deeper:
        raise UserError(f"--set {setting}: did you mean {' or '.join(deeper)}?")


def _paths(tree: Any, place: str = "") -> Iterator[str]:
    items = tree.items() if isinstance(tree, dict) else ()
    for key, value in items:
        path = f"{place}.{key}" if place else str(key)
        yield path
        yield from _paths(value, path)


def _place(tree: Any, step: str, setting: str) -> int:
    if not isinstance(tree, list):
        raise UserError(f"--set {setting}: there is no mapping to put {step!r} into")
    if not step.isdecimal() or int(step) >= len(tree):
        raise UserError(f"--set {setting}: the list has no place {step}, only 0 to {len(tree) - 1}")
    return int(step)


def _value(setting: str, text: str) -> Any:
    try:
        value = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or "it is no YAML"
        raise UserError(f"--set {setting}: the value cannot be read: {reason}") from None
    if isinstance(value, str) and any(map(str.isdecimal, value)):
        with contextlib.suppress(ValueError):  # YAML reads 2e-4 as text; here a number is meant
            return float(value)
    return value
