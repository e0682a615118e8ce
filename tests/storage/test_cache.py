"""The cache of decoded pictures: when files are decoded, and that samples do not change."""

import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch

from actionrec.experiment.build import create_data
from actionrec.storage import cache
from actionrec.storage.cache import Source
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK


@pytest.fixture(autouse=True)
def empty():
    cache.fill([])
    yield
    cache.fill([])


@pytest.fixture
def decoded():
    """The list of decoded pictures, and a reader that appends to it."""
    found = []

    def read(path, numbers):
        found.append((path.name, *numbers))
        return [np.full((2, 2), number, np.uint8) for number in numbers]

    return found, read


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text("x")
    return paths


def test_what_is_kept_is_not_decoded_again(decoded, files):
    found, read = decoded
    sources = [Source(path, (0, 3), read) for path in files[:2]]
    cache.fill(sources)
    assert sorted(found) == [("a", 0, 3), ("b", 0, 3)]
    found.clear()
    pictures = cache.read(Source(files[1], (3,), read))
    assert pictures[0].max() == 3
    cache.fill(sources)
    assert found == []


def test_a_file_that_has_changed_is_decoded_again(decoded, files):
    found, read = decoded
    sources = [Source(path, (0,), read) for path in files]
    cache.fill(sources)
    found.clear()
    files[1].write_text("another")
    cache.fill(sources)
    assert found == [("b", 0)]


def test_what_the_next_data_do_not_want_is_let_go(decoded, files):
    found, read = decoded
    cache.fill([Source(path, (0,), read) for path in files])
    cache.fill([Source(files[2], (0,), read)])
    found.clear()
    cache.read(Source(files[2], (0,), read))
    assert found == []
    cache.read(Source(files[0], (0,), read))
    assert found == [("a", 0)]


def test_a_set_that_does_not_fit_is_refused_before_memory_is_full(decoded, tmp_path, monkeypatch):
    found, read = decoded
    files = [tmp_path / str(number) for number in range(1000)]
    for path in files:
        path.touch()
    monkeypatch.setattr(cache, "free_memory", lambda: 3900)  # four bytes a picture
    with pytest.raises(ActionRecError, match=r"data\.cache=ram needs about .* GB are free; use data\.cache=null"):
        cache.fill(Source(path, (0,), read) for path in files)
    assert len(found) < 100
    cache.read(Source(files[0], (0,), read))
    assert found[-1] == ("0", 0)


def test_kept_pictures_cannot_be_written_to(decoded, files):
    cache.fill([Source(files[0], (0,), decoded[1])])
    with pytest.raises(ValueError, match="read-only"):
        cache.read(Source(files[0], (0,), decoded[1]))[0][:] = 1


@pytest.mark.parametrize(
    "stage", ["experiment=stanford40_frame", "experiment=hmdb51_flow", "experiment=hmdb51_two_stream"]
)
def test_samples_are_the_same_with_and_without(compose_config, paths, stage):
    def samples(*overrides):
        data = create_data(compose_config("train", stage, "recipe=strong", *paths, *QUICK, *overrides))
        torch.manual_seed(0)
        return [batch for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]

    plain, kept = samples(), samples("data.cache=ram")
    assert len(plain) == len(kept)
    for first, second in zip(plain, kept, strict=True):
        for key, value in first.items():
            assert torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]


def test_large_photos_are_kept_as_large_as_each_job_needs(compose_config, paths, demo_root, tmp_path):
    """Multirun jobs of different sizes share the process, but must not share pictures shrunk for one of them."""
    root = tmp_path / "Stanford40"
    shutil.copytree(demo_root / "Stanford40", root)
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    for path in (root / "JPEGImages").iterdir():
        cv2.imwrite(str(path), noise)

    def sample(size: int, *overrides: str) -> torch.Tensor:
        places = [*paths, f"paths.stanford40={root}", *QUICK, f"data.size={size}", "data.actions=[clap,wave]"]
        data = create_data(compose_config("train", "experiment=stanford40_frame", *places, *overrides))
        return data.datasets["val"][0]["frame"]

    sample(100, "data.cache=ram")
    assert torch.equal(sample(400, "data.cache=ram"), sample(400))


def test_loader_processes_read_from_memory(compose_config, paths, demo_root, tmp_path):
    """The files are damaged after they are cached."""
    root = tmp_path / "Stanford40"
    shutil.copytree(demo_root / "Stanford40", root)
    places = [*paths, f"paths.stanford40={root}"]
    config = compose_config("train", "experiment=stanford40_frame", *places, *QUICK, "data.cache=ram")
    config.data.num_workers = 2
    data = create_data(config)
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(b"no image")
    assert sum(len(batch["label"]) for batch in data.train_dataloader()) == len(data.names("train"))
    with pytest.raises(ActionRecError, match="cannot read the image"):  # the test part is read once, so not kept
        list(data.test_dataloader())


@pytest.mark.ci
def test_data_sets_can_be_sent_to_fresh_processes(compose_config, paths):
    """Processes are spawned, as on macOS and Windows."""
    data = create_data(compose_config("train", "experiment=hmdb51_two_stream", *paths, *QUICK))
    dataset = data.datasets["val"]
    expected = dataset[0]
    sent = pickle.loads(pickle.dumps(dataset))[0]
    assert torch.equal(sent["frame"], expected["frame"])
    assert torch.equal(sent["flow"], expected["flow"])
