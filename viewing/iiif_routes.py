"""Answers of the IIIF Image API 3.0, level 2."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from urllib.parse import quote

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from rendering.writing import format_of
from viewing import iiif
from viewing.answers import unless_closed
from viewing.blocks import MAX_AREA
from viewing.images import encode_image, in_black_and_white, in_gray
from viewing.lattice import part_over
from viewing.site import Site

LINKED = f'application/ld+json;profile="{iiif.CONTEXT}"'


async def base(request: Request) -> Response:
    """Lead from the address of an image to its description."""
    _site(request).studio.gallery.named(request.path_params["id"])
    return RedirectResponse(f"{_address(request)}/info.json", 303)


async def info(request: Request) -> Response:
    """Describe an image."""
    site = _site(request)
    picture = await site.picture(site.studio.gallery.named(request.path_params["id"]))
    image = _image_size(picture.size, site.factor)
    content = iiif.information(_address(request), image, MAX_AREA)
    accepted = request.headers.get("accept", "")
    plain = "application/json" in accepted and "application/ld+json" not in accepted
    kind = "application/json" if plain else LINKED
    return JSONResponse(content, media_type=kind, headers={"Vary": "Accept"})


async def image(request: Request) -> Response:
    """Render what an address asks for."""
    site, asked = _site(request), request.path_params
    photograph = site.studio.gallery.named(asked["id"])
    picture = await site.picture(photograph)
    whole = _image_size(picture.size, site.factor)
    region = iiif.parse_region(asked["region"], whole)
    size = iiif.parse_size(asked["size"], region, whole, MAX_AREA)
    rotation = iiif.parse_rotation(asked["rotation"])
    quality, kind = iiif.parse_quality(asked["quality"])
    down, across = (Fraction(own, full) for own, full in zip(picture.size, whole, strict=True))
    seen = (region.top * down, region.left * across, region.height * down, region.width * across)
    part = part_over(picture.size, seen, size)
    longest = format_of(f"image.{kind}").max_side
    if max(size) > longest:
        raise iiif.RequestError(f"{kind} has at most {longest} pixels a side")

    async def rendered() -> bytes:
        pixels = await site.compose(photograph, site.choice, part)
        return await asyncio.to_thread(finish, pixels)

    def finish(pixels: np.ndarray) -> bytes:
        gray = quality in ("gray", "bitonal")
        return encode_image(_turned(_coloured(pixels, quality), rotation), kind, picture, gray)

    async with site.workers.place():
        data = await unless_closed(request, rendered())
    plain = iiif.canonical(region, size, rotation, whole, MAX_AREA)
    plain_quality = "default" if quality == "color" and picture.channels > 2 else quality
    links = (
        f'<{iiif.PROFILE}>;rel="profile", '
        f'<{_address(request)}/{plain}/{plain_quality}.{kind}>;rel="canonical"'
    )
    return Response(data, media_type=iiif.FORMATS[kind], headers={"Link": links})


async def allow(request: Request) -> Response:
    """Answer a browser that asks whether a page of others may read."""
    allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "*"}
    return Response(status_code=204, headers=allowed)


def _site(request: Request) -> Site:
    return request.app.state.site


def _address(request: Request) -> str:
    """Make the address of an image, as it was asked for."""
    return f"{request.base_url}iiif/{quote(request.path_params['id'], safe='')}"


def _image_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _coloured(pixels: np.ndarray, quality: str) -> np.ndarray:
    if quality == "bitonal":
        return in_black_and_white(pixels)
    return in_gray(pixels) if quality == "gray" else pixels


def _turned(pixels: np.ndarray, rotation: iiif.Rotation) -> np.ndarray:
    mirrored = pixels[:, ::-1] if rotation.mirrored else pixels
    return np.rot90(mirrored, -rotation.turns)


IMAGE = "/iiif/{id}/{region}/{size}/{rotation}/{quality}"
ROUTES = [
    Route("/iiif/{id}", base),
    Route("/iiif/{id}/info.json", info),
    Route(IMAGE, image),
    *(Route(path, allow, methods=["OPTIONS"]) for path in ("/iiif/{id}/info.json", IMAGE)),
]
