"""Model files of the published form that a user has put into ``models/``, beside this project's."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    "mlp": """
import torch.nn as nn

from models import register


@register('mlp')
class MLP(nn.Module):

    def __init__(self, in_dim, out_dim, hidden_list):
        super().__init__()
        widths = [in_dim] + hidden_list
        layers = []
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_dim))

    def forward(self, x):
        shape = x.shape[:-1]
        return self.layers(x.view(-1, x.shape[-1])).view(*shape, -1)
""",
    "edsr": """
from argparse import Namespace

import torch.nn as nn

from models import register


class EDSR(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.args = args
        self.head = nn.Conv2d(3, args.n_feats, 3, padding=1)
        self.out_dim = args.n_feats

    def forward(self, x):
        return self.head(x)


@register('edsr-baseline')
def make_edsr_baseline(n_resblocks=16, n_feats=64, res_scale=1, scale=2, no_upsampling=False):
    args = Namespace()
    args.n_feats = n_feats
    return EDSR(args)
""",
    "liif": """
import torch
import torch.nn as nn
import torch.nn.functional as F

import models
from models import register
from utils import make_coord


@register('liif')
class LIIF(nn.Module):

    def __init__(self, encoder_spec, imnet_spec=None,
                 local_ensemble=True, feat_unfold=True, cell_decode=True):
        super().__init__()
        self.encoder = models.make(encoder_spec)
        in_dim = self.encoder.out_dim * 9 + 4
        self.imnet = models.make(imnet_spec, args={'in_dim': in_dim})

    def gen_feat(self, inp):
        self.feat = self.encoder(inp)
        return self.feat

    def query_rgb(self, coord, cell=None):
        b, c, h, w = self.feat.shape
        feat = F.unfold(self.feat, 3, padding=1).view(b, c * 9, h, w)
        centres = make_coord((h, w), flatten=False).to(coord).permute(2, 0, 1)
        centres = centres.unsqueeze(0).expand(b, 2, h, w)
        scale = torch.tensor([h, w]).to(coord)
        preds, areas = [], []
        for vx in [-1, 1]:
            for vy in [-1, 1]:
                moved = coord + torch.tensor([vx / h + 1e-6, vy / w + 1e-6]).to(coord)
                moved = moved.clamp(-1 + 1e-6, 1 - 1e-6).flip(-1).unsqueeze(1)
                q_feat, q_coord = (
                    F.grid_sample(x, moved, mode='nearest', align_corners=False)[:, :, 0, :]
                    .permute(0, 2, 1) for x in (feat, centres))
                rel = (coord - q_coord) * scale
                x = torch.cat([q_feat, rel, cell * scale], dim=-1)
                preds.append(self.imnet(x))
                areas.append((rel[:, :, 0] * rel[:, :, 1]).abs() + 1e-9)
        total = torch.stack(areas).sum(0)
        return sum(p * (a / total).unsqueeze(-1) for p, a in zip(preds, areas[::-1]))

    def forward(self, inp, coord, cell):
        self.gen_feat(inp)
        return self.query_rgb(coord, cell)
""",
    "lte": """
import models
from models import register
from models.liif import LIIF


@register('lte')
class LTE(LIIF):

    def __init__(self, encoder_spec, imnet_spec=None, hidden_dim=256):
        super().__init__(encoder_spec, imnet_spec)
""",
}
USE = """
import copy
import torch
import models
from engine import super_resolve
from models.checkpoint import load_model, save_checkpoint
from models.continuous.liif import LIIF
from models.literal import FORMULAS
from tests.cases import IMNET, SPECS, make, queries

model, ours = make("liif"), models.registry.make_ours(SPECS["liif"])
assert type(model).__module__ == "models.liif", type(model)
assert type(model.imnet).__module__ == "models.mlp"
assert type(model.encoder).__module__ == "models.edsr"
assert type(make("lte")).__module__ == "models.lte"
assert isinstance(ours, LIIF)
ours.load_state_dict(model.state_dict())
inp, (coord, cell) = torch.randn(2, 3, 6, 7), queries(2, 50)
with torch.no_grad():
    wanted = FORMULAS["liif"](ours, inp, ours.encoder(inp), coord, cell)
    for each in (model, ours):
        torch.testing.assert_close(each(inp, coord, cell), wanted, atol=1e-5, rtol=1e-5)
    for name in ("metasr", "lte-fast", "lmliif", "lmlte", "ciaosr", "clit", "sronet"):
        plain = {"imnet_spec": IMNET} if name == "clit" else {}  # this mlp has no `act`
        other = make(name, **plain)
        wanted = FORMULAS[name](other, inp, other.encoder(inp), coord, cell)
        torch.testing.assert_close(other(inp, coord, cell), wanted, atol=1e-4, rtol=1e-4)
save_checkpoint("m.pth", {"model": {**copy.deepcopy(SPECS["liif"]), "sd": model.state_dict()}})
loaded, norm = load_model("m.pth")
assert type(loaded).__module__ == "models.liif"
assert super_resolve(loaded, torch.rand(3, 8, 9), (20, 21), norm).shape == (3, 20, 21)
"""


def drop(files, root):
    """A copy of the repository with files in models/."""
    for entry in ROOT.iterdir():
        if entry.name != "models" and not entry.name.startswith("."):
            (root / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "models", root / "models")
    for name, text in files.items():
        (root / "models" / f"{name}.py").write_text(text)


def test_those_that_cannot_be_imported_are_named_in_a_line_each(tmp_path):
    drop({"broken": "def (", "lacking": "import no_such_package"}, tmp_path)
    program = (
        "import models, runpy; print(models.registry.names()[0]); "
        "runpy.run_path('test.py', {}, '__main__')"
    )
    config = str(ROOT / "configs/test/set5.yaml")
    command = [sys.executable, "-c", program, "--config", config, "--model", "fast"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "bicubic\n", "what is right can be used"
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "models/" in line]
    assert lines == [
        "error: fast: models/broken.py: cannot be imported: SyntaxError: invalid syntax "
        "(broken.py, line 1); correct it, or take it out of models/",
        "error: fast: models/lacking.py: cannot be imported: ModuleNotFoundError: "
        "No module named 'no_such_package'; correct it, or take it out of models/",
    ]


def test_they_win_with_a_notice_and_work_beside_the_others(tmp_path):
    drop(FILES, tmp_path)
    command = [sys.executable, "-c", USE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stderr.splitlines()) == [
        f"models/{file}.py: takes the place of this project's {name!r}"
        for file, name in (
            ("edsr", "edsr-baseline"),
            ("liif", "liif"),
            ("lte", "lte"),
            ("mlp", "mlp"),
        )
    ]
