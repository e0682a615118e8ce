import shutil

import pytest

from actionrec.reporting.chain import choose, links, settings_tables, starts_from
from actionrec.reporting.comparison import comparison_table, headline
from actionrec.reporting.diagram import draw, places
from actionrec.reporting.missing import Commands, find
from actionrec.reporting.outputs import read_outputs
from actionrec.settings.chain import load, read
from actionrec.system.files import sha256
from tests.reporting.trees import write_chain, write_checkpoint, write_run, write_stages


def test_a_chain_is_the_first_with_the_latest_stage_and_stills_have_split_1(tmp_path):
    data = tmp_path / "demo"
    write_chain(data, 1, 0)
    write_run(data, "hmdb51_frame", 2, 0)
    outputs = read_outputs(data)
    assert choose(outputs).name == "split 1, seed 0"
    second = choose(outputs, split=2)
    assert list(second.runs) == ["stanford40_frame", "hmdb51_frame"]
    assert [link.state for link in second.links] == ["same"]
    assert {table.name: [row[0] for row in table.rows] for table in settings_tables(second)} == {
        "settings": ["split", "stage"],
        "settings-shared": ["data.size", "optimizer.lr", "seed"],
    }


def test_a_parent_is_the_same_another_or_gone(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)

    def states() -> list[str]:
        outputs = read_outputs(data)
        return [link.state for link in links(outputs.of("hmdb51_two_stream")[0], outputs)]

    assert states() == ["same", "same"]
    write_checkpoint(data / "hmdb51_flow" / "split1-seed0", {}, note="trained again")
    assert states() == ["same", "other"]
    (data / "hmdb51_frame").rename(tmp_path / "elsewhere")
    assert states() == ["gone", "other"]


def test_the_drawing_has_every_stage_and_says_what_came_from_what(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)
    whole = draw(choose(read_outputs(data)))
    assert [box.there for box in whole.boxes] == [True] * 4
    assert [arrow.label for arrow in whole.arrows] == ["same file"] * 3
    (data / "hmdb51_flow").rename(tmp_path / "elsewhere")
    outputs = read_outputs(data)
    part = draw(choose(outputs))
    assert [box.there for box in part.boxes] == [True, True, False, True]
    assert [(arrow.label, arrow.whole) for arrow in part.arrows[1:]] == [("same file", True), ("file is gone", False)]
    assert "hmdb51_flow: not run" in part.words
    assert starts_from(outputs.of("stanford40_frame")[0]) == "resnet18 (IMAGENET1K_V1)"


def test_a_parent_among_other_outputs_is_drawn_as_that(tmp_path):
    write_chain(tmp_path / "base")
    data = tmp_path / "demo"
    (data / "hmdb51_frame").mkdir(parents=True)
    shutil.copytree(tmp_path / "base/hmdb51_frame/split1-seed0", data / "hmdb51_frame/split1-seed0")
    write_run(data, "hmdb51_flow")
    drawing = draw(choose(read_outputs(data)))
    assert [(box.lines[0], box.there) for box in drawing.boxes[:1]] == [("in another folder", False)]
    assert drawing.arrows[0].label == "same file"
    assert "stanford40_frame: in another folder;" in drawing.words
    assert "hmdb51_two_stream: not run;" in drawing.words


def test_a_stage_that_did_not_start_from_the_one_before_says_so(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)
    write_checkpoint(data / "hmdb51_frame" / "split1-seed0", {})
    assert draw(choose(read_outputs(data))).arrows[0].label == "not from it"


def test_a_child_is_right_of_its_parents_and_boxes_do_not_overlap():
    chain = load()
    found = places([*chain.stages], chain.links)
    assert found == {
        "stanford40_frame": (0, 0.0),
        "hmdb51_frame": (1, 0.0),
        "hmdb51_flow": (1, 1.0),
        "hmdb51_two_stream": (2, 0.5),
    }
    fan = [(f"{parent}", "end") for parent in "abcd"] + [("end", "later")]
    found = places([*"abcd", "end", "later", "alone"], fan)
    assert found["end"] == (1, 1.5 + (found["a"][1]))
    assert found["later"][0] == 2
    assert len(set(found.values())) == 7
    assert min(row for _, row in found.values()) == 0
    assert places(["one"], []) == {"one": (0, 0.0)}


@pytest.mark.parametrize("name", ["no_stills", "three_streams", "jhmdb"])
def test_another_chain_that_was_trained_there_is_drawn_and_told_of(tmp_path, name):
    data, chain = tmp_path / "demo", load(name)
    write_stages(data, chain)
    outputs = read_outputs(data)
    assert outputs.chain == chain
    assert outputs.damaged == []
    found = choose(outputs)
    drawing = draw(found)
    assert [box.title for box in drawing.boxes] == [*chain.stages]
    assert len({box.colour for box in drawing.boxes}) == len(drawing.boxes)
    assert [arrow.label for arrow in drawing.arrows] == ["same file"] * len(chain.links)
    assert {each.what for each in find(outputs, found, Commands("demo", "demo", chain=name))} >= {
        f"fusions of {found.name}"
    }
    last = chain.last.name
    assert headline(found, comparison_table(found, pytest.fail))[0].startswith(f"{last}, split 1, seed 0: top-1")
    shutil.rmtree(data / last)
    outputs = read_outputs(data)
    [missing] = [
        each for each in find(outputs, choose(outputs), Commands("demo", "demo", chain=name)) if each.what == last
    ]
    assert missing.command == f"actionrec chain chain={name} upto={last} split=1 seed=0"


