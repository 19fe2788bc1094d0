"""Encoders, decoders and continuous models, by name.

A new one is a file in its folder, and one word in the last line of that folder's ``__init__.py``;
see CONTRIBUTING.md.
"""

from models.registry import make, register, registry

from . import continuous, decoders, encoders

__all__ = ["continuous", "decoders", "encoders", "make", "register", "registry"]
