"""The report of an empty, a half-finished, a damaged and a full tree; that of trained stages is in test_chain.py."""

import json
import re
import shutil
from pathlib import Path

import pytest

from actionrec.settings.chain import load
from tests.conftest import write_splits
from tests.reporting.browser import check_layout, opened
from tests.reporting.trees import STAGES, write_chain, write_checkpoint, write_run, write_stages, write_studies

SECTIONS = ["results", "crossval", "chain", "curves", "confusions", "actions", "calibration", "fusions", "studies"]
SECTIONS += ["search", "missing"]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """`outputs/demo` with two splits, two seeds, a study and a search."""
    data = tmp_path_factory.mktemp("full") / "demo"
    for split, seed in ((1, 0), (2, 0), (1, 1)):
        write_chain(data, split, seed)
    write_studies(data)
    return data


def page_of(data: Path) -> str:
    return (data / "report" / "index.html").read_text(encoding="utf-8")


def test_an_empty_tree_is_an_error_and_nothing_is_written(tmp_path, run):
    (tmp_path / "demo" / "flow").mkdir(parents=True)
    outcome = run("report", f"paths.outputs={tmp_path}")
    assert outcome.status == 1
    assert outcome.err.strip().splitlines() == [
        f"error: no finished run under {tmp_path / 'demo'}; train one, for example: make demo"
    ]
    assert not (tmp_path / "demo" / "report").exists()


def test_a_half_finished_tree_names_what_is_missing(tmp_path, run):
    data = tmp_path / "demo"
    lists = data / "data/hmdb51_splits"
    write_splits(lists, {"wave": {}}, (1, 2, 3))
    write_run(data, "stanford40_frame")
    settings = write_run(data, "hmdb51_frame") / "config.yaml"
    clips = f"_target_: actionrec.datasets.hmdb51.HMDB51, name: hmdb51, videos: {data}, splits: {lists}, split: 1"
    own = f"_target_: actionrec.datamodules.create, dataset: {{{clips}}}, "
    settings.write_text(settings.read_text().replace("data: {", f"data: {{{own}"))
    (data / "hmdb51_flow" / "split1-seed0.partial" / "checkpoints").mkdir(parents=True)
    (data / "sweeps" / "schedule" / "scheduler-none").mkdir(parents=True)
    (data / "sweeps" / "schedule" / "scheduler-none" / "metrics.json").write_text("{}")
    outcome = run("report", f"paths.outputs={tmp_path}", "gallery=0")
    assert outcome.status == 0, outcome.err
    found = (data / "report" / "missing.csv").read_text().splitlines()
    places = f"ARGS='paths.outputs={tmp_path}'"
    assert f"hmdb51_flow,no finished run,make hmdb51-flow SPLIT=1 SEED=0 {places}" in found
    assert f"hmdb51_two_stream,no finished run,make two-stream SPLIT=1 SEED=0 {places}" in found
    assert any(line.startswith("hmdb51_flow/split1-seed0.partial,") and "make hmdb51-flow" in line for line in found)
    assert any("splits 2 and 3 of hmdb51_frame" in line and "make crossval" in line for line in found)
    assert any("a second seed of" in line for line in found)
    assert any("sweeps/schedule" in line and "(finished: 1)" in line for line in found)
    assert f"study frame_position,not run,make study-frame-position {places}" in found
    assert f"search,no hyper-parameter search,make search {places}" in found
    text = page_of(data)
    assert "hmdb51_frame, split 1, seed 0: top-1" in text
    assert re.search(r"n = 60 clips of 20 source videos\. One seed\.", text)


@pytest.mark.ci
@pytest.mark.parametrize("asked", [["tag=1"], []])
def test_of_tagged_runs_alone_the_page_shows_their_chain_and_their_means(tmp_path, run, asked):
    data = tmp_path / "demo"
    for split in (1, 2):
        write_chain(data, split, tag="1")
    outcome = run("report", f"paths.outputs={tmp_path}", "gallery=0", *asked)
    assert outcome.status == 0, outcome.err
    text = page_of(data)
    assert "hmdb51_two_stream, split 1, seed 0, 1: top-1" in text
    assert "hmdb51_two_stream (1) over splits 1, 2, seeds 0: top-1" in text
    assert ",make fusion SPLIT=1 SEED=0 TAG=1 ARGS=" in (data / "report/missing.csv").read_text()
    assert (data / "report/missing.csv").read_text().count("actionrec report ") == 1
    assert f"actionrec report paths.outputs={tmp_path} tag=1\n" in (data / "report/missing.csv").read_text()
    wrong = run("report", f"paths.outputs={tmp_path}", "gallery=0", "tag=2")
    assert wrong.status == 1
    assert f"error: tag=2: no run under {data} has that tag; the tags are: 1" in wrong.err


