"""Add the tables of controllable multi-scale rendering to a checkpoint of an LM model.

    python scripts/cmsr_tables.py --model M.pth --tables tables.json --output N.pth

The tables are a YAML or JSON file, ``{scale: {smaller scale: largest intensity}}``, from the
authors of the checkpoint; see `continuous.cmsr`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse

from cli.command import outlive_output, run
from configs.yaml_file import read_yaml
from errors import UserError
from models.checkpoint import load_checkpoint, model_from, save_checkpoint
from models.continuous.cmsr import parse_cmsr
from models.continuous.modulated import Modulated


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables of controllable multi-scale rendering.")
    parser.add_argument("--model", required=True, metavar="M.pth")
    parser.add_argument("--tables", required=True, type=Path, metavar="T.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="N.pth")
    args = parser.parse_args()
    outlive_output()
    checkpoint = load_checkpoint(args.model)
    spec = checkpoint["model"]
    if not isinstance(model_from(checkpoint, args.model), Modulated):
        raise UserError(f"{args.model}: {spec['name']!r} has no modulation; an LM model is needed")
    tables = parse_cmsr({"s2m_tables": read_yaml(args.tables)}, args.tables).s2m_tables
    checkpoint["model"] = {**spec, "args": {**spec["args"], "cmsr_spec": {"s2m_tables": tables}}}
    save_checkpoint(args.output, checkpoint)
    for scale, table in tables.items():
        print(f"x{scale:g}: " + ", ".join(f"x{s:g} up to {t:g}" for s, t in table.items()))


if __name__ == "__main__":
    run(main)
