"""YAML files: every mistake at once, before an image is read."""

import os
import re
import threading
from pathlib import Path

import pytest

import datasets
import models
from configs.load import choose_scales, load_test, load_train
from configs.yaml_file import parse_yaml, read_text, read_yaml
from errors import UserError
from training.recipe import optimizers

ROOT = Path(__file__).parents[2]
REGISTRIES = {
    "models": models.registry,
    "datasets": datasets.registry,
    "optimizers": optimizers,
}
TRAIN = """
train_dataset:
  dataset: {name: image-folder, args: {root_path: nowhere}}
  wrapper: {name: sr-implicit-downsampled, args: {inp_size: 8, scale_max: 4}}
  batch_size: 16
model:
  name: liif
  args:
    encoder_spec: {name: edsr-baseline, args: {no_upsampling: true}}
    imnet_spec: {name: mlp, args: {out_dim: 3, hidden_list: [16]}}
optimizer: {name: adam, args: {lr: 1.e-4}}
epoch_max: 3
"""


def problems(tmp_path, text, load=None):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        (load or (lambda p: load_train(p, **REGISTRIES)))(path)
    prefix = f"{path}: "
    return [line.removeprefix(prefix) for line in str(error.value).splitlines()]


def test_a_right_config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(TRAIN)
    config = load_train(path, **REGISTRIES)
    assert config.epoch_max == 3
    assert config.train_dataset.batch_size == 16
    assert config.optimizer["args"]["lr"] == 1e-4
    assert config.data_norm is None


def test_all_mistakes_at_once(tmp_path):
    text = (
        TRAIN.replace("edsr-baseline", "edsr_baseline")
        .replace("inp_size", "inp_sizee")
        .replace("out_dim: 3, ", "")
        .replace("1.e-4", "1e-4")
        .replace("batch_size: 16", "batch_size: 0")
        .replace("epoch_max: 3", "epoch_vall: 1\neval_type: set5\nmulti_step_lr: {milestones: 2}")
        + "data_norm: {inp: {sub: [0.5], div: [0]}}\nsave_every: 5\nema: 1\nloss: huber\n"
    )
    found = problems(tmp_path, text)
    wanted = [
        "train_dataset.batch_size: input should be greater than 0, got 0",
        "epoch_vall: unknown key; did you mean 'epoch_val'?",
        "epoch_max: this key is missing",
        "eval_type: expected gray, benchmark-S or div2k-S with the scale S, e.g. benchmark-2, "
        "got 'set5'",
        "multi_step_lr.milestones: input should be a valid list, got 2",
        "data_norm.inp: div cannot be 0, got {'sub': [0.5], 'div': [0]}",
        "data_norm.gt: this key is missing",
        "save_every: expected a mapping of steps, seconds; got 5",
        "ema: input should be less than 1, got 1",
        "loss: input should be 'l1', 'mse' or 'smooth-l1', got 'huber'",
        "train_dataset.wrapper.args: 'sr-implicit-downsampled' takes no argument 'inp_sizee'; "
        "did you mean 'inp_size'?",
        "model.args.encoder_spec.name: unknown model 'edsr_baseline'; "
        "did you mean 'edsr-baseline'?",
        "model.args.imnet_spec.args: 'mlp' needs the argument 'out_dim'",
        "optimizer.args.lr: input should be a valid number, got '1e-4'; "
        "YAML reads '1e-4' as text, write 1.0e-4",
    ]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3:1: the key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", ":1:11: the key 'b' is given twice"),
        ("a: [1\nb: 2\n", ":2:2: expected ',' or ']', but got ':'"),
        ("", ": the file is empty"),
        ("- 1\n", ": expected a mapping of keys, got list"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("{[1]: 2}\n", ":1:2: a list or mapping cannot be a key"),
        ("a: \x00", "byte 0x00 is no text"),
    ],
)
def test_yaml_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml: No such file"):
        read_yaml(tmp_path / "nothing.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"b\.yaml:\d+: the byte 0x"):
        read_yaml(tmp_path / "b.yaml")
    with pytest.raises(UserError, match="directory"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_say_so_are_read(tmp_path, encoding):
    path = tmp_path / "c.yaml"
    path.write_bytes("name: für Ärzte\nx: 1\n".encode(encoding))
    assert read_yaml(path) == {"name": "für Ärzte", "x": 1}


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ("x: 1\nname: für\n".encode("latin-1"), r"c\.yaml:2: the byte 0xfc is no text in UTF-8"),
        ("x: 1\n\nname: “für”\n".encode("cp1252"), r"c\.yaml:3: the byte 0x93 is no text in UTF-8"),
        ("name: für\n".encode("utf-16-le"), r"c\.yaml:1: the byte 0x00 is no text in UTF-8"),
        (
            "x: 1\nname: für\n".encode("utf-16")[:-1],
            r"c\.yaml:2: the byte 0x0a is no text in UTF-16",
        ),
    ],
)
def test_other_encodings_are_explained(tmp_path, data, wrong):
    (tmp_path / "c.yaml").write_bytes(data)
    with pytest.raises(UserError, match=f"{wrong}; save it as UTF-8") as error:
        read_yaml(tmp_path / "c.yaml")
    assert "\n" not in str(error.value)


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    threading.Thread(target=(tmp_path / "c.yaml").write_bytes, args=(b"x: 1\n",)).start()
    data = read_text(tmp_path / "c.yaml")
    assert parse_yaml(data, "c.yaml") == parse_yaml(data, "c.yaml") == {"x": 1}


