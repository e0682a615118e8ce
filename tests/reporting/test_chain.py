import shutil

from actionrec.reporting.chain import choose, links, settings_tables, starts_from
from actionrec.reporting.diagram import draw
from actionrec.reporting.gather import gather
from tests.reporting.trees import write_chain, write_checkpoint, write_run


def test_a_chain_is_the_first_with_the_latest_stage_and_stills_have_split_1(tmp_path):
    data = tmp_path / "demo"
    write_chain(data, 1, 0)
    write_run(data, "hmdb51_frame", 2, 0)
    outputs = gather(data)
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
        outputs = gather(data)
        return [link.state for link in links(outputs.of("hmdb51_two_stream")[0], outputs)]

    assert states() == ["same", "same"]
    write_checkpoint(data / "hmdb51_flow" / "split1-seed0", {}, note="trained again")
    assert states() == ["same", "other"]
    (data / "hmdb51_frame").rename(tmp_path / "elsewhere")
    assert states() == ["gone", "other"]


def test_the_drawing_has_every_stage_and_says_what_came_from_what(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)
    whole = draw(choose(gather(data)))
    assert [box.there for box in whole.boxes] == [True] * 4
    assert [arrow.label for arrow in whole.arrows] == ["same file"] * 3
    (data / "hmdb51_flow").rename(tmp_path / "elsewhere")
    outputs = gather(data)
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
    drawing = draw(choose(gather(data)))
    assert [(box.lines[0], box.there) for box in drawing.boxes[:1]] == [("in another folder", False)]
    assert drawing.arrows[0].label == "same file"
    assert "stanford40_frame: in another folder;" in drawing.words
    assert "hmdb51_two_stream: not run;" in drawing.words


def test_a_stage_that_did_not_start_from_the_one_before_says_so(tmp_path):
    data = tmp_path / "demo"
    write_chain(data)
    write_checkpoint(data / "hmdb51_frame" / "split1-seed0", {})
    assert draw(choose(gather(data))).arrows[0].label == "not from it"
