"""What is told to the user in place of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave; its text is shown as it is, without a traceback."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message about an unknown word, or the list of known ones."""
    names = {_plain(name): name for name in sorted(known)}
    close = difflib.get_close_matches(_plain(str(word)), names, n=1, cutoff=0.6)
    return f"did you mean {names[close[0]]!r}?" if close else f"known: {', '.join(names.values())}"


def _plain(name: str) -> str:
    """A name without what is easily confused: upper case, and _ for -."""
    return name.casefold().replace("_", "-")