def test_merge_keys_work(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 4, z: 3}\n")
    assert read_yaml(path)["more"] == {"x": 1, "y": 4, "z": 3}


def test_a_border_cannot_be_shaved_of_sampled_pixels(tmp_path):
    val = TRAIN.split("model:")[0].replace("train_dataset", "val_dataset")
    val = val.replace("scale_max: 4", "scale_max: 4, sample_q: 9")
    (found,) = problems(tmp_path, TRAIN + val + "eval_type: div2k-2\n")
    assert (
        found == "eval_type: div2k-2 needs whole images: leave sample_q out of val_dataset.wrapper"
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("lr: 1.e-4", "lr: .inf", "optimizer.args.lr"),
        ("scale_max: 4", "scale_max: .nan", "train_dataset.wrapper.args.scale_max"),
        ("batch_size: 16", "batch_size: 1000000000000", "train_dataset.batch_size"),
        ("epoch_max: 3", "epoch_max: 3\nseed: -1", "seed"),
        ("no_upsampling: true", "n_feats: 0", "model.args.encoder_spec.args.n_feats"),
        ("no_upsampling: true", "n_resblocks: -1", "model.args.encoder_spec.args.n_resblocks"),
        ("hidden_list: [16]", "hidden_list: [0]", "model.args.imnet_spec.args.hidden_list.0"),
        ("out_dim: 3", "out_dim: 0", "model.args.imnet_spec.args.out_dim"),
    ],
)
def test_numbers_out_of_range(tmp_path, old, new, place):
    (found,) = problems(tmp_path, TRAIN.replace(old, new))
    assert found.startswith(f"{place}: ")


def test_dataset_and_wrapper_swapped(tmp_path):
    text = TRAIN.replace("image-folder, args: {root_path: nowhere}", "sr-implicit-paired")
    assert problems(tmp_path, text) == [
        "train_dataset.dataset.args: 'sr-implicit-paired' needs the argument 'dataset'"
    ]
    text = TRAIN.replace(
        "sr-implicit-downsampled, args: {inp_size: 8, scale_max: 4}", "image-folder"
    )
    assert "'image-folder' cannot stand here" in problems(tmp_path, text)[0]


