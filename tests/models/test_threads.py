"""Pieces that threads decode alone: the same results, and nothing left changed."""

import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import models.reading.threads as module
from models.reading.threads import each_alone
from tests.cases import SPECS, make, queries

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def who(*_):
    time.sleep(0.01)  # for the others to take a piece, too
    return threading.get_ident(), torch.get_num_threads()


def test_pieces_are_shared_by_threads_that_compute_with_one_each():
    found = each_alone(who, [(i,) for i in range(8)])
    assert len({thread for thread, _ in found}) == 2
    assert threading.get_ident() not in {thread for thread, _ in found}
    assert {count for _, count in found} == {1}


def test_results_are_in_the_order_of_the_pieces():
    def slow(number):
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    assert each_alone(slow, [(i,) for i in range(7)]) == list(range(7))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_threads_is_the_caller_s_before_and_after(count):
    torch.set_num_threads(count)
    found = each_alone(who, [(i,) for i in range(12)])
    assert len({thread for thread, _ in found}) == count
    assert torch.get_num_threads() == count
    assert in_a_new_thread(torch.get_num_threads) == count


def test_with_one_thread_or_piece_the_caller_does_it():
    me = threading.get_ident()
    assert each_alone(who, [(0,)]) == [(me, 2)]
    torch.set_num_threads(1)
    assert each_alone(who, [(0,), (1,)]) == [(me, 1)] * 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_is_computed_needs_no_gradient_there_either(mode):
    def modes():
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        assert each_alone(modes, [()] * 4) == [(False, mode is torch.inference_mode)] * 4


def test_an_error_reaches_the_caller_and_the_threads_go_on():
    def fail(number):
        if number == 2:
            raise torch.OutOfMemoryError("full")
        return number

    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError, match="full"):
            each_alone(fail, [(i,) for i in range(9)])
    assert each_alone(fail, [(0,), (1,)]) == [0, 1]


def test_after_an_error_nothing_runs_and_nothing_is_held():
    """So that the memory is free for another try with less."""
    running, held = [], []

    def fail(number):
        tensor = torch.zeros(9)
        held.append(weakref.ref(tensor))
        running.append(number)
        time.sleep(0.05 * (number + 1))
        running.remove(number)
        if number == 0:
            raise torch.OutOfMemoryError("full")
        return tensor

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(torch.OutOfMemoryError):
            each_alone(fail, [(i,) for i in range(6)])
        assert running == []
        assert 2 <= len(held) < 6  # some had begun, the others were not
        assert all(reference() is None for reference in held)
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore")  # of tracing
@pytest.mark.parametrize("kind", ["autocast", "trace", "mode", "flops", "profile", "meta"])
def test_where_operations_are_watched_the_caller_computes(kind):
    found = []

    def note(x):
        found.append(threading.get_ident())
        return x + 1

    pieces = [(torch.ones(2),) for _ in range(4)]
    with torch.no_grad():
        if kind == "trace":
            function = lambda x: torch.stack(each_alone(note, [(x,)] * 4))  # noqa: E731
            torch.jit.trace(function, torch.ones(2), check_trace=False)
        elif kind == "meta":
            each_alone(note, [(x.to("meta"),) for (x,) in pieces])
        else:
            with {
                "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
                "mode": lambda: torch.device("cpu"),
                "flops": lambda: FlopCounterMode(display=False),
                "profile": torch.profiler.profile,
            }[kind]():
                each_alone(note, pieces)
    assert set(found) == {threading.get_ident()}


@pytest.mark.parametrize("name", ["liif", "metasr", "ciaosr"])
@pytest.mark.filterwarnings("ignore")  # of tracing
def test_a_traced_model_follows_its_input(name, monkeypatch):
    monkeypatch.setattr("models.reading.amounts.CACHED_FLOATS", 2**9)
    model, (coord, cell) = make(name).eval(), queries(1, 150)
    cell = cell[:, :1].expand_as(coord)
    first, second = torch.randn(2, 1, 3, 7, 6)
    with torch.no_grad():
        traced = torch.jit.trace(model, (first, coord, cell), check_trace=False)
        wanted = model(second, coord, cell)
        torch.testing.assert_close(traced(second, coord, cell), wanted, rtol=0, atol=1e-5)


LEAVING = """
import threading, time
import torch
from models.reading.threads import each_alone
torch.set_num_threads(2)

def late():
    time.sleep(0.5)  # the main thread has ended
    print(each_alone(lambda i: i * i, [(i,) for i in range(4)]))

threading.Thread(target=late).start()
"""


def test_work_after_the_main_thread_has_ended():
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 4, 9]\n", "")


def test_threads_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(module, "_pools", {})
    start, started = threading.Thread.start, []

    def refuse(thread):
        started.append(thread)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    me = threading.get_ident()
    assert {thread for thread, _ in each_alone(who, [(i,) for i in range(4)])} == {me}
    monkeypatch.setattr(threading.Thread, "start", start)
    started[0].join(10)
    assert not started[0].is_alive()
    assert in_a_new_thread(torch.get_num_threads) == 2


def test_callers_with_other_numbers_of_threads():
    def call(count):
        torch.set_num_threads(count)
        return [each_alone(lambda i: i, [(i,) for i in range(5)]) for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(call, (2, 3, 2, 3)):
            assert found == [list(range(5))] * 50


def test_several_callers_at_once():
    def call(number):
        return each_alone(lambda i: (time.sleep(0.001), number * i)[1], [(i,) for i in range(20)])

    threads, found = [], {}
    for number in range(6):
        threads.append(
            threading.Thread(target=lambda n=number: found.__setitem__(n, call(n)), daemon=True)
        )
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert found == {n: [n * i for i in range(20)] for n in range(6)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    each_alone(who, [(0,), (1,)])  # so that there are some to lose
    with multiprocessing.get_context("fork").Pool(1) as pool:
        child = pool.apply_async(_in_a_fork)
        assert child.get(20) == [0, 1, 4, 9]


def _in_a_fork():
    torch.set_num_threads(2)
    return each_alone(lambda i: i * i, [(i,) for i in range(4)])


@pytest.mark.parametrize("name", sorted(name for name in SPECS if "encoder" in str(SPECS[name])))
def test_models_decode_the_same_with_any_number_of_threads(name, monkeypatch):
    for amount in ("CIAOSR_QUERIES", "LMCIAOSR_CODES", "SRNO_QUERIES", "CLIT_QUERIES"):
        monkeypatch.setattr(f"models.reading.amounts.{amount}", 16)
    monkeypatch.setattr("models.reading.amounts.CLIT_SHARING", 64)
    monkeypatch.setattr("models.reading.amounts.CACHED_FLOATS", 2**9)
    model, inp, (coord, cell) = make(name).eval(), torch.randn(2, 3, 7, 6), queries(2, 150)
    cell = cell[:, :1].expand_as(coord) if model.one_cell else cell
    found = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        with torch.no_grad():
            found.append(model(inp, coord, cell))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=1e-5)
