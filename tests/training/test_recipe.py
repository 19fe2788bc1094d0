import math

import pytest
import torch

from configs.schema import TrainConfig
from errors import UserError
from tests.cases import SPECS
from training.recipe import make_average, make_optimizer, make_schedule

SECTION = {"dataset": {"name": "x"}, "wrapper": {"name": "x"}, "batch_size": 1}


def config(**changes):
    return TrainConfig(
        train_dataset=SECTION,
        model=SPECS["liif"],
        optimizer={"name": "sgd", "args": {"lr": 0.5}},
        **{"epoch_max": 10, **changes},
    )


def rates(steps_done=0, count=50, **changes):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = make_schedule(optimizer, config(**changes), 5, steps_done)
    found = []
    for _ in range(count - steps_done):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_published_schedule_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3, 7], 0.1)
    wanted = []
    for _ in range(10):
        wanted += [optimizer.param_groups[0]["lr"]] * 5
        optimizer.step()
        schedule.step()
    found = rates(multi_step_lr={"milestones": [7, 2, 3], "gamma": 0.1})
    assert found == pytest.approx(wanted, rel=1e-12)


def test_cosine_and_warmup():
    found = rates(lr_schedule="cosine", warmup=4)
    wanted = [0.5 * (1 + math.cos(math.pi * t / 50)) / 2 * min(1, (t + 1) / 4) for t in range(50)]
    assert found == pytest.approx(wanted, rel=1e-12)
    assert rates() == [0.5] * 50


def test_warmup_and_cosine_by_epochs():
    """SRNO: after epoch e, 4e-5 (1 + 9 e/50), then 2e-4 (1 + cos(pi (e - 50)/1000))."""
    given = {"warmup_step_lr": {"multiplier": 10, "total_epoch": 50}, "epoch_max": 1050}
    found = rates(count=5 * 1050, **given)
    for epoch in (0, 1, 37, 50, 51, 400, 1049):
        wanted = 4e-5 * (1 + 9 * epoch / 50)
        if epoch > 50:
            wanted = 2e-4 * (1 + math.cos(math.pi * (epoch - 50) / 1000))
        own = [rate * 4e-5 / 0.5 for rate in found[5 * epoch : 5 * epoch + 5]]
        assert own == pytest.approx([wanted] * 5, rel=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup_step_lr": {"multiplier": 10, "total_epoch": 3}},
        {"lr_schedule": "cosine", "warmup": 7},
        {"multi_step_lr": {"milestones": [2, 3], "gamma": 0.3}, "warmup": 20},
    ],
)
def test_a_schedule_can_be_entered_anywhere(changes):
    whole = rates(**changes)
    for done in (1, 9, 10, 37):
        assert rates(done, **changes) == whole[done:]


def test_schedules_that_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        config(lr_schedule="cosine", multi_step_lr={"milestones": [1]})
    with pytest.raises(ValueError, match="needs multi_step_lr"):
        config(lr_schedule="multi-step")
    rising = {"multiplier": 10, "total_epoch": 3}
    with pytest.raises(ValueError, match="warmup_step_lr excludes"):
        config(warmup_step_lr=rising, warmup=5)
    with pytest.raises(ValueError, match="less than epoch_max"):
        config(warmup_step_lr={**rising, "total_epoch": 10})


def test_optimizers_are_fused_unless_told_otherwise():
    def defaults(name, **args):
        weights = [torch.nn.Parameter(torch.zeros(1))]
        return make_optimizer({"name": name, "args": {"lr": 0.1, **args}}, weights).defaults

    assert all(defaults(name)["fused"] is True for name in ("adam", "adamw", "sgd"))
    assert defaults("adam", fused=False)["fused"] is False
    assert defaults("adam", foreach=True)["fused"] is None
    with pytest.raises(UserError, match="fused"):
        defaults("adam", fused=True, foreach=True)


def test_the_average_forgets_where_training_began():
    """A weight that jumps from 0 to 1 in its second step, computed by hand."""
    weight = torch.nn.Linear(1, 1, bias=False)
    average = make_average(weight, 0.999)
    wanted = 0.0
    for n in range(300):
        value = float(n > 0)
        torch.nn.init.constant_(weight.weight, value)
        average.update_parameters(weight)
        decay = min(0.999, (1 + n) / (10 + n)) if n else 0.0
        wanted = decay * wanted + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(wanted, abs=1e-6)
    assert wanted > 0.999  # with a constant decay it would be 0.26


def test_the_average_of_a_long_run_has_its_decay():
    weight = torch.nn.Linear(1, 1, bias=False)
    average = make_average(weight, 0.5)
    for value in [0.0] * 20 + [1.0, 1.0]:
        torch.nn.init.constant_(weight.weight, value)
        average.update_parameters(weight)
    assert average.module.weight.item() == pytest.approx(0.75)
