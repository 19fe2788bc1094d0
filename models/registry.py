"""A registry of encoders, decoders and continuous models by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from configs.spec import Registry, T
from errors import UserError


class ModelRegistry(Registry):
    """A registry where a file that a user has dropped into ``models/`` wins, with a notice.

    Its names replace those of this project. Models that use the internals of a part, as the LM
    models do with an `mlp`, keep this project's part; see `make_ours`.
    """

    def __init__(self) -> None:
        super().__init__("model")
        self._replaced = Registry("model")
        self._import_errors: list[str] = []

    def note_import_error(self, module: str, error: Exception) -> None:
        """Note that a file in ``models/`` cannot be imported; nothing can be made from then on."""
        reason = f"{type(error).__name__}: {error}"
        advice = "correct it, or take it out of models/"
        self._import_errors.append(f"models/{module}.py: cannot be imported: {reason}; {advice}")

    def check(self, spec: Any, place: str, supplied: Iterable[str] = ()) -> list[str]:
        """See `Registry.check`.

        Raises:
            UserError: If a file in ``models/`` cannot be imported, as it may define the name.
        """
        if self._import_errors:
            raise UserError("\n".join(self._import_errors))
        return super().check(spec, place, supplied)

    def register(self, name: str) -> Callable[[T], T]:
        """See `Registry.register`."""
        add = super().register(name)

        def add_or_replace(factory: T) -> T:
            known = self._entries.get(name)
            if known is not None and is_user_file(factory) and not is_user_file(known.factory):
                file = f"{factory.__module__.replace('.', '/')}.py"
                print(f"{file}: takes the place of this project's {name!r}", file=sys.stderr)
                self._replaced.register(name)(self._entries.pop(name).factory)
            return add(factory)

        return add_or_replace

    def make_ours(self, spec: Mapping[str, Any], args: Mapping[str, Any] | None = None) -> Any:
        """Make this project's entry, even if another file has replaced its name."""
        replaced = spec.get("name") in self._replaced
        return self._replaced.make(spec, args) if replaced else self.make(spec, args)


def is_user_file(factory: Any) -> bool:
    """Tell whether a factory's file is directly in ``models/``, where a user's files are."""
    package, _, module = factory.__module__.rpartition(".")
    return package == "models" and bool(module)


registry = ModelRegistry()
register = registry.register
make = registry.make
make_ours = registry.make_ours
