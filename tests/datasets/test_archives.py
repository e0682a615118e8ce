import contextlib
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from actionrec.datasets import archives
from actionrec.system.errors import ActionRecError

HARD_NAME = "-#20_Rhythm! (a) & b's @home.avi"  # HMDB51 has names with all of these
REAL_TOOLS = {tool: path for tool in archives.RAR_TOOLS if (path := shutil.which(tool))}
UNPACK = "zipfile.ZipFile(archive).extractall()"
FAIL = "open('half', 'w').close(); sys.exit('it is\\nbroken')"
FAKE_TOOL = """#!{python} -IS
import os, sys, zipfile
*arguments, archive = sys.argv[1:]
assert archive.startswith("/"), "a relative archive may be taken for an option"
command, *switches, last = arguments
assert (command, last) == {ends}, arguments
assert all(switch.startswith("-") for switch in switches), arguments
{action}
"""


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def fake_rar_bytes(files: dict[str, bytes]) -> bytes:
    """An archive for the fake tools: a zip after the first bytes of a rar."""
    return b"Rar!\x1a\x07\x00" + zip_bytes(files)


def rar_bytes(files: dict[str, bytes]) -> bytes:
    """A real, uncompressed rar 5 archive."""

    def block(*fields: bytes) -> bytes:
        body = b"".join(fields)
        sized = number(len(body)) + body
        return struct.pack("<I", zlib.crc32(sized)) + sized

    def number(value: int) -> bytes:
        low, rest = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + number(rest) if rest else bytes([low])

    def entry(name: bytes, data: bytes) -> bytes:
        has_data, has_crc, regular, stored, unix = 2, 4, 0o100644, 0, 1
        head = [number(n) for n in (2, has_data, len(data), has_crc, len(data), regular)]
        tail = [number(n) for n in (stored, unix, len(name))]
        return block(*head, struct.pack("<I", zlib.crc32(data)), *tail, name) + data

    signature, main, end = b"Rar!\x1a\x07\x01\x00", block(b"\x01\x00\x00"), block(b"\x05\x00\x00")
    return signature + main + b"".join(entry(name.encode(), data) for name, data in files.items()) + end


