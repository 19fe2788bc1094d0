"""The models against the literal formulas, in float64, with gradients."""

import itertools

import pytest
import torch

import models
from models.literal import FORMULAS
from models.literal.places import unfold
from models.reading.codes import CodeTable
from tests.cases import IMNET, LMMLP, make, queries
from utils import make_cell, make_coord, sample_bicubic, sample_bilinear


def switches(*names):
    """All combinations of on and off."""
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product((True, False), repeat=len(names))
    ]


SWITCHES = switches("local_ensemble", "feat_unfold", "cell_decode")
FOREIGN = {"name": "foreign", "args": {"out_dim": 3, "hidden_list": [16]}}
SMOOTH = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16, 16], "act": "gelu"}}
STRAIGHT = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16, 16], "act": None}}
CASCADE = {"imnet_num": 3, "conv_num": 3}
LINEAR = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": []}}
CASES = [("liif", args) for args in SWITCHES]
CASES += [("liif", {**args, "imnet_spec": FOREIGN}) for args in SWITCHES]
CASES += [("liif", {"imnet_spec": spec}) for spec in (LINEAR, SMOOTH, STRAIGHT)]
CASES += [("lte", {"imnet_spec": spec}) for spec in (IMNET, FOREIGN, LINEAR, SMOOTH)]
CASES += [("metasr", {})]
CASES += [("lte-fast", {}), ("lte-fast", {"num_layer": 1})]
CASES += [("lmliif", args) for args in switches("cell_decode", "feat_unfold", "mod_input")]
CASES += [("lmlte", args) for args in switches("local_ensemble", "cell_decode", "mod_input")]
CASES += [
    ("lmliif", {"imnet_spec": {"name": "lmmlp", "args": {**LMMLP["args"], **parts}}})
    for parts in ({"mod_scale": False}, {"mod_shift": False}, {"hidden_depth": 1})
]
CASES += [("sronet", {}), ("sronet", {"blocks": 2}), ("ciaosr", {}), ("ciaosr", {"local_size": 1})]
CASES += [("ciaosr", {"local_size": 3, "non_local_attn": False, "feat_unfold": False})]
CASES += [("ciaosr", {"multi_scale": [3, 4], "softmax_scale": 2, "imnet_k": LINEAR})]
CASES += [("lmciaosr", {}), ("lmciaosr", {"local_size": 1, "mod_input": False})]
CASES += [("clit", {}), ("clit", {"pb_spec": None, "is_cell": False}), ("clit", {"r": 1})]
CASES += [("clit", args) for args in ({"local_attn": False, "pb_spec": None}, CASCADE)]
SIZES = [(7, 9), (1, 6), (5, 1), (1, 1), (2, 3)]


def double(name, args):
    return make(name, **args).double()


def literally(name, model, inp, coord, cell):
    return FORMULAS[name](model, inp, model.encoder(inp), coord, cell)


def gradients(output, tensors):
    target = torch.linspace(-1, 1, output.numel()).to(output).view_as(output)
    return torch.autograd.grad((output * target).sum(), tensors, materialize_grads=True)


@pytest.fixture(autouse=True)
def foreign_decoder(monkeypatch):
    """A decoder of a dropped-in file, of whose layers nothing is known."""
    monkeypatch.setattr(models.registry, "_entries", dict(models.registry._entries))

    @models.register("foreign")
    class Foreign(torch.nn.Module):
        def __init__(self, in_dim, out_dim, hidden_list):
            super().__init__()
            self.enter = torch.nn.Linear(in_dim, hidden_list[0])
            self.leave = torch.nn.Linear(hidden_list[0], out_dim)

        def forward(self, x):
            assert x.ndim == 2  # as published decoders are called
            return self.leave(torch.sin(self.enter(x)))


