"""Registries of named classes, and ``{name, args}`` specs checked against their signatures."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from configs.values import check_type, shortened
from errors import UserError, did_you_mean

T = TypeVar("T", bound=Callable[..., Any])
M = TypeVar("M")


@dataclass(frozen=True)
class SpecOf:
    """A mark for a parameter that takes a spec; ``supplied`` are arguments that its owner adds.

    Example: ``imnet_spec: Annotated[dict | None, SpecOf("in_dim")] = None``.
    """

    supplied: tuple[str, ...]

    def __init__(self, *supplied: str) -> None:
        object.__setattr__(self, "supplied", supplied)


@dataclass(frozen=True)
class SpecsOf:
    """A mark for a parameter that takes a list of a registry's specs, or a list of such lists.

    Example: ``filters: Annotated[list[Any] | None, SpecsOf(filters)] = None``.
    """

    registry: Registry

    def check(self, value: Any, place: str) -> list[str]:
        """Check each spec with `Registry.check`."""
        if isinstance(value, (list, tuple)):
            lists = (self.check(each, f"{place}.{i}") for i, each in enumerate(value))
            return [problem for problems in lists for problem in problems]
        return self.registry.check(value, place)

    def completed(self, value: Any) -> Any:
        """Complete each spec with `Registry.completed`."""
        if isinstance(value, (list, tuple)):
            return [self.completed(each) for each in value]
        return self.registry.completed(value)


class Registry:
    """A collection of named factories of one kind, called through specs ``{name, args[, sd]}``.

    Args:
        kind: Kind of the things registered, for messages: "model", "dataset".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, _Entry] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds a class or factory under ``name``.

        Raises:
            ValueError: If another class or factory has that name; the registry is then unchanged.
        """

        def add(factory: T) -> T:
            known = self._entries.get(name)
            if known is not None and _origin(known.factory) != _origin(factory):
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: "
                    f"{_origin(known.factory)} and {_origin(factory)}"
                )
            self._entries[name] = _Entry(name, factory)
            return factory

        return add

    def make(
        self,
        spec: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        load_sd: bool = False,
    ) -> Any:
        """Build what ``spec`` describes.

        Args:
            spec: ``{"name": .., "args": {..}}``, with ``"sd"`` if ``load_sd``.
            args: Arguments that override ``spec["args"]``.
            load_sd: Load the state dict ``spec["sd"]`` strictly.

        Raises:
            UserError: If the name or an argument is wrong, or the state dict does not fit.
        """
        added = dict(args or {})
        if problems := self.check(spec, self.kind, supplied=added):
            raise UserError("\n".join(problems))
        merged = copy.deepcopy(dict(spec.get("args") or {})) | added
        try:
            made = self._entries[spec["name"]].factory(**merged)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{self.kind} {spec['name']!r}: {error}") from error
        if load_sd:
            _load_strictly(made, spec)
        return made

    def check(self, spec: Any, place: str, supplied: Iterable[str] = ()) -> list[str]:
        """List everything wrong with a spec and its nested specs, one line per mistake.

        Args:
            spec: Spec as the user wrote it.
            place: Place of the spec, e.g. ``model.args.encoder_spec``.
            supplied: Names of arguments that the caller adds.
        """
        if not isinstance(spec, Mapping) or "name" not in spec:
            return [f"{place}: expected a mapping with 'name' and 'args', got {shortened(spec)}"]
        problems = [
            f"{place}.{key}: unknown key; {did_you_mean(key, ('name', 'args'))}"
            for key in spec
            if key not in ("name", "args", "sd")
        ]
        entry = self._entries.get(spec["name"]) if isinstance(spec["name"], str) else None
        if entry is None:
            hint = did_you_mean(spec["name"], self._entries)
            return [*problems, f"{place}.name: unknown {self.kind} {spec['name']!r}; {hint}"]
        args = {} if spec.get("args") is None else spec["args"]
        if not isinstance(args, Mapping):
            return [*problems, f"{place}.args: expected a mapping, got {shortened(args)}"]
        return problems + self._check_args(entry, args, f"{place}.args", set(supplied))

    def completed(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Write out all defaults of a valid spec, including those of nested specs.

        Two specs that make the same thing are then equal. The state dict is left out.
        """
        entry = self._entries[spec["name"]]
        args = {**entry.defaults, **(spec.get("args") or {})}
        for key, value in args.items():
            owner = _marker(entry.hints.get(key), SpecOf)
            listed = _marker(entry.hints.get(key), SpecsOf)
            if listed and value is not None:
                args[key] = listed.completed(value)
            elif isinstance(value, Mapping) and (owner or self._looks_like_spec(key, value)):
                args[key] = self.completed(value)
        return {"name": spec["name"], "args": args}

    def _check_args(
        self, entry: _Entry, args: Mapping[str, Any], place: str, supplied: set[str]
    ) -> list[str]:
        problems = [
            f"{place}: {entry.name!r} cannot stand here: it takes no argument {key!r}"
            for key in sorted(supplied)
            if key not in entry.parameters and not entry.takes_any
        ]
        for key, value in args.items():
            if key in supplied:
                continue
            if key not in entry.parameters and not entry.takes_any:
                hint = did_you_mean(key, entry.parameters)
                problems.append(f"{place}: {entry.name!r} takes no argument {key!r}; {hint}")
                continue
            hint_type = entry.hints.get(key)
            owner, listed = _marker(hint_type, SpecOf), _marker(hint_type, SpecsOf)
            at = f"{place}.{key}"
            if listed and value is not None:
                problems += check_type(value, hint_type, at) or listed.check(value, at)
            elif value is not None and (owner or self._looks_like_spec(key, value)):
                # An owner that does not say what it supplies is assumed to supply what is missing.
                given = owner.supplied if owner else self._required(value)
                problems += self.check(value, at, given)
            elif hint_type is not None:
                problems += check_type(value, hint_type, at)
        problems += [
            f"{place}: {entry.name!r} needs the argument {key!r}"
            for key in entry.required
            if key not in args and key not in supplied
        ]
        return problems

    def _looks_like_spec(self, key: str, value: Any) -> bool:
        """Guess if an unannotated parameter is a spec, as other mappings may have a name too."""
        named = isinstance(value, Mapping) and isinstance(value.get("name"), str)
        return named and (key.endswith("_spec") or value["name"] in self)

    def _required(self, spec: Mapping[str, Any]) -> list[str]:
        entry = self._entries.get(str(spec["name"]))
        return entry.required if entry else []


