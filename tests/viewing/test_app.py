import io
import json
import re
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from errors import UserError
from rendering.upscaler import load
from tests.programs import succeeds
from tests.viewing.conftest import PIXELS, new_site
from viewing import answers, work
from viewing.app import make_app
from viewing.blocks import Studio
from viewing.lattice import BLOCK


def pixels_of(response):
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


def composed(client, photo, model, counts, query=""):
    """All blocks of a photograph, put together."""
    rows = []
    for row in range(-(-counts[0] // BLOCK)):
        line = [
            pixels_of(
                client.get(
                    f"/api/photos/{photo}/blocks/{model}/{counts[0]}x{counts[1]}/{row}/{col}{query}"
                )
            )
            for col in range(-(-counts[1] // BLOCK))
        ]
        rows.append(np.concatenate(line, axis=1))
    return np.concatenate(rows)


@pytest.mark.parametrize("model", ["fast", "photo", "photo@0.5", "bicubic"])
def test_blocks_are_the_picture_of_demo(client, model):
    name, _, strength = model.partition("@")
    query = f"?strength={strength}" if strength else ""
    found = composed(client, "a%20b.png", name, (310, 455), query)
    np.testing.assert_array_equal(found, load(model).upscale(PIXELS, size=(310, 455)))


def test_below_its_own_size_no_network_runs(fresh):
    found = composed(fresh, "a%20b.png", "photo", (75, 110))
    np.testing.assert_array_equal(found, load("bicubic").upscale(PIXELS, size=(75, 110)))
    assert fresh.get("/api/status").json()["encoded"] == 0


def test_zooming_does_not_encode_again(fresh):
    for counts in ((300, 440), (310, 455), (1200, 1760)):
        fresh.get(f"/api/photos/a%20b.png/blocks/fast/{counts[0]}x{counts[1]}/0/0")
    status = fresh.get("/api/status").json()
    assert status["encoded"] == 1 and status["rendered"] == 3 and status["waiting"] == 0
    fresh.get("/api/photos/a%20b.png/blocks/fast/1200x1760/0/0")
    assert fresh.get("/api/status").json()["rendered"] == 3, "blocks are kept"


def test_a_part_is_the_file_of_demo(client, photographs, tmp_path):
    query = "region=20,30,60,90&resolution=222,333"
    response = client.get(f"/api/photos/alpha.png/part?model=photo&strength=0.5&{query}")
    name = "alpha-222x333.png"
    assert response.headers["content-disposition"].endswith(name)
    succeeds(
        tmp_path, "demo.py", "--input", photographs / "alpha.png", "--model", "photo@0.5",
        "--region", "20,30,60,90", "--resolution", "222,333", "--output", name,
    )  # fmt: skip
    assert response.content == (tmp_path / name).read_bytes()


def test_the_preview_is_the_whole_photograph(client):
    assert pixels_of(client.get("/api/photos/a%20b.png/preview")).shape == PIXELS.shape
    small = pixels_of(client.get("/api/photos/alpha.png/preview?size=110"))
    assert small.shape == (75, 110, 4)
    assert (small[:, :20, 3] == 0).all() and (small[:, 40:, 3] == 255).all()


def test_state(client):
    state = client.get("/api/state").json()
    assert [photo["name"] for photo in state["photos"]] == [
        "a b.png", "alpha.png", "broken.png", "gray.jpg"
    ]  # fmt: skip
    assert (state["photos"][0]["height"], state["photos"][0]["width"]) == PIXELS.shape[:2]
    has_strength = {model["name"]: model["strength"] for model in state["models"]}
    assert has_strength == {"fast": False, "photo": True, "compact": False, "bicubic": False}
    assert (state["model"], state["maxScale"], state["block"]) == ("fast", 32, BLOCK)
    photo = client.get("/api/photos/gray.jpg").json()
    assert (photo["height"], photo["width"]) == PIXELS.shape[:2]
    error = client.get("/api/photos/broken.png").json()["error"]
    assert error.startswith("broken.png: "), "not the path"


def test_an_upload_can_be_viewed(client):
    file = io.BytesIO()
    Image.fromarray(PIXELS[:40, :50]).save(file, "png")
    response = client.post("/api/photos?name=..%2F..%2Fetc%2Fmine.png", content=file.getvalue())
    assert response.status_code == 201
    made = response.json()
    assert (made["name"], made["height"], made["width"]) == ("mine.png", 40, 50)
    assert re.fullmatch("[0-9a-f]{32}", made["id"])
    found = composed(client, made["id"], "fast", (120, 150))
    expected = load("fast").upscale(np.ascontiguousarray(PIXELS[:40, :50]), size=(120, 150))
    np.testing.assert_array_equal(found, expected)
    assert client.get(f"/iiif/{made['id']}/info.json").status_code == 404, "only the page sees it"


def test_uploads_push_the_oldest_out(fresh, monkeypatch):
    monkeypatch.setattr("viewing.gallery.RECEIVED", 3)
    file = io.BytesIO()
    Image.fromarray(PIXELS[:20, :20]).save(file, "png")
    ids = [fresh.post("/api/photos", content=file.getvalue()).json()["id"] for _ in range(5)]
    there = [fresh.get(f"/api/photos/{id}").status_code for id in ids]
    assert there == [404, 404, 200, 200, 200]


def test_wrong_uploads(client, site, monkeypatch):
    before = [photo.id for photo in site.studio.gallery]
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        response = client.post("/api/photos?name=x.png", content=content)
        assert response.status_code == 400 and "x.png" in response.json()["error"]
    bomb = io.BytesIO()
    Image.new("1", (30000, 30000)).save(bomb, "png")
    response = client.post("/api/photos?name=bomb.png", content=bomb.getvalue())
    assert response.status_code == 400 and "900000000" not in response.json()["error"]
    assert "30000x30000" in response.json()["error"]
    monkeypatch.setattr(answers, "UPLOAD_BYTES", 1000)
    assert client.post("/api/photos", content=bytes(2000)).status_code == 413
    assert [photo.id for photo in site.studio.gallery] == before


@pytest.mark.parametrize(
    "path, status",
    [
        ("/api/photos/none.png/preview", 404),
        ("/api/photos/a%20b.png/blocks/nothing/300x440/0/0", 404),
        ("/api/photos/a%20b.png/blocks/..%2F..%2Fm/300x440/0/0", 404),
        ("/api/photos/a%20b.png/blocks/fast/300x440/2/0", 404),
        ("/api/photos/a%20b.png/blocks/fast/300x440/-1/0", 404),
        (f"/api/photos/a%20b.png/blocks/fast/300x440/{'1' * 5000}/0", 404),
        ("/api/photos/a%20b.png/part?model=fast&region=0,0,150,1&resolution=1,160000", 400),
        ("/api/photos/a%20b.png/blocks/fast/0x440/0/0", 400),
        ("/api/photos/a%20b.png/blocks/fast/999999x999999/0/0", 400),
        ("/api/photos/a%20b.png/blocks/fast/9999999999999x4/0/0", 400),
        ("/api/photos/a%20b.png/blocks/fast/300x440/0/0?strength=0.5", 400),
        ("/api/photos/a%20b.png/blocks/photo/300x440/0/0?strength=nan", 400),
        ("/api/photos/a%20b.png/blocks/photo/300x440/0/0?strength=2", 400),
        ("/api/photos/a%20b.png/part?model=fast&region=0,0,10&resolution=10,10", 400),
        ("/api/photos/a%20b.png/part?model=fast&region=0,0,10,1e9&resolution=10,10", 400),
        ("/api/photos/a%20b.png/part?model=fast&region=0,0,nan,inf&resolution=10,10", 400),
        ("/api/photos/a%20b.png/part?model=fast&region=0,0,10,10&resolution=99999,99999", 400),
        ("/api/photos/a%20b.png/part?model=fast", 400),
        ("/api/photos/a%20b.png/preview?size=0", 400),
        ("/api/photos/broken.png/preview", 400),
        ("/api/photos/..%2F..%2Fetc%2Fpasswd/preview", 404),
        ("/nothing", 404),
    ],
)
def test_wrong_addresses(client, path, status):
    response = client.get(path)
    assert response.status_code == status
    assert list(response.json()) == ["error"] and "\n" not in response.json()["error"]


@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "", "8.8.8.8", "[::2]:8000", "["]
)
def test_other_names_of_the_server_are_refused(client, host):
    assert client.get("/api/state", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_own_names_are_served(client, host):
    assert client.get("/api/status", headers={"Host": host}).status_code == 200


def test_other_sites_are_refused_but_for_iiif(client):
    for headers in (
        {"Origin": "http://evil.com"},
        {"Origin": "http://["},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.get("/api/state", headers=headers).status_code == 403
        assert client.post("/api/photos", content=b"x", headers=headers).status_code == 403
        response = client.get("/iiif/gray.jpg/info.json", headers=headers)
        assert response.headers["access-control-allow-origin"] == "*"
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/api/state", headers=link).status_code == 403
    own = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    response = client.get("/api/state", headers=own)
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_the_page_may_run_nothing_but_itself(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    [nonce] = set(re.findall(r"nonce-([\w-]+)", policy))
    assert f'nonce="{nonce}"' in response.text and "__NONCE__" not in response.text
    assert "unsafe" not in policy and "default-src 'none'" in policy
    assert nonce not in client.get("/").text


def test_after_a_failure_no_more_blocks_are_tried(fresh, monkeypatch):
    tried = []

    def fails(*_):
        tried.append(1)
        raise UserError("no")

    monkeypatch.setattr(Studio, "block", fails)
    assert iiif(fresh, "full/^1500,/0/default.png").status_code == 400
    time.sleep(0.3)
    assert len(tried) <= 4


def test_a_changed_file_is_read_again(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    site = new_site(tmp_path)
    with TestClient(make_app(site), base_url="http://localhost") as client:
        before = pixels_of(client.get("/api/photos/x.png/blocks/fast/300x440/0/0"))
        Image.fromarray(255 - PIXELS).save(tmp_path / "x.png")
        after = pixels_of(client.get("/api/photos/x.png/blocks/fast/300x440/0/0"))
    site.workers.close()
    assert np.abs(before.astype(int) - after).mean() > 50


def test_without_iiif(photographs, site):
    app = make_app(site, ["Photos.Example.org"], iiif=False)
    with TestClient(app, base_url="http://photos.example.ORG:80") as client:
        assert client.get("/iiif/gray.jpg/info.json").status_code == 404
        assert client.get("/api/status").status_code == 200


def test_too_many_requests_are_told_to_come_back(fresh, monkeypatch):
    monkeypatch.setattr(work, "WAITING", 0)
    response = fresh.get("/api/photos/a%20b.png/blocks/fast/300x440/0/0")
    assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
    response = fresh.get("/iiif/gray.jpg/full/max/0/default.jpg")
    assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
    assert response.headers["access-control-allow-origin"] == "*"


def test_what_takes_too_long_is_given_up(fresh, monkeypatch):
    monkeypatch.setattr(answers, "PATIENCE", 0.0)
    response = fresh.get("/api/photos/a%20b.png/blocks/fast/300x440/0/0")
    assert response.status_code == 504 and "retry-after" not in response.headers


def test_a_mistake_of_ours_is_one_line(fresh, monkeypatch, capsys):
    monkeypatch.setattr(Studio, "block", lambda *_: 1 / 0)
    response = fresh.get("/api/photos/a%20b.png/blocks/fast/300x440/0/0")
    assert response.status_code == 500 and "wrong in the server" in response.json()["error"]
    assert capsys.readouterr().err == "error: ZeroDivisionError: division by zero\n"


def iiif(client, rest, photo="a%20b.png"):
    return client.get(f"/iiif/{photo}/{rest}")


def test_iiif_tiles_that_meet_are_one_region(client):
    whole = pixels_of(iiif(client, "256,128,1024,512/512,256/0/default.png"))
    tiles = [
        pixels_of(iiif(client, f"{256 + x},128,256,512/128,256/0/default.png"))
        for x in range(0, 1024, 256)
    ]
    np.testing.assert_array_equal(np.concatenate(tiles, axis=1), whole)
    small = pixels_of(iiif(client, "0,0,1024,1024/64,64/0/default.png"))  # an eighth of x8: x1/2
    parts = [
        pixels_of(iiif(client, f"{x},0,512,1024/32,64/0/default.png")) for x in (0, 512)
    ]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), small)


def test_iiif_regions_are_those_of_demo(client):
    found = pixels_of(iiif(client, "160,80,480,400/240,200/0/default.png"))
    expected = load("fast").upscale(PIXELS, size=(200, 240), region=(10, 20, 50, 60))
    np.testing.assert_array_equal(found, expected)


def test_iiif_turns_and_qualities(client):
    plain = pixels_of(iiif(client, "0,0,400,200/100,50/0/default.png"))
    for text, turned in [
        ("90", np.rot90(plain, -1)),
        ("180", plain[::-1, ::-1]),
        ("270", np.rot90(plain)),
        ("!0", plain[:, ::-1]),
        ("!90", np.rot90(plain[:, ::-1], -1)),
    ]:
        found = pixels_of(iiif(client, f"0,0,400,200/100,50/{text}/default.png"))
        np.testing.assert_array_equal(found, turned)
    gray = pixels_of(iiif(client, "0,0,400,200/100,50/0/gray.png"))
    expected = np.asarray(Image.fromarray(plain).convert("L")).astype(int)
    assert gray.ndim == 2 and np.abs(gray - expected).max() <= 1
    black = pixels_of(iiif(client, "0,0,400,200/100,50/0/bitonal.png"))
    np.testing.assert_array_equal(black, np.where(gray < 128, 0, 255))


@pytest.mark.parametrize("photo", ["a%20b.png", "alpha.png", "gray.jpg"])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("quality", ["default", "gray", "bitonal"])
def test_iiif_formats(client, photo, kind, quality):
    response = iiif(client, f"full/30,20/0/{quality}.{kind}", photo)
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (30, 20)
    assert response.headers["content-type"] == f"image/{'jpeg' if kind == 'jpg' else kind}"
    if photo == "alpha.png" and kind == "jpg":  # put on white
        assert np.asarray(image.convert("L"))[:, :3].min() > 240


def test_iiif_links_and_description(client):
    response = iiif(client, "info.json")
    assert response.headers["content-type"].startswith("application/ld+json")
    info = response.json()
    assert info["id"] == "http://127.0.0.1:8000/iiif/a%20b.png"
    assert (info["width"], info["height"]) == (220 * 8, 150 * 8)
    plain = client.get("/iiif/a%20b.png/info.json", headers={"Accept": "application/json"})
    assert plain.headers["content-type"] == "application/json"
    assert json.loads(plain.content) == info
    response = client.get("/iiif/a%20b.png", follow_redirects=False)
    assert response.status_code == 303 and response.headers["location"] == f"{info['id']}/info.json"
    links = iiif(client, "pct:0,0,100,100/!90,60/0.0/color.jpg").headers["link"]
    assert f'<{info["id"]}/full/88,60/0/default.jpg>;rel="canonical"' in links
    assert '<http://iiif.io/api/image/3/level2.json>;rel="profile"' in links
    options = client.options("/iiif/a%20b.png/info.json", headers={"Origin": "http://a.b"})
    assert options.status_code == 204 and options.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "rest, status",
    [
        ("full/max/0/default.exe", 400),
        ("full/max/45/default.jpg", 501),
        ("full/99999,/0/default.jpg", 400),
        ("9999999,0,1,1/max/0/default.jpg", 400),
        ("full/^99999,99999/0/default.jpg", 400),
        ("full/max/0/native.jpg", 400),
        ("full/^17000,10/0/default.webp", 400),
        ("full/^10,66000/90/default.jpg", 400),
        ("full/^16777216,1/0/default.png", 400),
    ],
)
def test_wrong_iiif_addresses(client, rest, status):
    response = iiif(client, rest)
    assert response.status_code == status and "error" in response.json()
    assert response.headers["access-control-allow-origin"] == "*"


piece = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["full", "max", "^max", "nan", "inf", "-1", "1e999", "0,0,0,0", "..", "%2e%2e"]
    ),
    st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=5).map(
        lambda numbers: ",".join(map(str, numbers))
    ),
)


@given(st.lists(piece, min_size=1, max_size=6))
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_address_gets_the_better_of_the_server(client, capsys, pieces):
    from urllib.parse import quote

    for start in ("/iiif/gray.jpg/", "/iiif/", "/api/photos/gray.jpg/", "/api/photos/", "/"):
        path = start + "/".join(quote(each, safe=",^!:;") for each in pieces)
        response = client.get(path, follow_redirects=False)
        assert response.status_code in (200, 303, 307, 400, 404, 405, 501, 503), path
    assert capsys.readouterr().err == ""