@pytest.mark.ci
def test_a_page_shows_the_means_of_its_own_tag(tmp_path, run):
    data = tmp_path / "demo"
    for split in (1, 2):
        write_chain(data, split, tag="strong")
    for split in (1, 2):
        for stage in STAGES[split > 1 :]:
            write_run(data, stage, split, skill=0)
    for tag, said in (("strong", "hmdb51_two_stream (strong) over"), ("null", "hmdb51_two_stream over")):
        assert run("report", f"paths.outputs={tmp_path}", "gallery=0", f"tag={tag}").status == 0
        assert re.findall(r"hmdb51_two_stream[ ()\w]* over", page_of(data)) == [said]


@pytest.mark.ci
def test_a_full_tree_has_every_section_and_every_table_as_files(full, run):
    outcome = run("report", f"paths.outputs={full.parent}")
    assert outcome.status == 0, outcome.err
    assert "| hmdb51_two_stream | split2-seed0 |" in outcome.out
    assert "top-1 sd of splits" in outcome.out
    assert outcome.out.strip().endswith(str(full / "report" / "index.html"))
    text = page_of(full)
    assert re.findall(r'<section id="(\w+)">', text) == SECTIONS
    tables = {path.stem for path in (full / "report").glob("*.csv")}
    assert tables == {path.stem for path in (full / "report").glob("*.md")}
    assert tables == {
        *("runs", "cost", "comparison", "crossval", "lineage", "settings", "settings-shared", "actions", "calibration"),
        *("fusion-split1-seed0", "study-frame_position", "search-lr", "missing"),
    }
    assert "the better stream on validation" in text
    assert "hmdb51_two_stream over splits 1, 2, seeds 0, 1: top-1 0." in text
    assert 'src="http' not in text
    # The configurations of these runs name no data.
    assert any(line.startswith("gallery,") for line in (full / "report" / "missing.csv").read_text().splitlines())
    assert "no gallery" in outcome.err


@pytest.mark.ci
def test_the_page_is_of_the_chain_that_was_trained_there_unless_another_is_asked_for(tmp_path, run):
    data, chain = tmp_path / "demo", load("three_streams")
    write_stages(data, chain)
    assert run("report", f"paths.outputs={tmp_path}", "gallery=0").status == 0
    text = page_of(data)
    assert text.count("another file") == 0
    assert "hmdb51_three_streams from hmdb51_rgb_difference: same file" in text
    headline = r"Against hmdb51_\w+, the best stream on validation, that is .* three streams are better than one\."
    assert re.search(headline, text)
    actions = (data / "report/actions.csv").read_text().splitlines()[0]
    clips = ("hmdb51_frame", "hmdb51_flow", "hmdb51_rgb_difference", "hmdb51_three_streams")
    assert [actions.find(f"{stage} recall") > 0 for stage in clips] == [True] * 4
    with opened(data / "report/index.html", 1280) as page:
        check_layout(page, 1280)
        assert page.locator("svg.chain g").count() == 5
        assert page.locator("svg.chain line").count() == 4
    assert run("report", f"paths.outputs={tmp_path}", "gallery=0", "chain=two_stream").status == 0
    assert "hmdb51_two_stream: not run" in page_of(data)


def test_data_of_ones_own_need_no_lists_of_hmdb51(tmp_path, run):
    write_run(tmp_path / "own", "folder_frame")
    outcome = run("report", "paths=default", "paths.name=own", f"paths.outputs={tmp_path}", "gallery=0")
    assert outcome.status == 0, outcome.err
    assert "folder_frame" in outcome.out


@pytest.mark.ci
def test_a_chain_is_chosen_by_split_and_seed(full, run):
    outcome = run("report", f"paths.outputs={full.parent}", "gallery=0", "split=2")
    assert outcome.status == 0, outcome.err
    assert "Shown in detail: split 2, seed 0." in page_of(full)
    before = page_of(full)
    refused = run("report", f"paths.outputs={full.parent}", "split=3")
    assert refused.status == 1
    assert "split=3 seed=None: no such run under" in refused.err
    assert page_of(full) == before


