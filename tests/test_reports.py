import csv
import io
import json
import math

from reports import Result, as_csv, as_json, markdown

RESULTS = [
    Result("Set5", 2, 37.123, 0.95, 5),
    Result("Set5", 3.5, 31.5, 0.9, 5),
    Result("a long name", 2, math.inf, 1.0, 1),
]


def test_markdown_is_sets_by_scales():
    lines = markdown(RESULTS).splitlines()
    assert len(set(map(len, lines))) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["PSNR (dB) / SSIM", "x2", "x3.5"]
    assert set(lines[1]) == set("|-:")
    assert cells[2:] == [
        ["Set5", "37.12 / 0.9500", "31.50 / 0.9000"],
        ["a long name", "inf / 1.0000", "-"],
    ]


def test_without_ssim_it_is_not_named():
    head, _, row = markdown([Result("x", None, 30.0, math.nan, 2)]).splitlines()
    assert "SSIM" not in head
    assert row.split() == ["|", "x", "|", "30.00", "|"]


def test_json_and_csv_have_all_digits():
    rows = json.loads(as_json(RESULTS))
    assert rows[0] == {"set": "Set5", "scale": 2, "psnr": 37.123, "ssim": 0.95, "images": 5}
    assert rows[2]["psnr"] is None
    table = list(csv.DictReader(io.StringIO(as_csv(RESULTS))))
    assert [row["psnr"] for row in table] == ["37.123", "31.5", "inf"]
    assert as_csv([Result("x", None, 30.0, math.nan, 2)]).splitlines()[1] == "x,,30.0,,2"
