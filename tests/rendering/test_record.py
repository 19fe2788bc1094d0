import hashlib
import json
import os

import pytest

from models.checkpoint import WEIGHTS
from rendering.grid import Region
from rendering.job import Wanted
from rendering.record import NAME, Record, Records, Stamp, asked, identity

ASKED = asked(Wanted(scale=(2.0, 2.0)), "bicubic")


@pytest.fixture
def made(tmp_path):
    """A file that a record knows."""
    for name in ("source.png", "out.png"):
        (tmp_path / name).write_bytes(b"1234")
    records = Records()
    output, source = tmp_path / "out.png", tmp_path / "source.png"
    records.add(output, Stamp.of(output), source, Stamp.of(source), ASKED)
    return output


def test_what_is_noted_is_read_by_others(made, tmp_path):
    entry = Records().made(made)
    status = (tmp_path / "source.png").stat()
    assert entry.source_stamp == (4, status.st_mtime_ns)
    assert entry.asked == {"model": "bicubic", "scale": [2.0, 2.0]} == ASKED
    assert Records().source(made, entry) == os.path.realpath(tmp_path / "source.png")


def test_a_file_that_was_changed_is_not_ours(made):
    records = Records()
    mtime = made.stat().st_mtime_ns
    os.utime(made, ns=(mtime, mtime + 1))
    assert records.made(made) is None
    os.utime(made, ns=(mtime, mtime))
    assert records.made(made) is not None
    made.write_bytes(b"12345")
    os.utime(made, ns=(mtime, mtime))
    assert records.made(made) is None
    assert len(records.of(made)) == 1


def test_a_file_is_known_by_any_of_its_paths(made, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "other.png").symlink_to("out.png")
    for path in (tmp_path / "link/out.png", tmp_path / "other.png", tmp_path / "deep/../out.png"):
        assert Records().made(path) is not None


def test_what_others_append_is_seen(made, tmp_path):
    first, second = Record(str(tmp_path)), Record(str(tmp_path))
    (entry,) = first.of("out.png")
    second.add(entry)
    second.add(entry)
    assert first.of("out.png") == [entry] * 3


def test_damaged_lines_are_passed_over(made, tmp_path):
    path = tmp_path / NAME
    whole = path.read_bytes()
    line = json.loads(whole)
    bad = [b"\xff\xfe", b"[]", b"null", b"7", b"{}", whole.strip()[:40]]
    bad += [json.dumps({**line, key: []}).encode() for key in line if key != "asked"]
    path.write_bytes(b"\n".join(bad))  # the last one is cut off
    record = Record(str(tmp_path))
    assert record.of("out.png") == []
    entry = Records()
    entry.add(made, Stamp.of(made), tmp_path / "source.png", Stamp(1, 2), ASKED)
    assert [entry.source_stamp for entry in record.of("out.png")] == [(1, 2)]


def test_what_is_asked():
    region = Wanted(long_side=9, region=Region(0.0, 0.5, 1.0, 2.0), quality=80, max_pixels=7)
    assert asked(region, "m") == {
        "model": "m",
        "long_side": 9,
        "region": [0.0, 0.5, 1.0, 2.0],
        "quality": 80,
    }


def test_a_model_is_known_by_its_weights(tmp_path):
    wanted = hashlib.sha256((WEIGHTS / "fast.pth").read_bytes()).hexdigest()
    assert identity("fast") == wanted
    copy = tmp_path / "copy.pth"
    copy.write_bytes((WEIGHTS / "fast.pth").read_bytes())
    assert identity(str(copy)) == wanted
    copy.write_bytes(b"other")
    assert identity(str(copy)) != wanted
    assert identity("bicubic") == "bicubic"
    assert identity("none.pth") == "none.pth"