@pytest.mark.parametrize(("name", "args"), CASES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients(name, args, size):
    model = double(name, args)
    inp = torch.randn(2, 3, *size, dtype=torch.float64)
    coord, cell = queries(2, 60, torch.float64)
    inp.requires_grad_()
    used = [inp] + [p for p in model.parameters() if p.requires_grad]
    fast, literal = model(inp, coord, cell), literally(name, model, inp, coord, cell)
    torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)
    for got, wanted in zip(gradients(fast, used), gradients(literal, used), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("size", [(8, 12), (3, 5), (4, 27), (20, 9), (40, 31), (133, 70)], ids=str)
@pytest.mark.parametrize(
    ("name", "args"), [("liif", {}), ("clit", CASCADE), ("clit", CASCADE | {"pb_spec": None})]
)
def test_pixel_grids_of_any_scale(name, args, size):
    """Grids of scales below, at and above 1, different in both directions."""
    model = double(name, args)
    inp = torch.randn(1, 3, 8, 9, dtype=torch.float64)
    coord = make_coord(size).double().unsqueeze(0)
    cell = make_cell(size).double().expand_as(coord)
    with torch.no_grad():
        fast, literal = model(inp, coord, cell), literally(name, model, inp, coord, cell)
    torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [2**19, 9000])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("liif", {}),
        ("liif", {"imnet_spec": FOREIGN}),
        ("lte", {}),
        ("lte-fast", {}),
        ("lmliif", {}),
        ("lmliif", {"cell_decode": False}),
        ("lmlte", {}),
        ("lmlte", {"local_ensemble": False}),
    ],
)
def test_grids_of_any_rows_and_columns(name, args, chunk, monkeypatch):
    """Queries that share their codes are found by row and column, in whatever order these are."""
    monkeypatch.setattr("models.reading.amounts.CACHED_FLOATS", chunk)
    monkeypatch.setattr("models.reading.amounts.SMALLEST_BLOCK", 0)
    monkeypatch.setattr("models.reading.amounts.LONGEST_RUN", 4)
    model, inp = double(name, args), torch.randn(2, 3, 6, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    rows, cols = (
        torch.rand(n, generator=generator, dtype=torch.float64) * 2.2 - 1.1 for n in (23, 31)
    )
    rows[5:12] = rows[5:12].sort().values  # neighbours between the same codes, some of them twice
    cols[9:20] = torch.linspace(-0.3, 0.1, 11, dtype=torch.float64)
    cols[16] = cols[15]
    coord = torch.cartesian_prod(rows, cols).expand(2, -1, -1)
    cell = torch.tensor([[[0.1, 0.2]], [[0.05, 0.3]]], dtype=torch.float64).expand(2, 23 * 31, 2)
    with torch.no_grad():
        fast, literal = model(inp, coord, cell), literally(name, model, inp, coord, cell)
        torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)
        # A grid whose cells differ, and queries that only begin as one, are taken one by one.
        if name in ("liif", "lte", "lte-fast"):
            cell = cell * torch.linspace(1, 2, 23 * 31, dtype=torch.float64).unsqueeze(-1)
        coord = torch.cat([coord[:, :-1], coord[:, :1]], dim=1)
        fast, literal = model(inp, coord, cell), literally(name, model, inp, coord, cell)
        torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)


def test_queries_are_taken_together_where_it_pays(monkeypatch):
    """Codes are read once for the queries between them, in runs of bounded length."""
    read, counts = CodeTable.read, []

    def counted(self, index, memory=None):
        counts.append(index.numel())
        return read(self, index, memory)

    monkeypatch.setattr(CodeTable, "read", counted)
    model, inp = make("lmliif"), torch.randn(1, 3, 8, 8)
    for scale, share, fewest in ((4, 1, 500), (4, 1 / 8, 0), (30, 1 / 100, 500), (1.2, 1, 0)):
        monkeypatch.setattr("models.reading.amounts.SMALLEST_BLOCK", fewest)
        side = round(8 * scale)
        coord, cell = make_coord((side, side))[None], make_cell((side, side)).expand(1, side**2, 2)
        counts.clear()
        with torch.no_grad():
            model(inp, coord, cell)
        assert 4 * side**2 / (16 * 16) <= sum(counts) <= 4 * side**2 * share
        assert share < 1 or sum(counts) == 4 * side**2
    counts.clear()
    with torch.no_grad():  # one grid for several images is one for each, but only for as many
        model(inp.expand(2, -1, -1, -1), coord.expand(2, -1, -1), cell.expand(2, -1, -1))
    assert sum(counts) == 2 * 4 * side**2


