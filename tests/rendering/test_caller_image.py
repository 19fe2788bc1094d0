import re
import warnings

import numpy as np
import pytest
import torch

from errors import UserError
from rendering.upscaler import load
from tests.rendering.corpus import levels

LEVELS = levels(6, 8, 3, np.uint8)
FLOATS = levels(6, 8, 3, np.float32)


@pytest.fixture(scope="module")
def up():
    return load("bicubic", "cpu")


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("plain", [LEVELS, levels(6, 8, 3, np.uint16), FLOATS, LEVELS[..., 0]])
@pytest.mark.parametrize(
    "change",
    [
        read_only,
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: array.view(np.ndarray),
    ],
    ids=["read only", "columns first", "every other", "backwards", "big-endian", "view"],
)
def test_arrays_in_any_order_in_memory(up, plain, change):
    image = change(plain)
    found = up.upscale(image, scale=2)
    assert found.dtype == image.dtype
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, up.upscale(plain, scale=2))


def test_arrays_in_a_file(up, tmp_path):
    LEVELS.tofile(tmp_path / "a.raw")
    image = np.memmap(tmp_path / "a.raw", np.uint8, "r", shape=LEVELS.shape)
    np.testing.assert_array_equal(up.upscale(image, scale=2), up.upscale(LEVELS, scale=2))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble])
def test_floats_of_any_size(up, dtype):
    found = up.upscale(FLOATS.astype(dtype), scale=2)
    assert found.dtype == dtype
    wanted = up.upscale(FLOATS.astype(dtype).astype(np.float32), scale=2)
    np.testing.assert_array_equal(found, wanted.astype(dtype))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (LEVELS[..., 0].view(np.matrix), "a matrix: give np.asarray(image)"),
        (FLOATS[..., 0].view(np.matrix), "a matrix: give np.asarray(image)"),
        (np.ma.masked_less(LEVELS, 9), "a MaskedArray: give image.filled(0)"),
        (np.rec.array(LEVELS), "a recarray: give np.asarray(image)"),
        (LEVELS > 9, "got bool; give image.astype('uint8') * 255"),
        (FLOATS + 1j, "got complex64"),
        (LEVELS.astype(object), "got object"),
        (LEVELS.astype(np.int8), "got int8"),
        (LEVELS.astype(np.uint32), "got uint32"),
        (LEVELS.astype("S3"), "got |S3"),
        (FLOATS.astype(np.float64) * 1e300, "not finite, or too large for float32"),
        (np.uint8(3), "cannot render a uint8"),
        (np.array(LEVELS, dtype="V1"), "got |V1"),
        ([[1, 2], [3, 4]], "cannot render a list"),
        (None, "cannot render a NoneType"),
        (b"image", "cannot render a bytes"),
    ],
)
def test_what_is_no_image(up, image, message):
    with np.errstate(all="raise"), pytest.raises(UserError, match=re.escape(message)):
        up.upscale(image, scale=2)


TENSOR = torch.from_numpy(FLOATS).permute(2, 0, 1)


class Labelled(torch.Tensor):
    """A tensor of another library."""


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.contiguous(),
        lambda tensor: tensor.unsqueeze(0).contiguous(memory_format=torch.channels_last)[0],
        lambda tensor: torch.nn.Parameter(tensor, requires_grad=False),
        lambda tensor: tensor.as_subclass(Labelled),
        lambda tensor: tensor.clone().requires_grad_().detach(),
        lambda tensor: torch._neg_view(-tensor),
    ],
    ids=["contiguous", "channels last", "parameter", "subclass", "detached", "negated"],
)
def test_tensors_of_any_kind(up, change):
    found = up.upscale(change(TENSOR), scale=2)
    assert type(found) is torch.Tensor
    assert torch.equal(found, up.upscale(TENSOR, scale=2))


def test_tensors_of_uint16_and_bfloat16(up):
    levels16 = torch.from_numpy(levels(6, 8, 3, np.uint16)).permute(2, 0, 1)
    found = up.upscale(levels16, scale=2)
    assert found.dtype == torch.uint16
    wanted = up.upscale(levels16.permute(1, 2, 0).numpy(), scale=2)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), wanted)
    short = TENSOR.bfloat16()
    wanted = up.upscale(short.float(), scale=2).bfloat16()
    assert torch.equal(up.upscale(short, scale=2), wanted)


def test_gradients_that_do_not_come_are_told(up):
    image = TENSOR.clone().requires_grad_()
    with pytest.warns(UserWarning, match="no gradients") as told:
        found = up.upscale(image, scale=2)
    assert told[0].filename == __file__
    assert not found.requires_grad
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        up.upscale(image, scale=2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (TENSOR.to_sparse(), "give image.to_dense()"),
        (TENSOR.to("meta"), "on the device meta has no pixels"),
        (TENSOR > 0.5, "got bool; give image.byte() * 255"),
        (TENSOR.to(torch.complex64), "got complex64"),
        (TENSOR.long(), "got int64"),
        (TENSOR / 0, "not finite"),
        (torch.zeros(5, 6, 8), "(h, w, 1 to 4) is wanted"),
    ],
)
def test_tensors_that_are_no_images(up, image, message):
    with pytest.raises(UserError, match=re.escape(message)):
        up.upscale(image, scale=2)


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_a_quantized_tensor(up):
    image = torch.quantize_per_tensor(TENSOR, 0.1, 0, torch.quint8)
    with pytest.raises(UserError, match=r"give image\.dequantize\(\)"):
        up.upscale(image, scale=2)
