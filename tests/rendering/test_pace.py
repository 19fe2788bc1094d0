import pytest

from parallel import Group, LostProcessError
from rendering.pace import Pace


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


def test_a_line_every_half_minute(clock, capsys):
    pace = Pace("images", 88 * 10**9, 340, clock=clock)
    clock.now += 29
    pace.add(2 * 10**9, 10)
    assert capsys.readouterr().err == ""
    clock.now += 31  # a minute for 2.2 of 88: 39 minutes for the rest
    pace.add(2 * 10**8, 2)
    line = "images: 12 of 340 images, 2.2 of 88 Gpixel, 39 min left\n"
    assert capsys.readouterr().err == line
    clock.now += 29
    pace.add(10**9)
    assert capsys.readouterr().err == ""
    clock.now += 1
    pace.add(0)
    assert capsys.readouterr().err.startswith("images: 12 of 340 images, 3.2 of 88")
    pace.close()


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (0, "o.png: 0.0 of 4.0 Mpixel"),
        (4 * 10**6, "o.png: 4.0 of 4.0 Mpixel, 0 s left"),
        (3 * 10**6, "o.png: 3.0 of 4.0 Mpixel, 12 s left"),
        (10**6, "o.png: 1.0 of 4.0 Mpixel, 2 min left"),
        (10**4, "o.png: 0.0 of 4.0 Mpixel, 4.0 h left"),
    ],
)
def test_one_image(clock, capsys, done, told):
    pace = Pace("o.png", 4 * 10**6, clock=clock)
    clock.now += 36
    pace.add(done)
    assert capsys.readouterr().err == f"{told}\n"


def test_several_processes_count_together(clock, capsys, monkeypatch):
    totals = {"pixels": 0, "images": 0}

    def tally(group, name, amount):
        totals[name] += amount
        return totals[name]

    monkeypatch.setattr(Group, "tally", tally)
    paces = [Pace("images", 10**9, 8, Group(rank, 2), clock) for rank in range(2)]
    clock.now += 30
    paces[1].add(3 * 10**8, 3)
    assert capsys.readouterr().err == ""
    paces[0].add(10**8, 1)
    assert capsys.readouterr().err == "images: 4 of 8 images, 0.4 of 1.0 Gpixel, 45 s left\n"
    clock.now += 0.5
    paces[0].add(10**8)  # told with the next
    assert totals == {"pixels": 4 * 10**8, "images": 4}
    clock.now += 1
    paces[0].add(10**8)
    assert totals == {"pixels": 6 * 10**8, "images": 4}


def test_a_lost_process_is_no_error_of_an_image(clock, monkeypatch):
    def tally(group, name, amount):
        raise LostProcessError("reset")

    monkeypatch.setattr(Group, "tally", tally)
    pace = Pace("images", 10, 1, Group(0, 2), clock)
    clock.now += 2
    pace.add(5)
