"""The Makefile's rules, by the commands that make would run."""

import shutil
import subprocess
from pathlib import Path

import pytest

from actionrec.reporting.missing import STUDIES
from actionrec.settings.chain import load

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def planned(*arguments: str) -> list[str]:
    """The commands that make would run, without the program's path."""
    command = ["make", "-n", "-o", ".venv/.installed", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.replace("\\\n", "").splitlines()
    return [line.partition("/actionrec ")[2].rstrip() for line in lines if "/bin/actionrec " in line]


def places(outputs: Path) -> str:
    return f"ARGS=paths.outputs={outputs}"


@pytest.mark.parametrize("stage", load().stages.values(), ids=load().stages)
def test_a_stage_of_the_chain_has_its_target(tmp_path, stage):
    [command] = planned(stage.make, "DATA=mine", "SPLIT=2", "SEED=1", places(tmp_path))
    words = command.split()
    assert words[:2] == ["chain", "chain=two_stream"]
    assert {"split=2", "seed=1", "paths=mine", f"paths.outputs={tmp_path}"} <= set(words)
    wanted = next((word.partition("=")[2] for word in words if word.startswith("upto=")), load().last.name)
    assert wanted == stage.name


def test_another_chain_is_trained_and_reported_by_its_name():
    assert "chain=no_stills" in planned("two-stream", "DATA=mine", "CHAIN=no_stills")[0].split()
    assert "chain=no_stills" in planned("report", "DATA=mine", "CHAIN=no_stills")[0].split()
    assert "chain=" not in planned("report", "DATA=mine")[0]  # that which was trained there


@pytest.mark.parametrize("said", [["TAG=short"], ["ARGS=tag=short"], ["TAG=long", "ARGS=tag=short"]])
def test_a_tag_is_that_of_all_runs_their_parents_and_their_report_however_it_is_said(said):
    [chain] = planned("all", "DATA=mine", *said)
    assert " report=true" in chain
    for target in ("all", "two-stream", "fusion", "crossval", "two-stream-conv", "hmdb51-frame"):
        command = planned(target, "DATA=mine", *said, "STILLS_ARGS=data.size=112")[0]
        assert " tag=short parent_tag=short " in f"{command} "
        assert "tag=long" not in command
    assert planned("report", "DATA=mine", *said)[-1].endswith(" tag=short")
    assert planned("crossval", "DATA=mine", *said)[-1].endswith(" tag=short")


@pytest.mark.parametrize("none", ["ARGS=tag=null", "ARGS=tag="])
def test_no_tag_is_none(none):
    assert "parent_tag" not in planned("fusion", "DATA=mine", none)[0]
    assert "tag=" not in planned("report", "DATA=mine", none)[-1]


def test_stills_may_have_arguments_of_their_own():
    [command] = planned("two-stream", "DATA=mine", "ARGS=data.actions=[fight,no_fight]", "STILLS_ARGS=data.size=112")
    assert command.endswith(" --clips data.actions=[fight,no_fight] --stills data.size=112")
    [command] = planned("two-stream", "DATA=mine", "ARGS=data.actions=[fight,no_fight]", "STILLS_ARGS=")
    assert command.endswith(" --clips data.actions=[fight,no_fight]")
    [command] = planned("two-stream", "DATA=mine", "ARGS=data.actions=[fight,no_fight]")
    assert command.endswith(" data.actions=[fight,no_fight]")
    assert "--" not in command


@pytest.mark.parametrize(
    "wrong",
    [
        *("SPLIT=1 2", "SEED=0 1", "DATA=my data", "TAG=a b", "RECIPE=x;touch pwned", "SEED=0`touch pwned`"),
        *("DATA=a$(shell touch pwned)", "TAG=../x", "SPLITS=1;touch pwned", "CHAIN=a b"),
    ],
)
def test_variables_that_are_no_words_are_refused_in_one_line(wrong):
    done = subprocess.run(["make", "two-stream", wrong], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert wrong.replace("=", "='", 1) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (ROOT / "pwned").exists()


def test_the_report_comes_after_the_chain_even_where_rules_run_side_by_side():
    [command] = planned("-j4", "all", "DATA=mine")  # the same process, which reports at its end
    assert command.startswith("chain ")
    assert "report=true" in command
    assert [line.split()[0] for line in planned("-j4", "crossval", "DATA=mine")] == ["chain", "report"]


def test_crossval_is_every_splits_own_chain_with_its_fusions(tmp_path):
    chain, report = planned("crossval", "DATA=mine", "SEEDS=0 1", places(tmp_path))
    words = chain.split()
    assert {"--multirun", "split=1,2,3", "seed=0,1", "fuse=true", f"paths.outputs={tmp_path}"} <= set(words)
    assert report.startswith("report")


def test_the_report_shows_the_chain_that_is_asked_for():
    assert planned("report", "SPLIT=2", "SEED=1")[-1].endswith(" split=2 seed=1")
    assert "split=" not in planned("report")[-1]


def test_the_report_misses_every_study_that_there_is():
    others = {"none", "study", "learning_rate"}
    assert set(STUDIES) == {path.stem for path in (ROOT / "conf/sweep").glob("*.yaml")} - others


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_has_its_target(study, tmp_path):
    *parents, last = planned(f"study-{study.replace('_', '-')}", "DATA=mine", places(tmp_path))
    assert last.startswith("train ")
    assert f"sweep={study}" in last
    assert " seed=" not in last  # the study's own seeds
    assert all("sweep=" not in line for line in parents)
    assert all(line.split()[0] in ("chain", "train", "extract_flow") for line in parents)
