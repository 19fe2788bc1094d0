import pytest
import torch
import torch.nn.functional as F

from datasets.wrappers import SRImplicitDownsampled, SRImplicitPaired
from engine import IDENTITY_NORM, super_resolve
from errors import UserError
from tests.cases import GRAY_ARGS, make
from training.picture import ROWS, comparison

SIDE = 96


def test_columns_are_input_bicubic_ours_and_truth():
    """A model that is bicubic itself shows the same as the second column."""
    images = [torch.rand(3, h, w) for h, w in ((300, 200), (40, 250), (8, 8))]
    samples = SRImplicitDownsampled(images, scale_min=2, sample_q=10)
    device = torch.device("cpu")
    picture = comparison(make("bicubic"), samples, IDENTITY_NORM, device, 1000)
    assert picture.shape == (3, 3 * SIDE, 4 * SIDE)
    assert samples.sample_q == 10
    nearest, bicubic, ours, truth = picture[:, :SIDE].split(SIDE, dim=2)
    torch.testing.assert_close(ours, bicubic)
    top, left = (300 - SIDE) // 2, (200 - SIDE) // 2
    torch.testing.assert_close(truth, images[0][:, top : top + SIDE, left : left + SIDE])
    samples.sample_q = None
    inp = samples[0]["inp"]
    wanted = F.interpolate(inp[None], scale_factor=2, mode="nearest")[0]
    assert torch.equal(nearest, wanted[:, top : top + SIDE, left : left + SIDE])
    assert not picture[:, SIDE + 40 : 2 * SIDE].any()  # below the flat image


def test_gray_images_are_shown_in_three_channels():
    samples = SRImplicitPaired([(torch.rand(1, 20, 25), torch.rand(1, 40, 50))])
    device = torch.device("cpu")
    model = make("liif", **GRAY_ARGS["liif"], input_skip="bicubic")
    picture = comparison(model, samples, IDENTITY_NORM, device, 1000)
    assert picture.shape == (3, SIDE, 4 * SIDE)
    assert torch.equal(picture, picture[:1].expand(3, -1, -1))
    inp = samples[0]["inp"]
    shown = picture[:1, :40, 2 * SIDE : 2 * SIDE + 50]
    wanted = super_resolve(model, inp, (40, 50), IDENTITY_NORM)
    torch.testing.assert_close(shown, wanted, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="gives 3 channels where 1"):
        comparison(make("liif"), samples, IDENTITY_NORM, device, 1000)


def test_no_more_rows_than_that():
    samples = SRImplicitDownsampled([torch.rand(3, 100, 100)] * 9, scale_min=2)
    picture = comparison(make("bicubic"), samples, IDENTITY_NORM, torch.device("cpu"), None)
    assert picture.shape == (3, ROWS * SIDE, 4 * SIDE)
