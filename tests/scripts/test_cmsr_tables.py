import json

import pytest

from models.checkpoint import load_checkpoint, load_model, save_checkpoint
from tests.cases import SPECS, make
from tests.programs import fails, succeeds

SCRIPT = "scripts/cmsr_tables.py"
NORM = {key: {"sub": [0.1], "div": [0.2]} for key in ("inp", "gt")}


@pytest.fixture
def folder(tmp_path):
    for name in ("lmliif", "liif"):
        model = {**SPECS[name], "sd": make(name).state_dict()}
        save_checkpoint(tmp_path / f"{name}.pth", {"model": model, "data_norm": NORM})
    return tmp_path


def test_tables_of_a_file(folder):
    (folder / "t.json").write_text(json.dumps({"8": {"1": 0.02, "8": 1}, "12": {"12": 1}}))
    args = ["--model", "lmliif.pth", "--tables", "t.json", "--output", "n.pth"]
    out = succeeds(folder, SCRIPT, *args)
    assert out == "x8: x1 up to 0.02, x8 up to 1\nx12: x12 up to 1\n"
    model, norm = load_model(folder / "n.pth")
    assert model.cmsr.s2m_tables == {8: {1: 0.02, 8: 1}, 12: {12: 1}}
    assert norm == NORM
    old = load_checkpoint(folder / "lmliif.pth")["model"]["sd"]
    assert all((model.state_dict()[key] == value).all() for key, value in old.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4: {1: much}", "t.yaml: s2m_tables.4.1"),
        ("4: {1: -1}", "t.yaml: s2m_tables.4.1"),
        ("4: {1: .nan}", "t.yaml: s2m_tables.4.1"),
        ("8: {4: 0.5, 1: 0.6}", "x8: scales and intensities must ascend"),
        ("8: {1: 0.5, 4: 0.4}", "x8: scales and intensities must ascend"),
        ("{8: {1: 1}, 6: {1: 1}}", "the scales must ascend"),
        ("[1, 2]", "t.yaml"),
    ],
)
def test_wrong_tables(folder, text, message):
    (folder / "t.yaml").write_text(text)
    args = ["--model", "lmliif.pth", "--tables", "t.yaml", "--output", "n.pth"]
    assert message in fails(folder, SCRIPT, *args)
    assert not (folder / "n.pth").exists()


def test_mistakes(folder):
    (folder / "t.yaml").write_text("4: {1: 1}")
    args = ["--model", "liif.pth", "--tables", "t.yaml", "--output", "n.pth"]
    assert "liif.pth: 'liif' has no modulation" in fails(folder, SCRIPT, *args)
    args[1], args[3] = "lmliif.pth", "none.yaml"
    assert "none.yaml" in fails(folder, SCRIPT, *args)
