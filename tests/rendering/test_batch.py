import os

import numpy as np
import pytest
from PIL import Image

from parallel import ALONE, Group
from rendering import batch
from rendering.batch import Batch, Report, render_all
from rendering.job import Wanted
from rendering.pace import Pace
from rendering.record import NAME
from rendering.targets import plan
from tests.rendering.corpus import levels

TWICE = Wanted(scale=(2.0, 2.0))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.JPG", "deep/c d.png", "deep/größe.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels(6, 8, 3, np.uint8)).save(path)
    (tmp_path / "in/notes.txt").write_text("no image")
    return tmp_path


def outputs(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {str(path.relative_to(folder)) for path in paths}


@pytest.fixture
def run(renderer, photos):
    def run(given="in", output="out", suffix="", ending=None, wanted=TWICE, model="m", over=False):
        made = plan([given], output, suffix, ending)
        return render_all(renderer, made, Batch(wanted, model, over), ALONE)

    return run


def test_relative_paths_are_kept(photos, run):
    assert run(suffix="_x2") == Report(rendered=4)
    names = {"a_x2.png", "b_x2.JPG", "deep/c d_x2.png", "deep/größe_x2.png"}
    assert outputs(photos / "out") == names
    with Image.open(photos / "out/deep/c d_x2.png") as image:
        assert image.size == (16, 12)


def test_what_is_done_is_skipped(photos, run):
    run("in/a.png", "out/")
    before = (photos / "out/a.png").stat()
    assert run() == Report(rendered=3, skipped=1)
    assert run(wanted=Wanted(scale=(2.0, 2.0), max_pixels=10**6)) == Report(skipped=4)
    assert (photos / "out/a.png").stat() == before
    assert run(over=True) == Report(rendered=4)
    assert (photos / "out/a.png").stat().st_mtime_ns > before.st_mtime_ns


def test_what_has_changed_is_rendered_again(photos, run):
    run()
    for change in ({"wanted": Wanted(long_side=10)}, {"model": "n"}):
        assert run(**change) == Report(rendered=4)
        assert run(**change) == Report(skipped=4)
    Image.fromarray(levels(5, 5, 3, np.uint8)).save(photos / "in/a.png")
    assert run(**change) == Report(rendered=1, skipped=3)
    with Image.open(photos / "out/a.png") as image:
        assert image.size == (10, 10)
    assert run(**change) == Report(skipped=4)


def test_what_others_made_is_kept(photos, run):
    run()
    (photos / "out/a.png").write_bytes(b"retouched")
    (photos / "out/deep" / NAME).unlink()
    for change in ({}, {"model": "n"}):
        report = run(**change)
        assert (report.skipped, report.rendered) == ((1, 0) if not change else (0, 1))
        assert report.kept == [
            "out/a.png: was changed since this program made it",
            "out/deep/c d.png: was there already, and not made by this program",
            "out/deep/größe.png: was there already, and not made by this program",
        ]
        assert not report.failed
    assert "\n3 kept; --overwrite replaces them\n  out/a.png: was" in str(report)
    assert (photos / "out/a.png").read_bytes() == b"retouched"
    assert run(over=True) == Report(rendered=4)
    assert run() == Report(skipped=4)


def test_what_changes_while_it_is_rendered_is_kept(photos, run, renderer, monkeypatch):
    run("in/a.png", "out/")
    render = renderer.render

    def slow(*args):
        yield from render(*args)
        (photos / "out/a.png").write_bytes(b"retouched")

    monkeypatch.setattr(renderer, "render", slow)
    report = run("in/a.png", "out/", model="n")
    assert report == Report(kept=["out/a.png: was changed meanwhile, not by this program"])
    assert (photos / "out/a.png").read_bytes() == b"retouched"
    assert outputs(photos / "out") == {"a.png"}


def test_renderings_of_another_folder_are_kept(photos, run):
    run()
    (photos / "more").mkdir()
    Image.fromarray(levels(3, 3, 3, np.uint8)).save(photos / "more/a.png")
    before = (photos / "out/a.png").read_bytes()
    report = run("more")
    place = os.path.realpath("in/a.png")
    assert report.failed == [
        f"more/a.png: out/a.png is the rendering of {place}; choose another folder or --suffix"
    ]
    assert (photos / "out/a.png").read_bytes() == before
    assert run("more", over=True) == Report(rendered=1)


def test_a_folder_that_has_moved_is_the_same(photos, run):
    run()
    (photos / "in").rename(photos / "elsewhere")
    assert run("elsewhere") == Report(skipped=4)


def test_a_run_that_was_killed_goes_on(photos, run, monkeypatch):
    """Before an output takes its place, it is noted."""

    def replace(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", replace)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not outputs(photos / "out")
    assert run() == Report(rendered=4)

    def render_file(*args):
        real(*args)
        raise KeyboardInterrupt

    real = batch.render_file
    with monkeypatch.context() as patched:  # as soon as it is in its place
        patched.setattr(batch, "render_file", render_file)
        with pytest.raises(KeyboardInterrupt):
            run(model="n")
    assert run(model="n") == Report(rendered=3, skipped=1)


def test_systems_that_change_the_time_on_closing(photos, run, monkeypatch):
    def render_file(renderer, source, target, *args):
        done = real(renderer, source, target, *args)
        os.utime(target, ns=(1, 2 * 10**9))
        return done

    real = batch.render_file
    monkeypatch.setattr(batch, "render_file", render_file)
    assert run() == Report(rendered=4)
    assert run() == Report(skipped=4)


def test_a_bad_file_does_not_stop_the_rest(photos, run, capsys):
    whole = (photos / "in/a.png").read_bytes()
    (photos / "in/aa.png").write_bytes(whole[:60])
    (photos / "in/none.png").symlink_to("nowhere")
    (photos / "in/x.dng").touch()
    report = run()
    assert report.rendered == 4
    assert [line.split(":")[0] for line in report.failed] == ["in/aa.png", "in/none.png"]
    assert capsys.readouterr().err.count("error: ") == 2
    assert str(report).splitlines()[0] == "4 rendered, 0 were there already, 2 failed"
    assert str(report).splitlines()[-1] == "1 not read: 1 .dng"
    assert not {name for name in outputs(photos / "out") if "aa" in name or "part" in name}


def test_inputs_are_never_replaced(photos, run):
    before = {path: path.read_bytes() for path in (photos / "in").rglob("*.*")}
    for output in ("in", "in/../in"):
        report = run(output=output, over=True)
        assert report.rendered == 0
        assert "the output would replace it" in report.failed[0]
    Image.fromarray(levels(4, 4, 3, np.uint8)).save(photos / "in/a.jpg")
    before[photos / "in/a.jpg"] = (photos / "in/a.jpg").read_bytes()
    for _ in range(2):
        run(output="in", ending=".png", over=True)
    for path, data in before.items():
        assert path.read_bytes() == data


@pytest.mark.parametrize("output", ["in/large", "in", ".", "in/deep/..", "link"])
def test_outputs_are_no_inputs_of_the_next_run(photos, run, output):
    (photos / "link").symlink_to("in")
    for given in ("in", "in", "link", "in/../in", "in/**/*.*"):
        before = outputs(photos)
        report = run(given, output, "_x2")
        assert (report.rendered + report.skipped, report.failed) == (4, [])
    assert outputs(photos) == before
    assert sum("_x2" in name for name in before) == 4


def test_an_error_of_the_model_does_not_stop_the_rest(photos, run, renderer):
    encode = renderer.model.features

    def features(inp):
        if inp.shape[-1] == 1:
            raise RuntimeError("Padding size should be less than\nthe input")
        return encode(inp)

    renderer.model.features = features
    Image.fromarray(levels(1, 1, 3, np.uint8)).save(photos / "in/dot.png")
    report = run()
    assert report.rendered == 4
    wanted = "in/dot.png: RuntimeError: Padding size should be less than the input"
    assert report.failed == [wanted]


def test_processes_share_the_work(photos, renderer, monkeypatch):
    monkeypatch.setattr(Group, "gather", lambda group, values: values)
    monkeypatch.setattr(Group, "tally", lambda group, name, amount: amount)
    made = plan(["in"], "out")
    done = [
        render_all(renderer, made, Batch(TWICE, "m", False), Group(rank, 3)).rendered
        for rank in range(3)
    ]
    assert done == [2, 1, 1]
    assert len(outputs(photos / "out")) == 4
    assert render_all(renderer, made, Batch(TWICE, "m", False), ALONE) == Report(skipped=4)


def test_progress_counts_the_pixels_of_what_is_to_be_made(photos, run, monkeypatch):
    run("in/a.png", "out/")
    Image.fromarray(levels(30, 20, 3, np.uint8)).save(photos / "in/b.JPG")
    (photos / "in/bad.png").touch()
    paces = []

    def pace(*args):
        paces.append(Pace(*args))
        paces[-1].asked = args
        return paces[-1]

    monkeypatch.setattr("rendering.batch.Pace", pace)
    run()
    sizes = [60 * 40, 12 * 16, 12 * 16]
    mean = sum(sizes) // 3  # of the file that tells no size
    assert paces[0].asked[:3] == ("images", sum(sizes) + mean, 4)
    assert paces[0]._own == (sum(sizes) + mean, 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_with_the_name_of_an_image_does_not_hang(photos, renderer):
    os.mkfifo("in/pipe.png")
    report = render_all(renderer, plan(["in"], "out"), Batch(TWICE, "", False), ALONE)
    assert report.failed == ["in/pipe.png: not a readable image: it is no file"]
    assert report.rendered == 4


def test_each_failure_is_one_plain_line(photos, run):
    (photos / "in/two\nlines.png").write_bytes((photos / "in/a.png").read_bytes())
    made = plan(["in"], "in")
    assert "in/two lines.png: the output would replace it" in "\n".join(made.failed)
    (photos / "out/deep").parent.mkdir()
    (photos / "out/deep").touch()
    (photos / "out/two\nlines.png").touch()
    (photos / "in/bad\nfile.png").touch()
    report = run()
    assert report.rendered == 2
    assert len(str(report).splitlines()) == 1 + 3 + 1 + 1  # counts, failed, and what is kept
    assert report.failed[0] == "in/bad file.png: not a readable image: it is empty"
    assert report.failed[1] == "in/deep/c d.png: out/deep: File exists"
