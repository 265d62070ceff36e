"""The server as a browser and as an attacker sees it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitface.errors import BitfaceError
from bitface.jobs.people.try_ import TryRequest, serve_trial
from bitface.tryout import TryoutServer
from bitface.tryout.server import MOST_BYTES

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[TryoutServer]:
    with serve_trial(TryRequest(models / "model.bitface", models / "net.onnx")) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    server: TryoutServer,
    path: str = "",
    method: str = "GET",
    body: bytes | None = None,
    token: str = "",
    **headers: Any,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/{token or server.token}/{path}", body, named)
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_the_page_and_its_parts(server: TryoutServer) -> None:
    for path, kind in (("", "text/html"), ("style.css", "text/css"), ("script.js", "text/javascript")):
        status, headers, body = ask(server, path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert b"http://" not in body
        assert b"https://" not in body
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
    facts = json.loads(ask(server, "facts")[2])
    assert facts["title"] == "model.bitface beside net.onnx"


def test_a_comparison(server: TryoutServer, pictures: list[bytes]) -> None:
    status, _, body = ask(server, f"compare?first={len(pictures[0])}", "POST", b"".join(pictures), **BINARY)
    assert status == 200
    assert [one["kind"] for one in json.loads(body)["networks"]] == ["float", "integer"]
    status, _, body = ask(server, "compare?first=3", "POST", b"abcdef", **BINARY)
    assert (status, json.loads(body)["error"].partition(":")[0]) == (422, "the left picture")


def test_whoever_does_not_know_the_token_sees_nothing(server: TryoutServer) -> None:
    for path in ("", "facts", "script.js"):
        status, _, body = ask(server, path, token="x" * len(server.token))
        assert status == 404
        assert server.token.encode() not in body
    assert ask(server, "../server.py")[0] == 404
    assert ask(server, "%2e%2e/server.py")[0] == 404
    assert len(server.token) >= 32


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_name_for_this_machine_is_turned_away(server: TryoutServer, host: str) -> None:
    status, _, body = ask(server, "facts", Host=host.format(port=server.server_port))
    assert status == 421
    assert b"title" not in body


def test_the_machine_may_be_called_localhost(server: TryoutServer) -> None:
    assert ask(server, "facts", Host=f"localhost:{server.server_port}")[0] == 200


def test_other_pages_may_not_send_pictures(server: TryoutServer, pictures: list[bytes]) -> None:
    path, body = f"compare?first={len(pictures[0])}", b"".join(pictures)
    assert ask(server, path, "POST", body, **BINARY, Origin="http://evil.example")[0] == 403
    assert ask(server, path, "POST", body, **BINARY, Origin="null")[0] == 403
    assert ask(server, path, "POST", body, Content_Type="text/plain")[0] == 415
    assert ask(server, path, "POST", body, **BINARY, Origin=f"http://127.0.0.1:{server.server_port}")[0] == 200


def test_sizes_are_limited_before_anything_is_read(server: TryoutServer, pictures: list[bytes]) -> None:
    head = f"POST /{server.token}/compare?first=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    sizes = {f"Content-Length: {MOST_BYTES + 1}": "413", "Transfer-Encoding: chunked": "411"}
    sizes[f"Content-Length: {'9' * 5000}"] = "411"
    for size, status in sizes.items():
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as line:
            line.sendall(f"{head}Content-Type: application/octet-stream\r\n{size}\r\n\r\n".encode())
            assert line.makefile().readline().split()[1] == status
    body = b"".join(pictures)
    for first in ("", "0", "-1", str(len(body)), "1e3", "999999", "9" * 5000):
        assert ask(server, f"compare?first={first}", "POST", body, **BINARY)[0] == 400


def test_it_listens_here_alone_and_says_nothing(server: TryoutServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert server.server_address[0] == "127.0.0.1"
    ask(server)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(BitfaceError, match="can't be used"):
        TryoutServer(server.trial, server.server_port)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 0, "ended; nothing was stored"), (signal.SIGTERM, 143, "told to end (SIGTERM)")],
)
def test_how_it_is_ended_with_one_line(models: Path, number: int, code: int, said: str) -> None:
    program = [sys.executable, "-m", "bitface", "try", str(models / "model.bitface")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("http://127.0.0.1:")
        run.send_signal(number)
        try:
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()  # whoever doesn't end fails, and isn't waited for
    assert run.returncode == code
    assert said in (out if code == 0 else err)
    assert "Traceback" not in err
