"""The door of the web servers that Expunge starts: who may speak to them from a browser.

A server on loopback is open to every page in the user's browser: a page can send it requests, and by DNS rebinding
(a name of its own that suddenly leads to 127.0.0.1) read the answers. So requests must name the server by an address
it knows, must not come from a page of another origin, and carry a password where the server itself asks for none.
Rules as in the OWASP cheat sheet on cross-site request forgery: Host, Origin, Fetch Metadata.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from expunge.project.errors import ExpungeError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
USER = "expunge"
"""The user name to which the password belongs."""
HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
"""No other page may frame an answer, guess its type, or learn an address within."""
OWN_SOURCES = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""What a page may load: what is its own, however it was built. Prefect's pages ask a company for their settings
whenever they are opened, with analytics switched off as well; a page about deletion requests tells nobody."""


def origins_of(port: int, public: Iterable[str] = ()) -> tuple[str, ...]:
    """The origins of a server on loopback: those of its port, and the `public` ones of a reverse proxy before it.

    Raises:
        ExpungeError: a public origin is not a scheme with a host, such as https://expunge.example.org.
    """
    for origin in public:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise ExpungeError(f"{origin!r} is not an origin; write it as https://expunge.example.org.")
    return (*public, f"http://{LOOPBACK}:{port}", f"http://localhost:{port}")


class Guard:
    """An ASGI application that lets through to another one what comes from these origins.

    Args:
        app: the application behind.
        origins: as `origins_of` gives them; their hosts are the addresses by which the server may be called.
        password: of `USER`, asked for by HTTP basic authentication; None where the application asks by itself.
    """

    def __init__(self, app: App, origins: Sequence[str], password: str | None = None) -> None:
        self._app = app
        self._origins = {origin.encode() for origin in origins}
        self._hosts = {urlsplit(origin).netloc.encode() for origin in origins}
        self._credentials = f"{USER}:{password}".encode() if password else None
        known = " ".join(f"{origin} {origin.replace('http', 'ws', 1)}" for origin in origins)
        policy = f"default-src {OWN_SOURCES} {known}; frame-ancestors 'none'"
        self._headers = (*HEADERS, (b"content-security-policy", policy.encode()))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif problem := self._problem(scope):
            await _refuse(scope, send, self._headers, *problem)
        else:
            await self._app(scope, receive, _with_headers(send, self._headers))

    def _problem(self, scope: Message) -> tuple[int, str] | None:
        """Status and reason of a refusal."""

        def header(name: bytes) -> list[bytes]:
            return [value for key, value in scope["headers"] if key.lower() == name]

        hosts, origins = header(b"host"), header(b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 403, "This server is not known by that name."
        if any(origin not in self._origins for origin in origins):
            return 403, "Pages of other sites may not use this server."
        # A browser names no origin where a page embeds or merely fetches; it says then where the page comes from.
        # Following a link from elsewhere is allowed: it shows a page and changes nothing.
        foreign = [value for value in header(b"sec-fetch-site") if value not in (b"same-origin", b"none")]
        follows_link = scope.get("method") == "GET" and header(b"sec-fetch-dest") == [b"document"]
        if foreign and not origins and not follows_link:
            return 403, "Pages of other sites may not use this server."
        if self._credentials and not self._knows_password(header(b"authorization")):
            return 401, "Sign in with the user and the password of this project."
        return None

    def _knows_password(self, authorization: list[bytes]) -> bool:
        scheme, _, encoded = (authorization or [b""])[0].partition(b" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == b"basic" and hmac.compare_digest(given, self._credentials or b"")


def _with_headers(send: Send, headers: Headers) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name for name, _ in headers}
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in ours]
            message["headers"] = [*kept, *headers]
        await send(message)

    return sending


async def _refuse(scope: Message, send: Send, ours: Headers, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *ours]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="expunge", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
