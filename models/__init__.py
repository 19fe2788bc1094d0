"""Encoders, decoders and continuous models, by name.

A new one of this project is a file in its folder, and one word in the last line of that folder's
``__init__.py``; see CONTRIBUTING.md. Any other file that is put here, such as one of the published
code, is imported, too: what it registers wins over a name of this project, with a notice. One that
cannot be imported is an error of whatever is made then.
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
        except Exception as error:  # whatever the file does
            registry.lack(_found.name, error)
