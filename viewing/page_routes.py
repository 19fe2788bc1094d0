"""Answers to the page: what there is to see, blocks of it, and parts to save."""

from __future__ import annotations

import asyncio
import io
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO
from urllib.parse import quote

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from errors import UserError
from rendering.grid import LARGEST, Region
from rendering.job import Wanted, render_picture
from rendering.picture import Picture
from rendering.tiles import Renderer
from rendering.writing import format_of
from viewing.answers import ClosedError, receive_body, refusal, unless_closed
from viewing.blocks import MAX_AREA, check_work
from viewing.gallery import Photograph, UnknownError
from viewing.images import encode_image
from viewing.lattice import BLOCK, Grid, Part
from viewing.offer import PLAIN, Choice
from viewing.site import Site

PAGE = Path(__file__).with_name("page.html")
PREVIEW = 2048  # longer side of what a page shows first
FARTHEST = 4  # how many times as far as `Site.factor` a page zooms


def site_of(request: Request) -> Site:
    return request.app.state.site


async def index(request: Request) -> Response:
    """The page itself; nothing else may run in it."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    html = PAGE.read_text("utf-8").replace("__NONCE__", nonce)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


async def state(request: Request) -> Response:
    """What there is: photographs, models, limits."""
    site = site_of(request)
    first = next(iter(site.studio.gallery), None)
    size = {} if first is None else await _described(site, first)
    photographs: list[dict[str, Any]] = [
        {"id": each.id, "name": each.name} | (size if each is first else {})
        for each in site.studio.gallery
    ]
    models = [
        {"name": name, "strength": each.has_strength} for name, each in site.studio.models.items()
    ]
    return JSONResponse(
        {
            "photos": photographs,
            "models": models,
            "model": site.choice.model,
            "strength": site.choice.strength,
            "instance": site.instance,
            "maxScale": site.factor * FARTHEST,
            "block": BLOCK,
            "maxArea": MAX_AREA,
        }
    )


async def photograph(request: Request) -> Response:
    """The size of a photograph, or why it cannot be read."""
    site = site_of(request)
    found = site.studio.gallery.find(request.path_params["id"])
    return JSONResponse(await _described(site, found))


async def upload(request: Request) -> Response:
    """Take a photograph that was dropped on the page."""
    site, name = site_of(request), request.query_params.get("name", "")
    async with site.receiving:  # few at a time, as each takes memory
        data = await receive_body(request)
        received = await asyncio.to_thread(site.studio.gallery.receive, name, data)
    return JSONResponse(await _described(site, received), 201)


async def preview(request: Request) -> Response:
    """The whole photograph, no longer than `PREVIEW` and not enlarged."""
    site = site_of(request)
    found = site.studio.gallery.find(request.path_params["id"])
    longest = _count(request.query_params.get("size", str(PREVIEW)), "size", PREVIEW)
    picture = await site.picture(found)
    factor = min(1.0, longest / max(picture.size))
    height, width = (max(1, round(side * factor)) for side in picture.size)
    part = Part(Grid.whole(picture.size, (height, width)), range(height), range(width))
    kind = "jpg" if picture.opaque else "png"
    return await _composed(request, found, Choice(PLAIN), part, kind)


async def block(request: Request) -> Response:
    """One block of the photograph at a scale."""
    site, asked = site_of(request), request.path_params
    found = site.studio.gallery.find(asked["id"])
    choice = _choice(site, asked["model"], request.query_params.get("strength"))
    picture = await site.picture(found)
    height, width = (_count(asked[name], name, LARGEST) for name in ("height", "width"))
    if max(height / picture.size[0], width / picture.size[1]) > site.factor * FARTHEST * 1.01 + 1:
        raise UserError(f"{height}x{width} pixels: zoomed in too far")
    grid = Grid.whole(picture.size, (height, width))
    numbers = (int(asked[name]) if len(asked[name]) < 10 else LARGEST for name in ("row", "col"))
    rows, cols = (
        range(number * BLOCK, min((number + 1) * BLOCK, count))
        for number, count in zip(numbers, (height, width), strict=True)
    )
    if not (rows and cols):
        return refusal("there is no such block", 404)
    site.encode_ahead(found, choice)
    return await _composed(request, found, choice, Part(grid, rows, cols), "png")


async def saved_part(request: Request) -> Response:
    """A part of the photograph as a file, the same as demo.py makes."""
    site, query = site_of(request), request.query_params
    found = site.studio.gallery.find(request.path_params["id"])
    choice = _choice(site, query.get("model", ""), query.get("strength"))
    height, width = (_count(text, "resolution", LARGEST) for text in _split(query, "resolution", 2))
    if height * width > MAX_AREA:
        raise UserError(f"{height}x{width} pixels are more than the {MAX_AREA} allowed here")
    region = Region(*(_number(text, "region") for text in _split(query, "region", 4)))
    check_work((height, width), (region.height, region.width))
    wanted = Wanted(resolution=(height, width), region=region)
    picture = await site.picture(found)
    unwanted = threading.Event()

    def render() -> bytes:
        kept = site.studio.renderer(choice)
        renderer = Renderer(kept.model, kept.norm)
        renderer.memory = kept.memory  # measured while nothing else ran
        return _file(renderer, picture, wanted, unwanted)

    async with site.workers.place():
        try:
            data = await unless_closed(request, site.workers.run(render), patient=True)
        finally:
            unwanted.set()
    name = quote(f"{PurePath(found.name).stem}-{height}x{width}.png")
    return _image(data, "png", {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})


async def _composed(
    request: Request, photograph: Photograph, choice: Choice, part: Part, kind: str
) -> Response:
    """Answer with a part of a photograph, as it is shown."""
    site = site_of(request)
    picture = await site.picture(photograph)

    async def rendered() -> bytes:
        pixels = await site.compose(photograph, choice, part)
        return await asyncio.to_thread(encode_image, pixels, kind, picture)

    async with site.workers.place():
        return _image(await unless_closed(request, rendered()), kind)


async def status(request: Request) -> Response:
    """What has been done so far, and what is kept."""
    site = site_of(request)
    studio = site.studio
    return JSONResponse(
        {
            "encoded": studio.tiles.made,
            "rendered": studio.blocks.made,
            "waiting": site.workers.requests,
            "bytes": round(studio.bytes),
        }
    )


def _file(renderer: Renderer, picture: Picture, wanted: Wanted, unwanted: threading.Event) -> bytes:
    """Make the file of a part; give up when it is unwanted."""
    made = io.BytesIO()

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield made

    def go_on(*_: object) -> None:
        if unwanted.is_set():
            raise ClosedError

    render_picture(renderer, picture, opened(), format_of("part.png"), wanted, go_on)
    return made.getvalue()


async def _described(site: Site, photograph: Photograph) -> dict[str, Any]:
    made: dict[str, Any] = {"id": photograph.id, "name": photograph.name}
    try:
        picture = await site.picture(photograph)
    except UserError as error:
        return made | {"error": str(error)}
    height, width = picture.size
    return made | {"width": width, "height": height, "notes": list(picture.notes)}


def _choice(site: Site, model: str, strength: str | None) -> Choice:
    """Check a model and its strength.

    Raises:
        UnknownError: If the model is not offered.
        UserError: If the strength is not from 0 to 1, or the model has none.
    """
    if model not in site.studio.models:
        raise UnknownError(model)
    offered = site.studio.models[model]
    if strength is None:
        return Choice(model)
    if not offered.has_strength:
        raise UserError(f"{model}: has no strength")
    number = _number(strength, "strength")
    if number > 1:
        raise UserError(f"strength {strength[:40]!r}: expected a number from 0 to 1")
    return Choice(model, number)


def _split(query: Any, name: str, count: int) -> list[str]:
    parts = query.get(name, "").split(",")
    if len(parts) != count:
        raise UserError(f"{name}: expected {count} numbers")
    return parts


def _number(text: str, name: str) -> float:
    """Parse a number from 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < LARGEST:
        raise UserError(f"{name} {text[:40]!r}: expected a number from 0")
    return number


def _count(text: str, name: str, most: int) -> int:
    """Parse a whole number from 1 to ``most``."""
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and 1 <= int(text) <= most):
        raise UserError(f"{name} {text[:40]!r}: expected a whole number from 1 to {most}")
    return int(text)


def _image(data: bytes, kind: str, headers: dict[str, str] | None = None) -> Response:
    kinds = {"jpg": "image/jpeg", "png": "image/png"}
    return Response(data, media_type=kinds[kind], headers=headers)


class Digits(Convertor[str]):
    """A number of any length in an address."""

    regex = "[0-9]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("digits", Digits())

ROUTES = [
    Route("/", index),
    Route("/api/state", state),
    Route("/api/status", status),
    Route("/api/photos", upload, methods=["POST"]),
    Route("/api/photos/{id}", photograph),
    Route("/api/photos/{id}/preview", preview),
    Route("/api/photos/{id}/part", saved_part),
    Route("/api/photos/{id}/blocks/{model}/{height}x{width}/{row:digits}/{col:digits}", block),
]
