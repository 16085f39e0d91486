"""The protocols over HTTP: `expunge serve`. On loopback only; a reverse proxy with TLS offers it to others.

Bodies are small, senders are limited in number of requests, and an error never repeats what was sent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import limits
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool

from expunge.intake.protocols import drp, iab, opendsr
from expunge.intake.protocols.callbacks import call_back, http_client
from expunge.intake.protocols.office import Office, Reply, SenderRefused
from expunge.intake.protocols.signing import Seal, open_seal
from expunge.intake.settings import ServeParams
from expunge.project.errors import ExpungeError
from expunge.project.guard import LOOPBACK, Guard, origins_of
from expunge.project.paths import Paths

MAX_BODY = 64 << 10
"""Bytes of a request; those of the three protocols have a few hundred."""
VERSIONS = {"v1": ("1.0", "opengdpr_requests"), "v2": ("2.0", "requests")}
"""Start of the path → version of OpenDSR, and what its requests are called there."""
log = logging.getLogger(__name__)


def serve(paths: Paths, params: ServeParams, port: int) -> None:
    """Serve until interrupted.

    Raises:
        ExpungeError: no sender is registered, or the certificate is missing.
    """
    if not (params.controllers or params.agents or params.participants):
        raise ExpungeError(
            "Nobody may send requests yet: name controllers, agents or participants under `serve` in params.yaml."
        )
    address = params.public or f"http://{LOOPBACK}:{port}"
    seal = open_seal(paths, params, urlsplit(address).hostname or LOOPBACK)
    app = create_app(Office(paths, params), seal, address)
    guarded = Guard(app, origins_of(port, [params.public] if params.public else []))
    print(f"Deletion requests are taken at {address} (listening on {LOOPBACK}:{port}). Ctrl-C stops.", flush=True)
    uvicorn.run(guarded, host=LOOPBACK, port=port, log_level="warning", server_header=False)


def create_app(office: Office, seal: Seal, address: str) -> FastAPI:
    """The web application; while it runs, callbacks are sent."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        caller = threading.Thread(target=_keep_calling, args=(office, seal, stop), daemon=True)
        caller.start()
        yield
        stop.set()
        await run_in_threadpool(caller.join, 15)

    # Without its own pages: nothing here is for browsers.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    limiter = MovingWindowRateLimiter(MemoryStorage())
    rate = limits.RateLimitItemPerMinute(office.params.per_minute)

    def limited(sender: str) -> str:
        if not limiter.hit(rate, sender):
            raise SenderRefused(429, "Too many requests; wait a minute.")
        return sender

    _add_opendsr(app, office, seal, address, limited)
    _add_drp(app, office, limited)
    _add_iab(app, office, seal, address, limited)
    return app


def _add_opendsr(app: FastAPI, office: Office, seal: Seal, address: str, limited: Callable[[str], str]) -> None:
    def sender(request: Request) -> str:
        # Before the token is looked at, so that guessing tokens is slow.
        limited(f"{opendsr.NAME} from {_client(request)}")
        return limited(opendsr.controller(office, request.headers.get("authorization", "")))

    @app.get("/cert.pem")
    def certificate() -> Response:
        return Response(seal.certificate, media_type="application/x-pem-file")

    for start, (version, noun) in VERSIONS.items():
        _add_version(app, office, seal, address, sender, start, version, noun)


def _add_version(
    app: FastAPI,
    office: Office,
    seal: Seal,
    address: str,
    sender: Callable[[Request], str],
    start: str,
    version: str,
    noun: str,
) -> None:
    @app.get(f"/{start}/discovery")
    def discovery() -> dict[str, Any]:
        return opendsr.discovery(office, address, version)

    @app.post(f"/{start}/{noun}")
    def post(request: Request, body: Body) -> Response:
        return _answered(opendsr.error, lambda: opendsr.receive(office, seal, sender(request), body, version))

    @app.get(f"/{start}/{noun}/{{number}}")
    @app.get(f"/{start}/status/{{number}}")
    def get(request: Request, number: str) -> Response:
        def reply() -> Reply:
            entry = office.find(opendsr.NAME, sender(request), number)
            return opendsr.signed(seal, opendsr.status(office, entry, office.record(entry)), version)

        return _answered(opendsr.error, reply)

    @app.delete(f"/{start}/{noun}/{{number}}")
    def delete(request: Request, number: str) -> Response:
        return _answered(
            opendsr.error,
            lambda: opendsr.cancel(office, seal, office.find(opendsr.NAME, sender(request), number)),
        )


