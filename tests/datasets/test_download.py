import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from actionrec.datasets import download
from actionrec.system.errors import ActionRecError
from tests.conftest import raise_error

DATA = bytes(range(256)) * 2000  # several reads long
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Site:
    """A web server with one file, and settings of its misbehaviour."""

    url: str = ""
    data: bytes = DATA
    etag: str | None = '"1"'
    modified: str | None = None
    takes_ranges: bool = True
    takes_if_range: bool = True
    tells_length: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    statuses: list[int] = field(default_factory=list)  # of the next answers
    sent: list[tuple[int, int]] = field(default_factory=list)  # status and bytes of the answers so far

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            self.sent.append((status, 0))
            return request.send_error(status)
        start = int(re.findall(r"\d+", request.headers.get("Range", "0"))[0]) if self.takes_ranges else 0
        if self.takes_if_range and request.headers.get("If-Range") not in (None, self.etag, self.modified):
            start = 0
        if start and start >= len(self.data):
            self.sent.append((416, 0))
            return request.send_error(416)
        body = self.data[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        headers = {"ETag": self.etag, "Last-Modified": self.modified}
        for name, value in headers.items():
            if value:
                request.send_header(name, value)
        if self.tells_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        body = body[: self.cuts.pop(0)] if self.cuts else body
        self.sent.append((206 if start else 200, len(body)))
        request.wfile.write(body)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(download, "PAUSES", (0, 0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/set/a%20b.zip"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def fails(match: str, url: str, path: Path, size: int | None = None, sha256: str | None = None) -> str:
    with pytest.raises(ActionRecError, match=match) as caught:
        download.download(url, path, size=size, sha256=sha256)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def interrupted(site: Site, path: Path, have: int) -> None:
    """Leave a part, as a call does whose connections break."""
    site.cuts = [have, 0, 0]
    fails("run this again to resume", site.url, path)
    assert path.with_name(path.name + ".part").stat().st_size == have
    assert not path.exists()
    site.sent.clear()


def test_fetches_once(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "deeper/a.zip"
    for _ in range(2):
        assert download.download(site.url, path, size=len(DATA), sha256=SHA256.upper()) == path
        assert path.read_bytes() == DATA
    assert site.sent == [(200, len(DATA))]
    assert list(path.parent.iterdir()) == [path]


def test_file_addresses(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    download.download((tmp_path / "a b").as_uri(), tmp_path / "new", size=len(DATA), sha256=SHA256)
    assert (tmp_path / "new").read_bytes() == DATA
    fails("No such file.*download it by hand", (tmp_path / "absent").as_uri(), tmp_path / "other")


@pytest.mark.parametrize("etag", ['"1"', 'W/"weak"', None])
@pytest.mark.parametrize("modified", ["Wed, 21 Oct 2015 07:28:00 GMT", None])
def test_a_later_call_fetches_the_rest(site: Site, tmp_path: Path, etag: str | None, modified: str | None) -> None:
    site.etag, site.modified = etag, modified
    interrupted(site, tmp_path / "a", have=100_000)
    download.download(site.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == DATA
    assert site.sent == [(206, len(DATA) - 100_000)]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_one_call_survives_many_breaks(site: Site, tmp_path: Path) -> None:
    site.cuts = [70_000] * 6  # more than there are pauses, but each brings something new
    download.download(site.url, tmp_path / "a", sha256=SHA256)
    assert site.sent == [*[(200, 70_000)], *[(206, 70_000)] * 5, (206, len(DATA) - 420_000)]


def test_breaks_without_a_length(site: Site, tmp_path: Path) -> None:
    site.tells_length, site.cuts = False, [70_000]
    download.download(site.url, tmp_path / "a", size=len(DATA))
    assert site.sent == [(200, 70_000), (206, len(DATA) - 70_000)]


def test_starts_over_if_ranges_are_ignored(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a", have=100_000)
    site.takes_ranges = False
    download.download(site.url, tmp_path / "a", sha256=SHA256)
    assert site.sent == [(200, len(DATA))]


def test_gives_up_if_ranges_are_ignored_and_nothing_new_comes(site: Site, tmp_path: Path) -> None:
    site.takes_ranges, site.cuts = False, [90_000] * 9
    fails("closed after 90000 of 512000 bytes; run this again to resume at 0.1 MB", site.url, tmp_path / "a")
    assert len(site.sent) == 3


@pytest.mark.parametrize("takes_if_range", [True, False])
@pytest.mark.parametrize("data", [DATA[::-1], DATA[::-1] + b"longer", b"shorter"], ids=["same", "longer", "shorter"])
def test_starts_over_if_the_file_has_changed(site: Site, tmp_path: Path, takes_if_range: bool, data: bytes) -> None:
    interrupted(site, tmp_path / "a", have=100_000)
    site.data, site.etag, site.takes_if_range = data, '"2"', takes_if_range
    download.download(site.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data


def test_starts_over_if_only_the_size_tells_of_a_change(site: Site, tmp_path: Path) -> None:
    site.etag = None
    interrupted(site, tmp_path / "a", have=100_000)
    site.data = DATA[::-1] + b"longer"
    download.download(site.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == site.data


def test_starts_over_for_another_address_and_keeps_an_unknown_part(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a", have=100_000)
    download.download(site.url + "?mirror", tmp_path / "a", sha256=SHA256)
    assert site.sent == [(200, len(DATA))]
    (tmp_path / "b.part").write_bytes(b"a browser's")
    with pytest.raises(ActionRecError, match=r"b\.part was not written by actionrec; move it away"):
        download.download(site.url, tmp_path / "b", sha256=SHA256)
    assert (tmp_path / "b.part").read_bytes() == b"a browser's"


def test_an_address_names_a_file_within_the_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "download", lambda url, path, **_: path)
    for url, name in {
        "http://x/a%2F..": "download",
        "http://x/../": "download",
        "http://x/a%2F..%2Fb.zip": "b.zip",
    }.items():
        assert download.fetched([download.Address(url)], tmp_path) == [tmp_path / name]


def test_a_complete_part_is_only_verified(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download, "_mismatch", raise_error(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            download.download(site.url, tmp_path / "a")
    download.download(site.url, tmp_path / "a", sha256=SHA256)
    assert site.sent == [(200, len(DATA))]


def test_wrong_files(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "a"
    wrong_size, wrong_hash = "expected 7 bytes, got 512000", f"expected sha256 {'0' * 64}, got {SHA256}"
    assert fails(wrong_size, site.url, path, size=7).startswith(site.url)
    fails(wrong_hash, site.url, path, sha256="0" * 64)
    site.tells_length = False
    fails(wrong_size, site.url, path, size=7)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(DATA)
    fails(wrong_size + "; remove the file", site.url, path, size=7)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_if_the_server_is_busy(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status, 200]
    download.download(site.url, tmp_path / "a", sha256=SHA256)
    site.statuses = [status] * 9
    fails(f"answered {status}.*run this again", site.url, tmp_path / "b")
    assert len(site.statuses) == 6


def test_gives_up_at_once_if_the_file_is_not_there(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a", have=100_000)
    site.statuses = [404] * 9
    fails(f"answered 404 Not Found; download it by hand and save it as {tmp_path}/a", site.url, tmp_path / "a")
    assert len(site.sent) == 1
    assert (tmp_path / "a.part").stat().st_size == 100_000


def test_other_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", ())
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        fails("timed out; run this again", address, tmp_path / "a")
    fails("Connection refused; run this again", address, tmp_path / "a")
    fails("unknown url type", "no address", tmp_path / "a")
    fails("control characters", "http://127.0.0.1/a b", tmp_path / "a")
    monkeypatch.setattr(socket, "getaddrinfo", raise_error(socket.gaierror(-2, "Name or service not known")))
    fails("Name or service not known", "http://nowhere.invalid/a", tmp_path / "a")
    (tmp_path / "file").touch()
    fails("cannot write", (tmp_path / "file").as_uri(), tmp_path / "file/a")
