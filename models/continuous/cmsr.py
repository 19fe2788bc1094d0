"""Controllable multi-scale rendering: smooth parts of a picture are rendered small and enlarged.

These are the parts where the modulation is weak. Source: He, Jin, "Latent Modulated Function for
Computational Optimal Continuous Image Representation", CVPR 2024, section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pydantic
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Tensor

from configs.schema import parse_section, raise_problems
from models.reading import amounts
from queries import Queries
from utils import make_coord, pixel_centres, sample_bilinear, sample_nearest

LEAST_SCALE = 4.0  # up to this scale everything is rendered
TRAINED_SCALE = 4.0  # beyond this scale, its cells are used

Table = dict[PositiveFloat, Annotated[float, Field(ge=0)]]
Size = tuple[int, int]


class CmsrSpec(pydantic.BaseModel):
    """The ``cmsr_spec`` of a model.

    Attributes:
        s2m_tables: For each scale of a picture, {scale: largest intensity rendered at it}.
        mse_threshold: Threshold that the tables were made with; not used in rendering.
        log, path, updating_scale: In published specs; not used.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    s2m_tables: Annotated[
        dict[PositiveFloat, Annotated[Table, Field(min_length=1)]], Field(min_length=1)
    ]
    mse_threshold: float | None = None
    log: bool = False
    path: str | None = None
    updating_scale: Any = None

    @pydantic.field_validator("s2m_tables")
    @classmethod
    def _ascending(cls, tables: dict[float, Table]) -> dict[float, Table]:
        if list(tables) != sorted(tables):
            raise ValueError("the scales must ascend")
        for scale, table in tables.items():
            for values in (list(table), list(table.values())):
                if values != sorted(values):
                    raise ValueError(f"x{scale:g}: scales and intensities must ascend")
        return tables


class Level(NamedTuple):
    """A scale and the intensities of the codes rendered at it, from ``lower`` to ``upper``."""

    scale: float
    lower: float
    upper: float


def parse_cmsr(spec: Any, place: object = "cmsr_spec") -> CmsrSpec:
    """Parse and check a ``cmsr_spec``.

    Args:
        place: Where the spec is, for messages.

    Raises:
        UserError: If the spec is wrong.
    """
    parsed, problems = parse_section(CmsrSpec, spec)
    raise_problems(place, problems)
    return parsed


def levels(tables: dict[float, dict[float, float]], scale: float) -> list[Level]:
    """Find a picture's levels, in the first table for at least its scale or else in the last."""
    table = next((table for key, table in tables.items() if key >= scale), None)
    if table is None:
        table = tables[list(tables)[-1]]
    found, lower = [], 0.0
    for small, upper in table.items():
        if small >= scale:
            break
        found.append(Level(small, lower, upper))
        lower = upper
    if not found or lower < 1:
        found.append(Level(scale, lower, math.inf))
    found[-1] = found[-1]._replace(upper=math.inf)
    return [level for level in found if level.scale >= 1]


def compose(
    inp: Tensor,
    intensity: Tensor,
    steps: list[Level],
    size: Size,
    render: Callable[[Queries], Tensor],
) -> Tensor:
    """Compose a picture (1, 3, H, W): each level enlarges the last and renders what it selects.

    Args:
        inp: (1, 3, h, w), the picture to start from.
        intensity: (1, 1, h, w).
        size: (H, W).
        render: Function that computes colours (1, Q, 3) at queries.
    """
    h, w = intensity.shape[-2:]
    centres = make_coord((h, w), flatten=False).to(inp).permute(2, 0, 1).unsqueeze(0)
    picture, whole = inp, scale_of(size, (h, w))
    for level in steps:
        grid = size if level.scale == whole else (int(h * level.scale), int(w * level.scale))
        # As published: this gives border pixels the coordinates of the outermost codes.
        coord = F.interpolate(centres, grid, mode="bilinear", align_corners=False).flatten(2).mT
        axes = Queries(coord).fast_axes
        strength = sample_nearest(intensity, coord)[0, :, 0]
        chosen = ((strength >= level.lower) & (strength <= level.upper)).nonzero().squeeze(1)
        if len(chosen) == 0:
            continue
        cell = coord.new_tensor([2 / n for n in grid]) * max(level.scale / TRAINED_SCALE, 1)
        colours = sample_bilinear(picture, coord, axes=axes)
        for part in chosen.split(amounts.COMPOSED):
            own = render(Queries(coord[:, part], cell.view(1, 1, 2)))
            colours[:, part] = own.to(colours.dtype)
        picture = colours.mT.unflatten(2, grid)
    if picture.shape[-2:] == size:
        return picture
    rows, cols = (pixel_centres(n).to(inp) for n in size)
    queries = Queries.grid(rows, cols)
    shown = sample_bilinear(picture, queries.coord, axes=queries.fast_axes)
    return shown.mT.unflatten(2, size)


def scale_of(size: Size, grid: Size) -> float:
    """Compute the scale of a picture relative to a grid, from their numbers of pixels."""
    return math.sqrt(size[0] * size[1] / (grid[0] * grid[1]))
