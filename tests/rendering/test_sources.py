import os
from pathlib import Path

import pytest

from errors import UserError
from rendering.record import Records, Stamp
from rendering.sources import find_sources, is_one_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.JPG", "deep/c d.png", "deep/größe.png", "notes.txt", "a.xmp"):
        touch(f"in/{name}")
    return tmp_path


def touch(*names):
    for path in map(Path, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def places(*inputs, output="out"):
    return [str(source.place) for source in find_sources(inputs, output, Records()).sources]


def test_folders_and_patterns(folder):
    every = ["a.png", "b.JPG", "deep/c d.png", "deep/größe.png"]
    assert places("in") == every
    assert places("in/*.png") == ["a.png"]
    assert places("in/**/*.png") == ["a.png", *every[2:]]
    assert places("i?/deep/*.png") == ["in/deep/c d.png", "in/deep/größe.png"]
    assert places("in/*") == every[:2]


def test_several_inputs(folder):
    touch("more/e.png")
    assert places("in", "more") == [
        *("in/a.png", "in/b.JPG", "in/deep/c d.png", "in/deep/größe.png", "more/e.png")
    ]
    assert places("in/a.png", "more/e.png") == ["a.png", "e.png"]
    assert places("in/a.png", "in/deep") == ["a.png", "deep/c d.png", "deep/größe.png"]
    assert sorted(places("in/../in/", "more/*.png", "in/b.JPG")) == [
        *("b.JPG", "e.png", "in/a.png", "in/b.JPG", "in/deep/c d.png", "in/deep/größe.png")
    ]
    assert places("in/a.png", "in/a.png") == ["a.png"]
    assert places("in/a.png", str(folder / "in/a.png")) == ["a.png"]


def test_one_file():
    assert is_one_file(["x.png"])
    assert not is_one_file(["x/*.png"])
    assert not is_one_file(["x.png", "y.png"])
    assert not is_one_file(["."])


def test_a_name_with_brackets_is_a_file(folder):
    touch("a[1].png")
    assert is_one_file(["a[1].png"])
    assert places("a[1].png", "in/a.png") == ["a[1].png", "a.png"]


def test_what_cannot_be_read_is_counted(folder):
    touch("in/1.qoi", "in/2.QOI", "in/deep/3.dng", "in/4.json", "in/._1.qoi", "in/Thumbs.db")
    found = find_sources(["in"], "out", Records())
    assert found.unread_line() == "3 not read: 2 .qoi, 1 .dng"
    assert find_sources(["in/*"], "out", Records()).unread == {".qoi": 2}
    named = ["in/a.png", "in/notes.txt", "in/1.qoi", "in/Thumbs.db", "in/deep"]
    assert find_sources(named, "out", Records()).unread == {".txt": 1, ".qoi": 1, ".dng": 1}
    with pytest.raises(UserError, match=r"\*\.dng: no images to render: 1 not read: 1 \.dng"):
        find_sources(["in/deep/*.dng"], "out", Records())


def test_hidden_and_system_files_are_quiet(folder):
    hidden = [".x.png", "._a.png", ".git/y.png", "@eaDir/a.png", "__MACOSX/a.png", "deep/.z/q.png"]
    touch(*(f"in/{name}" for name in hidden))
    assert len(places("in")) == 4
    assert not find_sources(["in"], "out", Records()).unread
    assert len(places("in/**/*.png")) == 3
    assert places("in/.git/*.png") == ["y.png"]
    assert places("in/.x.png", "in/.git") == [".git/y.png", ".x.png"]


def test_links_in_a_circle(folder):
    Path("in/deep/up").symlink_to("..")
    assert len(places("in/**/*.png")) == 3
    touch("elsewhere/e.png")
    Path("in/link").symlink_to("../elsewhere")
    assert places("in") == ["a.png", "b.JPG", "deep/c d.png", "deep/größe.png", "link/e.png"]


def make(output, source):
    """A file that is noted as an output."""
    touch(output)
    Records().add(Path(output), Stamp.of(output), Path(source), Stamp.of(source), {})


def test_outputs_are_no_inputs(folder):
    make("in/a_x2.png", "in/a.png")
    make("in/large/a.png", "in/a.png")
    make("in/b.tif", "in/b.JPG")
    Path("link").symlink_to("in")
    Path("in/z.png").symlink_to("a_x2.png")
    every = ["a.png", "b.JPG", "deep/c d.png", "deep/größe.png"]
    for given in ("in", "in/../in", "link", "in/**/*.*"):
        for output in ("in", "link", "in/large", "out", ".", "in/../in"):
            assert places(given, output=output) == every, (given, output)
    assert find_sources(["in"], "in", Records()).made == 4
    assert places(*sorted(map(str, Path("in").glob("*.*")))) == every[:2]


def test_outputs_can_be_rendered_again_to_elsewhere(folder):
    make("out/a.png", "in/a.png")
    assert places("out", output="larger") == ["a.png"]
    assert places("out/a.png", output="out") == ["a.png"]  # named alone
    assert places("in", "out", output="larger") == [
        *("in/a.png", "in/b.JPG", "in/deep/c d.png", "in/deep/größe.png")
    ]


def test_an_output_whose_source_is_gone_is_no_input_of_the_same_folder(folder):
    make("in/a_x2.png", "in/a.png")
    Path("in/a.png").unlink()
    assert "a_x2.png" not in places("in", output="in")
    Path("in/a_x2.png").write_bytes(b"mine")  # now it is somebody else's
    assert "a_x2.png" in places("in", output="in")


def test_an_output_that_was_changed_is_no_input_while_its_source_is(folder):
    make("in/a_x2.png", "in/a.png")
    Path("in/a_x2.png").write_bytes(b"retouched")
    assert "a_x2.png" not in places("in", output="in")


def test_a_folder_that_cannot_be_read(folder, monkeypatch):
    walk = os.walk

    def refusing(root, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", "in/locked"))
        return walk(root, followlinks=followlinks)

    monkeypatch.setattr(os, "walk", refusing)
    found = find_sources(["in"], "out", Records())
    assert len(found.sources) == 4
    assert found.failed == ["in/locked: cannot be read: Permission denied"]


def test_nothing_to_render(folder):
    Path("empty").mkdir()
    for given in ("empty", "no/*.png"):
        with pytest.raises(UserError, match="no images"):
            find_sources([given], "out", Records())
    found = find_sources(["in/a.png", "empty", "none.png"], "out", Records())
    assert [str(source.place) for source in found.sources] == ["a.png", "none.png"]
    assert found.failed[0].startswith("empty: no images (")
    make("in/deep/c d_x2.png", "in/deep/c d.png")
    with pytest.raises(UserError, match="no images to render: 1 are outputs"):
        find_sources(["in/deep/*_x2.png"], "in/deep", Records())
