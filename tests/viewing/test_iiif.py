"""Against the examples and rules of https://iiif.io/api/image/3.0/."""

import pytest

from viewing.iiif import (
    RequestError,
    canonical,
    information,
    parse_quality,
    parse_region,
    parse_rotation,
    parse_size,
)

IMAGE = (200, 300)  # height, width: the image of the specification's figures
AREA = 2**24


@pytest.mark.parametrize(
    "text, expected",
    [
        ("full", (0, 0, 300, 200)),
        ("square", (50, 0, 200, 200)),
        ("125,15,120,140", (125, 15, 120, 140)),
        ("pct:41.6,7.5,40,70", (125, 15, 120, 140)),
        ("125,15,200,200", (125, 15, 175, 185)),  # cut at the edge
        ("pct:41.6,7.5,66.6,100", (125, 15, 175, 185)),
        ("pct:50,50,0.0001,0.0001", (150, 100, 1, 1)),
        ("0,0,1,1", (0, 0, 1, 1)),
    ],
)
def test_regions(text, expected):
    assert parse_region(text, IMAGE) == expected


@pytest.mark.parametrize(
    "text",
    ["", "FULL", "1,2,3", "1,2,3,4,5", "300,0,10,10", "0,200,10,10", "0,0,0,10", "0,0,10,0",
     "-1,0,10,10", "a,b,c,d", "1.5,0,10,10", "pct:0,0,0,10", "pct:100,0,10,10", "nan,0,1,1",
     "1e3,0,1,1", "٣,0,1,1", "pct:1,2,3", "9" * 40 + ",0,1,1", "0,0,1,1 ", "0,0,1,1\n"],
)  # fmt: skip
def test_wrong_regions(text):
    with pytest.raises(RequestError, match="region") as caught:
        parse_region(text, IMAGE)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text, region, expected",
    [
        ("max", "full", (200, 300)),
        ("150,", "full", (100, 150)),
        (",150", "full", (150, 225)),
        ("pct:50", "full", (100, 150)),
        ("225,100", "full", (100, 225)),
        ("!225,100", "full", (100, 150)),
        ("^360,", "full", (240, 360)),
        ("^,240", "full", (240, 360)),
        ("^pct:120", "full", (240, 360)),
        ("^360,360", "full", (360, 360)),
        ("^!360,360", "full", (240, 360)),
        ("!150,1000", "full", (100, 150)),
        ("max", "0,0,30,40", (40, 30)),
        ("10,", "0,0,30,40", (13, 10)),
        ("!600,600", "full", (200, 300)),  # not larger than the region
        ("!99999,99999", "0,0,30,40", (40, 30)),
    ],
)
def test_sizes(text, region, expected):
    assert parse_size(text, parse_region(region, IMAGE), IMAGE, AREA) == expected


@pytest.mark.parametrize(
    "text",
    ["", "full", ",", "!,", "!10,", "0,", ",0", "0,0", "pct:0", "pct:101", "301,", ",201", "301,10",
     "-5,", "5.5,", "^", "^^5,", "pct:x", "1,1,1", "1000000000000,", "^99999,99999",
     "^99999999,"],
)  # fmt: skip
def test_wrong_sizes(text):
    with pytest.raises(RequestError, match="size"):
        parse_size(text, parse_region("full", IMAGE), IMAGE, AREA)


def test_the_maximum_is_as_large_as_may_be():
    region = parse_region("full", IMAGE)
    assert parse_size("^max", region, IMAGE, 240000) == (400, 600)
    assert parse_size("max", region, IMAGE, 15000) == (100, 150)
    height, width = parse_size("max", parse_region("full", (9000, 12001)), (9000, 12001), AREA)
    assert height * width <= AREA < (height + 2) * (width + 2)
    assert parse_size("^!99999,99999", region, IMAGE, 240000) == (400, 600)
    assert height / width == pytest.approx(9000 / 12001, rel=1e-3)


def test_rotations():
    assert [tuple(parse_rotation(text)) for text in ("0", "90", "!180", "270.0", "360", "!0")] == [
        (False, 0), (False, 1), (True, 2), (False, 3), (False, 0), (True, 0)
    ]  # fmt: skip
    for text, status in [("22.5", 501), ("361", 400), ("-90", 400), ("", 400), ("!!0", 400)]:
        with pytest.raises(RequestError, match="rotation") as caught:
            parse_rotation(text)
        assert caught.value.status == status


def test_qualities():
    assert parse_quality("default.jpg") == ("default", "jpg")
    assert parse_quality("bitonal.webp") == ("bitonal", "webp")
    for text in ("default", "default.", "native.jpg", "default.exe", ".jpg", "default.JPG"):
        with pytest.raises(RequestError):
            parse_quality(text)


@pytest.mark.parametrize(
    "region, size, rotation, expected",
    [
        ("full", "max", "0", "full/max/0"),
        ("0,0,300,200", "300,200", "0.0", "full/max/0"),
        ("pct:0,0,100,100", "150,", "!90", "full/150,100/!90"),
        ("full", "^max", "0", "full/^max/0"),
        ("10,20,50,50", "^100,", "180", "10,20,50,50/^100,100/180"),
        ("square", "pct:50", "360", "50,0,200,200/100,100/0"),
    ],
)
def test_canonical_addresses(region, size, rotation, expected):
    part = parse_region(region, IMAGE)
    counts = parse_size(size, part, IMAGE, AREA)
    assert canonical(part, counts, parse_rotation(rotation), IMAGE, AREA) == expected


def test_information():
    made = information("http://here/iiif/a", (9000, 12000), AREA)
    assert made["id"] == "http://here/iiif/a" and made["profile"] == "level2"
    assert (made["width"], made["height"], made["maxArea"]) == (12000, 9000, AREA)
    assert made["sizes"][:2] == [{"width": 375, "height": 282}, {"width": 750, "height": 563}]
    assert all(size["width"] * size["height"] <= AREA for size in made["sizes"])
    [tiles] = made["tiles"]
    assert tiles["scaleFactors"] == [1, 2, 4, 8, 16, 32]
    assert max(12000, 9000) <= tiles["width"] * tiles["scaleFactors"][-1]