def test_damaged_files_are_named_and_the_rest_is_reported(tmp_path, run):
    data = tmp_path / "demo"
    write_chain(data)
    write_studies(data)
    runs = {stage: data / stage / "split1-seed0" for stage in STAGES}
    whole = (runs["stanford40_frame"] / "metrics.json").read_text()
    (runs["stanford40_frame"] / "metrics.json").write_text(whole[: len(whole) // 2])
    (runs["hmdb51_frame"] / "scores.npz").write_bytes((runs["hmdb51_flow"] / "scores.npz").read_bytes()[:200])
    (runs["hmdb51_flow"] / "checkpoints" / "best.ckpt").write_bytes(b"half")
    for path in (runs["hmdb51_frame"] / "tensorboard").iterdir():
        path.write_bytes(b"half")
    (runs["hmdb51_two_stream"] / "config.yaml").write_text("stage: [")
    (data / "sweeps" / "frame_position" / "study.json").write_text("{}")
    (data / "fusion" / "split1-seed0" / "fusion.json").write_text('[{"network": 1}]')
    shutil.copytree(runs["hmdb51_flow"], data / "hmdb51_flow" / "split1-seed1")
    (data / "hmdb51_flow" / "split1-seed1" / "metrics.json").write_text(json.dumps({"test/acc": 0.1}))
    (data / "hmdb51_flow" / "split1-seed2").mkdir()
    (data / "hmdb51_flow" / "split1-seed2" / "config.yaml").touch()
    outcome = run("report", f"paths.outputs={tmp_path}")
    assert outcome.status == 0, outcome.err
    lines = (data / "report" / "damaged.csv").read_text().splitlines()
    named = {line.split(",")[0]: line for line in lines[1:]}
    assert set(named) == {
        "stanford40_frame/split1-seed0/metrics.json",
        "hmdb51_frame/split1-seed0/scores.npz",
        "hmdb51_flow/split1-seed0/checkpoints/best.ckpt",
        "hmdb51_flow/split1-seed1/checkpoints/best.ckpt",
        "hmdb51_flow/split1-seed1",
        "hmdb51_flow/split1-seed2",
        "hmdb51_two_stream/split1-seed0/config.yaml",
        "sweeps/frame_position/study.json",
        "fusion/split1-seed0/fusion.json",
    }
    assert "metrics.json says test/acc 0.100" in named["hmdb51_flow/split1-seed1"]
    # What the metrics no longer say, the scores do.
    assert re.search(r"^stanford40_frame,split1-seed0,60,20,0\.\d+", (data / "report" / "runs.csv").read_text(), re.M)


@pytest.mark.ci
def test_a_parent_that_was_trained_again_is_told(tmp_path, run):
    data = tmp_path / "demo"
    write_chain(data)
    write_checkpoint(data / "hmdb51_frame" / "split1-seed0", {}, note="another")
    shutil.rmtree(data / "stanford40_frame")
    assert run("report", f"paths.outputs={tmp_path}", "gallery=0").status == 0
    text = page_of(data)
    assert "hmdb51_two_stream was trained from another checkpoint of hmdb51_frame" in text
    lineage = (data / "report" / "lineage.csv").read_text()
    assert "trained from another checkpoint than the one there now; hmdb51_flow" in lineage
    assert "the checkpoint that is there now" in lineage


@pytest.mark.ci
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(full, run, width):
    if not (full / "report").exists():
        assert run("report", f"paths.outputs={full.parent}", "gallery=0").status == 0
    with opened(full / "report" / "index.html", width) as page:
        check_layout(page, width)
        assert page.evaluate("document.images.length") >= 16
        for details in page.locator("details").all():
            details.locator("summary").click()
        check_layout(page, width)
        runs = page.locator("#results table").first
        column = "[...document.querySelector('#results table').tBodies[0].rows].map(row => row.cells[4].innerText)"
        values = [float(text.split()[0]) for text in page.evaluate(column)]
        header = runs.locator("thead th").nth(4)
        header.locator("button").click()
        assert [float(text.split()[0]) for text in page.evaluate(column)] == sorted(values)
        assert header.get_attribute("aria-sort") == "ascending"
        header.locator("button").press("Enter")
        assert [float(text.split()[0]) for text in page.evaluate(column)] == sorted(values, reverse=True)
        assert header.get_attribute("aria-sort") == "descending"
        # Cells with nothing stay last, whichever way.
        spread = page.locator("#crossval table")
        for _ in range(2):
            spread.get_by_role("button", name="top-1 sd of splits").click()
            assert spread.locator("tbody tr").last.locator("td").nth(3).inner_text() == "–"
