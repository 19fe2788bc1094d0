"""Errors shown to the user instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's input; its text is shown as it is, without a traceback."""


class ChannelsError(UserError):
    """The error of a model that outputs other channels than its images have.

    Attributes:
        given: Number of channels the model outputs.
    """

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__(
            f"the model gives {given} channels where {wanted} are wanted: out_dim of its decoder "
            "and channels of the dataset must agree; without a decoder the encoder needs its "
            "upsampler"
        )
        self.given = given


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest a known word to append to a message about an unknown one, or list the known ones."""
    names = {_plain(name): name for name in sorted(known)}
    close = difflib.get_close_matches(_plain(str(word)), names, n=1, cutoff=0.6)
    return f"did you mean {names[close[0]]!r}?" if close else f"known: {', '.join(names.values())}"


def _plain(name: str) -> str:
    """Normalise what is easily confused in a name: upper case, and _ for -."""
    return name.casefold().replace("_", "-")
