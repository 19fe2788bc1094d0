"""Configs that say what differs from another one."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
import yaml

from configs.load import load_test
from configs.schema import TrainConfig, parse_section, raise_problems
from configs.source import read_source
from configs.spec import Registry
from errors import UserError

ROOT = Path(__file__).parents[2]

# Of what each of these says with its base: the hash of the same config written out in full.
WHOLE = {
    "photo-2": "285a3cbe494a3ad6",
    "photo-3": "6a50f522a69b07fd",
    "photo-4": "c9320a86a9edc65e",
    "rdn-ciaosr": "9f52df23fd4dec2e",
    "rdn-clit": "0688e7f38653c31b",
    "rdn-lmciaosr": "ba69ac299cc5aadc",
    "rdn-lmliif": "346a1fd7b584a677",
    "rdn-lmlte": "c67b6b9ce5b0e08d",
    "rdn-lte": "7d5a78ec8764d6a9",
    "rdn-sronet": "ee0ccd580ed7c8cd",
    "span-liif": "d94a6ed1b9bb9d7e",
    "swinir-clit": "655fc403b5dc1f4b",
    "swinir-liif": "ab8d5b5339454c45",
    "swinir-lmciaosr": "de4d3cb1162fecc0",
    "swinir-lmliif": "80807217d44de7fa",
    "swinir-lmlte": "eda639c01d7c389a",
    "swinir-lte": "30fe5cf71149ddcf",
    "swinir-metasr": "95f235cf4abfb78f",
}
BASE = """
train_dataset: &data
  dataset: {name: image-folder, args: {root_path: a}}
  wrapper: {name: sr-implicit-paired, args: {inp_size: 8}}
  batch_size: 16
val_dataset: {<<: *data, batch_size: 4}
model: {name: liif, args: {hidden_list: [256, 256]}}
optimizer: {name: adam, args: {lr: 1.e-4}}
multi_step_lr: {milestones: [1]}
epoch_max: 3
"""


def given(tmp_path, own, base=BASE, settings=()):
    (tmp_path / "bases").mkdir(exist_ok=True)
    (tmp_path / "bases/b.yaml").write_text(base)
    (tmp_path / "c.yaml").write_text(own)
    return read_source(tmp_path / "c.yaml", settings)


def without_nulls(tree):
    if not isinstance(tree, dict):
        return tree
    return {key: without_nulls(value) for key, value in tree.items() if value is not None}


@pytest.mark.parametrize("stem", WHOLE)
def test_shipped_configs_say_what_they_said_in_full(stem):
    (file,) = (ROOT / "configs").rglob(f"train_{stem}.yaml")
    raw = without_nulls(read_source(file).raw)
    text = json.dumps(raw, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == WHOLE[stem]


def test_all_shipped_configs_with_a_base_are_pinned():
    files = [*(ROOT / "configs").rglob("*.yaml")]
    based = {file.stem for file in files if file.read_text().startswith("base:")}
    assert based == {f"train_{stem}" for stem in WHOLE}


def test_mappings_are_merged_and_everything_else_is_replaced(tmp_path):
    source = given(
        tmp_path,
        "base: bases/b.yaml\n"
        "val_dataset: {dataset: {args: {root_path: v}}}\n"
        "model: {args: {hidden_list: [16], more: 1}}\n"
        "multi_step_lr: null\n"
        "seed: 5\n",
    )
    dataset = {"name": "image-folder", "args": {"root_path": "a"}}
    wrapper = {"name": "sr-implicit-paired", "args": {"inp_size": 8}}
    validated = {"name": "image-folder", "args": {"root_path": "v"}}
    assert source.raw == {
        "train_dataset": {"dataset": dataset, "wrapper": wrapper, "batch_size": 16},
        "val_dataset": {"dataset": validated, "wrapper": wrapper, "batch_size": 4},
        "model": {"name": "liif", "args": {"hidden_list": [16], "more": 1}},
        "optimizer": {"name": "adam", "args": {"lr": 1e-4}},
        "multi_step_lr": None,
        "epoch_max": 3,
        "seed": 5,
    }


def test_what_is_kept_with_a_run_needs_no_base(tmp_path):
    own = "base: bases/b.yaml\nmodel: {args: {hidden_list: [16]}}\n"
    source = given(tmp_path, own, settings=["model.args.hidden_list=[8]", "epoch_max=7"])
    kept = yaml.safe_load(source.text)
    assert kept == source.raw
    assert (kept["model"]["args"]["hidden_list"], kept["epoch_max"]) == ([8], 7)
    assert source.text.decode().splitlines()[:4] == [
        f"# {str(tmp_path / 'c.yaml')!r}",
        f"# base: {str(tmp_path / 'bases/b.yaml')!r}",
        "# --set 'model.args.hidden_list=[8]'",
        "# --set 'epoch_max=7'",
    ]
    plain = read_source(tmp_path / "bases/b.yaml")
    assert plain.text == BASE.encode()


@pytest.mark.parametrize(
    ("own", "base", "message"),
    [
        ("base: [b.yaml]\n", BASE, "c.yaml: base: expected the path of a config, got ['b.yaml']"),
        ("base: b.yaml\n", BASE, "c.yaml: base: cannot read the config {}/b.yaml: No such file"),
        ("base: bases/b.yaml\n", f"base: d.yaml\n{BASE}", "b.yaml has a base itself"),
        ("base: c.yaml\n", BASE, "c.yaml has a base itself; name one that has none"),
        ("base: bases/b.yaml\n", "a: 1\nb: 2\na: 3\n", "/b.yaml:3:1: the key 'a' is given twice"),
        ("base: bases/b.yaml\na: [1\n", BASE, "c.yaml:3:1: "),
        ("base: $NO_SUCH_FOLDER/b.yaml\n", BASE, "there is no environment variable NO_SUCH"),
    ],
)
def test_bases_that_cannot_be(tmp_path, own, base, message):
    with pytest.raises(UserError) as error:
        given(tmp_path, own, base)
    assert message.format(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistake_names_the_file_that_it_stands_in(tmp_path):
    own = """
