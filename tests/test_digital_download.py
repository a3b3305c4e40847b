from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import pooch
import pytest
import torch
from cifar10_archive import small_batches, small_sets, write_archive
from rich.console import Console

from digital.cifar10 import load_cifar10
from digital.download import CIFAR10_URL, CIFAR100_URL, fetch_cifar10, fetch_cifar100
from digital.errors import DataError

WAYS_OUT = r"(?s)(?=.*kriz/cifar\.html)(?=.*--data FILE)(?=.*\$TELLEGEN_CIFAR10)(?=.*folder)(?=.*\.npz)"


class Server(ThreadingHTTPServer):
    """Serves one file, whole or cut, and counts how often."""

    content = b""
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        cut = self.path == "/cut"
        self.wfile.write(self.server.content[: len(self.server.content) // 2] if cut else self.server.content)

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


@pytest.fixture(name="server")
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TELLEGEN_CACHE", raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.content = write_archive(tmp_path / "served.tar.gz", small_batches()).read_bytes()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(name="sha256")
def _sha256(server: Server) -> str:
    return hashlib.sha256(server.content).hexdigest()


def is_empty(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_it_is_downloaded_once_and_can_be_read(
    server: Server, sha256: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "cache"
    path = fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=folder, progress=None)
    assert path == folder / "cifar-10-python.tar.gz"
    assert list(folder.iterdir()) == [path]
    assert torch.equal(load_cifar10(path, sha256=sha256).train.pixels, small_sets()[0].pixels)
    assert fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=folder, progress=None) == path
    assert server.asked == 1
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_in_the_cache_is_replaced(server: Server, sha256: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes(b"half")
    path = fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=folder, progress=None)
    assert path.read_bytes() == server.content


def test_the_variable_says_where_it_is_kept(
    server: Server, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELLEGEN_CACHE", str(tmp_path / "mine"))
    assert fetch_cifar10(url=f"{server.url}/file", sha256=sha256, progress=None).parent == tmp_path / "mine"


def test_the_users_cache_is_the_place_otherwise(
    server: Server, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "user" / project)
    assert fetch_cifar10(url=f"{server.url}/file", sha256=sha256).parent == tmp_path / "user" / "tellegen"


def test_a_progress_bar_is_drawn_only_while_downloading(server: Server, sha256: str, tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True)
    fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "cache", progress=console)
    assert "downloading CIFAR-10" in screen.getvalue()
    size = f"{len(server.content) / 1000:.1f}"
    assert f"{size}/{size} kB" in screen.getvalue()
    screen.truncate(0)
    screen.seek(0)
    fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "cache", progress=console)
    assert "CIFAR" not in screen.getvalue()


@pytest.mark.parametrize(
    ("page", "reason"),
    [("missing", "404 Client Error: Not Found"), ("cut", "IncompleteRead|[Cc]onnection broken")],
)
def test_what_the_server_does_wrong_is_said(
    server: Server, sha256: str, tmp_path: Path, page: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(DataError, match=reason) as caught:
        fetch_cifar10(url=f"{server.url}/{page}", sha256=sha256, folder=tmp_path / "cache", progress=console)
    caught.match(WAYS_OUT)
    caught.match(rf"{server.url}/{page} into {tmp_path / 'cache'}")
    assert is_empty(tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


def test_a_wrong_checksum_is_said_and_nothing_stays(server: Server, sha256: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"(?s){'0' * 64}.*{sha256}") as caught:
        fetch_cifar10(url=f"{server.url}/file", sha256="0" * 64, folder=tmp_path / "cache", progress=None)
    caught.match(WAYS_OUT)
    assert is_empty(tmp_path / "cache")


def test_no_network_is_said_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        url, screen, start = f"http://127.0.0.1:{taken.getsockname()[1]}/file", io.StringIO(), time.monotonic()
        with pytest.raises(DataError, match="Connection refused") as caught:
            fetch_cifar10(url=url, folder=tmp_path / "cache", progress=Console(file=screen))
    assert time.monotonic() - start < 5
    assert screen.getvalue() == ""
    caught.match(WAYS_OUT)
    assert is_empty(tmp_path / "cache")


def test_a_full_disk_is_said_and_nothing_stays(
    server: Server, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(source: str, _target: str) -> NoReturn:
        assert Path(source).parent == tmp_path / "cache"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.move", fill_up)
    with pytest.raises(DataError, match="No space left on device") as caught:
        fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "cache", progress=None)
    caught.match(WAYS_OUT)
    assert is_empty(tmp_path / "cache")


def test_a_folder_that_cannot_be_made_is_said(server: Server, sha256: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=WAYS_OUT):
        fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "file" / "cache", progress=None)


def test_pooch_may_speak_again_afterwards(server: Server, sha256: str, tmp_path: Path) -> None:
    level = pooch.get_logger().level
    fetch_cifar10(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "cache", progress=None)
    assert pooch.get_logger().level == level


def test_cifar_100_is_kept_beside_it(server: Server, sha256: str, tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True)
    for fetch, name in ((fetch_cifar10, "cifar-10"), (fetch_cifar100, "cifar-100")):
        path = fetch(url=f"{server.url}/file", sha256=sha256, folder=tmp_path / "cache", progress=console)
        assert path == tmp_path / "cache" / f"{name}-python.tar.gz"
    assert "downloading CIFAR-100" in screen.getvalue()
    assert server.asked == 2
    with pytest.raises(DataError, match=r"CIFAR-100 cannot be downloaded.*404.*cifar-100-python.*TELLEGEN_CIFAR100"):
        fetch_cifar100(url=f"{server.url}/missing", sha256="0" * 64, folder=tmp_path / "cache")


def test_the_address_is_the_official_one() -> None:
    assert CIFAR100_URL == "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    assert CIFAR10_URL == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
