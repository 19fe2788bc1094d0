import csv
import io
import json
import math

from reports import Result, as_csv, as_json, latex, markdown


def result(name, scale, psnr, ssim=math.nan, images=0, model=""):
    values = {"psnr": psnr} if math.isnan(ssim) else {"psnr": psnr, "ssim": ssim}
    return Result(name, scale, values, images, model)


RESULTS = [
    result("Set5", 2, 37.123, 0.95, 5),
    result("Set5", 3.5, 31.5, 0.9, 5),
    result("a long name", 2, math.inf, 1.0, 1),
]
SEVERAL = [
    result("Set5", 2, 33.684, 0.93, 5, "bicubic"),
    result("Set5", 4, 28.43, 0.81, 5, "bicubic"),
    result("B_100", 2, 29.57, 0.84, 9, "bicubic"),
    result("Set5", 2, 38.1, 0.92, 5, "100%.pth"),
    result("Set5", 4, 28.4301, 0.82, 5, "100%.pth"),
    Result("B_100", 2, model="100%.pth", error="gone: no such folder"),
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


def test_markdown_of_several_models_has_a_row_for_each_set_and_model():
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(SEVERAL).splitlines()
    ]
    assert cells[2:] == [
        ["Set5, bicubic", "33.68 / 0.9300", "28.43 / 0.8100"],
        ["Set5, 100%.pth", "38.10 / 0.9200", "28.43 / 0.8200"],
        ["B_100, bicubic", "29.57 / 0.8400", "-"],
        ["B_100, 100%.pth", "-", "-"],
    ]


def test_without_ssim_it_is_not_named():
    head, _, row = markdown([result("x", None, 30.0, math.nan, 2)]).splitlines()
    assert "SSIM" not in head
    assert row.split() == ["|", "x", "|", "30.00", "|"]


def test_a_bar_in_a_name_is_no_column():
    assert markdown([result("a|b", 2, 30.0)]).splitlines()[2] == r"| a\|b      | 30.00 |"


def test_latex_has_the_best_of_several_models_in_bold():
    assert latex(SEVERAL).splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"PSNR (dB) / SSIM & $\times$2 & $\times$4 \\",
        r"\midrule",
        r"Set5, bicubic & 33.68 / \textbf{0.9300} & \textbf{28.43} / 0.8100 \\",
        r"Set5, 100\%.pth & \textbf{38.10} / 0.9200 & \textbf{28.43} / \textbf{0.8200} \\",
        r"\midrule",
        r"B\_100, bicubic & \textbf{29.57} / \textbf{0.8400} & -- \\",
        r"B\_100, 100\%.pth & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_latex_of_one_model_has_no_bold_and_its_names_are_escaped():
    lines = latex([*RESULTS, result(r"~^\{#$&", 2, 30.0, 0.5, 1)]).splitlines()
    assert lines[4] == r"Set5 & 37.12 / 0.9500 & 31.50 / 0.9000 \\"
    assert lines[5].startswith(r"a long name & inf / 1.0000 & --")
    wanted = r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\#\$\& & 30.00 / 0.5000"
    assert lines[6].startswith(wanted)


def test_json_and_csv_have_all_digits():
    found = json.loads(as_json(RESULTS, {"date": "today", "x": [math.nan, {"y": math.inf}]}))
    assert (found["date"], found["x"]) == ("today", [None, {"y": None}])
    rows = found["results"]
    assert rows[0] == {
        "model": "",
        "set": "Set5",
        "scale": 2,
        "psnr": 37.123,
        "ssim": 0.95,
        "images": 5,
    }
    assert rows[2]["psnr"] is None
    table = list(csv.DictReader(io.StringIO(as_csv(RESULTS))))
    assert [row["psnr"] for row in table] == ["37.123", "31.5", "inf"]
    assert as_csv([result("x", None, 30.0, math.nan, 2)]).splitlines()[1] == "x,,30.0,,2"


def test_what_failed_is_empty_and_says_why():
    rows = json.loads(as_json(SEVERAL, {}))["results"]
    assert (rows[5]["psnr"], rows[5]["error"]) == (None, "gone: no such folder")
    assert "error" not in rows[0]
    assert as_csv(SEVERAL).splitlines()[-1] == "100%.pth,B_100,2,,,0"
