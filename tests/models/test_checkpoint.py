import copy
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import IDENTITY_NORM
from errors import UserError
from models.checkpoint import begin_with, load_checkpoint, load_model, save_checkpoint
from tests.cases import SPECS, make


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.pth"
    model = {**SPECS["liif"], "sd": make("liif").state_dict()}
    norm = {key: {"sub": [0.1], "div": [0.2]} for key in ("inp", "gt")}
    save_checkpoint(path, {"model": model, "epoch": 1, "data_norm": norm})
    return path


def test_loads_with_weights_only(path):
    loaded = torch.load(path, weights_only=True)
    assert loaded["model"]["name"] == "liif"
    assert set(loaded["model"]) == {"name", "args", "sd"}
    model, norm = load_model(path)
    assert norm == {key: {"sub": [0.1], "div": [0.2]} for key in ("inp", "gt")}
    assert not model.training


def test_a_truncated_file_is_one_clear_line(path):
    whole = path.read_bytes()
    for part in range(20):
        path.write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(UserError, match=r"m\.pth: ") as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)


def test_other_files_are_one_clear_line(tmp_path):
    for name, data in {
        "text": b"hello",
        "zip": b"PK\x03\x04" + bytes(99),
        "zero": bytes(999),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            load_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match=r"none\.pth: cannot read the checkpoint: No such file"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UserError, match="directory"):
        load_checkpoint(tmp_path)
    for i, other in enumerate([[1, 2], {"state": 1}, {"model": 3}, torch.zeros(3)]):
        torch.save(other, tmp_path / f"{i}.pth")
        with pytest.raises(UserError, match="no entry 'model'"):
            load_checkpoint(tmp_path / f"{i}.pth")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, recwarn, zipped, protocol):
    evil = {"model": Malicious(tmp_path / "harm")}
    path = tmp_path / "evil.pth"
    if zipped:
        torch.save(evil, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(evil, protocol))
    with pytest.raises(UserError, match=r"evil\.pth: refused") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()
    assert not recwarn.list


def test_a_spec_that_does_not_fit_names_the_file(tmp_path):
    path = tmp_path / "m.pth"
    sd = make("liif").state_dict()
    args = {**SPECS["liif"]["args"], "feat_unfold": False}
    save_checkpoint(path, {"model": {"name": "liif", "args": args, "sd": sd}})
    with pytest.raises(UserError, match=r"m\.pth: 'liif': the weights do not fit.*imnet") as error:
        load_model(path)
    assert "\n" not in str(error.value)
    save_checkpoint(path, {"model": {"name": "liiif", "args": args, "sd": sd}})
    with pytest.raises(UserError, match=r"m\.pth: .*did you mean 'liif'"):
        load_model(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {**SPECS["liif"], "sd": [1]}},
        {"model": {**SPECS["liif"], "sd": None}},
        {"model": SPECS["liif"]},
        {
            "model": {
                "name": "mlp",
                "args": {"in_dim": 1, "out_dim": 1, "hidden_list": []},
                "sd": {},
            }
        },
        {"data_norm": "x"},
        {"data_norm": {"inp": {"sub": [0.5], "div": [0.5]}}},
        {"data_norm": {k: {"sub": [0.5, 0.5], "div": [0.5]} for k in ("inp", "gt")}},
    ],
    ids=str,
)
def test_odd_entries_are_a_clear_error(path, changes):
    save_checkpoint(path, {**load_checkpoint(path), **changes})
    with pytest.raises(UserError, match=r"m\.pth"):
        load_model(path)


def test_a_failed_save_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def fails(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"model": {}})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def numbers():
    return {
        "best": np.float64(31.5),
        "epoch": np.int64(3),
        "record": {"psnr": np.float32(0.5), "all": [np.bool_(True), (np.uint8(7),)]},
    }


