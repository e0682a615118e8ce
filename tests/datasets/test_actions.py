import json

import pytest

from actionrec.datasets.actions import SHARED, STANFORD40_TO_HMDB51, canonical, class_list, stanford40_name
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK, noise_video, write_splits


def test_twelve_actions_are_shared_and_named_both_ways():
    assert len(SHARED) == 12
    for stanford40, hmdb51 in STANFORD40_TO_HMDB51.items():
        assert canonical(stanford40) == canonical(hmdb51) == hmdb51
        assert stanford40_name(hmdb51) == stanford40
    assert canonical("brush_hair") == stanford40_name("brush_hair") == "brush_hair"


def test_class_list_keeps_the_order_and_takes_either_spelling():
    assert class_list(["wave", "applauding"], SHARED, "here") == ("wave", "clap")
    assert class_list("shared", [*SHARED, "golf"], "here") == SHARED
    assert class_list("all", ["wave", "golf"], "here") == ("golf", "wave")


def test_a_class_that_the_data_set_has_is_called_as_it_is_there():
    known = ["running", "walking", "boxing"]
    assert class_list(["walking", "running"], known, "here") == ("walking", "running")
    assert class_list(["run", "running"], ["run", "running"], "here") == ("run", "running")
    assert class_list(class_list("all", known, "here"), known, "here") == ("boxing", "running", "walking")
    with pytest.raises(ActionRecError, match="here has no action runing; did you mean running"):
        class_list(["runing", "walking"], known, "here")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["clap", "wav"], "here has no action wav; did you mean wave?"),
        (["clap", "clap"], "twice"),
        (["clap", "applauding"], "twice"),
        (["clap"], "at least two"),
        ("some", "use shared, all, or a list"),
    ],
)
def test_class_list_refuses(choice, message):
    with pytest.raises(ActionRecError, match=message.replace("?", r"\?")):
        class_list(choice, SHARED, "here")


def test_shared_needs_all_twelve():
    with pytest.raises(ActionRecError, match="no action climb"):
        class_list("shared", ["clap"], "here")


@pytest.mark.ci
def test_a_set_of_ones_own_classes_goes_through_every_verb(run, tmp_path):
    """Some actions of the data set have the names of Stanford40, which differ from HMDB51's."""
    tags: dict[str, dict[str, int]] = {}
    for number, action in enumerate(("running", "walking", "boxing")):
        for person in range(6):
            name = f"person{person}_{action}_1.avi"
            noise_video(tmp_path / "data/hmdb51" / action / name, 4, seed=10 * number + person)
            tags.setdefault(action, {})[name] = 1 if person < 5 else 2
    write_splits(tmp_path / "data/hmdb51_splits", tags)
    places = [f"paths.root={tmp_path / 'data'}", f"paths.outputs={tmp_path / 'outputs'}", "paths.name=own"]
    stage = ["experiment=hmdb51_frame", "paths=real", *places, *QUICK, "init_from=null"]

    outcome = run("train", *stage, "data.actions=all")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/own/hmdb51_frame/split1-seed0"
    trained = json.loads((folder / "metrics.json").read_text())
    assert [row["action"] for row in trained["test/per_action"]] == ["boxing", "running", "walking"]
    outcome = run("evaluate", *stage)
    assert outcome.status == 0, outcome.err
    assert json.loads((folder / "metrics.json").read_text())["test/acc"] == trained["test/acc"]
    space = "search.space=[{key: optimizer.lr, low: 1e-4, high: 1e-2}]"
    outcome = run("search", *stage, "data.actions=[running,walking,boxing]", "search.trials=1", space)
    assert outcome.status == 0, outcome.err
    outcome = run("report", "paths=real", *places, "gallery=0")
    assert outcome.status == 0, outcome.err
    assert "hmdb51_frame" in outcome.out
