"""The models that a page can choose from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from errors import UserError
from models.checkpoint import WEIGHTS, find_source, load_checkpoint, split_name

PLAIN = "bicubic"


class Choice(NamedTuple):
    """The name of a model, and its strength if it has one and is not taken as it is."""

    model: str
    strength: float | None = None


class Offered(NamedTuple):
    """What the name of a model stands for.

    Attributes:
        source: A checkpoint, or the name of one in weights/.
        has_strength: Whether its strength can be chosen.
    """

    source: str | Path
    has_strength: bool


def offer(named: str | Path) -> tuple[dict[str, Offered], Choice]:
    """Find the models to offer: the one that is named, those in weights/, and bicubic.

    Returns:
        (models by name, the choice to begin with).

    Raises:
        UserError: If the named model cannot be read or has no such strength.
    """
    find_source(named)
    source, strength = split_name(named)
    models: dict[str, Offered] = {}
    first = PLAIN
    if str(source) != PLAIN:
        inside = {PLAIN, *(file.stem for file in WEIGHTS.glob("*.pth"))}
        first = Path(source).stem
        if first in inside and str(source) != first:  # a file with the name of one of ours
            first += "-2"
        models[first] = _offered(source)
    for file in sorted(WEIGHTS.glob("*.pth")):
        with suppress(UserError):  # such as for a damaged file
            models.setdefault(file.stem, _offered(file.stem))
    models[PLAIN] = Offered(PLAIN, False)
    return models, Choice(first, strength)


def _offered(source: str | Path) -> Offered:
    return Offered(source, load_checkpoint(source).get("base") is not None)
