"""Encoders, decoders and continuous models, by name.

To add one to this project, put a file in its folder and add one word to the last line of that
folder's ``__init__.py``; see CONTRIBUTING.md. Any other file placed here, such as one from the
published code, is imported too: a name it registers replaces this project's, with a notice. If it
cannot be imported, making any model raises an error.
"""

import importlib
import pkgutil

from models.registry import make, register, registry

from . import continuous, decoders, encoders

__all__ = ["continuous", "decoders", "encoders", "make", "register", "registry"]

OURS = {"base", "channels", "checkpoint", "published", "registry", "strength", "unpickling"}

for _found in pkgutil.iter_modules(__path__):
    if not _found.ispkg and _found.name not in OURS:
        try:
            importlib.import_module(f"{__name__}.{_found.name}")
        except Exception as error:  # the file may do anything
            registry.note_import_error(_found.name, error)
