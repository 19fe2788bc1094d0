"""Datasets of images on disk, and wrappers that make training samples of them, by name.

A new file in this folder needs one line at the end of this file; see CONTRIBUTING.md.
"""

from configs.spec import Registry

registry = Registry("dataset")
register = registry.register
make = registry.make

from . import degraded, image_folder, wrappers  # noqa: E402, F401
