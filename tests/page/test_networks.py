"""The runs that the page offers, the networks that stay loaded, results, and examples."""

import os
import shutil

import pytest
from omegaconf import OmegaConf

from actionrec.page import networks
from actionrec.page.networks import Networks, find_runs
from actionrec.page.results import Results
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt
from tests.page.conftest import RUNS
from tests.prediction.conftest import SMALL


@pytest.fixture
def own_outputs(outputs, tmp_path):
    return shutil.copytree(outputs, tmp_path / "outputs")


def test_finished_runs_are_found_with_their_accuracy(own_outputs):
    stage = own_outputs / "mine" / "frame"
    shutil.copytree(stage / "split1-seed0", stage / "split2-seed0-v1.5")
    shutil.copytree(stage / "split1-seed0", stage / "split3-seed0.partial")
    shutil.copytree(stage / "split1-seed0", own_outputs / "mine" / "sweeps" / "rates")
    shutil.copytree(stage / "split1-seed0", stage / "split4-seed0" / "checkpoints" / "split1-seed0")
    (own_outputs / "mine" / "flow" / "split1-seed0" / "metrics.json").write_text("{")
    (own_outputs / "mine" / "conv" / "split1-seed0" / "metrics.json").unlink()
    found = find_runs(own_outputs)
    assert list(found) == [
        "mine/concat/split1-seed0",
        "mine/flow/split1-seed0",
        "mine/frame/split1-seed0",
        "mine/frame/split2-seed0-v1.5",
        "mine/gated/split1-seed0",
    ]
    assert found["mine/frame/split2-seed0-v1.5"].title == "frame, split2-seed0-v1.5, test accuracy 50%"
    assert found["mine/flow/split1-seed0"].title == "flow, split1-seed0"


def test_no_folder_has_no_runs(tmp_path):
    assert find_runs(tmp_path / "none") == {}


def test_the_networks_used_last_stay_loaded(monkeypatch, app_config, own_outputs):
    loads = []
    load = networks.load
    monkeypatch.setattr(
        networks, "load", lambda config, place: loads.append(place.run.parent.name) or load(config, place)
    )
    found, runs = Networks(app_config()), [own_outputs / "mine" / name / "split1-seed0" for name in RUNS]
    first = found.get(runs[0])
    assert found.get(runs[1]) is not first
    assert found.get(runs[0]) is first
    found.get(runs[2])  # the second one has to go
    assert found.get(runs[0]) is first
    found.get(runs[1])
    assert loads == ["frame", "flow", "concat", "flow"]


def test_a_run_that_was_trained_again_is_loaded_again(app_config, own_outputs):
    found, run = Networks(app_config()), own_outputs / "mine/frame/split1-seed0"
    first = found.get(run)
    best = run / "checkpoints" / "best.ckpt"
    os.utime(best, ns=(0, best.stat().st_mtime_ns + 1))
    assert found.get(run) is not first
    best.unlink()
    assert attempt(found.get, run)[1] == "split1-seed0 has no checkpoint any more; choose another network"


def test_examples_are_test_clips_of_different_actions(
    compose_config, app_config, paths, own_outputs, demo_root, monkeypatch
):
    read, seen = networks.count_frames, []

    def damaged_first(path):
        seen.append(path)
        if len(seen) == 1:
            raise ActionRecError("cannot decode")
        return read(path)

    monkeypatch.setattr(networks, "count_frames", damaged_first)
    run = own_outputs / "mine/frame/split1-seed0"
    config = compose_config("train", *paths, *SMALL[:-2], "experiment=frame", "data.actions=[clap,run,wave]")
    OmegaConf.save(OmegaConf.create({"data": OmegaConf.to_container(config.data, resolve=True)}), run / "config.yaml")
    found = Networks(app_config()).examples(run)
    assert [each.action for each in found] == ["clap", "run", "wave"]
    assert all(each.path.is_file() and each.picture.startswith("data:image/jpeg") for each in found)
    assert seen[0] not in [each.path for each in found]
    assert all(each.path.parents[1] == demo_root / "hmdb51" for each in found)


@pytest.mark.parametrize("content", [None, "data: {dataset: {_target_: os.system}}", "data: ["])
def test_without_data_there_are_no_examples(app_config, own_outputs, content):
    run = own_outputs / "mine/frame/split1-seed0"
    if content:
        (run / "config.yaml").write_text(content)
    assert Networks(app_config()).examples(run) == []


class Sized:
    def __init__(self, size: int):
        self.size = size


def test_the_latest_results_are_kept():
    kept = Results(count=3, size=100)
    names = [kept.add(Sized(10)) for _ in range(3)]
    assert kept.get(names[0]).size == 10
    kept.add(Sized(10))
    assert kept.get(names[1]) is None  # which was used longest ago
    assert kept.get(names[0])
    large = kept.add(Sized(1000))
    assert kept.get(large)  # is shown once, whatever its size
    assert kept.get(names[0]) is None
    assert kept.get("") is None
    assert len(set(names)) == 3
