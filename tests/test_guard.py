"""The door of the web servers: pages of other sites, other names and strangers stay outside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from browser import page_says
from expunge.project.errors import ExpungeError
from expunge.project.guard import USER, Guard, origins_of
from project import ROOT

pytestmark = pytest.mark.slow

HOME = "http://127.0.0.1:4200"
PASSWORD = {"Authorization": "Basic " + base64.b64encode(f"{USER}:secret".encode()).decode()}


async def behind(scope: dict, receive: object, send: object) -> None:
    """An application that lets everybody in, from anywhere."""
    headers = [(b"access-control-allow-origin", b"*"), (b"content-type", b"text/plain"), (b"X-Frame-Options", b"ANY")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inside"})


def asked(method: str = "GET", password: str | None = None, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        guard = Guard(behind, origins_of(4200, ["https://expunge.example.org"]), password)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url=HOME) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, "/api/x", headers=named)

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "expunge.example.org", "LOCALHOST:4200"])
def test_it_answers_to_its_own_names(host: str) -> None:
    answer = asked(Host=host)
    assert (answer.status_code, answer.text) == (200, "inside")
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4200", "127.0.0.1", "127.0.0.1:4201", "localhost.evil", ""]
)
def test_a_name_that_was_bound_to_this_machine_is_refused(host: str) -> None:
    assert asked(Host=host).status_code == 403


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:8888", "https://127.0.0.1:4200", ""]
)
def test_a_page_of_another_origin_is_refused(method: str, origin: str) -> None:
    assert asked(method, Origin=origin).status_code == 403


def test_its_own_pages_and_programs_are_let_in() -> None:
    assert asked("POST", Origin=HOME, Sec_Fetch_Site="same-origin").status_code == 200
    assert asked("POST", Origin="http://localhost:4200", Sec_Fetch_Site="cross-site").status_code == 200
    assert asked("POST").status_code == 200


def test_embedding_from_elsewhere_is_refused_and_following_a_link_is_not() -> None:
    for kind in ("image", "script", "iframe", "empty"):
        assert asked(Sec_Fetch_Site="cross-site", Sec_Fetch_Dest=kind).status_code == 403
    assert asked(Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document").status_code == 200
    assert asked("POST", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document").status_code == 403


@pytest.mark.parametrize("given", ["", "Basic", "Basic !", "Basic ZXhwdW5nZTo=", "Bearer secret", "Basic c2VjcmV0"])
def test_only_who_knows_the_password_is_let_in(given: str) -> None:
    refused = asked(password="secret", **({"Authorization": given} if given else {}))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert asked(password="secret", **PASSWORD).text == "inside"


def test_a_socket_from_elsewhere_is_closed_before_it_opens() -> None:
    said = []

    async def connect() -> None:
        headers = [(b"host", b"127.0.0.1:4200"), (b"origin", b"https://evil.example")]

        async def send(message: dict) -> None:
            said.append(message)

        await Guard(behind, origins_of(4200))({"type": "websocket", "headers": headers}, None, send)

    asyncio.run(connect())
    assert said == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("origin", ["expunge.example.org", "https://x.org/path", "ftp://x.org", "*", "https://"])
def test_a_public_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(ExpungeError, match="is not an origin"):
        origins_of(4200, [origin])


class Victim(BaseHTTPRequestHandler):
    """A server on loopback that shares everything, with the guard's rules before it, and counts what came in."""

    came_in: list[str]
    port: int

    def _serve(self) -> None:
        async def receive() -> dict:
            return {"type": "http.request", "body": b""}

        async def send(message: dict) -> None:
            if message["type"] == "http.response.start":
                self.send_response(message["status"])
                for name, value in message["headers"]:
                    self.send_header(name.decode(), value.decode())
                self.end_headers()
            else:
                self.wfile.write(message["body"])

        async def app(scope: dict, receive: object, send: object) -> None:
            self.came_in.append(f"{self.command} {self.path}")
            await behind(scope, receive, send)

        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        scope = {"type": "http", "method": self.command, "path": self.path, "headers": headers}
        target = Guard(app, origins_of(self.port)) if self.path.startswith("/guarded") else app
        asyncio.run(target(scope, receive, send))

    do_GET = do_POST = do_OPTIONS = _serve

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def victim() -> Iterator[type[Victim]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Victim)
    Victim.came_in, Victim.port = [], server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Victim
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_real_browser_cannot_reach_it_from_a_page_of_another_site(victim: type[Victim]) -> None:
    """Without the guard the same page gets through: this is what shows that the attack is a real one."""
    for door, gets_in in (("open", True), ("guarded", False)):
        address = f"http://127.0.0.1:{victim.port}/{door}"
        said = page_says(
            f"""
            const tried = [
              fetch("{address}/read").then(a => a.text()),
              fetch("{address}/write", {{method: "POST", body: new Blob(["{{}}"])}}).then(a => a.text()),
              fetch("{address}/blind", {{method: "POST", mode: "no-cors", body: "{{}}"}}).then(a => a.type),
            ];
            (await Promise.allSettled(tried)).map(one => one.value || "refused").join(" ")
            """
        )
        assert said == ("inside inside opaque" if gets_in else "refused refused opaque")
        assert any(door in one for one in victim.came_in) == gets_in


@pytest.fixture
def record(tmp_path: Path) -> Iterator[str]:
    """The address of what `make ui` starts, of a project that has recorded nothing yet."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "expunge.lineage.mlflow.server", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert server.poll() is None, (tmp_path / "log").read_text()
            with contextlib.suppress(httpx.TransportError):
                httpx.get(address)
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_mlflow_answers_the_many_questions_of_its_first_page_and_none_of_another_site(
    record: str, tmp_path: Path
) -> None:
    password = (tmp_path / ".expunge" / "server-secret").read_text().strip()
    asked = f"{record}/ajax-api/2.0/mlflow/experiments/search"

    def ask(headers: dict[str, str], who: tuple[str, str] | None = (USER, password)) -> httpx.Response:
        return httpx.post(asked, json={"max_results": 10}, headers=headers, auth=who, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask({}), range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.json()["experiments"][0]["name"] for answer in answers} == {"Default"}
    assert ask({"Origin": "https://evil.example"}).status_code == 403
    assert ask({"Host": "evil.example"}).status_code == 403
    assert ask({}, None).status_code == 401
