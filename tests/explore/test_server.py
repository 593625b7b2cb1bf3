"""Who gets an answer from the explorer, and to what."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aegean.errors import ConfigError
from aegean.explore import Explorer
from aegean.explore.page import render_page
from test_session import session_of

JSON = {"Content-Type": "application/json"}
EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def explorer() -> Iterator[Explorer]:
    with Explorer(session_of("aae"), EVIL) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    explorer: Explorer, path: str, body: object = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", explorer.server_port, timeout=10)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, raw, headers or JSON)
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    assert b"Traceback" not in content
    assert b'File "' not in content
    return reply.status, dict(reply.getheaders()), content


def post(explorer: Explorer, what: str, body: object, **options: Any) -> tuple[int, Any]:
    status, headers, content = ask(explorer, f"/{explorer.token}/{what}", body, **options)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(content)


def send(explorer: Explorer, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", explorer.server_port), timeout=10) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_it_listens_on_the_loopback_address_alone(explorer: Explorer) -> None:
    assert explorer.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", explorer.url)
    with Explorer(session_of("aae")) as other:
        assert other.token != explorer.token


def test_the_page_may_load_nothing_from_elsewhere(explorer: Explorer) -> None:
    status, headers, content = ask(explorer, f"/{explorer.token}/")
    page = content.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "//" not in policy.replace("'sha256-", "")[:60]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"].strip() == "aegean"
    assert set(re.findall(r"https?://[^\"'\s<]*", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"'](?!data:)", page)
    assert " style=" not in page
    assert " onclick=" not in page
    assert EVIL not in page
    assert page.count("<script>") == 1


def test_the_policy_is_of_the_page_that_it_comes_with(explorer: Explorer) -> None:
    import base64
    import hashlib

    page, policy = render_page("t", ["a sentence"])
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_questions_are_answered(explorer: Explorer) -> None:
    session = explorer.session
    status, _, content = ask(explorer, f"/{explorer.token}/session")
    assert (status, json.loads(content)) == (200, json.loads(json.dumps(session.describe())))
    code = [0.5, -1.0, 0.0]
    assert post(explorer, "decode", {"code": code, "seed": 1}) == (200, session.decode(code, 1))
    assert post(explorer, "look", {"index": 3, "seed": 1}) == (200, json.loads(json.dumps(session.look(3, 1))))
    assert post(explorer, "sample", {"label": None, "seed": 1}) == (200, session.sample(None, 1))


def test_several_questions_on_one_connection(explorer: Explorer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", explorer.server_port, timeout=10)
    for k in range(3):
        body = json.dumps({"code": [k, 0.0, 0.0], "seed": 0})
        connection.request("POST", f"/{explorer.token}/decode", body, JSON)
        assert "image" in json.loads(connection.getresponse().read())
    connection.close()


@pytest.mark.parametrize(
    "path",
    ["/", "", "/session", "/{0}", "/{0}x/", "/{0}/../{0}/", "/{0}/page.js", "/{0}//etc/passwd", "/{0}/decode",
     "/%2e%2e/", "/{1}/", "/{1}/session", "/é/"],
)  # fmt: skip
def test_nothing_else_is_there(explorer: Explorer, path: str) -> None:
    path = path.format(explorer.token, explorer.token.swapcase()).encode().decode("latin-1")
    request = f"GET {path or '/x'} HTTP/1.1\r\nHost: 127.0.0.1:{explorer.server_port}\r\nConnection: close\r\n\r\n"
    reply = send(explorer, request.encode("latin-1"))
    assert reply.startswith(b"HTTP/1.1 404 ")
    assert explorer.token.encode() not in reply
    assert b"Content-Security-Policy" in reply


def test_every_question_needs_the_secret(explorer: Explorer) -> None:
    body = {"code": [0.0, 0.0, 0.0], "seed": 0}
    for path in ("/decode", f"/{'x' * 32}/decode", f"/{explorer.token}/nothing"):
        assert ask(explorer, path, body)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{0}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{0}", ""]
)
def test_another_name_for_this_machine_is_refused(explorer: Explorer, host: str) -> None:
    host = host.format(explorer.server_port)
    for path, body in (("", None), ("session", None), ("decode", {"code": [0.0, 0.0, 0.0], "seed": 0})):
        status, _, content = ask(explorer, f"/{explorer.token}/{path}", body, headers={**JSON, "Host": host})
        assert (status, b"its own address" in content) == (403, True)
    reply = send(explorer, f"GET /{explorer.token}/ HTTP/1.0\r\n\r\n".encode())
    assert b" 403 " in reply.splitlines()[0]


def test_localhost_is_this_machine(explorer: Explorer) -> None:
    assert ask(explorer, f"/{explorer.token}/", headers={"Host": f"localhost:{explorer.server_port}"})[0] == 200


def test_a_page_from_elsewhere_may_not_ask(explorer: Explorer) -> None:
    body = {"code": [0.0, 0.0, 0.0], "seed": 0}
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{explorer.server_port}"):
        assert post(explorer, "decode", body, headers={**JSON, "Origin": origin})[0] == 403
    own = f"http://127.0.0.1:{explorer.server_port}"
    assert post(explorer, "decode", body, headers={**JSON, "Origin": own})[0] == 200
    assert post(explorer, "decode", body, headers={"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("decode", b""),
        ("decode", b"{"),
        ("decode", b"\xff\xfe"),
        ("decode", b"[" * 4000),
        ("decode", []),
        ("decode", {"code": [0, 0, 0]}),
        ("decode", {"code": "000", "seed": 0}),
        ("decode", {"code": [0, 0, None], "seed": 0}),
        ("decode", {"code": [0, 0, 0], "seed": 0, "path": "/etc/passwd"}),
        ("decode", {"code": [0, 0, 0], "seed": -1}),
        ("decode", {"code": [0, 0, 0], "seed": 2**80}),
        ("decode", {"code": [0, 0, 0], "seed": "0"}),
        ("decode", b'{"code": [0, 0, NaN], "seed": 0}'),
        ("decode", b'{"code": [0, 0, 1e999], "seed": 0}'),
        ("decode", {"code": [0, 0], "seed": 0}),
        ("decode", {"code": [0, 0, 1e30], "seed": 0}),
        ("look", {"index": 99, "seed": 0}),
        ("look", {"index": -1, "seed": 0}),
        ("look", {"index": 1.5, "seed": 0}),
        ("sample", {"label": 7, "seed": 0}),
        ("sample", {"label": True, "seed": 0}),
    ],
)
def test_questions_of_another_form_get_a_sentence(explorer: Explorer, what: str, body: object) -> None:
    status, answer = post(explorer, what, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert answer["error"].endswith(".")


def test_long_bodies_are_not_read(explorer: Explorer) -> None:
    head = f"POST /{explorer.token}/decode HTTP/1.1\r\nHost: 127.0.0.1:{explorer.server_port}\r\nContent-Type: application/json\r\n"
    for length, status in (
        (explorer.limit + 1, b"413"),
        (10**15, b"411"),
        ("-1", b"411"),
        ("x", b"411"),
        ("²", b"411"),
    ):
        reply = send(explorer, f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert reply.split()[1] == status
        assert b"Connection: close" in reply
    assert send(explorer, f"{head}\r\n".encode()).split()[1] == b"411"
    reply = send(explorer, f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
    assert reply.split()[1] == b"411"
    padded = json.dumps({"code": [0.0, 0.0, 0.0], "seed": 0}).encode().ljust(explorer.limit)
    assert post(explorer, "decode", padded)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "<script>"])
def test_other_methods_are_refused_plainly(explorer: Explorer, method: str) -> None:
    status, headers, content = ask(explorer, f"/{explorer.token}/", method=method)
    assert status == 501
    assert headers["Content-Type"] == "application/json"
    assert b"script" not in content


@pytest.mark.parametrize(
    "raw", [b"\r\n\r\n", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000, b"\x16\x03\x01\x02\x00"]
)
def test_what_is_no_http_does_not_end_the_explorer(explorer: Explorer, raw: bytes) -> None:
    assert b"Traceback" not in send(explorer, raw)
    assert ask(explorer, f"/{explorer.token}/")[0] == 200


def test_a_failure_of_its_own_is_told_without_a_traceback(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(code: list[float], seed: int) -> None:
        raise RuntimeError("the secret of /home/me")

    monkeypatch.setattr(explorer.session, "decode", fail)
    status, answer = post(explorer, "decode", {"code": [0.0, 0.0, 0.0], "seed": 0})
    assert (status, answer) == (500, {"error": "The explorer could not answer."})
    assert "the secret of" in caplog.text  # the person who runs it can read it


def test_a_port_that_is_taken_is_refused_by_its_number(explorer: Explorer) -> None:
    with pytest.raises(ConfigError, match=rf"--port {explorer.server_port}: .*choose another"):
        Explorer(session_of("aae"), port=explorer.server_port)
