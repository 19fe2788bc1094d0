"""The application: addresses, and what is answered when something is wrong."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from errors import UserError
from viewing import iiif_routes, page_routes
from viewing.answers import ClosedError, TooMuchError, refusal
from viewing.gallery import UnknownError
from viewing.iiif import RequestError
from viewing.protection import Protection
from viewing.site import Site
from viewing.work import BusyError


def make_app(
    site: Site, hosts: Collection[str] = (), any_address: bool = False, iiif: bool = True
) -> ASGIApp:
    """Make the application of a server.

    Args:
        iiif: Whether to serve the photographs by IIIF as well.
        hosts, any_address: See `Protection`.
    """
    app = Starlette(
        routes=[*page_routes.ROUTES, *(iiif_routes.ROUTES if iiif else [])],
        exception_handlers={
            UserError: lambda _, error: refusal(str(error), 400),
            RequestError: lambda _, error: refusal(str(error), error.status),
            UnknownError: lambda _, error: refusal(f"there is no {str(error)[:60]!r} here", 404),
            HTTPException: lambda _, error: refusal(str(error.detail), error.status_code),
            TooMuchError: lambda *_: refusal("the file is too large", 413),
            BusyError: lambda *_: refusal("too much to do at the moment", 503),
            TimeoutError: lambda *_: refusal("this takes too long", 504),
            ClosedError: lambda *_: Response(status_code=499),
            Exception: lambda *_: refusal("something went wrong in the server", 500),
        },
    )
    app.state.site = site
    return Protection(app, hosts, any_address)
