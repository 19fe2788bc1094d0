"""Every mode and format in every small size, whole and truncated, through the command."""

import io

import imagecodecs
import pytest
import tifffile

from tests.programs import run
from tests.rendering.corpus import write_corpus

DECODERS = {
    "png": imagecodecs.png_decode,
    "tif": lambda data: tifffile.imread(io.BytesIO(data)),
    "jpg": imagecodecs.jpeg_decode,
    "webp": imagecodecs.webp_decode,
    "bmp": imagecodecs.bmp_decode,
}


def render(folder, cuts, sizes):
    whole, cut = write_corpus(folder / "in", sizes, cuts)
    args = ["--input", "in", "--output", "out", "--model", "bicubic", "--scale", "2.5"]
    return whole, cut, run(folder, "demo.py", *args)


def check(folder, cuts, sizes):
    whole, cut, done = render(folder, cuts, sizes)
    assert done.returncode == (1 if cut else 0)
    written = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("[!.]*.*")}
    assert written == whole
    lines = done.stdout.splitlines()
    assert lines[0] == f"{len(whole)} rendered, 0 were there already, {len(cut)} failed"
    assert {line.strip().split(":")[0] for line in lines[1:]} == {f"in/{name}" for name in cut}
    for name in whole:
        height, width = map(int, name.split("/")[0].split("x"))
        decode = DECODERS[name.rsplit(".", 1)[1]]
        shape = decode((folder / "out" / name).read_bytes()).shape
        assert shape[:2] == (round(height * 2.5), round(width * 2.5))


def test_some(tmp_path):
    check(tmp_path, range(0, 10, 3), range(1, 10, 8))


@pytest.mark.slow
def test_all(tmp_path):
    check(tmp_path, range(10), range(1, 10))
