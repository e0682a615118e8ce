"""Refusal of requests that come from other pages, and of pictures and scripts from elsewhere."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI middleware that refuses requests which other pages make a browser send, and adds `HEADERS` to answers.

    A page of another origin can send requests to this machine; the browser then names that origin. A page can also
    give its own host name this machine's address (DNS rebinding); the browser then sends that name as the host. While
    the server listens at a loopback address, no other host names than `LOCAL` and its own are accepted.

    Args:
        app: the application.
        host: address at which the server listens.
    """

    def __init__(self, app: ASGIApp, host: str):
        self.app = app
        self.hosts = {*LOCAL, host.lower()} if is_local(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        linked = scope["path"] == "/"  # a link of another page may lead here
        site = None if linked else headers.get("sec-fetch-site")
        allowed = self._allows(headers.get("host", ""), headers.get("origin"), site)
        app = self.app if allowed else PlainTextResponse("This address is not for other pages.", 403)
        await app(scope, receive, send_with_headers)

    def _allows(self, host: str, origin: str | None, site: str | None) -> bool:
        name = urlsplit(f"//{host}").hostname
        if not name or (self.hosts and name.lower() not in self.hosts):
            return False
        if origin is not None and urlsplit(origin).netloc != host:
            return False
        return site in (None, "same-origin", "none")


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
