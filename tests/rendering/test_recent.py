import threading
import time

import pytest

from rendering.recent import Recent


def test_the_least_recently_used_go_first():
    recent = Recent(10, lambda value: value)
    made = []

    def get(key, size=4):
        return recent.get(key, lambda: made.append(key) or size)

    get("a"), get("b"), get("a"), get("c")
    assert "a" in recent and "c" in recent and "b" not in recent
    assert made == ["a", "b", "c"] and recent.made == 3 and recent.bytes == 8
    assert get("b") == 4 and made[-1] == "b"
    assert get("huge", 100) == 100 and "huge" in recent and recent.bytes == 100
    recent.drop("huge")
    assert "huge" not in recent and recent.bytes == 0


def test_several_threads_make_a_value_once():
    recent = Recent(10, lambda value: 1)
    made = []

    def make():
        time.sleep(0.05)
        made.append(threading.get_ident())
        return len(made)

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(recent.get("key", make))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8 and len(made) == 1


def test_what_failed_is_tried_again():
    recent = Recent(10, lambda value: 1)

    def fail():
        raise OSError("once")

    with pytest.raises(OSError, match="once"):
        recent.get("key", fail)
    assert recent.get("key", lambda: 5) == 5