@pytest.mark.parametrize("name", ["liif", "lte", "lmliif"])
@pytest.mark.parametrize("where", [0, 500, -1])
def test_a_query_nowhere_spoils_no_other(name, where):
    model, inp = make(name), torch.randn(1, 3, 8, 8)
    coord, cell = make_coord((32, 32))[None], make_cell((32, 32)).expand(1, 1024, 2)
    with torch.no_grad():
        wanted = model(inp, coord, cell)
        coord[0, where] = torch.nan
        got = model(inp, coord, cell)
    assert got[0, where].isnan().all()
    got[0, where] = wanted[0, where]
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_chunks_in_the_cache_change_nothing(name, monkeypatch):
    model, inp = double(name, {}), torch.randn(2, 3, 6, 5, dtype=torch.float64)
    coord, cell = queries(2, 40, torch.float64)
    whole = model(inp, coord, cell).detach()
    monkeypatch.setattr("models.reading.amounts.CACHED_FLOATS", 9000)
    monkeypatch.setattr("models.reading.amounts.SRNO_QUERIES", 7)
    monkeypatch.setattr("models.reading.amounts.CIAOSR_QUERIES", 7)
    monkeypatch.setattr("models.reading.amounts.CLIT_QUERIES", 7)
    monkeypatch.setattr("models.reading.amounts.CLIT_TABLE", 7 * 25 * 3 * 16)
    monkeypatch.setattr("models.reading.amounts.CLIT_SHARING", 23)
    monkeypatch.setattr("models.reading.amounts.LONGEST_ROW", 2)
    with torch.no_grad():
        torch.testing.assert_close(model(inp, coord, cell), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [[], [12], [16] * 4, [12, 12, 5, 12, 12]], ids=str)
@pytest.mark.parametrize("act", ["relu", "gelu", None])
def test_inference_with_decoders_of_any_depth_and_width(hidden, act):
    """Without gradients biases are folded and memory is reused."""
    args = {"out_dim": 3, "hidden_list": hidden, "act": act}
    model = double("liif", {"imnet_spec": {"name": "mlp", "args": args}})
    inp = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    coord, cell = queries(2, 40, torch.float64)
    with torch.no_grad():
        fast, literal = model(inp, coord, cell), literally("liif", model, inp, coord, cell)
    torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)


def test_codes_lie_one_after_another_in_memory():
    """Reading them from a transposed map takes several times as long."""
    assert CodeTable(torch.randn(1, 5, 4, 3)).rows.is_contiguous()
    assert CodeTable(torch.randn(2, 5, 4, 3), unfold=True).rows.is_contiguous()


def test_order_of_queries_does_not_matter():
    model = double("liif", {})
    inp = torch.randn(1, 3, 6, 5, dtype=torch.float64)
    coord, cell = queries(1, 40, torch.float64)
    order = torch.randperm(40)
    with torch.no_grad():
        straight = model(inp, coord, cell)
        shuffled = model(inp, coord[:, order], cell[:, order])
    torch.testing.assert_close(shuffled, straight[:, order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["liif", "lmliif"])
def test_input_skip_adds_the_interpolated_input(name):
    inp = torch.randn(2, 3, 6, 5)
    coord, cell = queries(2, 40)
    for kind, sample in (("bilinear", sample_bilinear), ("bicubic", sample_bicubic)):
        plain, skipping = make(name), make(name, input_skip=kind)
        with torch.no_grad():
            difference = skipping(inp, coord, cell) - plain(inp, coord, cell)
        torch.testing.assert_close(difference, sample(inp, coord), atol=1e-5, rtol=1e-5)


def test_code_table_reads_the_unfolded_map():
    feat = torch.randn(2, 5, 4, 3)
    codes = CodeTable(feat, unfold=True)
    rows, cols = torch.meshgrid(torch.arange(4), torch.arange(3), indexing="ij")
    index = codes.index(rows.flatten().expand(2, -1), cols.flatten().expand(2, -1))
    assert torch.equal(codes.read(index), unfold(feat).flatten(2).transpose(1, 2))


def test_without_imnet_the_nearest_pixel_of_the_upsampler_is_returned():
    encoder = {"name": "edsr-baseline", "args": {"n_resblocks": 1, "n_feats": 4, "scale": 2}}
    model = make("liif", encoder_spec=encoder, imnet_spec=None)
    inp = torch.randn(1, 3, 5, 4)
    with torch.no_grad():
        image = model.encoder(inp)
        rgb = model(inp, make_coord((10, 8)).unsqueeze(0))
    torch.testing.assert_close(rgb[0], image[0].flatten(1).T)
