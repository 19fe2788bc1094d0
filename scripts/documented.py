"""Collect what signatures, docstrings and the schema say about registered names and config keys."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pydantic

from configs.spec import Registry

Row = list[str]

PAPER = re.compile(r'(\w[^":.]*(?:et al\.)?), "[^"]+?",\s+([^,.:;]+ \d{4})')
# Papers for modules whose docstrings name none.
PAPERS = {"bicubic": "Keys, 1981", "lmciaosr": "He, Jin, CVPR 2024", "posenc": "as of `clit`"}


@dataclass(frozen=True)
class Argument:
    """An argument as shown in a table; the default is "needed" if there is none."""

    name: str
    default: str
    meaning: str
    entry: str  # its entry in the docstring, which several arguments may share


@dataclass(frozen=True)
class Entry:
    """A registered name."""

    name: str
    factory: Callable[..., Any]

    @property
    def made(self) -> type:
        """The class of the object that the factory makes."""
        if isinstance(self.factory, type):
            return self.factory
        return get_type_hints(self.factory)["return"]

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.factory).parameters.values())

    @property
    def supplied(self) -> set[str]:
        """The names of all arguments."""
        return {parameter.name for parameter in self._parameters}

    @property
    def is_ours(self) -> bool:
        return not self.factory.__module__.startswith("torch.")

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring."""
        if not self.is_ours:
            return f"`torch.optim.{self.factory.__name__}`"
        return as_markdown((inspect.getdoc(self.factory) or "").split("\n\n")[0])

    @property
    def arguments(self) -> list[Argument]:
        """The arguments that have more than one value."""
        doc = inspect.getdoc(self.factory) or ""
        meanings = {name: (meaning, line) for name, meaning, line in _meanings(doc)}
        hints = get_type_hints(_signed(self.factory), include_extras=True)
        shown = [p for p in self._parameters if not _is_constant(hints.get(p.name), p)]
        return [Argument(p.name, _default(p), *meanings.get(p.name, ("", p.name))) for p in shown]

    @property
    def paper(self) -> str:
        """The paper named in the docstring of the module; empty if there is none."""
        if self.name in PAPERS:
            return PAPERS[self.name]
        text = " ".join((sys.modules[self.factory.__module__].__doc__ or "").split())
        found = PAPER.search(text)
        return f"{found[1]}, {found[2]}" if found else ""

    @property
    def row(self) -> Row:
        """The cells of a table row: name, what it is, arguments with defaults, paper."""
        if not self.is_ours:
            return [f"`{self.name}`", self.summary, "as there", ""]
        listed = (
            f"`{a.name}`" + (f" ({a.default})" if a.default != "needed" else "")
            for a in self.arguments
            if a.name != "params"
        )
        return [f"`{self.name}`", self.summary, ", ".join(listed), self.paper]


def entries(registry: Registry) -> list[Entry]:
    """List the entries of a registry, sorted by name."""
    found = [Entry(name, registry._entries[name].factory) for name in registry.names()]
    return [entry for entry in found if not entry.factory.__module__.startswith("tests.")]


def as_markdown(text: str) -> str:
    """Convert a docstring to one line of Markdown for a table."""
    return " ".join(text.split()).replace("``", "`").replace("|", r"\|")


def _signed(factory: Callable[..., Any]) -> Any:
    return factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]


def _is_constant(hint: Any, parameter: inspect.Parameter) -> bool:
    one_value = get_origin(hint) is Literal and len(get_args(hint)) == 1
    return one_value and parameter.default is not inspect.Parameter.empty


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "needed"
    return plain(parameter.default)


def plain(value: Any) -> str:
    """Format a value as in YAML; None becomes "none"."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # YAML reads 1e-8 as text, and 1.e-8 as a number.
    return value if isinstance(value, str) else re.sub(r"\b(\d+)e", r"\1.e", json.dumps(value))


def _meanings(doc: str) -> Iterator[tuple[str, str, str]]:
    """Yield the name, meaning and full entry of each argument in ``Args:`` of a docstring."""
    _, _, section = doc.partition("Args:\n")
    section = re.split(r"\n\S", section)[0]  # the next section
    for entry in re.split(r"\n(?= {4}\S)", section.rstrip()):
        listed, _, meaning = entry.strip().partition(": ")
        for name in listed.split(", "):
            yield name, as_markdown(meaning), entry


def key_rows(section: type[pydantic.BaseModel]) -> list[Row]:
    """List all keys of a section of a config, including nested ones: name, values, default."""
    schema = section.model_json_schema()
    return list(_keys(schema, schema["$defs"], "", {}, {}))


def _keys(
    section: Mapping[str, Any],
    others: Mapping[str, Any],
    before: str,
    defaults: Mapping[str, Any],
    known: dict[str, str],
) -> Iterator[Row]:
    """Yield the rows of a section.

    Args:
        others: Sections that it may refer to.
        before: Prefix of its keys.
        defaults: Defaults that the section's owner sets for its keys.
        known: Key under which each section was already shown; new ones are added.
    """
    for key, what in section["properties"].items():
        name = f"{before}{key}"
        default = plain(defaults.get(key, what.get("default")))
        needed = key in section.get("required", ()) and key not in defaults
        inner = next(filter(None, map(_referred, _choices(what))), None)
        if inner is None:
            yield [f"`{name}`", takes(what), "needed" if needed else default]
            continue
        many = any("items" in choice for choice in _choices(what))
        kind = "list of mappings" if many else "mapping"
        words = f"{kind}, as `{known[inner]}`" if inner in known else kind
        within = what.get("default") or {}
        yield [f"`{name}`", words, "needed" if needed else "see its keys" if within else default]
        if inner not in known:
            known[inner] = name
            part = f"{name}[]." if many else f"{name}."
            yield from _keys(others[inner], others, part, within, known)


def _choices(what: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return what.get("anyOf", [what])


def _referred(what: Mapping[str, Any]) -> str | None:
    """Get the name of the section that a key, or each item of its list, refers to."""
    reference = what.get("$ref") or what.get("items", {}).get("$ref")
    return reference and reference.rpartition("/")[2]


def takes(what: Mapping[str, Any]) -> str:
    """Describe the values that a key takes."""
    return listed([_takes(choice) for choice in _choices(what) if choice.get("type") != "null"])


def listed(words: list[str]) -> str:
    """Join words with commas and "or", as in "one, two or three"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _takes(what: Mapping[str, Any]) -> str:
    if "enum" in what or "const" in what:
        return listed([f"`{plain(value)}`" for value in what.get("enum", [what.get("const")])])
    kind = what.get("type", "any value")
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _limits(what)
    if kind == "array":
        return f"list of {_several(takes(what['items']))}"
    if kind == "object":
        inner = what.get("additionalProperties")
        return (
            f"mapping of {_several(takes(inner))}" if isinstance(inner, dict) else "`{name, args}`"
        )
    return {"string": "text", "boolean": "`true` or `false`"}.get(kind, kind)


def _several(words: str) -> str:
    return re.sub(r"number|text|list", r"\g<0>s", words, count=1)


def _limits(what: Mapping[str, Any]) -> str:
    words = {
        "exclusiveMinimum": "above {}",
        "minimum": "from {}",
        "exclusiveMaximum": "below {}",
        "maximum": "up to {}",
    }
    found = [text.format(plain(what[key])) for key, text in words.items() if key in what]
    return f" {', '.join(found)}" if found else ""
