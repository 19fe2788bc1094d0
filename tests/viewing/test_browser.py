"""The page of view.py in a browser: what it shows is, pixel for pixel, what our own code renders.

python -m pytest -m browser

Needs Chromium, and playwright (requirements-dev.txt), which drives it.
"""

import io
import math
import random
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psutil
import pytest
from PIL import Image
from skimage import data

from tests.programs import succeeds

playwright = pytest.importorskip("playwright.sync_api")

from scripts.draw_view import CHROMIUM, chromium, serving  # noqa: E402
from tests.viewing.browser import Viewer, until  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
TIMES = "\N{MULTIPLICATION SIGN}"
STOPPED = "The server has stopped. Start view.py again, then this page goes on."
WIDE = {"viewport": {"width": 1100, "height": 449}}  # the canvas is 1100 x 400
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2}
TOUCH = {"has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.chelsea()[80:200, 120:280]).save(folder / "cat.png")
    Image.fromarray(data.astronaut()[80:120, 190:238]).save(folder / "eye.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    return folder


@pytest.fixture(scope="module")
def cat(folder):
    """160 x 120 pixels."""
    return folder / "cat.png"


@pytest.fixture(scope="module")
def eye(folder):
    """48 x 40 pixels."""
    return folder / "eye.png"


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def look(browser, served):
    """Open the page on a photograph; at the end, nothing may have gone wrong in it."""
    opened = []

    def open(path, address=served[1], **options):
        page = browser.new_page(**{**WIDE, **options})
        opened.append(Viewer(page, address, path))
        return opened[-1]

    yield open
    for viewer in opened:
        viewer.page.close()
        assert viewer.errors == []


def test_loads_and_becomes_exact(look, cat):
    viewer = look(cat)
    assert viewer.frame == {"left": 284, "top": 0, "H": 400, "W": 533}
    assert viewer.page.title() == "cat.png - view.py"
    assert viewer.page.text_content("#size") == f"160 {TIMES} 120"
    assert viewer.page.input_value("#scale") == "x3.33"
    assert viewer.note == ""
    assert viewer.page.get_attribute("#progress", "aria-valuetext") == "8 of 8"
    assert viewer.page.text_content("#said") == "cat.png at x3.33, fast, shown exactly"
    viewer.check_pixels(cat, "fast", "bicubic")


def test_pixels_at_x8(look, cat):
    viewer = look(cat)
    viewer.zoom_to(8)
    assert viewer.frame == {"left": -90, "top": -280, "H": 960, "W": 1280}
    viewer.check_pixels(cat, "fast", "bicubic")


def test_device_pixels_of_any_ratio(look, cat):
    viewer = look(cat, device_scale_factor=1.5)
    viewer.zoom_to(5.5)
    assert viewer.pixels().shape[:2] == (600, 1650)
    viewer.check_pixels(cat, "fast", "bicubic")


def test_zooms_by_wheel(look, eye):
    viewer = look(eye)
    whole = viewer.scale
    assert whole == 10
    x, y = 620, 150
    aim = viewer.photo_point(x, y)
    viewer.page.mouse.move(x, y)
    for _ in range(5):
        viewer.page.mouse.wheel(0, -100)
    wanted = float(f"{whole * math.exp(5 * 0.25):.7g}")
    until(lambda: abs(viewer.scale - wanted) < 1e-4)
    assert viewer.scale > 30
    viewer.settle()
    np.testing.assert_allclose(viewer.photo_point(x, y), aim, atol=1.5 / wanted)
    viewer.check_pixels(eye, "fast", "bicubic")
    for _ in range(20):
        viewer.page.mouse.wheel(0, -300)
    until(lambda: viewer.scale == 120)  # the most
    viewer.settle()


def test_zooms_by_keyboard(look, eye):
    viewer = look(eye)
    viewer.page.keyboard.press("1")
    until(lambda: viewer.scale == 1)
    for _ in range(9):
        viewer.page.keyboard.press("+")
    until(lambda: abs(viewer.scale - 1.5**9) < 1e-4)
    viewer.check_pixels(eye, "fast", "bicubic")
    left = viewer.frame["left"]
    viewer.page.keyboard.press("ArrowRight")
    viewer.settle()
    assert viewer.frame["left"] == left - 64
    viewer.page.keyboard.press("-")
    until(lambda: abs(viewer.scale - 1.5**8) < 1e-4)
    viewer.page.keyboard.press("0")
    until(lambda: viewer.scale == 10)
    viewer.settle()
    assert viewer.frame == {"left": 310, "top": 0, "H": 400, "W": 480}


def test_zooms_at_once_where_less_motion_is_asked_for(look, eye):
    viewer = look(eye, reduced_motion="reduce")
    viewer.page.keyboard.press("+")
    assert viewer.scale == 15
    viewer.page.locator("#canvas").dblclick(position={"x": 300, "y": 100})
    assert viewer.scale == 30


def test_pans_at_the_same_scale(look, cat):
    viewer = look(cat)
    viewer.zoom_to(8)
    before, asked = viewer.frame, []
    viewer.page.on("request", lambda request: asked.append(request.url))
    viewer.drag((700, 200), (730, 190))
    until(lambda: viewer.frame["left"] != before["left"])
    viewer.settle()
    assert viewer.frame == {**before, "left": -60, "top": -290}
    assert asked == []  # the blocks were there
    viewer.check_pixels(cat, "fast", "bicubic")


def test_drags_the_divider(look, cat):
    viewer = look(cat)
    viewer.zoom_to(4)
    viewer.drag((550, 100), (330, 100))
    viewer.check_pixels(cat, "fast", "bicubic", 0.3)
    divider = viewer.page.locator("#divider")
    assert divider.get_attribute("aria-valuenow") == "30"
    divider.press("ArrowRight")
    divider.press("ArrowRight")
    viewer.check_pixels(cat, "fast", "bicubic", 0.32)
    divider.press("End")
    viewer.check_pixels(cat, "fast", "bicubic", 1)
    divider.press("Home")
    viewer.check_pixels(cat, "fast", "bicubic", 0)
    viewer.page.click("#compare")
    assert viewer.page.is_hidden("#divider")
    viewer.check_pixels(cat, "fast")


def test_requests_what_is_seen_from_the_middle_on(look, cat):
    viewer = look(cat)
    asked = []
    viewer.page.on("request", lambda request: asked.append(request.url.split("/blocks/")[-1]))
    viewer.zoom_to(8)
    cols = {"bicubic": range(0, 3), "fast": range(2, 5)}  # 1100 + 90 of 1280 columns
    wanted = {
        f"{model}/960x1280/{row}/{col}"
        for model in cols
        for row in range(1, 3)
        for col in cols[model]
    }
    assert set(asked) == wanted
    assert len(asked) == len(wanted)
    distances = [abs(int(url.split("/")[3]) - 2) for url in asked]
    assert distances == sorted(distances)


def test_switches_models(look, cat):
    viewer = look(cat)
    viewer.page.click("#compare")
    viewer.check_pixels(cat, "fast")
    assert viewer.page.is_hidden("#strength")
    viewer.page.select_option("#models", "photo")
    viewer.check_pixels(cat, ("photo", 1.0))
    for _ in range(10):
        viewer.page.press("#strength", "ArrowLeft")
    assert viewer.page.text_content("#strength-value") == "0.5"
    viewer.check_pixels(cat, ("photo", 0.5))
    viewer.page.select_option("#models", "bicubic")
    viewer.check_pixels(cat, "bicubic")
    viewer.page.select_option("#models", "compact")
    viewer.check_pixels(cat, "compact")


@pytest.mark.parametrize("by", ["shift", "button"])
def test_saves_a_part(look, cat, tmp_path, by):
    viewer = look(cat)
    viewer.zoom_to(4)
    viewer.page.keyboard.press("Home")  # of no meaning here
    if by == "shift":
        viewer.page.keyboard.down("Shift")
        viewer.drag(viewer.point(30, 40), viewer.point(130, 100))
        viewer.page.keyboard.up("Shift")
    else:
        viewer.page.click("#save-part")
        for corner, point in ("Top left", (30, 40)), ("Bottom right", (130, 100)):
            box = viewer.page.get_by_label(f"{corner} corner").bounding_box()
            viewer.drag((box["x"] + 20, box["y"] + 20), viewer.point(*point))
    assert viewer.page.evaluate("part") == {"left": 30, "top": 40, "width": 100, "height": 60}
    assert viewer.page.input_value("#part-width") == "400"  # at the present scale
    assert viewer.page.text_content("#part-height") == f"{TIMES} 240 pixels"
    viewer.page.fill("#part-scale", "400")
    assert viewer.page.text_content("#too-large") == "At most 16.8 million pixels"
    assert viewer.page.is_disabled("#download")
    viewer.page.fill("#part-width", "333")
    assert viewer.page.input_value("#part-scale") == "3.33"
    assert viewer.page.text_content("#part-height") == f"{TIMES} 200 pixels"
    assert viewer.page.text_content("#too-large") == ""
    with viewer.page.expect_download() as waiting:
        viewer.page.click("#download")
    asked = [entry["name"] for entry in viewer.page.evaluate("performance.getEntries()")]
    [address] = [name for name in asked if "/part?" in name]
    query = parse_qs(urlsplit(address).query)
    assert query["region"] == ["40,30,60,100"]
    assert query["resolution"] == ["200,333"]
    assert waiting.value.suggested_filename == "cat-200x333.png"
    waiting.value.save_as(tmp_path / "saved.png")
    args = ["--region", "40,30,60,100", "--resolution", "200,333", "--output", "own.png"]
    succeeds(tmp_path, "demo.py", "--input", cat, *args)
    saved, own = (np.asarray(Image.open(tmp_path / name)) for name in ("saved.png", "own.png"))
    assert saved.shape == (200, 333, 3)
    np.testing.assert_array_equal(saved, own)


def test_many_quick_zooms(look, served, eye):
    viewer, chance = look(eye), random.Random(0)
    server = psutil.Process(served[0].pid)

    def zoom(times):
        for _ in range(times):
            viewer.page.mouse.move(chance.randrange(100, 1000), chance.randrange(20, 380))
            viewer.page.mouse.wheel(0, chance.choice([-250, 250]))
            viewer.page.wait_for_timeout(chance.choice([1, 1, 1, 1, 200]))
        viewer.zoom_to(12)

    zoom(100)
    before = server.memory_info().rss
    zoom(200)
    assert server.memory_info().rss < 1.1 * before
    assert viewer.page.evaluate("blocks.size") <= 256
    assert viewer.page.evaluate("flying.size + queue.length") == 0
    state = viewer.page.request.get(f"{viewer.address}api/status").json()
    assert state["waiting"] == 0
    viewer.check_pixels(eye, "fast", "bicubic")


def test_opens_what_is_dropped(look, cat, tmp_path):
    viewer = look(cat)
    viewer.drop("torn.png", b"\x89PNG torn")
    until(lambda: "torn.png" in viewer.note and "…" not in viewer.note)
    assert "\n" not in viewer.note
    assert viewer.page.get_attribute("#note", "class") == "error"
    assert viewer.page.text_content("#size") == f"160 {TIMES} 120"
    viewer.errors.clear()  # Chromium says itself that the server answered 400
    rocket = tmp_path / "rocket ä.png"
    Image.fromarray(data.rocket()[300:350, 400:470]).save(rocket)
    viewer.drop(rocket.name, rocket.read_bytes())
    until(lambda: viewer.page.text_content("#size") == f"70 {TIMES} 50")
    viewer.check_pixels(rocket, "fast", "bicubic")
    assert viewer.page.locator("#photos option:checked").text_content() == rocket.name
    with viewer.page.expect_file_chooser() as chooser:
        viewer.page.click("#open")
    coffee = io.BytesIO()
    Image.fromarray(data.coffee()[:30, :40]).save(coffee, "PNG")
    file = {"name": "coffee.png", "mimeType": "image/png", "buffer": coffee.getvalue()}
    chooser.value.set_files(file)
    until(lambda: viewer.page.text_content("#size") == f"40 {TIMES} 30")
    viewer.settle()


def test_says_what_cannot_be_read(look, cat):
    viewer = look(cat)
    viewer.page.select_option("#photos", "torn.jpg")
    until(lambda: "torn.jpg" in viewer.note)
    assert viewer.page.input_value("#photos") == "cat.png"
    assert viewer.page.locator("option[value='torn.jpg']").is_disabled()
    viewer.settle()


def test_goes_on_when_the_server_is_back(look, eye):
    with serving(eye) as (_, address):
        viewer = look(eye, address)
    viewer.page.keyboard.press("+")
    until(lambda: viewer.note == STOPPED)
    until(lambda: viewer.scale == 15)
    assert viewer.page.get_attribute("body", "data-exact") == "false"
    viewer.page.wait_for_timeout(1500)
    assert viewer.note == STOPPED
    with serving(eye, port=urlsplit(address).port):
        until(lambda: viewer.note == "")
        viewer.check_pixels(eye, "fast", "bicubic")
        assert all("ERR_CONNECTION" in error for error in viewer.errors)
        viewer.errors.clear()


def test_tries_again_when_the_server_is_busy(look, eye):
    viewer, refused = look(eye), []

    def answer(route):
        if len(refused) < 3:
            refused.append(route.request.url)
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    viewer.page.route("**/blocks/**", answer)
    viewer.zoom_to(15)
    assert len(refused) == 3
    viewer.check_pixels(eye, "fast", "bicubic")
    viewer.errors.clear()


def test_goes_on_when_a_block_fails(look, eye):
    viewer = look(eye)
    refusal = {"status": 500, "json": {"error": "that did not work"}}
    viewer.page.route("**/fast/600x720/1/1", lambda route: route.fulfill(**refusal))
    viewer.page.fill("#scale", "15")
    viewer.page.press("#scale", "Enter")
    until(lambda: viewer.note == "that did not work")
    progress = viewer.page.locator("#progress")
    until(lambda: progress.get_attribute("aria-valuetext") == "7 of 8")
    assert viewer.page.get_attribute("body", "data-exact") == "false"
    viewer.page.unroute_all()
    viewer.page.keyboard.press("+")
    until(lambda: viewer.scale == 22.5)
    viewer.check_pixels(eye, "fast", "bicubic")
    viewer.errors.clear()


def test_narrow_screen_with_touch(look, eye):
    viewer = look(eye, **PHONE, **TOUCH)
    page = viewer.page
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    assert viewer.pixels().shape[:2] == (1382, 720)
    viewer.check_pixels(eye, "fast", "bicubic")
    page.tap("#more-button")
    page.select_option("#models", "photo")
    for element in page.locator("button:visible, select:visible, input:visible").all():
        box = element.bounding_box()
        assert box["height"] >= 40 and box["width"] >= 40, element.get_attribute("id")
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360, element.get_attribute("id")
    page.select_option("#models", "fast")
    page.tap("#more-button")
    assert page.is_hidden("#models")
    aim = viewer.photo_point(180, 350)
    touch(page, [(180, 300), (180, 400)], [(180, 250), (180, 450)])
    until(lambda: abs(viewer.scale - 30) < 1e-4)  # the fingers are twice as far apart
    viewer.settle()
    np.testing.assert_allclose(viewer.photo_point(180, 350), aim, atol=0.05)
    touch(page, [(100, 300)], [(110, 340)])
    viewer.settle()
    np.testing.assert_allclose(viewer.photo_point(190, 390), aim, atol=0.05)
    x, y = center(page, "#grip")
    touch(page, [(x, y)], [(90, y)])
    viewer.check_pixels(eye, "fast", "bicubic", 0.25)


def touch(page, start, end, steps=4):
    """Move one or two fingers."""
    client = page.context.new_cdp_session(page)
    for step in range(steps + 1):
        points = [
            {"x": a + (c - a) * step / steps, "y": b + (d - b) * step / steps, "id": finger}
            for finger, ((a, b), (c, d)) in enumerate(zip(start, end, strict=True))
        ]
        name = "touchMove" if step else "touchStart"
        client.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": points})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def center(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_keyboard_only(look, cat):
    viewer = look(cat)
    press = viewer.page.keyboard.press
    visited = []
    for _ in range(12):
        press("Tab")
        visited.append(viewer.focus)
    bar = ["photos", "models", "compare", "save-part", "fullscreen", "out", "scale", "in", "whole"]
    assert visited == ["canvas", "divider", *bar, "open"]
    name = "(e) => (e.ariaLabel ?? e.labels?.[0]?.textContent ?? e.textContent).trim()"
    for element in viewer.page.locator("button, input, select, [tabindex]").all():
        assert element.get_attribute("type") == "file" or element.evaluate(name)
    for _ in range(5):
        press("Shift+Tab")
    assert viewer.focus == "fullscreen"
    press("Shift+Tab")
    press("Enter")
    assert viewer.focus == "part"
    before = viewer.page.evaluate("part")
    assert before == {"left": 32, "top": 24, "width": 96, "height": 72}
    press("ArrowRight")
    press("Shift+ArrowDown")
    moved = {"left": before["left"] + 1, "top": before["top"] + 10}
    assert viewer.page.evaluate("part") == {**before, **moved}
    press("Tab")  # the top left corner
    press("ArrowLeft")
    wider = {"left": before["left"], "width": before["width"] + 1}
    assert viewer.page.evaluate("part") == {**before, **moved, **wider}
    press("Escape")
    assert viewer.page.is_hidden("#save")
    viewer.page.focus("#scale")
    viewer.page.keyboard.type("x7,5")
    press("Enter")
    until(lambda: viewer.scale == 7.5)
    viewer.page.focus("#save-part")
    assert viewer.focus == "save-part"
    press("f")
    until(lambda: viewer.page.evaluate("document.fullscreenElement !== null"))
    press("f")
    until(lambda: viewer.page.evaluate("document.fullscreenElement === null"))
    viewer.settle()


def test_reload_keeps_the_view(look, cat):
    viewer = look(cat)
    viewer.page.select_option("#models", "photo")
    for _ in range(4):
        viewer.page.press("#strength", "ArrowLeft")
    viewer.drag((550, 100), (330, 100))
    viewer.page.mouse.move(700, 300)
    viewer.page.mouse.wheel(0, -123)
    until(lambda: viewer.scale > 4.5)
    viewer.page.wait_for_timeout(1000)
    viewer.settle()
    frame, pixels, address = viewer.frame, viewer.pixels(), viewer.page.url
    assert parse_qs(urlsplit(address).fragment)["strength"] == ["0.8"]
    viewer.page.reload()
    viewer.settle()
    assert viewer.page.url == address
    assert viewer.frame == frame
    np.testing.assert_array_equal(viewer.pixels(), pixels)
    viewer.check_pixels(cat, ("photo", 0.8), "bicubic", 0.3)


def test_window_changes(look, cat):
    viewer = look(cat)
    viewer.page.set_viewport_size({"width": 1000, "height": 289})
    until(lambda: viewer.frame["H"] == 240)  # still the whole
    viewer.check_pixels(cat, "fast", "bicubic")
    viewer.zoom_to(4)
    viewer.page.set_viewport_size({"width": 1100, "height": 349})
    until(lambda: viewer.pixels().shape[:2] == (300, 1100))
    assert viewer.scale == 4
    viewer.check_pixels(cat, "fast", "bicubic")


@pytest.mark.parametrize("width", [1045, 1040, 360])
def test_nothing_overlaps_in_the_bar(look, eye, width):
    viewer = look(eye, viewport={"width": width, "height": 200})
    viewer.page.evaluate("choose({ model: 'photo' })")
    controls = "button:visible, select:visible, input:visible, output:visible, #size:visible"
    boxes = [
        element.bounding_box() for element in viewer.page.locator(f"#bar :is({controls})").all()
    ]
    assert len(boxes) == (13 if width > 1040 else 6)
    ends = [box["x"] + box["width"] for box in boxes]
    assert all(end <= box["x"] for end, box in zip(ends, boxes[1:], strict=False))
    assert ends[-1] <= width
    viewer.settle()


def test_largest_pictures_stay_precise(look, cat):
    viewer = look(cat)
    viewer.page.evaluate("state.maxScale = 6000")
    viewer.page.evaluate("setView({ x: 160, y: 120, scale: 6000 })")
    frame, scale = viewer.page.evaluate("[frameOf(view), wholeScale()]")
    x = 80 * (2 - scale / 6000)  # as if zoomed about the right edge
    left = round(550 - x * 6000)
    assert frame == {"left": left, "top": 400 - 720000, "H": 720000, "W": 960000}
    last = viewer.page.evaluate("blocksOf(sides()[1], frameOf(view)).pop()")
    assert (last["row"], last["col"]) == (2812, 3749)  # 720000 = 2812 * 256 + 128
    assert (last["x"], last["y"]) == (left + 960000 - 256, 400 - 128)
    viewer.page.evaluate("glideTo(5)")
    viewer.settle()
    viewer.errors.clear()  # the server does not go that far