SUITE = """
name: Set0
tests:
  - scales: [2, 3.5]
    test_dataset:
      dataset: {name: image-folder, args: {root_path: "a/X{scale}"}}
      wrapper: {name: sr-implicit-downsampled, args: {scale_min: "{scale}"}}
      batch_size: 1
    eval_type: benchmark-{scale}
"""


def load_tests(path):
    return load_test(path, datasets=datasets.registry)


def test_a_suite_becomes_a_case_per_scale(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(SUITE)
    two, more = load_tests(path)
    assert (two.name, two.scale, two.config.eval_type) == ("Set0", 2, "benchmark-2")
    assert more.config.test_dataset.dataset["args"]["root_path"] == "a/X3.5"
    assert more.config.test_dataset.wrapper["args"]["scale_min"] == 3.5
    assert more.config.eval_type == "benchmark-3.5"


def test_the_published_single_form(tmp_path):
    path = tmp_path / "test-set5-2.yaml"
    path.write_text(
        "test_dataset:\n"
        "  dataset: {name: paired-image-folders, args: {root_path_1: a, root_path_2: b}}\n"
        "  wrapper: {name: sr-implicit-paired}\n"
        "  batch_size: 1\n"
        "data_norm: {inp: {sub: [0.5], div: [0.5]}, gt: {sub: [0.5], div: [0.5]}}\n"
        "eval_type: benchmark-2\neval_bsize: 30000\n"
    )
    (case,) = load_tests(path)
    assert (case.name, case.scale) == ("test-set5-2", None)


def test_mistakes_in_a_suite(tmp_path):
    text = SUITE.replace("scale_min", "scale_mim").replace("benchmark-", "bench-")
    found = problems(tmp_path, text, load_tests)
    assert {line.split(":")[0] for line in found} == {
        "tests.0.eval_type",
        "tests.0.test_dataset.wrapper.args",
    }
    found = problems(tmp_path, SUITE.replace("scales", "scale"), load_tests)
    assert "tests.0.scale: unknown key; did you mean 'scales'?" in found


def test_an_eval_type_of_another_scale_than_the_row(tmp_path):
    text = SUITE.replace("benchmark-{scale}", "benchmark-3")
    assert problems(tmp_path, text, load_tests) == [
        "tests.0: eval_type benchmark-3 in the row x2",
        "tests.0: eval_type benchmark-3 in the row x3.5",
    ]


RESTORED = """
name: Set0 q{quality}
tests:
  - scales: [1, 2]
    values: {quality: [10, 40]}
    test_dataset:
      dataset: {name: image-folder, args: {root_path: "a/{quality}"}}
      wrapper:
        name: sr-implicit-degraded
        args:
          scale_min: "{scale}"
          low: [{name: jpeg, args: {quality: "{quality}"}}]
      batch_size: 1
    eval_type: gray
"""


def cells_of(cases):
    return [
        (
            str(case),
            case.config.test_dataset.dataset["args"]["root_path"],
            case.config.test_dataset.wrapper["args"]["scale_min"],
            repr(case.config.test_dataset.wrapper["args"]["low"][0]["args"]["quality"]),
        )
        for case in cases
    ]


def test_a_suite_of_values_has_a_row_for_each(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(RESTORED)
    cases = load_tests(path)
    assert cells_of(cases) == [
        ("Set0 q10 x1", "a/10", 1, "10"),
        ("Set0 q10 x2", "a/10", 2, "10"),
        ("Set0 q40 x1", "a/40", 1, "40"),
        ("Set0 q40 x2", "a/40", 2, "40"),
    ]
    chosen = choose_scales(cases, [2.5, 1], datasets=datasets.registry)
    assert cells_of(chosen) == [
        ("Set0 q10 x1", "a/10", 1, "10"),
        ("Set0 q40 x1", "a/40", 1, "40"),
        ("Set0 q10 x2.5", "a/10", 2.5, "10"),
        ("Set0 q40 x2.5", "a/40", 2.5, "40"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: Set0 q{quality}", "name: Set0", "tests.0.values: expected those .* name: none"),
        ("    values: {quality: [10, 40]}\n", "", "tests.0.values: expected .* name: quality"),
        ("{quality: [10, 40]}", "{sigma: [10]}", "tests.0.values: expected .* name: quality"),
        ("{quality: [10, 40]}", "{quality: []}", "tests.0.values.quality: list should have"),
        (
            "{quality: [10, 40]}",
            "{quality: [a]}",
            "tests.0.values.quality.0: input should be a valid number",
        ),
        ("{quality: [10, 40]}", "{quality: [10, 400]}", "tests.0.test_dataset.wrapper.*quality"),
        ("Set0 q{quality}", "Set0 q{quality} x{scale}", "name: leave {scale} out"),
    ],
)
def test_mistakes_of_values(tmp_path, old, new, problem):
    assert old in RESTORED
    found = problems(tmp_path, RESTORED.replace(old, new), load_tests)
    (line,) = dict.fromkeys(found)
    assert re.match(problem, line)


def test_the_tests_of_restoration_have_their_rows():
    def rows(stem):
        cases = load_tests(ROOT / f"configs/test/{stem}.yaml")
        return {str(case): case.config.eval_type for case in cases}

    assert rows("live1") == {f"LIVE1 q{q} x1": "gray" for q in (10, 20, 30, 40)}
    assert rows("cbsd68") == {f"CBSD68 s{s} x1": None for s in (15, 25, 50)}
    for name in ("Set14", "B100"):
        assert rows(f"{name.lower()}-degraded") == {
            f"{name} degraded q{q} x{s:g}": f"benchmark-{s:g}"
            for q in (30, 75)
            for s in (1, 2, 2.5, 4)
        }


def test_scales_that_no_test_lists(tmp_path):
    """The first test whose wrapper takes the scale, and whose files are the same for all."""
    path = tmp_path / "t.yaml"

    def chosen(text, *scales):
        path.write_text(text)
        cases = choose_scales(load_tests(path), scales, datasets=datasets.registry)
        return [(case.scale, case.config.eval_type) for case in cases]

    text = SUITE.replace("a/X{scale}", "a")
    wanted = [(3.5, "benchmark-3.5"), (7.25, "benchmark-7.25"), (3.4567891, "benchmark-3.4567891")]
    assert chosen(text, 7.25, 3.5, 3.4567891, 3.5) == wanted
    assert chosen(SUITE, 2, 4) == [(2, "benchmark-2")]
    assert chosen(text.replace('"{scale}"', "2"), 4) == []
    fixed = text.replace("benchmark-{scale}", "benchmark-2").replace("[2, 3.5]", "[2]")
    with pytest.raises(UserError, match=r"Set0 x1\.5: eval_type benchmark-2 in the row x1\.5"):
        chosen(fixed, 1.5)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*/*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_right_and_builds(path):
    if "test" in (path.parent.name, path.stem):
        assert load_tests(path)
    else:
        config = load_train(path, **REGISTRIES)
        model = models.make(config.model)
        assert config.data_norm is not None
        assert sum(p.numel() for p in model.parameters()) > 0


def test_the_published_experiments_are_all_there():
    names = {path.stem for path in (ROOT / "configs").glob("train-*/*.yaml")}
    div2k = ["edsr-baseline-liif", "rdn-liif", "edsr-baseline-metasr", "rdn-metasr"]
    div2k += ["edsr-baseline-x2", "rdn-x2"]
    div2k += [f"edsr-baseline-liif-{k}" for k in ("c", "u", "e", "d", "x2", "x3", "x4")]
    celeb = [f"celebAHQ-{s}_{k}" for s in ("32-256", "64-128") for k in ("liif", "upsample")]
    assert {f"train_{name}" for name in div2k + celeb} <= names


def test_parameter_counts_of_the_paper():
    """Published: encoder 1,220,440 (EDSR-baseline) and 21,973,952 (RDN); LIIF 346,883."""
    counts = {}
    for stem in ("edsr-baseline-liif", "rdn-liif", "edsr-baseline-metasr"):
        path = ROOT / "configs" / "train-div2k" / f"train_{stem}.yaml"
        model = models.make(load_train(path, **REGISTRIES).model)
        parts = (model.encoder, model.imnet)
        counts[stem] = tuple(sum(p.numel() for p in part.parameters()) for part in parts)
    assert counts == {
        "edsr-baseline-liif": (1_220_440, 346_883),
        "rdn-liif": (21_973_952, 346_883),
        "edsr-baseline-metasr": (1_220_440, 445_120),
    }


# Parameters of the decoder, batch size, learning rate, epochs, and where the rate is halved.
EARLY, LATE = [200, 400, 600, 800], [500, 800, 900, 950]
FAMILY = {
    "edsr-baseline-lte": (493_827, 16, 1e-4, 1000, EARLY),
    "rdn-lte": (493_827, 16, 1e-4, 1000, EARLY),
    "swinir-lte": (493_827, 32, 2e-4, 1000, LATE),
    "edsr-baseline-lte-fast": (493_827, 16, 1e-4, 1000, EARLY),
    "swinir-liif": (346_883, 16, 1e-4, 1000, EARLY),
    "swinir-metasr": (445_120, 16, 1e-4, 1000, EARLY),
    "edsr-baseline-ciaosr": (1_428_614, 16, 1e-4, 1000, EARLY),
    "rdn-ciaosr": (1_428_614, 16, 1e-4, 1000, EARLY),
    "edsr-baseline-clit": (5_328_651, 32, 1e-4, 1000, EARLY),
    "rdn-clit": (5_328_651, 32, 1e-4, 1000, EARLY),
    "swinir-clit": (5_328_651, 32, 1e-4, 1000, EARLY),
    "edsr-baseline-sronet": (794_883, 64, 4e-5, 1050, None),
    "rdn-sronet": (794_883, 64, 4e-5, 1050, None),
    "edsr-baseline-lmliif": (165_651, 16, 1e-4, 1200, [*EARLY, 1000]),
    "rdn-lmliif": (165_651, 16, 1e-4, 1000, EARLY),
    "swinir-lmliif": (179_571, 32, 2e-4, 1000, LATE),
    "edsr-baseline-lmciaosr": (734_998, 16, 1e-4, 1200, [*EARLY, 1000]),
    "rdn-lmciaosr": (734_998, 16, 1e-4, 1200, [*EARLY, 1000]),
    "swinir-lmciaosr": (734_998, 32, 2e-4, 1000, LATE),
    "edsr-baseline-lmlte": (270_467, 16, 1e-4, 1200, [*EARLY, 1000]),
    "rdn-lmlte": (270_467, 16, 1e-4, 1000, EARLY),
    "swinir-lmlte": (270_467, 32, 2e-4, 1000, LATE),
}


@pytest.mark.parametrize("stem", FAMILY)
def test_trainings_of_the_family_are_the_published_ones(stem):
    config = load_train(ROOT / "configs" / "train-div2k" / f"train_{stem}.yaml", **REGISTRIES)
    model = models.make(config.model)
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert encoder == {"edsr": 1_220_440, "rdn-": 21_973_952, "swin": 11_603_044}[stem[:4]]
    found = (
        sum(p.numel() for p in model.parameters()) - encoder,
        config.train_dataset.batch_size,
        config.optimizer["args"]["lr"],
        config.epoch_max,
        config.multi_step_lr and config.multi_step_lr.milestones,
    )
    assert found == FAMILY[stem]


def test_names_in_other_case_are_known(tmp_path):
    text = TRAIN.replace("epoch_max", "Epoch-Max").replace("scale_max", "SCALE_MAX")
    found = problems(tmp_path, text.replace("name: mlp", "name: MLP").replace("adam", "Adam"))
    for hint in ("epoch_max", "scale_max", "mlp", "adam"):
        assert sum(f"did you mean {hint!r}?" in line for line in found) == 1, hint
