"""CLIT, a model with attention to the codes around a query, in stages of ever finer grids.

Source: Chen et al., "Cascaded Local Implicit Transformer for Arbitrary-Scale Super-Resolution",
CVPR 2023.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from configs.spec import SpecOf
from models.base import ContinuousModel, make_encoder
from models.decoders.mlp import make_mlp
from models.encoders.blocks import conv3x3
from models.reading import amounts
from models.reading.attention import Attention, Seen, attend, by_heads
from models.reading.codes import CodeTable, in_pieces
from models.reading.latent import TablesLatent
from models.reading.neighbourhood import Grid, Window, around, only_inside, resample
from models.registry import make_ours, register
from queries import Queries, size_by_cell

LARGEST_STEP = 4  # ratio of the grids of two successive stages
FADING = 0.75  # factor of the result of the previous stages


@register("clit")
class CLIT(ContinuousModel):
    """Attention of queries to the codes around them, in stages of ever finer grids.

    The first stage reads the feature map itself. Each further stage reads an enlarged feature map
    and adds to the result of the previous ones. The scale decides how many stages run: one up to
    x4, two up to x16, and so on.

    All queries must be for pixels of one size; the first query's decides how many stages run.

    Args:
        encoder_spec: The encoder.
        imnet_spec: The decoder of a stage, an `mlp`; its ``in_dim`` is supplied.
        pb_spec: Encoding of positions, a `posenc`; its ``head`` is supplied. None for no encoding;
            without attention there is none either.
        base_dim: Channels D of queries, keys and values.
        head: Number of attention heads.
        r: Reach of the attention in codes: it covers (2 r + 1)**2 of them.
        imnet_num: Number of stages.
        conv_num: Number of convolutions each for queries, keys and values; at least imnet_num.
        is_cell: Give the decoder the size of the queried pixel.
        local_attn: Use attention; without it a query reads only the value of the nearest code.
        verbose: In published configs; not used.
    """

    one_cell = True
    conv_qs: Any  # these are module lists, whose items have no type
    conv_ks: Any
    conv_vs: Any
    imnets: Any

    def __init__(
        self,
        encoder_spec: Annotated[dict[str, Any], SpecOf()],
        imnet_spec: Annotated[dict[str, Any], SpecOf("in_dim")],
        pb_spec: Annotated[dict[str, Any] | None, SpecOf("head")] = None,
        base_dim: PositiveInt = 192,
        head: PositiveInt = 8,
        r: PositiveInt = 3,
        imnet_num: PositiveInt = 1,
        conv_num: PositiveInt = 1,
        is_cell: bool = True,
        local_attn: bool = True,
        verbose: bool = False,
    ) -> None:
        super().__init__()
        if base_dim % head:
            raise ValueError(f"base_dim {base_dim} cannot be shared by {head} heads")
        if conv_num < imnet_num:
            raise ValueError(f"conv_num {conv_num} is less than imnet_num {imnet_num}")
        self.base_dim, self.head = base_dim, head
        self.is_cell, self.local_attn = is_cell, local_attn
        self.r = r if local_attn else 0
        # Codes after two convolutions; without attention, interpolation of the codes.
        self.margin = max(self.r + 2, 3)
        self.encoder = make_encoder(encoder_spec)
        self.conv_ch = conv3x3(self.encoder.out_dim, base_dim)

        def convolutions() -> nn.ModuleList:
            return nn.ModuleList(conv3x3(base_dim, base_dim) for _ in range(conv_num))

        self.conv_vs = convolutions()
        if local_attn:
            self.conv_qs, self.conv_ks = convolutions(), convolutions()
        self.pb_encoder = None
        if local_attn and pb_spec is not None:
            self.pb_encoder = make_ours(pb_spec, args={"head": head})
        in_dim = base_dim * (2 * self.r + 1) ** 2 + (2 if is_cell else 0)
        self.imnets = nn.ModuleList(
            make_mlp(imnet_spec, "imnet_spec", in_dim=in_dim) for _ in range(imnet_num)
        )

    def prepare(self, feat: Tensor, inp: Tensor) -> TablesLatent:
        """See `ContinuousModel.prepare`; makes what the first stage reads."""
        maps = self.conv_ch(feat)
        tables = self._tables(F.pad(self._project(0, maps, padding=1), [self.r] * 4))
        return TablesLatent(feat, inp, tables=tables, maps=maps if len(self.imnets) > 1 else None)

    def decode(self, latent: TablesLatent, queries: Queries) -> Tensor:
        """See `ContinuousModel.decode`; the cell decides how many stages run."""
        staged = len(self.imnets) > 1
        queries = queries.with_cell(staged or self.is_cell)
        cells = queries.required_cell[:, 0] if staged else ()
        plans = [self.finer_grids(latent.grid, cell) for cell in cells] or [[]]
        if any(plan != plans[0] for plan in plans):
            items = (self.decode(latent.item(i), queries.item(i)) for i in range(len(plans)))
            return torch.cat(list(items))

        def find(coord: Tensor, cell: Tensor | None = None) -> Tensor:
            whole = coord.shape == queries.coord.shape  # which may be known to be a grid
            some = queries if whole else Queries(coord, cell)
            return self.stages(latent, plans[0], some)[-1]

        inputs = (queries.coord,) if queries.cell is None else (queries.coord, queries.cell)
        return in_pieces(find, amounts.CLIT_SHARING, *inputs)

    def finer_grids(self, grid: Grid, cell: Tensor) -> list[Grid]:
        """Return the grids of all stages but the first, for pixels of size cell (2,)."""
        scale = max(m / n for m, n in zip(size_by_cell(cell), grid, strict=True))
        grids: list[Grid] = []
        while len(grids) + 1 < len(self.imnets):
            factor = LARGEST_STEP ** (len(grids) + 1)
            if factor >= scale:
                break
            grids.append((grid[0] * factor, grid[1] * factor))
        return grids

    def stages(self, latent: TablesLatent, grids: list[Grid], queries: Queries) -> list[Tensor]:
        """Compute colours (B, Q, 3) after every stage; the last ones are the model's output.

        Args:
            grids: Grids of all stages but the first.
        """
        found: list[Tensor] = []
        for stage, grid in enumerate([latent.grid, *grids]):
            seen = self._see(stage, latent, grid, queries)
            network = Attention(self.imnets[stage], self.pb_encoder, self.head)
            own = attend(partial(self.f, stage), network, seen)
            found.append(own + FADING * found[-1] if found else own)
        return [latent.add_input(rgb, queries, "bilinear") for rgb in found]

    def _see(self, stage: int, latent: TablesLatent, grid: Grid, queries: Queries) -> Seen:
        """Collect what a stage sees: the whole map for the first, else what its queries read."""
        places = around(queries.coord, grid, self.r)
        if stage == 0:
            top, left = latent.grid_origin
            tables, origin = latent.tables, (top - self.r, left - self.r)
        else:
            assert latent.maps is not None
            spans = rows, cols = places.rows.span(), places.cols.span()
            # Convolutions reach one code further.
            seen = [range(span.start - 1, span.stop + 1) for span in spans]
            maps = resample(latent.maps, latent.grid, latent.grid_origin, grid, *seen)
            maps = only_inside(self._project(stage, maps, padding=0), grid, rows, cols)
            tables, origin = self._tables(maps), (rows.start, cols.start)
        cell = queries.with_cell(self.is_cell).cell
        rel_cell = None if cell is None else cell * cell.new_tensor(grid)
        *asked, values = (Window(table, origin) for table in tables)
        return Seen(places, asked[0] if asked else None, values, rel_cell)

    def _project(self, stage: int, maps: Tensor, padding: int) -> Tensor:
        """Compute the queries, keys and values of a map, or values alone without attention."""
        convolutions = [self.conv_vs[stage]]
        if self.local_attn:
            convolutions = [self.conv_qs[stage], self.conv_ks[stage], *convolutions]
        weight = torch.cat([convolution.weight for convolution in convolutions])
        bias = torch.cat([convolution.bias for convolution in convolutions])
        return F.conv2d(maps, weight, bias, padding=padding)

    def _tables(self, maps: Tensor) -> tuple[CodeTable, ...]:
        """Make tables of queries, and of keys and values; of values alone without attention."""
        if not self.local_attn:
            return (CodeTable(maps),)
        return CodeTable(maps[:, : self.base_dim]), CodeTable(maps[:, self.base_dim :])

    def f(self, stage: int, seen: Seen) -> Tensor:
        """Compute a stage's result (B, Q, 3): every query attends to the codes around it."""
        found = seen.values.codes(seen.around)
        if seen.queries is not None:
            key, value = by_heads(found, self.head, 2)
            (query,) = by_heads(seen.queries.between(seen.around), self.head, 1)
            logits = (query * key).sum(-1) / math.sqrt(query.shape[-1])
            if self.pb_encoder is not None:
                rows, cols = self.pb_encoder(seen.around.rows.rel, seen.around.cols.rel)
                logits = logits + (rows.unsqueeze(1) + cols).flatten(0, 1)
            found = (logits.softmax(dim=0).unsqueeze(-1) * value).flatten(-2)
        x = found.permute(1, 2, 0, 3).flatten(2)
        if seen.rel_cell is not None:
            x = torch.cat([x, seen.rel_cell.to(x.dtype)], dim=-1)
        return self.imnets[stage](x.flatten(0, 1)).unflatten(0, x.shape[:2])