base: bases/b.yaml
epoch_vall: 1
train_dataset: {batch_size: 0}
model: null
save_every: {step: 4}
optimizer: {args: {eps: 1}}
"""
    base = BASE.replace("epoch_max: 3", "epoch_save: -1\nmulti-step: 1\n")
    source = given(tmp_path, own, base, ["seed=x"])
    _, problems = parse_section(TrainConfig, source.raw)
    problems.append("optimizer.args: told of what stands in both")
    with pytest.raises(UserError) as error:
        raise_problems(source, problems)
    lines = str(error.value).replace(f"{tmp_path}/", "").splitlines()
    assert sorted(line.split(": ")[0] + ": " + line.split(": ")[1] for line in lines) == [
        "bases/b.yaml: epoch_save",
        "bases/b.yaml: multi-step",
        "c.yaml (base bases/b.yaml): epoch_max",
        "c.yaml (base bases/b.yaml): optimizer.args",
        "c.yaml: epoch_vall",
        "c.yaml: model",
        "c.yaml: save_every.step",
        "c.yaml: seed",
        "c.yaml: train_dataset.batch_size",
    ]
    assert "c.yaml: epoch_vall: unknown key; did you mean 'epoch_val'?" in lines


def test_a_slip_in_the_key_is_explained():
    _, problems = parse_section(TrainConfig, {"bas": "b.yaml"})
    assert "bas: unknown key; did you mean 'base'?" in problems


def test_a_pipe_has_no_folder(tmp_path):
    def error(base):
        text = f"base: {base}\n".encode()
        threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(text,)).start()
        with pytest.raises(UserError) as found:
            read_source(tmp_path / "pipe")
        return str(found.value)

    os.mkfifo(tmp_path / "pipe")
    assert "base: a pipe is in no folder; give the whole path of b.yaml" in error("b.yaml")
    assert f"cannot read the config {tmp_path}/b.yaml" in error(tmp_path / "b.yaml")


def test_tests_have_bases_too(tmp_path):
    registry = Registry("dataset")
    registry.register("image-folder")(lambda root_path: None)
    registry.register("sr-implicit-paired")(lambda dataset, inp_size=None: None)
    base = BASE.split("val_dataset")[0].replace("train", "test") + "eval_type: benchmark-2\n"
    given(tmp_path, "base: bases/b.yaml\neval_type: div2k-3\n", base)
    (case,) = load_test(tmp_path / "c.yaml", datasets=registry)
    assert (case.name, case.config.eval_type) == ("c", "div2k-3")
    assert case.config.test_dataset.dataset["args"] == {"root_path": "a"}
    given(tmp_path, "base: bases/b.yaml\neval_type: div2k\n", base.replace("inp_", "imp_"))
    with pytest.raises(UserError) as error:
        load_test(tmp_path / "c.yaml", datasets=registry)
    first, second = str(error.value).replace(f"{tmp_path}/", "").splitlines()
    assert first.startswith("c.yaml: eval_type: expected gray, benchmark-S or div2k-S")
    assert second.startswith("bases/b.yaml: test_dataset.wrapper.args: 'sr-implicit-paired' takes")
    assert second.endswith("did you mean 'inp_size'?")
