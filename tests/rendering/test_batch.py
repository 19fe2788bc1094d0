import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models
from configs.spec import UserError
from parallel import ALONE, Group
from rendering.batch import Report, find_tasks, names_many, render_all
from rendering.job import Wanted
from rendering.tiles import Renderer
from tests.rendering.corpus import levels

TWICE = Wanted(scale=(2.0, 2.0))


@pytest.fixture
def renderer():
    return Renderer(models.make({"name": "bicubic"}).eval())


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "b.JPG", "deep/c d.png", "deep/größe.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels(6, 8, 3, np.uint8)).save(path)
    (tmp_path / "in/notes.txt").write_text("no image")
    return tmp_path


def outputs(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_relative_paths_are_kept(photos, renderer):
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"), "_x2")
    report = render_all(renderer, tasks, TWICE, False, ALONE)
    assert report == Report(rendered=4)
    names = {"a_x2.png", "b_x2.JPG", "deep/c d_x2.png", "deep/größe_x2.png"}
    assert outputs(photos / "out") == names
    with Image.open(photos / "out/deep/c d_x2.png") as image:
        assert image.size == (16, 12)


def test_patterns(photos):
    def found(pattern):
        tasks, _ = find_tasks(str(photos / pattern), str(photos / "out"))
        return {str(task.target.relative_to(photos / "out")) for task in tasks}

    assert found("in/*.png") == {"a.png"}
    assert found("in/**/*.png") == {"a.png", "deep/c d.png", "deep/größe.png"}
    assert found("i?/deep/*.png") == {"in/deep/c d.png", "in/deep/größe.png"}
    assert names_many(str(photos / "in")) and names_many("x/*.png")
    assert not names_many(str(photos / "in/a.png"))


def test_a_name_with_brackets_is_a_file(tmp_path):
    path = tmp_path / "a[1].png"
    path.touch()
    assert not names_many(str(path))


def test_what_is_done_is_skipped(photos, renderer):
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"))
    render_all(renderer, tasks[:1], TWICE, False, ALONE)
    tasks[0].target.write_bytes(b"mine")
    report = render_all(renderer, tasks, TWICE, False, ALONE)
    assert (report.rendered, report.skipped) == (3, 1)
    assert tasks[0].target.read_bytes() == b"mine"
    assert render_all(renderer, tasks, TWICE, True, ALONE).rendered == 4
    assert tasks[0].target.read_bytes() != b"mine"


def test_a_bad_file_does_not_stop_the_rest(photos, renderer, capsys):
    whole = (photos / "in/a.png").read_bytes()
    (photos / "in/aa.png").write_bytes(whole[:60])
    (photos / "in/none.png").symlink_to("nowhere")
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"))
    report = render_all(renderer, tasks, TWICE, False, ALONE)
    assert report.rendered == 4
    assert [line.split(":")[0] for line in report.failed] == [
        str(photos / "in/aa.png"),
        str(photos / "in/none.png"),
    ]
    assert capsys.readouterr().err.count("error: ") == 2
    assert str(report).splitlines()[0] == "4 rendered, 0 were there already, 2 failed"
    assert not {name for name in outputs(photos / "out") if "aa" in name or "part" in name}


def test_inputs_are_never_replaced(photos, renderer):
    before = (photos / "in/a.png").read_bytes()
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "in"))
    report = render_all(renderer, tasks, TWICE, True, ALONE)
    assert report.rendered == 0
    assert "the output would replace it" in report.failed[0]
    assert (photos / "in/a.png").read_bytes() == before


def test_two_inputs_of_one_output(photos, renderer):
    Image.fromarray(levels(6, 8, 3, np.uint8)).save(photos / "in/a.bmp")
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"), ending=".png")
    report = render_all(renderer, tasks, TWICE, False, ALONE)
    assert report.rendered == 4
    assert "is the output of" in report.failed[0]


def test_links_in_a_circle(photos):
    (photos / "in/deep/up").symlink_to("..")
    found, _ = find_tasks(str(photos / "in/**/*.png"), str(photos / "out"))
    assert len(found) == 3
    (photos / "elsewhere").mkdir()
    Image.fromarray(levels(6, 8, 3, np.uint8)).save(photos / "elsewhere/e.png")
    (photos / "in/link").symlink_to("../elsewhere")
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"))
    assert sorted(task.source.name for task in tasks) == [
        "a.png", "b.JPG", "c d.png", "e.png", "größe.png",
    ]  # fmt: skip


def test_outputs_within_the_inputs_are_no_inputs(photos, renderer):
    for pattern in ("in", "in", "in/**/*.*", "in/**/*.*"):
        tasks, _ = find_tasks(str(photos / pattern), str(photos / "in/large"))
        assert render_all(renderer, tasks, TWICE, True, ALONE).rendered == 4
    assert len(outputs(photos / "in/large")) == 4


def test_outputs_beside_the_inputs_are_no_inputs(photos, renderer):
    for skipped in (0, 4):
        tasks, _ = find_tasks(str(photos / "in"), str(photos / "in"), "_x2")
        assert render_all(renderer, tasks, TWICE, False, ALONE).skipped == skipped
    assert len(outputs(photos / "in")) == 4 + 4 + 1


def test_a_folder_that_cannot_be_read(photos, monkeypatch):
    walk = os.walk

    def refusing(root, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(photos / "in/locked")))
        return walk(root, followlinks=followlinks)

    monkeypatch.setattr(os, "walk", refusing)
    tasks, unreadable = find_tasks(str(photos / "in"), str(photos / "out"))
    assert len(tasks) == 4
    assert unreadable == [f"{photos}/in/locked: cannot be read: Permission denied"]


def test_an_error_of_the_model_does_not_stop_the_rest(photos, renderer):
    encode = renderer.model.features

    def features(inp):
        if inp.shape[-1] == 1:
            raise RuntimeError("Padding size should be less than\nthe input")
        return encode(inp)

    renderer.model.features = features
    Image.fromarray(levels(1, 1, 3, np.uint8)).save(photos / "in/dot.png")
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"))
    report = render_all(renderer, tasks, TWICE, False, ALONE)
    assert report.rendered == 4
    wanted = f"{photos}/in/dot.png: RuntimeError: Padding size should be less than the input"
    assert report.failed == [wanted]


def test_processes_share_the_work(photos, renderer):
    tasks, _ = find_tasks(str(photos / "in"), str(photos / "out"))
    done = []
    for rank in range(3):
        group = Group(rank, 3)
        object.__setattr__(group, "gather", lambda values: values)
        done.append(render_all(renderer, tasks, TWICE, False, group).rendered)
    assert done == [2, 1, 1]
    assert len(outputs(photos / "out")) == 4


def test_mistakes(photos):
    (photos / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        find_tasks(str(photos / "empty"), str(photos / "out"))
    with pytest.raises(UserError, match="is a file; for several"):
        find_tasks(str(photos / "in"), str(photos / "in/a.png"))
    assert not Path(photos / "out").exists()
