import errno
import os
import resource
import sys
import threading
import time

import numpy as np
import pytest

import files.whole
from datasets.image_file import write_pixels
from files.whole import naming, written_whole
from rendering.writing import FORMATS, UINT8, Layout


def write(path, text, **options):
    with written_whole(path, **options) as file:
        file.write(text.encode())


def count(monkeypatch, module, name):
    """Calls of a function from here on."""
    calls, function = [], getattr(module, name)

    def counted(*args):
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_listings_do_not_grow_with_the_number_of_files(tmp_path):
    listings = []

    def look(_, event, function):
        if event == "c_call" and function.__name__ in ("scandir", "listdir"):
            listings.append(function)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        for number in range(50):
            write(tmp_path / f"{number}.txt", "x")
    finally:
        sys.setprofile(before)
    assert len(listings) == 1
    assert len(list(tmp_path.iterdir())) == 50


def test_what_a_kill_has_left_is_cleared_by_a_later_writing(tmp_path, monkeypatch):
    left, foreign = tmp_path / ".old.txt.12.whole.part", tmp_path / ".old.txt.12.part"
    for path in (left, foreign):
        path.write_text("half")
    write(tmp_path / "a.txt", "x")
    assert left.exists()  # its writer might be alive on another machine
    for path in (left, foreign):
        os.utime(path, (0, 0))
    write(tmp_path / "b.txt", "x")
    assert left.exists()  # no second look within an hour
    later = time.monotonic() + files.whole.ABANDONED
    monkeypatch.setattr(time, "monotonic", lambda: later)
    write(tmp_path / "b.txt", "x")
    assert not left.exists()
    assert foreign.exists()


def test_threads_that_write_one_file_leave_the_whole_of_one(tmp_path):
    path = tmp_path / "a.txt"
    begin, failed = threading.Barrier(8), []

    def work(letter):
        try:
            for _ in range(10):
                begin.wait()
                with written_whole(path, durable=False) as file:
                    for _ in range(20):
                        file.write(letter * 1000)
                        file.flush()
        except BaseException as error:
            failed.append(error)
            begin.abort()

    threads = [threading.Thread(target=work, args=(bytes([65 + i]),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    content = path.read_bytes()
    assert content in {bytes([65 + i]) * 20000 for i in range(8)}
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_the_last_of_two_writings_wins_and_each_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with written_whole(path) as outer:
        outer.write(b"first")
        with written_whole(path) as inner:
            inner.write(b"second")
        assert path.read_bytes() == b"second"
        outer.write(b" but last")
    assert path.read_bytes() == b"first but last"


def test_names_of_temporary_files_are_short_enough(tmp_path):
    path = tmp_path / f"{'a' * 251}.png"
    with written_whole(path) as file:
        (part,) = tmp_path.iterdir()
        assert len(part.name) <= 255
        file.write(b"x")
    assert path.read_bytes() == b"x"


def test_only_what_is_durable_waits_for_the_disk(tmp_path, monkeypatch):
    calls = count(monkeypatch, os, "fsync")
    write(tmp_path / "a.txt", "x", durable=False)
    assert not calls
    write(tmp_path / "a.txt", "y")
    assert len(calls) == (2 if os.name == "posix" else 1)
    assert (tmp_path / "a.txt").read_text() == "y"


@pytest.fixture
def full():
    """No file can grow beyond ten bytes: what a full disk does, by a limit that needs no disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("text", ["x" * 99, "x" * 10**5], ids=["flush", "write"])
def test_a_full_disk_is_named_and_the_old_file_kept(tmp_path, full, text):
    path = tmp_path / "a.txt"
    path.touch()
    with pytest.raises(OSError, match="File too large") as error:
        write(path, text)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "ppm", "tif"])
def test_a_full_disk_is_named_by_every_format(tmp_path, full, ending):
    path = tmp_path / f"a.{ending}"
    pixels = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    with pytest.raises(OSError, match="File too large") as error:
        write_pixels(path, pixels)
    assert error.value.filename == str(path)
    (form,) = (form for form in FORMATS if f".{ending}" in form.endings)
    with pytest.raises(OSError, match="File too large") as error, written_whole(path) as file:
        form.write(file, Layout(99, 99, 3, UINT8), iter([pixels]))
    assert error.value.filename == str(path)


def test_a_name_that_is_there_stays(tmp_path):
    with pytest.raises(FileNotFoundError) as error, naming("a"):
        (tmp_path / "b").open()
    assert error.value.filename == str(tmp_path / "b")
    with pytest.raises(FileNotFoundError) as error:
        write(tmp_path / "none/c.txt", "x")
    assert error.value.filename == str(tmp_path / "none/c.txt")
