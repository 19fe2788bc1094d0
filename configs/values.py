"""Check values of a YAML against type annotations."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pydantic


def check_type(value: Any, expected: Any, place: str) -> list[str]:
    """List the mistakes of a YAML value under a type annotation; text is not read as numbers."""
    try:
        # As JSON, so that strict mode accepts a list for a tuple.
        _adapter(expected).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        steps = [str(step) for step in first["loc"] if isinstance(step, int)]
        message = type_message(first["msg"].removeprefix("Value error, "), first["input"])
        return [f"{'.'.join([place, *steps])}: {message}"]
    except (TypeError, ValueError):
        return [f"{place}: expected a plain value, got {shortened(value)}"]
    return []


def type_message(message: str, value: Any) -> str:
    """Describe in one line a value of the wrong type; a common YAML mistake is pointed out."""
    text = f"{message[:1].lower()}{message[1:]}, got {shortened(value)}"
    if isinstance(value, str) and _is_number(value):
        better = _as_yaml_number(value, whole="integer" in message)
        text += f"; YAML reads {value!r} as text, write {better}"
    return text


_PLAIN = pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)


@cache
def _adapter(expected: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(expected, config=_PLAIN)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_yaml_number(text: str, whole: bool) -> str:
    if whole and float(text).is_integer():
        return str(int(float(text)))
    mantissa, e, exponent = text.lower().partition("e")
    if not e:
        return text
    sign = "" if exponent[:1] in "+-" else "+"
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{sign}{exponent}"


def shortened(value: Any) -> str:
    """Return the text of a value, shortened to at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
