"""The program, and the server with clients that are slow, many, or gone."""

import contextlib
import http.client
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
import uvicorn

from tests.programs import ROOT, fails
from viewing import server as serving
from viewing.app import make_app


@contextlib.contextmanager
def program(*args):
    """The program on a free port, with its address and what it says."""
    command = [sys.executable, ROOT / "view.py", "--port", "0", "--no-browser", *map(str, args)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            yield process, re.match(r"http://127.0.0.1:(\d+)/", line)
        finally:
            process.kill()


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data


def test_the_program_serves_until_it_is_interrupted(photographs):
    with program(photographs) as (process, address):
        port = address[1]
        status, page = get(port, "/")
        assert status == 200 and b"<html" in page.lower()
        status, data = get(port, "/iiif/gray.jpg/full/40,/0/default.jpg")
        assert status == 200 and data.startswith(b"\xff\xd8")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")


def test_mistakes_are_told_before_anything_is_served(tmp_path, photographs):
    (tmp_path / "empty").mkdir()
    assert "no images" in fails(tmp_path, "view.py", "empty", "--no-browser")
    assert "nothing.pth" in fails(tmp_path, "view.py", "--model", "nothing.pth", "--no-browser")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = fails(tmp_path, "view.py", "--port", port, "--no-browser")
        assert str(port) in error and "in use" in error
    assert "--host a..b" in fails(tmp_path, "view.py", "--host", "a..b")
    assert "--host 203.0.113.7" in fails(tmp_path, "view.py", "--host", "203.0.113.7")


@pytest.fixture
def port(site, monkeypatch):
    """The port of a server in this process."""
    monkeypatch.setattr(serving, "SLOW", 0.6)
    listening = serving.listen("127.0.0.1", 0)
    running = []
    start = uvicorn.Server.startup

    async def started(self, *args, **kwargs):
        await start(self, *args, **kwargs)
        running.append(self)

    monkeypatch.setattr(uvicorn.Server, "startup", started)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    thread = threading.Thread(target=serving.serve, args=(make_app(site), listening))
    thread.start()
    while not running:
        time.sleep(0.01)
    yield listening.getsockname()[1]
    running[0].should_exit = True
    thread.join()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def closed_after(connection):
    """The seconds until a server closes a connection."""
    begun = time.monotonic()
    connection.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1000):
            pass
    return time.monotonic() - begun


def test_requests_that_do_not_come_are_not_waited_for(port, capsys):
    for sent in (b"", b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX: ", b"\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(sent)
            assert closed_after(slow) < 3
    with socket.create_connection(("127.0.0.1", port)) as dripping:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            dripping.sendall(b"GET / HTTP/1.1\r\n")
            while time.monotonic() - begun < 5:
                dripping.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
        assert time.monotonic() - begun < 3
    assert get(port, "/api/status")[0] == 200
    assert capsys.readouterr().err == ""


def test_what_is_not_http_gets_an_answer(port, capsys):
    for sent in (
        b"\x16\x03\x01\x02\x00hello\r\n\r\n",
        b"GET " + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert get(port, "/api/status")[0] == 200
    assert capsys.readouterr().err == ""


def test_answers_that_are_not_read_are_not_kept(port, monkeypatch):
    monkeypatch.setattr(serving, "READ", 0.5)
    query = b"model=bicubic&region=0,0,150,220&resolution=1500,2200"
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", port))
        silent.sendall(
            b"GET /api/photos/a%20b.png/part?" + query + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        own = silent.getsockname()[1]
        ends = time.monotonic() + 40
        while time.monotonic() < ends and any(
            each.raddr and each.raddr.port == own for each in psutil.Process().net_connections()
        ):
            time.sleep(0.1)
        assert time.monotonic() < ends


def test_many_connections_at_once(port, capsys):
    """As many as the limit of files of this process allows, since both ends are in it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, soft // 2 - 200)
    before = len(psutil.Process().net_connections())
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    assert get(port, "/api/status")[0] == 200
    for connection in crowd:
        connection.close()
    for _ in range(100):
        if len(psutil.Process().net_connections()) <= before + 5:
            break
        time.sleep(0.1)
    assert len(psutil.Process().net_connections()) <= before + 5
    assert get(port, "/api/status")[0] == 200
    assert capsys.readouterr().err == ""


def test_a_closed_request_is_not_worked_on(port, site):
    """Blocks of a large picture: what was not begun when the client went is not rendered."""
    made = site.studio.blocks.made
    request = b"GET /iiif/a%20b.png/full/^1500,/0/default.png HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        while site.studio.blocks.made == made:
            time.sleep(0.01)
    ends = time.monotonic() + 60
    while site.workers.requests and time.monotonic() < ends:
        time.sleep(0.02)
    rendered = site.studio.blocks.made
    assert site.workers.requests == 0 and rendered - made < 12, "of 24"
    time.sleep(3)
    assert site.studio.blocks.made - rendered <= site.workers.count, "those that had begun"
