"""The results of a model beside bicubic and published ones, as Markdown.

python scripts/results_table.py --model fast --output docs/results.md

The numbers are those of test.py on Set5, Set14 and B100 in load/benchmark; the costs are counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # before imports that take seconds

import argparse
import json
import subprocess
import tempfile
from typing import Any

from benchmarks.count_model import multiply_adds
from configs.command import add_gpu_option, add_model_option, run
from configs.files import written_whole
from configs.spec import UserError
from configs.yaml_file import read_yaml
from models.checkpoint import load_model
from reports import align

SETS = ("Set5", "Set14", "B100")
TABLES = {"Integer scales": (2, 3, 4), "Fractional and large scales": (1.5, 2.5, 3.5, 6, 8)}
ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "docs/published.yaml"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_option(parser)
    parser.add_argument("--ensemble", action="store_true", help="a further row with test.py's")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: print it")
    add_gpu_option(parser)
    args = parser.parse_args()
    ours = {"name": f"**{args.model}**", **costs(args.model)}
    rows = [
        {"name": "bicubic", **measured("bicubic", args.gpu)},
        *({"name": name, **row} for name, row in read_yaml(PUBLISHED).items()),
        {**ours, **measured(args.model, args.gpu)},
    ]
    if args.ensemble:
        best = measured(args.model, args.gpu, "--ensemble")
        rows.append({**ours, "name": f"**{args.model}**, --ensemble", **best})
    text = "\n\n".join(
        f"### {title}, PSNR (dB)\n\n{psnr_table(rows, scales)}" for title, scales in TABLES.items()
    )
    text += f"\n\n### SSIM\n\n{ssim_table(rows)}\n"
    if args.output is None:
        print(text)
        return
    with written_whole(args.output) as file:
        file.write(text.encode())


def measured(model: str, gpu: str | None, *options: str) -> Row:
    """What test.py says: {set: {scale: PSNR}}, and the same of SSIM as "ssim"."""
    configs = [f"configs/test/{name.lower()}.yaml" for name in SETS]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.json"
        command = [sys.executable, "test.py", "--config", *configs, "--model", model, "--ssim"]
        command += [*options, "--json", str(table), *(["--gpu", gpu] if gpu else [])]
        print(" ".join(command[1:]), file=sys.stderr)
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
            raise UserError("test.py failed, see above")
        results = json.loads(table.read_text())["results"]
    row: Row = {name: {} for name in SETS}
    row["ssim"] = {name: {} for name in SETS}
    for result in results:
        row[result["set"]][result["scale"]] = result["psnr"]
        row["ssim"][result["set"]][result["scale"]] = result["ssim"]
    return row


def costs(name: str) -> Row:
    """Parameters, and multiply-adds per input pixel (encoder) and per output pixel (decoder)."""
    model = load_model(name)[0]
    encoder, decoder = (f"{value / 1000:.0f} k" for value in multiply_adds(model))
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": f"{parameters / 1000:.0f} k", "encoder": encoder, "decoder": decoder}


def psnr_table(rows: list[Row], scales: tuple[float, ...]) -> str:
    head = ["model", "parameters", "decoder", *(f"{s} x{k:g}" for s in SETS for k in scales)]
    body = []
    for row in rows:
        values = [row.get(name, {}).get(scale) for name in SETS for scale in scales]
        if any(value is not None for value in values):
            cells = [f"{value:.2f}" if value is not None else "-" for value in values]
            body.append([row["name"], row.get("parameters", "-"), row.get("decoder", "-"), *cells])
    return align(head, body)


def ssim_table(rows: list[Row]) -> str:
    scales = [scale for group in TABLES.values() for scale in group]
    head = ["model", *(f"x{scale:g}" for scale in sorted(scales))]
    body = [
        [f"{row['name']}, {name}", *(f"{row['ssim'][name][scale]:.4f}" for scale in sorted(scales))]
        for name in SETS
        for row in rows
        if "ssim" in row
    ]
    return align(head, body)


if __name__ == "__main__":
    run(main)