@pytest.mark.parametrize("core", [b"_core", b"core"], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("zipped", [True, False])
def test_numbers_of_numpy_become_pythons(path, core, zipped):
    def as_numpy_1(file):
        """The files differ in a name only; the checksum of what was changed is left out."""
        return file.replace(b"numpy._core", b"numpy." + core)

    checkpoint = {**load_checkpoint(path), **numbers()}
    if zipped:
        entries = io.BytesIO()
        torch.save(checkpoint, path)
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(entries, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, as_numpy_1(old.read(info)))
        path.write_bytes(entries.getvalue())
    else:
        torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
        path.write_bytes(as_numpy_1(path.read_bytes()))
    loaded = load_checkpoint(path)
    expected = {"best": 31.5, "epoch": 3, "record": {"psnr": 0.5, "all": [True, (7,)]}}
    found = {key: loaded[key] for key in expected}
    assert repr(found) == repr(expected)  # types, too
    load_model(path)


@pytest.mark.parametrize(
    "value", [np.zeros(3), np.str_("x"), np.void(b"x"), np.datetime64(0, "s"), np.arange]
)
def test_nothing_else_of_numpy_is_read(path, value):
    torch.save({**load_checkpoint(path), "best": [np.float64(1), value]}, path)
    with pytest.raises(UserError, match=r"m\.pth: refused: it .*holds more than weights"):
        load_checkpoint(path)


def wrapped(checkpoint):
    """As saved from DataParallel."""
    model = checkpoint["model"]
    return {**checkpoint, "model": {**model, "sd": prefixed(model["sd"])}}


def prefixed(state):
    return {f"module.{key}": value for key, value in state.items()}


def test_wrapped_models_are_unwrapped(path):
    plain = load_checkpoint(path)
    torch.save({**wrapped(plain), "trained_sd": prefixed(plain["model"]["sd"])}, path)
    found = load_checkpoint(path)
    for state in (found["model"]["sd"], found["trained_sd"]):
        assert state.keys() == plain["model"]["sd"].keys()
    load_model(path)
    begin_with(make("liif"), path, plain["data_norm"])
    mixed = {"model": {**SPECS["liif"], "sd": {"module.a": torch.ones(1), "b": torch.ones(1)}}}
    torch.save(mixed, path)
    assert load_checkpoint(path)["model"]["sd"].keys() == {"module.a", "b"}


def test_bicubic_needs_no_file():
    model, norm = load_model("bicubic")
    assert norm is None
    assert not list(model.parameters())


def test_a_model_of_more_stages_begins_with_those_of_fewer(tmp_path):
    small, large = make("clit"), make("clit", imnet_num=2, conv_num=2)
    own = copy.deepcopy(large.state_dict())
    save_checkpoint(tmp_path / "m.pth", {"model": {**SPECS["clit"], "sd": small.state_dict()}})
    begin_with(large, tmp_path / "m.pth", IDENTITY_NORM)
    for key, value in large.state_dict().items():
        assert torch.equal(value, small.state_dict().get(key, own[key])), key


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("clit", {"imnet_num": 2, "conv_num": 2}, r"it has no conv_.*\.1\..*, and no \d+ more"),
        ("clit", {"base_dim": 15}, "size mismatch"),
        ("metasr", {}, "it has no"),
    ],
    ids=str,
)
def test_weights_that_a_new_model_cannot_begin_with(name, args, message, tmp_path):
    other = make(name, **args)
    save_checkpoint(tmp_path / "m.pth", {"model": {"name": name, "sd": other.state_dict()}})
    with pytest.raises(UserError, match=rf"m\.pth: these weights do not fit .*{message}"):
        begin_with(make("clit"), tmp_path / "m.pth", IDENTITY_NORM)


@pytest.mark.parametrize("sd", [None, {}, 5, {5: 1}, {"conv_ch.weight": 3}], ids=str)
def test_no_weights_to_begin_with(sd, tmp_path):
    save_checkpoint(tmp_path / "m.pth", {"model": {"name": "clit", "sd": sd}})
    with pytest.raises(UserError, match=r"m\.pth"):
        begin_with(make("clit"), tmp_path / "m.pth", IDENTITY_NORM)


def test_weights_of_another_normalisation_are_refused(path):
    with pytest.raises(UserError, match=r"m\.pth: its weights were trained with data_norm .*0\.1"):
        begin_with(make("liif"), path, IDENTITY_NORM)
    begin_with(make("liif"), path, load_checkpoint(path)["data_norm"])


def test_a_model_in_the_box_is_known_by_name_everywhere():
    checkpoint = load_checkpoint("compact")
    begin_with(load_model("compact")[0], "compact", checkpoint["data_norm"])
    with pytest.raises(UserError, match=r"none: cannot read .* known by name: compact, fast"):
        load_checkpoint("none")
