import errno
import hashlib
import json
import math
import subprocess
import sys

import pytest

from actionrec.system.files import atomic_path, remove_leftovers, replaced_folder, sha256, write_json, write_text
from tests.conftest import raise_error


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "deep" / "scores.npz") as temporary:
        assert temporary.suffix == ".npz"
        temporary.write_bytes(b"x")
    assert (tmp_path / "deep" / "scores.npz").read_bytes() == b"x"


def test_sha256(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    assert sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report"
    for text in ("first", "second"):
        with replaced_folder(path) as temporary:
            assert not list(temporary.iterdir())
            (temporary / text).write_text(text)
    assert [entry.name for entry in path.iterdir()] == ["second"]

    def fails():
        with replaced_folder(path) as temporary:
            (temporary / "third").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [entry.name for entry in path.iterdir()] == ["second"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_a_replacement_that_was_killed_between_its_steps_is_made_up_for(tmp_path):
    for old in ("report.replaced", "report"):
        (tmp_path / old).mkdir()
    with replaced_folder(tmp_path / "report") as temporary:
        (temporary / "new").write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_an_error_of_the_system_names_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    """A full disk is reported without a file name, an unwritable folder with the name of the temporary file."""
    path = tmp_path / "metrics.json"

    def fails():
        with atomic_path(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics\.json'"):
        fails()
    with monkeypatch.context() as read_only:
        error = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "x"))
        read_only.setattr("actionrec.system.files.tempfile.mkstemp", raise_error(error))
        with pytest.raises(OSError, match="Read-only file system"):
            write_text(path, "new")

    def fills():
        with replaced_folder(tmp_path / "report"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/report'"):
        fills()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_the_temporary_files_of_dead_writers(tmp_path):
    path = tmp_path / "a.zip"
    code = "import sys, time; from pathlib import Path; from actionrec.system.files import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        [temporary] = tmp_path.iterdir()
        remove_leftovers([path])
        assert temporary.exists()
        writer.kill()
    remove_leftovers([tmp_path / "b.zip"])
    assert temporary.exists()
    remove_leftovers([path])
    assert not temporary.exists()


def test_numbers_that_json_has_not_are_null(tmp_path):
    content = {"a": math.nan, "b": [1, -math.inf, {"c": (math.inf, 0.5)}], "d": "NaN", "e": None, "f": True}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=raise_error(ValueError("not JSON"))) == {
        "a": None,
        "b": [1, None, {"c": [None, 0.5]}],
        "d": "NaN",
        "e": None,
        "f": True,
    }
    assert text.endswith("}\n")
