from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from starlette.testclient import TestClient

from viewing.app import make_app
from viewing.blocks import Studio
from viewing.gallery import Gallery
from viewing.offer import Choice, offer
from viewing.site import Site
from viewing.work import Workers

PIXELS = np.ascontiguousarray(data.astronaut()[:150, :220])


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(PIXELS).save(folder / "a b.png")
    alpha = np.full((*PIXELS.shape[:2], 1), 255, np.uint8)
    alpha[:, :50] = 0
    Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)).save(folder / "alpha.png")
    Image.fromarray(PIXELS[..., 0]).save(folder / "gray.jpg")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder


def new_site(photographs: Path) -> Site:
    models, _ = offer("fast")
    paths = sorted(photographs.iterdir())
    return Site(Studio(Gallery(paths), models), Workers(2), Choice("fast"), factor=8.0)


@pytest.fixture(scope="session")
def site(photographs: Path) -> Iterator[Site]:
    """What most tests share: what was rendered for one of them need not be again."""
    site = new_site(photographs)
    yield site
    site.workers.close()


@pytest.fixture(scope="session")
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def fresh(photographs: Path) -> Iterator[TestClient]:
    """A client of a server that has done nothing yet."""
    site = new_site(photographs)
    with TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        yield client
    site.workers.close()