def make_tar(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:
        for member in members:
            file.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def install(folder: Path, tool: str, action: str = UNPACK) -> None:
    """Put a tool on PATH that checks its command line and does `action`."""
    ends = ("-x", "-f") if tool == "bsdtar" else ("x", "--")
    (folder / tool).write_text(FAKE_TOOL.format(python=sys.executable, ends=ends, action=action))
    (folder / tool).chmod(0o755)


@pytest.fixture
def tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the only one in PATH."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that at the end holds its old files and complete targets only."""
    folder = tmp_path / "place"
    folder.mkdir()
    yield folder
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def refused(archive: Path, target: Path, match: str) -> None:
    before = contents(target.parent)
    with pytest.raises(ActionRecError, match=match) as caught:
        archives.unpack(archive, target)
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    assert not target.exists()
    assert contents(target.parent) == before


def test_unpacks_zip(place: Path) -> None:
    files = {f"clap/{HARD_NAME}": b"1", "clap/drôle.avi": b"22", "top.txt": b""}
    (place / "a.zip").write_bytes(zip_bytes(files))
    archives.unpack(place / "a.zip", place / "new")
    assert contents(place / "new") == files


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_unpacks_tar_whatever_its_name(place: Path, compression: str) -> None:
    make_tar(place / "download", member(f"clap/{HARD_NAME}", size=700), mode=f"w:{compression}")
    archives.unpack(place / "download", place / "deeper/new")
    assert contents(place / "deeper/new") == {f"clap/{HARD_NAME}": bytes(700)}
    assert not [path for path in (place / "deeper").iterdir() if path.name != "new"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"])
def test_refuses_names_that_leave(place: Path, name: str) -> None:
    (place / "a.zip").write_bytes(zip_bytes({"good": b"1", name: b"1"}))
    refused(place / "a.zip", place / "new", "outside its folder")
    refused(make_tar(place / "a.tar", member("good"), member(name)), place / "new", "outside its folder")


@pytest.mark.parametrize(
    "bad",
    [
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "good"),
        member("link", tarfile.LNKTYPE, "../../outside"),
        member("link", tarfile.LNKTYPE, "/etc/passwd"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda bad: f"{bad.name}-{bad.linkname}",
)
@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_refuses_links_and_devices_in_tar(
    place: Path, bad: tarfile.TarInfo, filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filtered:  # as in early Python 3.10
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    refused(make_tar(place / "a.tar", member("good"), bad, member("link/through")), place / "new", repr(bad.name)[1:-1])


def test_takes_hard_links_within_a_tar(place: Path) -> None:
    make_tar(place / "a.tar", member("clap/a.avi", size=9), member("b.avi", tarfile.LNKTYPE, "clap/a.avi"))
    archives.unpack(place / "a.tar", place / "new")
    assert contents(place / "new") == {"clap/a.avi": bytes(9), "b.avi": bytes(9)}
    dangling = make_tar(place / "b.tar", member("b.avi", tarfile.LNKTYPE, "clap/a.avi"))
    refused(dangling, place / "other", "cannot unpack")


def test_refuses_symbolic_links_in_zip(place: Path) -> None:
    with zipfile.ZipFile(place / "a.zip", "w") as file:
        entry = zipfile.ZipInfo("link")
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        file.writestr(entry, "/etc")
    refused(place / "a.zip", place / "new", "'link' is a link")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_refuses_every_truncation(place: Path, suffix: str) -> None:
    noise = bytes((i * i * 31 + i // 7) % 251 for i in range(3000))
    whole = place / "whole"
    if suffix == "zip":
        whole.write_bytes(zip_bytes({"a": noise, "b": noise[::-1]}))
    else:
        (place / "noise").write_bytes(noise)
        with tarfile.open(whole, f"w:{suffix.partition('.')[2]}") as file:
            file.add(place / "noise", "a")
            file.add(place / "noise", "b")
    data = whole.read_bytes()
    end = len(data.rstrip(b"\0")) if suffix == "tar" else len(data)  # a tar is padded with zeros
    for size in (*range(0, end, max(1, end // 40)), end - 1):
        (place / f"cut.{suffix}").write_bytes(data[:size])
        refused(place / f"cut.{suffix}", place / "new", "cannot unpack")


def test_damage_inside_is_found(place: Path) -> None:
    data = bytearray(zip_bytes({"a": os.urandom(500)}))
    data[200] ^= 1
    (place / "a.zip").write_bytes(data)
    refused(place / "a.zip", place / "new", "cannot unpack")


def test_refuses_what_is_no_archive(place: Path) -> None:
    (place / "a.zip").write_text("<html>Moved</html>" * 100)
    refused(place / "a.zip", place / "new", "no zip, tar or rar")
    refused(place / "absent.zip", place / "new", "No such file")


def test_never_touches_a_target_that_is_there(place: Path) -> None:
    (place / "a.zip").write_bytes(zip_bytes({"a": b"new"}))
    (place / "empty").mkdir()
    archives.unpack(place / "a.zip", place / "empty")
    (place / "old").mkdir()
    (place / "old/a").write_text("old")
    with pytest.raises(ActionRecError, match="exists and is not an empty folder"):
        archives.unpack(place / "a.zip", place / "old")
    assert contents(place / "old") == {"a": b"old"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interruption_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    (place / "a.zip").write_bytes(zip_bytes({"a": b"1", "b": b"2"}))
    extract = zipfile.ZipFile.extract

    def stop_at_b(self: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> str:
        if entry.filename == "b":
            assert (folder / "a").exists()
            raise error
        return extract(self, entry, folder)

    monkeypatch.setattr(zipfile.ZipFile, "extract", stop_at_b)
    with pytest.raises((KeyboardInterrupt, ActionRecError), match=r"^$|No space left"):
        archives.unpack(place / "a.zip", place / "new")
    assert [path.name for path in place.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("tool", archives.RAR_TOOLS)
def test_unpacks_rar_with_each_tool(place: Path, tools: Path, tool: str) -> None:
    install(tools, tool)
    files = {f"clap/{HARD_NAME}": b"1", "clap/drôle.avi": b"2"}
    archive = place / "-@hmdb51 $(touch x);.rar"
    archive.write_bytes(fake_rar_bytes(files))
    archives.unpack(archive, place / "-@new $(touch x);")
    assert contents(place / "-@new $(touch x);") == files


def test_tries_the_next_tool(place: Path, tools: Path) -> None:
    install(tools, "unrar", FAIL)
    install(tools, "7z", "pass")  # unpacks nothing and exits with status 0
    (place / "a.rar").write_bytes(fake_rar_bytes({"a": b"1"}))
    refused(place / "a.rar", place / "new", r"unrar: it is broken; 7z: it unpacked nothing.*install one of .*bsdtar")
    install(tools, "bsdtar")
    archives.unpack(place / "a.rar", place / "new")
    assert contents(place / "new") == {"a": b"1"}


@pytest.mark.usefixtures("tools")
def test_rar_without_a_tool(place: Path) -> None:
    (place / "a.rar").write_bytes(fake_rar_bytes({}))
    refused(place / "a.rar", place / "new", "unrar, 7zz, 7z, bsdtar.* unpack it elsewhere and give the folder")


@pytest.mark.parametrize("action", ["os.symlink('/etc', 'bad')", "os.link(__file__, 'bad')", "os.mkfifo('bad')"])
def test_refuses_links_and_devices_from_rar(place: Path, tools: Path, action: str) -> None:
    install(tools, "unrar", action)
    (place / "a.rar").write_bytes(fake_rar_bytes({}))
    refused(place / "a.rar", place / "new", "'bad' is a link")


def test_rar_contents_get_usual_permissions(place: Path, tools: Path) -> None:
    install(tools, "unrar", UNPACK + "; os.chmod('clap/a.avi', 0); os.chmod('clap', 0)")
    (place / "a.rar").write_bytes(fake_rar_bytes({"clap/a.avi": b"1"}))
    archives.unpack(place / "a.rar", place / "new")
    assert stat.S_IMODE((place / "new/clap").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "new/clap/a.avi").stat().st_mode) == 0o644


@pytest.mark.skipif(not REAL_TOOLS, reason="no tool for rar is installed")
@pytest.mark.parametrize("tool", REAL_TOOLS)
def test_real_tools(place: Path, tools: Path, tool: str) -> None:
    (tools / tool).symlink_to(REAL_TOOLS[tool])
    files = {f"clap/{HARD_NAME}": b"1" * 1000, "clap/drôle.avi": b"22"}
    archive = place / "-@hmdb51 $(touch x);.rar"
    archive.write_bytes(rar_bytes(files))
    archives.unpack(archive, place / "-new *")
    assert contents(place / "-new *") == files
    (place / "cut.rar").write_bytes(rar_bytes(files)[:600])
    refused(place / "cut.rar", place / "other", tool)
    (place / "evil.rar").write_bytes(rar_bytes({"../../evil": b"1"}))
    with contextlib.suppress(ActionRecError):  # some tools drop the dots
        archives.unpack(place / "evil.rar", place / "evil")
    assert not list(place.parent.glob("evil"))
    assert not (place / "evil").is_file()


def test_opened_unpacks_archives_in_archives_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have, inner = place / "have", {"set": "*.avi", "clap": "*.avi", "wave": "*.avi"}
    have.mkdir()
    outer = {"x/clap.zip": zip_bytes({"a.avi": b"1"}), "x/other.zip": b"", "x/wave.tar.gz": gzipped_tar()}
    (have / "set.zip").write_bytes(zip_bytes(outer))
    with archives.opened(place / "target") as folders_of:
        found = archives.find(folders_of([have], inner), "*.avi")
        assert sorted(f"{path.parent.name}/{path.name}" for path in found) == ["clap/a.avi", "wave/b.avi"]
        monkeypatch.setattr(archives, "unpack", None)
        assert archives.find(folders_of([have], inner), "*.avi") == found
    assert [path.name for path in place.rglob("*")] == ["have", "set.zip"]
    (have / "clap").mkdir()
    (have / "clap/a.avi").touch()
    with archives.opened(place / "target") as folders_of:
        assert folders_of([have], inner) == [have], "archives that the user has unpacked are left alone"


def test_what_a_killed_process_left_is_removed_and_nothing_else(place: Path) -> None:
    (place / "a.zip").write_bytes(zip_bytes({"a.avi": b"1"}))
    code = (
        "import os; from pathlib import Path; from actionrec.datasets import archives\n"
        "def die(archive, folder): (folder / 'half').write_text('1'); os._exit(9)\n"
        "archives._unpack_zip = die\n"
        "with archives.opened(Path('target')) as folders_of: folders_of([Path('a.zip')], {})"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=place).returncode == 9
    [left] = [path for path in place.glob(".target-*") if path.is_dir()]
    assert list(left.rglob("half"))
    kept = [".target-notes", ".target-01234567", ".other-01234567", ".target-0123456789"]
    for name in kept:
        (place / name).mkdir()
        (place / name / "thesis.txt").touch()
    (place / ".target-0123456789" / archives.MARK).touch()
    (place / ".target-89abcdef").symlink_to(place / ".target-0123456789")
    with archives.opened(place / "target"):
        pass
    assert sorted(path.name for path in place.iterdir()) == sorted(["a.zip", *kept, ".target-89abcdef"])
    for name in kept:
        assert (place / name / "thesis.txt").is_file()
        shutil.rmtree(place / name)
    (place / ".target-89abcdef").unlink()


def test_a_second_process_beside_the_same_path_is_refused(place: Path) -> None:
    code = f"import pathlib, actionrec.datasets.archives as it; it.opened(pathlib.Path('{place}/target')).__enter__()"
    with archives.opened(place / "target"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"data set {place / 'target'} is being written by process {os.getpid()}" in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_is_no_file_is_refused_at_once(place: Path, kind: str) -> None:
    source = place / "source"
    if kind == "pipe":
        os.mkfifo(source)
    elif kind == "device":
        source = Path("/dev/zero")
    else:
        source.symlink_to("/dev/zero")
    with pytest.raises(ActionRecError, match=r"it is no file; give an archive, or a folder"):
        archives.unpack(source, place / "new")


def test_loops_of_links_end(place: Path) -> None:
    (place / "have/clap").mkdir(parents=True)
    (place / "have/clap/a.avi").touch()
    (place / "have/clap/up").symlink_to(place / "have")
    (place / "have/self.avi").symlink_to(place / "have/self.avi")
    assert archives.find([place / "have"], "*.avi") == [place / "have/clap/a.avi"]


def test_a_link_to_an_empty_folder_is_filled_where_it_leads(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "link").symlink_to(place / "disk")
    (place / "a.zip").write_bytes(zip_bytes({"a": b"1"}))
    archives.unpack(place / "a.zip", place / "link")
    assert (place / "link").is_symlink()
    assert contents(place / "disk") == {"a": b"1"}


def gzipped_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        file.addfile(member("b.avi"))
    return buffer.getvalue()


def test_opened_cleans_up_when_interrupted(place: Path) -> None:
    (place / "a.zip").write_bytes(zip_bytes({"a.avi": b"1"}))
    with contextlib.suppress(KeyboardInterrupt), archives.opened(place / "target") as folders_of:
        assert folders_of([place / "a.zip"], {})[0].is_dir()
        raise KeyboardInterrupt
    assert [path.name for path in place.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_contents_get_usual_permissions(place: Path, kind: str) -> None:
    """A setuid bit in the archive is dropped, too."""
    if kind == "zip":
        with zipfile.ZipFile(place / "a.zip", "w") as file:
            entry = zipfile.ZipInfo("tool")
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o6777) << 16
            file.writestr(entry, "x")
    else:
        entry = member("tool", size=1)
        entry.mode, entry.uid = 0o6777, 0
        make_tar(place / "a.zip", entry)
    archives.unpack(place / "a.zip", place / "new")
    assert not stat.S_IMODE((place / "new/tool").stat().st_mode) & 0o7111


@pytest.mark.parametrize(
    "files",
    [
        {"x" * 300: b"1"},
        {"a": b"1", "a/b": b"2"},
        {"a/b": b"2", "a": b"1"},
    ],
    ids=["a name that is too long", "a file as a folder", "a folder as a file"],
)
def test_names_that_no_folder_takes_are_one_line(place: Path, files: dict[str, bytes]) -> None:
    (place / "a.zip").write_bytes(zip_bytes(files))
    refused(place / "a.zip", place / "new", "cannot unpack")
    refused(make_tar(place / "a.tar", *(member(name, size=1) for name in files)), place / "other", "cannot unpack")


def test_many_entries_and_one_that_swells_are_unpacked(place: Path) -> None:
    files = {f"{number // 100}/{number}": b"" for number in range(500)} | {"zeros": bytes(10_000_000)}
    (place / "a.zip").write_bytes(zip_bytes(files))
    assert (place / "a.zip").stat().st_size < 120_000
    archives.unpack(place / "a.zip", place / "new")
    assert sum(path.is_file() for path in (place / "new").rglob("*")) == 501


def test_archives_in_archives_end_at_the_third(place: Path) -> None:
    data = {"a.avi": b"1"}
    for _ in range(6):
        data = {"set.zip": zip_bytes(data)}
    (place / "set.zip").write_bytes(data["set.zip"])
    with archives.opened(place / "target") as folders_of:
        folders = folders_of([place / "set.zip"], {"set": "*.avi"})
        assert len(folders) == 3
        assert archives.find(folders, "*.avi") == []
