"""Programs of others that speak IIIF: OpenSeadragon in a browser, and the validator."""

import functools
import http.server
import io
import shutil
import subprocess
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.viewing.test_view import program

VIEWER = "openseadragon@5.0.1"
PAGE = """<!doctype html><html><body style="margin:0">
<div id="viewer" style="width:512px;height:512px"></div>
<script src="openseadragon.min.js"></script>
<script>
const viewer = OpenSeadragon({id: "viewer", tileSources: "INFO", crossOriginPolicy: "Anonymous",
  showNavigationControl: false, drawer: "canvas"});
viewer.addHandler("open-failed", () => { document.body.dataset.failed = "true"; });
viewer.addHandler("open", () => {
  const image = viewer.world.getItemAt(0);
  const look = () => { document.body.dataset.loaded = image.getFullyLoaded(); };
  image.addHandler("fully-loaded-change", look);
  look();
});
</script></body></html>"""


@pytest.fixture
def photograph(tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with OpenSeadragon, served from another address."""
    folder = tmp_path / "site"
    folder.mkdir()
    try:
        packed = subprocess.run(
            ["npm", "pack", "--silent", VIEWER],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs OpenSeadragon from the npm registry: {error}")
    with tarfile.open(tmp_path / packed.stdout.strip()) as package:
        script = package.extractfile("package/build/openseadragon/openseadragon.min.js")
        (folder / "openseadragon.min.js").write_bytes(script.read())
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def comes_to_show(page, expected):
    """Wait until a page shows an image; the mean difference in the end."""
    ends = time.monotonic() + 90
    difference = np.inf
    while difference >= 6 and time.monotonic() < ends:
        shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        difference = np.abs(np.asarray(shown).astype(int) - expected).mean()
        time.sleep(0.2)
    page.wait_for_selector("body[data-loaded=true]", timeout=60000)
    return difference


@pytest.mark.browser
def test_openseadragon_shows_the_photograph(photograph, elsewhere):
    from scripts.draw_view import chromium

    folder, address = elsewhere
    with program(photograph) as (_, port), chromium() as browser:
        info = f"http://127.0.0.1:{port[1]}/iiif/photo.png/info.json"
        (folder / "index.html").write_text(PAGE.replace("INFO", info))
        page = browser.new_page(viewport={"width": 512, "height": 512})
        page.goto(address)
        assert comes_to_show(page, data.astronaut()) < 6
        page.evaluate("viewer.viewport.zoomTo(24, null, true)")
        box = (256 - 32 / 3, 256 - 32 / 3, 256 + 32 / 3, 256 + 32 / 3)
        image = Image.fromarray(data.astronaut())
        near = image.resize((512, 512), Image.Resampling.BICUBIC, box)
        assert comes_to_show(page, np.asarray(near)) < 6
        assert page.evaluate("document.body.dataset.failed") is None


@pytest.mark.slow
def test_the_validator_finds_only_what_it_has_wrong(tmp_path):
    """It expects ``^max`` to be the image's own size, and an error for ``!w,h`` beyond it."""
    validator = shutil.which("iiif-validator")
    if validator is None:
        pytest.skip("needs iiif-validator on the PATH: iiif-validator-ng and pyvips[binary]")
    python = (tmp_path / validator).resolve().parent / "python"
    find = "import iiif_validator; print(iiif_validator.__path__[0])"
    found = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True)
    image = f"{found.stdout.strip()}/validation_image.png"
    with program(image, "--factor", "1") as (_, port):
        done = subprocess.run(
            [
                validator,
                f"http://127.0.0.1:{port[1]}/iiif",
                "--validation-id",
                "validation_image.png",
            ],
            capture_output=True,
            text=True,
        )
    wrong = sorted(line for line in done.stdout.splitlines() if line.startswith("✗"))
    assert len(wrong) == 2 and "(sizeUpscaling)" in wrong[0], done.stdout
    assert "only work with the ^ notation" in wrong[1]
    assert "✓ 109 ✗ 2" in done.stdout
