import hashlib

import pytest

from actionrec.files import atomic_path, replaced_folder, sha256, write_text


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
