import pytest
import torch
from torch import nn

from training.muon import Muon, orthogonalised
from training.recipe import make_optimizer


def test_matrices_follow_the_optimizer_of_torch():
    """Which works in bfloat16, so that directions are compared, and the length of the updates."""
    torch.manual_seed(0)
    for shape in ((32, 80), (80, 32)):
        ours, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
        first = Muon([ours], lr=0.1)
        second = torch.optim.Muon(
            [theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        for _ in range(4):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            first.step()
            second.step()
        same = nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)
        assert same > 0.999
        assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=0.01)


def test_a_convolution_is_a_matrix():
    torch.manual_seed(0)
    gradient = torch.randn(16, 4, 3, 3)
    kernel, matrix = nn.Parameter(torch.zeros(16, 4, 3, 3)), nn.Parameter(torch.zeros(16, 36))
    kernel.grad = gradient.to(memory_format=torch.channels_last)
    matrix.grad = gradient.flatten(1)
    for parameter in (kernel, matrix):
        Muon([parameter]).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_the_rest_follows_adam():
    torch.manual_seed(0)
    shapes = [(5,), (16,), (3, 64), (3, 8, 3, 3)]
    ours, theirs = ([nn.Parameter(torch.zeros(s)) for s in shapes] for _ in range(2))
    first, second = Muon(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, betas=(0.9, 0.99))
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            b.grad = torch.randn_like(b)
            a.grad = b.grad.clone()
            if a.ndim == 4:  # laid out otherwise than the weight
                a.grad = a.grad.to(memory_format=torch.channels_last)
        first.step()
        second.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(64, 576), (64, 64), (100, 20)])
def test_orthogonalised_keeps_the_singular_vectors(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonalised(matrix[None])[0] @ v.T
    values = turned.diagonal()
    assert (turned - values.diag()).abs().max() < 1e-9
    # A random square matrix has singular values near 0, which five steps do not lift to 1.
    assert values.max() < 1.3
    assert values.quantile(0.1) > 0.6


def test_a_saved_state_goes_on_the_same():
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 3, 1))

    def steps(model, optimizer, seeds):
        for seed in seeds:
            torch.manual_seed(seed)
            optimizer.zero_grad()
            model(torch.randn(2, 3, 8, 8)).square().mean().backward()
            optimizer.step()

    spec = {"name": "muon", "args": {"lr": 0.01}}
    whole = net()
    steps(whole, make_optimizer(spec, whole.parameters()), range(6))
    parts = net()
    before = make_optimizer(spec, parts.parameters())
    steps(parts, before, range(3))
    after = make_optimizer(spec, parts.parameters())
    after.load_state_dict(before.state_dict())
    steps(parts, after, range(3, 6))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"momentum": 1.0}, {"betas": (0.9, 1.0)}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match="muon"):
        Muon([nn.Parameter(torch.zeros(3))], **wrong)


def test_weights_of_one_shape_step_as_each_alone():
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(16, 4, 3, 3)) for _ in range(3)]
    copies = [nn.Parameter(w.detach().clone()) for w in weights]
    together, alone = Muon(weights, lr=0.1), [Muon([w], lr=0.1) for w in copies]
    for _ in range(3):
        for ours, theirs in zip(weights, copies, strict=True):
            ours.grad = torch.randn_like(ours).to(memory_format=torch.channels_last)
            theirs.grad = ours.grad.clone()
        together.step()
        for optimizer in alone:
            optimizer.step()
    for ours, theirs in zip(weights, copies, strict=True):
        torch.testing.assert_close(ours, theirs)
