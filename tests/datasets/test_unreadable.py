"""Images that cannot be read, while samples are made."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from datasets.image_file import write_pixels
from datasets.image_folder import ImageFolder
from datasets.loader import BatchLoader, DataError
from datasets.wrappers import SRImplicitDownsampled
from parallel import Group

BROKEN = (1, 2, 6)
COUNT = 7


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        path = tmp_path / "photos" / f"{i}.png"
        write_pixels(path, rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        if i in BROKEN:
            path.write_bytes(path.read_bytes()[:1000])
    return ImageFolder(str(tmp_path / "photos"), repeat=2)


def sampled(folder):
    return SRImplicitDownsampled(folder, 6, 2, 4, augment=True, sample_q=10)


def whole(folder):
    return SRImplicitDownsampled(folder, scale_min=2)


def colours(loader, epochs=1, start=0):
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch, start)
        found += [batch["gt"] for batch in loader]
    return found


def mistake(samples, workers):
    try:
        list(BatchLoader(samples, 2, num_workers=workers))
    except DataError as error:
        return str(error)


def test_without_the_option_a_run_can_tell_data_from_other_mistakes(folder):
    for workers in (0, 1):
        assert re.fullmatch(r".*1\.png: not a readable image.*", mistake(whole(folder), workers))


def test_in_training_the_next_readable_image_of_the_epoch_takes_the_place(folder):
    samples, notes = sampled(folder), []
    options = {"shuffle": True, "seed": 3, "skip_unreadable": True, "on_note": notes.append}
    loader = BatchLoader(samples, 4, num_workers=0, **options)
    got = torch.cat(colours(loader, epochs=2))
    wanted = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        for key in (key for keys in loader.batches for key in keys):
            index = key % 14
            while index % COUNT in BROKEN:
                index = (index + 1) % 14
            wanted.append(samples[epoch * 14 + index]["gt"])
    assert torch.equal(got, torch.stack(wanted))
    names = [f"{folder.file(i)}: left out: not a readable image" for i in BROKEN]
    assert len(notes) == 3
    assert all(note.startswith(name) for note, name in zip(sorted(notes), names, strict=True))


def test_replacements_do_not_depend_on_workers_or_on_where_a_run_goes_on(folder):
    def loader(workers):
        return BatchLoader(
            sampled(folder),
            4,
            shuffle=True,
            num_workers=workers,
            skip_unreadable=True,
            on_note=lambda _: None,
        )

    none, two = colours(loader(0), 2), colours(loader(2), 2)
    assert len(none) == 8
    assert all(torch.equal(a, b) for a, b in zip(none, two, strict=True))
    again = colours(loader(2), start=2)
    assert all(torch.equal(a, b) for a, b in zip(again, none[2:4], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("world", [1, 2])
def test_in_an_evaluation_it_is_left_out(folder, workers, batch_size, world):
    samples, found, notes = whole(folder), [], []
    for rank in range(world):
        loader = BatchLoader(
            samples,
            batch_size,
            num_workers=workers,
            group=Group(rank, world),
            skip_unreadable=True,
            on_note=notes.append,
        )
        for _ in range(2):  # as in every validation
            numbers = loader.numbers()
            for batch in loader:
                assert len(batch["gt"]) > 0
                for gt in batch["gt"]:
                    number = next(numbers)
                    assert torch.equal(gt, samples[number]["gt"])
                    found.append(number)
            assert list(numbers) == []
    readable = [i for i in range(14) if i % COUNT not in BROKEN]
    assert sorted(found) == sorted(readable * 2)
    assert {note.split(": left out: ")[0] for note in notes} == {
        str(folder.file(i)) for i in BROKEN
    }


def test_where_none_can_be_read_there_is_nothing_to_train_on(folder):
    for file in folder.files:
        file.write_bytes(b"x")
    loader = BatchLoader(sampled(folder), 2, shuffle=True, num_workers=0, skip_unreadable=True)
    with pytest.raises(DataError, match=r"none of the images can be read; .*\.png: left out: not"):
        list(loader)


def test_notes_go_to_stderr_by_default(folder, capsys):
    loader = BatchLoader(whole(folder), 1, num_workers=0, skip_unreadable=True)
    list(loader)
    list(loader)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(folder.file(i)) for i in BROKEN]
    assert all(a < b for a, b in pairwise(lines))