def test_a_variant_stands_for_the_last_stage_that_was_not_trained_itself(tmp_path):
    data, chain = tmp_path / "demo", load("no_stills")
    write_stages(data, chain)
    _, gated, _, bagged = chain.variants
    shutil.copytree(data / chain.last.name, data / gated)
    assert read_outputs(data).chain == chain
    (data / chain.last.name).rename(data / bagged)
    outputs = read_outputs(data)
    found = choose(outputs)
    assert [*found.runs] == ["hmdb51_frame_imagenet", "hmdb51_flow", bagged]
    drawing = draw(found)
    assert [(box.title, box.there) for box in drawing.boxes] == [(name, True) for name in found.runs]
    assert [arrow.label for arrow in drawing.arrows] == ["same file"] * 2
    lines = headline(found, comparison_table(found, pytest.fail))
    assert lines[0].startswith(f"{bagged}, split 1, seed 0: top-1")
    assert any(line.startswith("Against hmdb51_f") for line in lines)
    assert outputs.chain.stages[bagged].label == "two-stream, bagged"
    absent = find(outputs, found, Commands("demo", "demo", chain="no_stills"))
    assert chain.last.name not in {each.what for each in absent}
    shutil.rmtree(data / bagged)
    (data / gated / "split1-seed0").rename(data / gated / "split2-seed0")
    outputs = read_outputs(data)
    absent = find(outputs, choose(outputs, split=1), Commands("demo", "demo", chain="no_stills"))
    [command] = [each.command for each in absent if each.what == f"{gated} of split 1, seed 0"]
    assert command == f"actionrec chain chain=no_stills upto={gated} split=1 seed=0"


def test_a_chain_of_one_stage_is_a_box(tmp_path):
    data = tmp_path / "demo"
    write_run(data, "hmdb51_flow")
    one = read({"name": "one", "stages": {"hmdb51_flow": {"experiment": "hmdb51_flow"}}})
    outputs = read_outputs(data, chain=one)
    found = choose(outputs)
    drawing = draw(found)
    assert [(box.title, box.there) for box in drawing.boxes] == [("hmdb51_flow", True)]
    assert drawing.arrows == []
    assert not any("fusions" in each.what for each in find(outputs, found, Commands("demo", "demo", chain="one")))


def test_a_chain_that_is_none_is_damaged_and_the_runs_are_reported(tmp_path):
    data = tmp_path / "demo"
    write_run(data, "hmdb51_flow")
    (data / "chain.yaml").write_text("name: x\nstages: {a: {experiment: b, colour: '\">'}}\n")
    outputs = read_outputs(data)
    assert "chain.stages.a.colour" in outputs.damaged[0].reason
    assert [run.stage for run in outputs.runs] == ["hmdb51_flow"]
    assert outputs.chain == load()


def test_a_checkpoint_of_other_data_that_stages_started_from_is_a_box_of_its_own(tmp_path):
    """Here the frame and the flow network each started from the same stage of another data set."""
    write_chain(tmp_path / "base")
    data = tmp_path / "mine"
    for stage in ("hmdb51_frame", "hmdb51_flow"):
        best = tmp_path / "base" / stage / "split1-seed0/checkpoints/best.ckpt"
        if stage == "hmdb51_frame":
            write_run(data, "stanford40_frame")
        run = write_run(data, stage)
        parent = {"path": str(best), "sha256": sha256(best), "stage": stage, "data": "base"}
        write_checkpoint(run, {"parent": parent})
    shutil.rmtree(data / "stanford40_frame")
    outputs = read_outputs(data)
    chain = choose(outputs)
    drawing = draw(chain)
    told = {(arrow.x1 < arrow.x2, arrow.label) for arrow in drawing.arrows}
    assert all(forward for forward, _ in told)
    strangers = drawing.boxes[4:]
    assert [(box.title, box.lines[:2]) for box in strangers] == [
        ("hmdb51_frame", ["in another folder", "data base, split1-seed0"]),
        ("hmdb51_flow", ["in another folder", "data base, split1-seed0"]),
    ]
    assert "hmdb51_frame from hmdb51_frame: same file" in drawing.words
    assert "hmdb51_flow from hmdb51_flow: same file" in drawing.words
    assert "hmdb51_frame from stanford40_frame: not from it" in drawing.words
    corners = {(box.x, box.y) for box in drawing.boxes}
    assert len(corners) == len(drawing.boxes)
    # What nothing here needs is not missing.
    assert "stanford40_frame" not in [each.what for each in find(outputs, chain, Commands("mine", "mine"))]


def test_a_stage_that_another_one_started_from_beside_the_chain_has_an_arrow(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)
    best = data / "hmdb51_frame/split1-seed0/checkpoints/best.ckpt"
    parent = {"path": str(best), "sha256": sha256(best), "stage": "hmdb51_frame", "data": "demo"}
    write_checkpoint(data / "hmdb51_flow/split1-seed0", {"parent": parent})
    drawing = draw(choose(read_outputs(data)))
    assert len(drawing.boxes) == 4
    assert "hmdb51_flow from hmdb51_frame: same file" in drawing.words
