"""Answers to requests, and what becomes of a request that is closed, late or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from viewing.work import RETRY

T = TypeVar("T")

PATIENCE = 120  # seconds that an answer may take
UPLOAD_BYTES = 2**28
UPLOAD_TIME = 600  # seconds that an upload may take
SLOW = 15  # seconds without a byte of an upload


class ClosedError(Exception):
    """The error of a request whose sender has gone."""


class TooMuchError(Exception):
    """The error of a request that sends too much."""


def refusal(message: str, status: int) -> Response:
    """Answer with one line that says what is wrong."""
    headers = {"Retry-After": str(RETRY)} if status == 503 else {}
    return JSONResponse({"error": message}, status, headers)


async def unless_closed(request: Request, work: Coroutine[Any, Any, T], patient: bool = False) -> T:
    """Await some work, but cancel it when the sender of the request goes.

    Args:
        patient: Whether it may take as long as it takes.

    Raises:
        ClosedError: If the sender has gone.
        TimeoutError: If it takes longer than `PATIENCE`.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_closed(request))
    timeout = None if patient else PATIENCE
    try:
        await asyncio.wait({task, gone}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClosedError
        raise TimeoutError
    finally:
        task.cancel()
        gone.cancel()


async def receive_body(request: Request) -> bytes:
    """Receive what a request sends.

    Raises:
        TooMuchError: If it is more than `UPLOAD_BYTES`.
        TimeoutError: If nothing comes for `SLOW` seconds, or not all within `UPLOAD_TIME`.
        ClosedError: If the sender has gone.
    """
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told[:20]) > UPLOAD_BYTES:
        raise TooMuchError
    received = bytearray()
    async with asyncio.timeout(UPLOAD_TIME):
        while True:
            message = await asyncio.wait_for(request.receive(), SLOW)
            if message["type"] == "http.disconnect":
                raise ClosedError
            received += message.get("body", b"")
            if len(received) > UPLOAD_BYTES:
                raise TooMuchError
            if not message.get("more_body"):
                return bytes(received)


async def _closed(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
