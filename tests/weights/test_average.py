import copy

import torch

import models
from models.checkpoint import load_checkpoint
from tests.cases import SPECS
from tests.programs import NORM, fails, succeeds

SCRIPT = "weights/recipe/average.py"


def save(path, seed, name="liif", norm=NORM, **more):
    torch.manual_seed(seed)
    spec = copy.deepcopy(SPECS[name])
    sd = models.make(spec).state_dict()
    torch.save({"model": {**spec, "sd": sd}, "data_norm": norm, "optimizer": {}, **more}, path)
    return sd


def test_each_has_its_share(tmp_path):
    states = [save(tmp_path / f"{i}.pth", i) for i in range(3)]
    files = [f"{i}.pth" for i in range(3)]
    assert succeeds(tmp_path, SCRIPT, *files, "even.pth") == "even.pth: the average of 3\n"
    succeeds(tmp_path, SCRIPT, *files, "new/odd.pth", "--shares", 1, 0, 3)
    even, odd = (load_checkpoint(tmp_path / name) for name in ("even.pth", "new/odd.pth"))
    assert even.keys() == {"model", "data_norm"}
    assert even["data_norm"] == NORM
    for key, (a, b, c) in {key: [state[key] for state in states] for key in states[0]}.items():
        torch.testing.assert_close(even["model"]["sd"][key], (a + b + c) / 3)
        torch.testing.assert_close(odd["model"]["sd"][key], (a + 3 * c) / 4)


def test_of_itself_it_is_itself(tmp_path):
    sd = save(tmp_path / "a.pth", 0)
    succeeds(tmp_path, SCRIPT, "a.pth", "a.pth", "b.pth", "--shares", 0.35, 0.65)
    found = load_checkpoint(tmp_path / "b.pth")["model"]["sd"]
    assert all(torch.equal(found[key], sd[key]) for key in sd)


def test_mistakes(tmp_path):
    save(tmp_path / "a.pth", 0)
    save(tmp_path / "b.pth", 1, "lte")
    save(tmp_path / "c.pth", 1, norm={key: {"sub": [0.4], "div": [0.5]} for key in NORM})
    save(tmp_path / "d.pth", 1, guard=False)
    assert "guard differs" in fails(tmp_path, SCRIPT, "a.pth", "d.pth", "out.pth")
    assert "cannot be blended" in fails(tmp_path, SCRIPT, "a.pth", "b.pth", "out.pth")
    assert "data_norm" in fails(tmp_path, SCRIPT, "a.pth", "c.pth", "out.pth")
    assert "1 for 2" in fails(tmp_path, SCRIPT, "a.pth", "a.pth", "out.pth", "--shares", 1)
    assert "above 0" in fails(tmp_path, SCRIPT, "a.pth", "out.pth", "--shares", 0)
    assert "above 0" in fails(tmp_path, SCRIPT, "a.pth", "out.pth", "--shares", "nan")
    assert "no.pth" in fails(tmp_path, SCRIPT, "a.pth", "no.pth", "out.pth")
    assert "there already" in fails(tmp_path, SCRIPT, "a.pth", "b.pth")
    assert not (tmp_path / "out.pth").exists()
