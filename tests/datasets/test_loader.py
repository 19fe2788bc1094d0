from itertools import pairwise

import pytest
import torch
from torch.utils.data import Dataset

from configs.schema import DataSection
from datasets.loader import BatchLoader, make_loader
from datasets.order import EpochBatches
from datasets.wrappers import SRImplicitDownsampled
from errors import UserError
from parallel import Group


@pytest.fixture
def section(noise):
    wrapper = {"inp_size": 6, "scale_max": 4, "augment": True, "sample_q": 10}
    return DataSection(
        dataset={"name": "image-folder", "args": {"root_path": noise}},
        wrapper={"name": "sr-implicit-downsampled", "args": wrapper},
        batch_size=2,
    )


def run(loader, epochs):
    samples = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        samples += [batch["gt"] for batch in loader]
    return torch.cat(samples)


def test_samples_do_not_depend_on_the_number_of_workers(section):
    none, two = (run(make_loader(section, shuffle=True, seed=3, num_workers=n), 3) for n in (0, 2))
    assert none.shape == (15, 10, 3)
    assert torch.equal(none, two)


def test_an_epoch_can_be_entered_directly(section):
    whole = run(make_loader(section, shuffle=True, num_workers=0), 3)
    last = make_loader(section, shuffle=True, num_workers=0)
    last.set_epoch(2)
    assert torch.equal(torch.cat([batch["gt"] for batch in last]), whole[10:])


def test_epochs_and_seeds_differ(section):
    loader = make_loader(section, shuffle=True, num_workers=0)
    first, second = run(loader, 2).split(5)
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
    other = run(make_loader(section, shuffle=True, seed=1, num_workers=0), 1)
    assert not torch.equal(first.sort(0).values, other.sort(0).values)


def test_validation_samples_are_always_the_same(section):
    loader = make_loader(section, num_workers=0)
    first, second = ([batch["gt"] for batch in loader] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [len(batch) for batch in first] == [2, 2, 1]
    assert loader.file_name(3).endswith("3.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_in_the_data_arrives_as_one_line(section, workers):
    samples = make_loader(section).samples
    samples.inp_size = 99
    with pytest.raises(UserError, match=r"\.png: 40x50 pixels") as error:
        list(BatchLoader(samples, 2, num_workers=workers))
    assert "\n" not in str(error.value)
    del error  # a cycle with this frame, that would keep the worker


def test_samples_of_different_sizes_do_not_make_a_batch(section):
    wrapper = {"name": "sr-implicit-downsampled", "args": {"inp_size": 6, "scale_max": 4}}
    varied = section.model_copy(update={"wrapper": wrapper})
    with pytest.raises(UserError, match=r"differ in size.*batch_size: 1"):
        list(make_loader(varied, num_workers=0))


class Published(Dataset):
    """A wrapper in the published style: plain indices only."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        assert 0 <= index < 4
        return {"inp": torch.tensor([index])}


def test_wrappers_written_elsewhere_get_plain_indices():
    loader = BatchLoader(Published(), 3, shuffle=True, num_workers=0)
    for epoch in range(3):
        loader.set_epoch(epoch)
        assert sorted(torch.cat([b["inp"] for b in loader]).flatten().tolist()) == [0, 1, 2, 3]


def test_keys_count_on_through_the_epochs():
    wrapper = SRImplicitDownsampled([torch.rand(3, 9, 9)] * 4, inp_size=2, scale_max=2)
    loader = BatchLoader(wrapper, 2, shuffle=True, num_workers=0)
    loader.set_epoch(2)
    assert sorted(i for batch in loader.batches for i in batch) == [8, 9, 10, 11]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_in_the_middle(section, workers):
    loader = make_loader(section, shuffle=True, num_workers=workers)
    loader.set_epoch(1)
    whole = [batch["gt"] for batch in loader]
    assert len({file for i in range(3) for file in loader.files_of(i)}) == 5
    for start in range(4):
        loader.set_epoch(1, start)
        part = [batch["gt"] for batch in loader]
        assert len(part) == 3 - start
        assert all(torch.equal(a, b) for a, b in zip(part, whole[start:], strict=True))


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7])
def test_parts_make_the_batch(world):
    shares = [
        EpochBatches(range(12), 5, seed=1, shuffle=True, group=Group(rank, world))
        for rank in range(world)
    ]
    for number in range(3):
        parts = [share.part(number) for share in shares]
        assert sum(map(len, parts)) == (5, 5, 2)[number]
        assert parts[0].start == 0
        assert all(before.stop == after.start for before, after in pairwise(parts))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        given = [list(share)[number] for share in shares]
        assert all(given), "a process without a sample cannot take part in the step"
        own = [
            item for part, items in zip(parts, given, strict=True) for item in items[: len(part)]
        ]
        assert own == shares[0].batch(number)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_takes_whole_batches_in_turn(world):
    shares = [
        EpochBatches(range(7), 2, seed=0, shuffle=False, group=Group(rank, world))
        for rank in range(world)
    ]
    assert [len(list(share)) for share in shares] == list(map(len, shares))
    everything = sorted(batch for share in shares for batch in share)
    assert everything == [[0, 1], [2, 3], [4, 5], [6]]
