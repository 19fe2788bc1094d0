"""Protect the server from other pages in the same browser, and from too many requests.

A page of somebody else, open in the browser, can send requests to this machine. It cannot read the
answers, unless it makes its own name resolve to this machine (DNS rebinding): so the name that a
request is addressed to is checked. And it could make the machine work or store its files: so
requests that the browser marks as another site's are refused, except for IIIF images, which are
there for other pages.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viewing.answers import refusal

REQUESTS = 256  # at a time
SLOW = 30  # seconds in which a client must take a part of an answer
LOOPBACK = ("localhost", "127.0.0.1", "::1")
IIIF = "/iiif/"
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
OWN_HEADERS = [(b"cross-origin-resource-policy", b"same-origin")]
IIIF_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Link, Retry-After"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]


class Protection:
    """An application around another one, which answers what must not reach that.

    Args:
        hosts: Names that the server may be addressed by.
        any_address: Whether it may also be addressed by any IP address. These are as safe as names
            of ours: nobody can make an address resolve to something else.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], any_address: bool = False) -> None:
        self.hosts = {*LOOPBACK, *(_name_in(host) for host in hosts)}
        self.app, self.any_address = app, any_address
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        more = [*HEADERS, *(IIIF_HEADERS if scope["path"].startswith(IIIF) else OWN_HEADERS)]

        async def patient_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += more
            await asyncio.wait_for(send(message), SLOW)

        refused = self._refused(scope)
        if refused is not None:
            await refusal(*refused)(scope, receive, patient_send)
            return
        self.requests += 1
        try:
            await self.app(scope, receive, patient_send)
        except Exception as error:  # a mistake of ours, which has been answered
            print(f"error: {type(error).__name__}: {error}"[:500], file=sys.stderr)
        finally:
            self.requests -= 1

    def _refused(self, scope: Scope) -> tuple[str, int] | None:
        """Check a request; return what to answer if it is refused."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"this server is not {host[:60]!r}: see --allow-host", 421
        if self.requests >= REQUESTS:
            return "too many requests at a time", 503
        followed = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if scope["path"].startswith(IIIF) or followed:  # a link to the page shows nothing to others
            return None
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "this is not for other sites", 403
        if headers.get("origin", f"http://{host}").partition("://")[2] != host:
            return "this is not for other sites", 403
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_in(host)
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address


def _name_in(host: str) -> str:
    """Return the name of a host in lower case, without a port; nothing if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