def _add_drp(app: FastAPI, office: Office, limited: Callable[[str], str]) -> None:
    def sender(request: Request) -> str:
        limited(f"{drp.NAME} from {_client(request)}")
        return limited(drp.agent_of(office, request.headers.get("authorization", "")))

    @app.post("/v1/agent/{agent}")
    def token(request: Request, agent: str, body: Body) -> Response:
        try:
            limited(f"{drp.NAME} from {_client(request)}")
            return _response(drp.token(office, agent, body))
        except SenderRefused as refused:
            # § 2.05.1: without a body.
            return Response(status_code=429 if refused.status == 429 else 403)

    @app.get("/v1/agent/{agent}")
    def information(request: Request, agent: str) -> Response:
        def reply() -> Reply:
            if sender(request) != agent:
                raise SenderRefused(403, "The token is another agent's.")
            return Reply(200, b"{}")

        return _answered(drp.error, reply)

    @app.post("/v1/data-rights-request")
    @app.post("/v1/data-rights-request/")
    def exercise(request: Request, body: Body) -> Response:
        return _answered(drp.error, lambda: drp.exercise(office, sender(request), body))

    @app.get("/v1/data-rights-request/{number}")
    def status(request: Request, number: str) -> Response:
        def reply() -> Reply:
            entry = office.find(drp.NAME, sender(request), number)
            return drp.answer(drp.status(office, entry, office.record(entry)))

        return _answered(drp.error, reply)

    @app.delete("/v1/data-rights-request/{number}")
    def revoke(request: Request, number: str, body: Body) -> Response:
        return _answered(drp.error, lambda: drp.revoke(office, office.find(drp.NAME, sender(request), number), body))


def _add_iab(app: FastAPI, office: Office, seal: Seal, address: str, limited: Callable[[str], str]) -> None:
    @app.get("/dsrdelete.json")
    def resource() -> dict[str, Any]:
        return iab.resource(office, seal, address)

    @app.post(iab.ROUTE)
    def receive(request: Request, body: Body) -> Response:
        def reply() -> Reply:
            limited(f"{iab.NAME} from {_client(request)}")
            return iab.receive(office, seal, body)

        return _answered(drp.error, reply)


async def _body(request: Request) -> bytes:
    """The body, of at most `MAX_BODY` bytes; more of it is not read."""
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > MAX_BODY:
            # Where a body is too long to be read, its sender is not known either: no protocol's own error is due.
            raise HTTPException(413, f"A request has at most {MAX_BODY >> 10} KiB.")
    return found


Body = Annotated[bytes, Depends(_body)]


def _answered(error: Callable[[SenderRefused], Reply], reply: Callable[[], Reply]) -> Response:
    try:
        return _response(reply())
    except SenderRefused as refused:
        return _response(error(refused))
    except ExpungeError as trouble:
        # Nothing was acknowledged: the sender has to try again, and the operator to look.
        log.error("A request could not be recorded: %s", trouble)
        return _response(error(SenderRefused(503, "The request could not be recorded; send it again later.")))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers, "application/json")


def _client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _keep_calling(office: Office, seal: Seal, stop: threading.Event) -> None:
    with http_client() as client:
        while not stop.wait(office.params.poll_seconds):
            try:
                call_back(office, seal, client)
            except ExpungeError as trouble:
                log.error("Senders could not be told: %s", trouble)
