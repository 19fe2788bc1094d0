"""Runs of configs that name a base: they are kept, and compared, written out in full."""

import yaml

from tests.programs import fails, succeeds, train_config

RUN = ["--config", "c.yaml", "--name", "r"]


def write_base(folder, **changes):
    (folder / "b.yaml").write_text(yaml.safe_dump(train_config(epoch_max=1, **changes)))


def test_a_run_keeps_what_its_base_said(folder):
    write_base(folder)
    (folder / "c.yaml").write_text("base: b.yaml\noptimizer: {args: {lr: 0.002}}\n")
    succeeds(folder, "train_liif.py", *RUN)
    wanted = train_config(epoch_max=1, optimizer={"name": "adam", "args": {"lr": 0.002}})
    kept = yaml.safe_load((folder / "save/r/config.yaml").read_text())
    assert kept == yaml.safe_load(yaml.safe_dump(wanted))
    write_base(folder, seed=5)
    error = fails(folder, "train_liif.py", *RUN, "--resume")
    assert "began with another config" in error
    assert "seed: was 0, is 5" in error
    (folder / "c.yaml").write_text(yaml.safe_dump({**wanted, "epoch_max": 2}))
    out = succeeds(folder, "train_liif.py", *RUN, "--resume")
    assert "changed: epoch_max: was 1, is 2" in out
    assert out.count("changed: ") == 1
