import io
import logging
import pickle
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

import rendering.turns
from datasets.tiff import read_tiff
from errors import UserError
from rendering.tiles import Renderer
from rendering.turns import Turns
from rendering.upscaler import Upscaler, load
from tests.rendering.corpus import levels

ROOT = Path(__file__).parents[2]
IMAGE = levels(20, 24, 3, np.float32)


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "gradients": torch.enable_grad,
    "float64": default_dtype,
    "meta": default_device,
    "device": lambda: torch.device("meta"),
    "errors": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def up():
    return load("compact", "cpu")


@pytest.fixture(scope="module")
def plain(up):
    """What is to come out, whatever is set."""
    return up.upscale(IMAGE, scale=2.3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_program_change_nothing(setting, plain):
    renderer = load("compact", "cpu").renderer
    with SETTINGS[setting]():
        found = Upscaler(renderer).upscale(IMAGE, scale=2.3)
        loaded = load("compact", "cpu")
        kept = loaded.encode(IMAGE)
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(loaded.upscale(IMAGE, scale=2.3), plain)
    np.testing.assert_array_equal(kept.render(scale=2.3), plain)
    assert {p.dtype for p in loaded.renderer.model.parameters()} == {torch.float32}


def settings():
    """What a program may have set, as this thread sees it."""
    return {
        "pillow": Image.MAX_IMAGE_PIXELS,
        "warnings": list(warnings.filters),
        "levels": [logging.getLogger(name).level for name in ("", "tifffile", "PIL")],
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.get_rng_state().tolist(),
        "random of numpy": np.random.get_state()[1].tolist(),
        "errors": np.geterr(),
        "path": list(sys.path),
        "modules": {name: id(sys.modules.get(name)) for name in ("models", "utils", "datasets")},
    }


def in_another_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_settings_of_the_program_are_never_changed(up, tmp_path):
    during = []
    hook = up.renderer.model.encoder.register_forward_pre_hook(
        lambda *_: during.append(in_another_thread(settings))
    )
    images = [np.zeros((6, 7), np.uint8), torch.zeros(3, 6, 7), Image.new("P", (7, 6))]
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.new("RGB", (7, 6)).save(tmp_path / name)
        images.append(tmp_path / name)
    tifffile.imwrite(tmp_path / "a.tif", levels(6, 7, 3, np.uint16))
    images.append(tmp_path / "a.tif")
    up.upscale(images[0], scale=2)  # finds out how far the encoder sees
    during.clear()
    before, elsewhere = settings(), in_another_thread(settings)
    for image in images:
        up.upscale(image, scale=2)
    hook.remove()
    assert len(during) == len(images)
    assert all(found == elsewhere for found in during)
    assert settings() == before


def test_the_log_of_tifffile_is_left_to_the_program(caplog):
    file = io.BytesIO()
    tifffile.imwrite(file, levels(6, 7, 3, np.uint16))
    damaged = bytearray(file.getvalue())
    at = damaged.index(b"\x31\x01\x02\x00") + 8  # where the name of the software is
    damaged[at : at + 4] = b"\xff\xff\xff\x0f"
    assert read_tiff(bytes(damaged)).pixels.shape == (6, 7, 3)
    assert not caplog.records
    with tifffile.TiffFile(io.BytesIO(damaged)) as own:  # that of the program
        assert own.pages[0].shape == (6, 7, 3)
    assert "tifffile" in {record.name for record in caplog.records}


def test_threads_take_turns(up, tmp_path):
    images = [levels(9 + i, 8, 3, np.uint8, seed=i) for i in range(8)]
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    wanted = [up.upscale(image, scale=2.5) for image in images]
    fresh = Upscaler(Renderer(up.renderer.model, up.renderer.norm))
    with ThreadPoolExecutor(16) as pool:
        arrays = pool.map(lambda image: fresh.upscale(image, scale=2.5), images)
        files = pool.map(lambda path: fresh.upscale(path, scale=2.5), paths)
        for array, file, right in zip(arrays, files, wanted, strict=True):
            np.testing.assert_array_equal(array, right)
            np.testing.assert_array_equal(np.asarray(Image.open(file)), right)


def test_threads_with_a_model_that_remembers_its_image():
    class Remembering(nn.Module):
        def gen_feat(self, inp):
            self.level = inp.mean()

        def query_rgb(self, coord, cell):
            time.sleep(0.02)  # for other threads to come between
            return self.level.expand(*coord.shape[:2], 3)

    up = Upscaler(Renderer(Remembering().eval()))
    grays = [np.full((4, 4), 10 * i, np.uint8) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: up.upscale(image, scale=2), grays))
    assert [int(image.mean()) for image in found] == [10 * i for i in range(8)]


def test_one_file_written_by_many_threads(up, tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    others = [load("bicubic", "cpu") for _ in range(4)]

    def write(one):
        return one.upscale(tmp_path / "a.png", scale=2, output=tmp_path / "b.png", overwrite=True)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, others * 2)) == {tmp_path / "b.png"}
    assert Image.open(tmp_path / "b.png").size == (16, 12)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


FORKING = """
import multiprocessing, threading, warnings
import numpy, torch
from rendering.upscaler import load

up = load("compact", "cpu")
image = numpy.random.default_rng(0).integers(0, 256, (48, 48, 3), numpy.uint8)
wanted = up.upscale(image, long_side=96)
assert torch.get_num_threads() == 2

def inherited(queue):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = [up.upscale(image, long_side=96) for _ in range(2)]
    loaded = load("compact", "cpu").upscale(image, long_side=96)
    same = all((result == wanted).all() for result in [*results, loaded])
    queue.put((same, [str(warning.message) for warning in told]))

fork = multiprocessing.get_context("fork")
held, done = threading.Event(), threading.Event()

def hold():
    with up._turns.lock:
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()  # so the lock is taken when the child is made
queue = fork.Queue()
child = fork.Process(target=inherited, args=(queue,), daemon=True)
child.start()
same, told = queue.get(timeout=60)
child.join()
done.set()
assert same
assert len(told) == 1 and "one thread" in told[0], told

warnings.simplefilter("ignore")
with fork.Pool(2) as pool:  # which sends the upscaler
    for result in pool.starmap_async(up.upscale, [(image, 2.0)] * 2).get(timeout=60):
        assert (result == wanted).all()
assert (up.upscale(image, long_side=96) == wanted).all()
assert torch.get_num_threads() == 2
"""


def test_a_forked_process_renders():
    """Torch alone would wait there for its threads for ever."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_a_model_on_a_gpu_is_refused_after_a_fork(monkeypatch):
    monkeypatch.setattr(rendering.turns, "_forked", True)
    gpu = Turns(torch.device("cuda"))
    with (
        pytest.raises(UserError, match=r"on cuda cannot be used after a fork.*spawn"),
        gpu.turn([]),
    ):
        pass


def test_an_upscaler_can_be_sent_to_another_process(up, plain):
    sent = pickle.loads(pickle.dumps(up))
    np.testing.assert_array_equal(sent.upscale(IMAGE, scale=2.3), plain)
