import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from errors import UserError
from rendering import decoding
from rendering.tiles import Renderer
from rendering.upscaler import Upscaler, load
from tests.cases import CONTINUOUS, make
from tests.rendering.corpus import levels, of_mode


def counted(up):
    """What the encoder is given from here on."""
    given: list[torch.Tensor] = []
    up.renderer.model.encoder.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    return given


@pytest.mark.parametrize("name", CONTINUOUS)
def test_encoded_once_and_rendered_often(name):
    up = Upscaler(Renderer(make(name)))
    image = levels(14, 18, 4, np.float32)
    ways = [{"scale": 2.5}, {"size": (31, 20)}, {"scale": 2.5}, {"long_side": 9}]
    wanted = [up.upscale(image, **way) for way in ways]
    encoded = up.encode(image)
    assert encoded._scenes[0] is not None
    image[:] = 0  # a copy was kept
    given = counted(up) if name != "bicubic" else []
    for way, right in zip(ways, wanted, strict=True):
        np.testing.assert_array_equal(encoded.render(**way), right)
    assert not given


def test_an_encoded_image_by_regions():
    up = load("compact", "cpu")
    image = levels(60, 70, 3, np.float32)
    encoded = up.encode(image)
    given = counted(up)
    for region in [(0, 0, 10, 10), (3.5, 40, 20, 30), (50, 0, 10, 70)]:
        found = encoded.render(scale=3, region=region)
        assert not given
        right = up.upscale(image, scale=3, region=region)
        given.clear()
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="not within"):
        encoded.render(scale=3, region=(0, 0, 61, 1))


def test_encoded_images_of_every_kind(tmp_path):
    up = load("bicubic", "cpu")
    source = tmp_path / "a.png"
    image = of_mode("RGBA", 6, 7)
    image.save(source)
    tensor = torch.rand(2, 3, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(up.encode(tensor).render(scale=2), up.upscale(tensor, scale=2))
    found = up.encode(image).render(scale=2)
    assert (found.mode, found.size) == ("RGBA", (14, 12))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(up.upscale(image, scale=2)))
    encoded = up.encode(str(source))
    source.unlink()  # it is read already
    assert encoded.render(scale=2) == str(tmp_path / "a-12x14.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "a-12x14.png")), np.asarray(found)
    )
    with pytest.raises(UserError, match="is there already"):
        encoded.render(scale=2)
    with pytest.warns(UserWarning, match="put on white") as told:
        encoded.render(scale=2, output=tmp_path / "b.jpg")
    assert told[0].filename == __file__


def test_an_encoded_image_that_is_too_large_to_keep(monkeypatch):
    up = load("compact", "cpu")
    image = levels(40, 40, 3, np.float32)
    right = up.upscale(image, scale=2)
    monkeypatch.setattr(up.renderer, "_free_memory", lambda: 1e6)
    given = counted(up)
    encoded = up.encode(image)
    assert all(inp.shape[-1] < 40 for inp in given), "nothing is encoded yet"
    np.testing.assert_allclose(encoded.render(scale=2), right, rtol=0, atol=1e-5)
    assert given[-1].shape[-2:] == (40, 40)
    count = len(given)
    part = encoded.render(scale=2, region=(10, 10, 20, 20))
    np.testing.assert_allclose(part, right[20:60, 20:60], rtol=0, atol=1e-5)
    assert len(given) == count, "the tile is kept"


def test_an_image_that_its_model_cannot_keep():
    class Published(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Conv2d(3, 3, 3, padding=1)

        def gen_feat(self, inp):
            self.seen = self.encoder(inp)

        def query_rgb(self, coord, cell=None):
            return coord.new_zeros(*coord.shape[:2], 3) + self.seen.mean()

    up = Upscaler(Renderer(Published().eval()))
    with pytest.warns(UserWarning, match="encodes it anew") as told:
        encoded = up.encode(levels(40, 40, 3, np.float32))
    assert told[0].filename == __file__
    assert encoded.render(scale=2).shape == (80, 80, 3)


def test_of_many_sizes_the_memory_stays_the_same(monkeypatch):
    made = []

    class Counted(decoding.Guard):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(decoding, "Guard", Counted)
    up = load("compact", "cpu")
    checker = (np.indices((40, 40)).sum(0) % 2 * 255).astype(np.uint8)
    encoded = up.encode(checker)
    for side in range(50, 60):
        encoded.render(size=(side, side))
    assert len(made) == 10
    assert sum(guard() is not None for guard in made) <= 1