@dataclass
class _Entry:
    """A registered factory and the contents of its signature."""

    name: str
    factory: Callable[..., Any]

    @cached_property
    def _signature(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.factory).parameters.values())

    @cached_property
    def parameters(self) -> list[str]:
        fixed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [p.name for p in self._signature if p.kind not in fixed]

    @cached_property
    def required(self) -> list[str]:
        named = [p for p in self._signature if p.name in self.parameters]
        return [p.name for p in named if p.default is inspect.Parameter.empty]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        named = [p for p in self._signature if p.name in self.parameters]
        return {p.name: p.default for p in named if p.default is not inspect.Parameter.empty}

    @cached_property
    def takes_any(self) -> bool:
        return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self._signature)

    @cached_property
    def hints(self) -> dict[str, Any]:
        is_class = isinstance(self.factory, type)
        target = self.factory.__init__ if is_class else self.factory
        try:
            return get_type_hints(target, include_extras=True)
        except NameError:  # a dropped-in file may use types imported only for type checking
            return {}


def _marker(hint: Any, kind: type[M]) -> M | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, kind)), None)


def _origin(factory: Callable[..., Any]) -> str:
    return f"{factory.__module__}.{getattr(factory, '__qualname__', repr(factory))}"


def _load_strictly(module: Any, spec: Mapping[str, Any]) -> None:
    if "sd" not in spec:
        raise UserError(f"{spec['name']!r}: the spec holds no state dict 'sd' to load")
    try:
        module.load_state_dict(spec["sd"])
    except (TypeError, AttributeError):
        raise UserError(f"{spec['name']!r}: its 'sd' is no state dict") from None
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise UserError(
            f"{spec['name']!r}: the weights do not fit: {' '.join(lines)[:400]}"
        ) from None
