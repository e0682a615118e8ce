"""The Makefile's rules, by what make says it would run."""

import shutil
import subprocess
from pathlib import Path

import pytest

from actionrec.reporting.missing import STUDIES

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def planned(*arguments: str) -> list[str]:
    """The commands that make would run, without the program's path."""
    command = ["make", "-n", "-o", ".venv/.installed", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.partition("/actionrec ")[2] for line in done.stdout.splitlines() if "/bin/actionrec " in line]


def places(outputs: Path) -> str:
    return f"ARGS=paths.outputs={outputs}"


def made(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def test_a_stage_makes_its_parents_first_and_nothing_twice(tmp_path):
    commands = planned("two-stream", "DATA=mine", "SPLIT=2", "SEED=1", places(tmp_path))
    stages = [word for line in commands for word in line.split() if word.startswith("experiment=")]
    assert [stage.partition("=")[2] for stage in stages] == [
        *("stanford40_frame", "hmdb51_frame"),
        *("hmdb51_flow", "hmdb51_two_stream"),
    ]
    assert all("split=2 seed=1" in line for line in commands)
    tagged = planned("two-stream", "DATA=mine", "TAG=short", places(tmp_path))
    assert all("tag=short parent_tag=short" in line for line in tagged)


@pytest.mark.parametrize("said", [["TAG=short"], ["ARGS=tag=short"], ["TAG=long", "ARGS=tag=short"]])
def test_a_tag_is_that_of_all_runs_their_parents_and_their_report_however_it_is_said(said):
    *stages, report = planned("all", "DATA=mine", *said)
    assert report.startswith("report ")
    assert report.endswith(" tag=short")
    assert all(" tag=short parent_tag=short " in f"{line} " for line in stages)
    assert planned("report", "DATA=mine", *said)[-1].endswith(" tag=short")
    fusions = planned("fusion", "DATA=mine", *said, "STILLS_ARGS=data.size=112")
    assert all(" tag=short parent_tag=short " in f"{line} " for line in fusions)
    [conv] = [line for line in fusions if "fusion=conv" in line]
    assert conv.endswith(" run_dir=outputs/mine/hmdb51_two_stream_conv/split1-seed0-short")
    everything = planned("crossval", "DATA=mine", *said)
    assert everything[-1].endswith(" tag=short")
    assert "tag=long" not in "".join([*stages, *fusions, *everything])


def test_scores_of_a_tagged_chain_are_its_own(tmp_path):
    for stage in ("hmdb51_frame", "hmdb51_flow"):
        made(tmp_path / f"mine/{stage}/split1-seed0-short/scores_train.npz")
    tagged = planned("fusion", "DATA=mine", f"{places(tmp_path)} tag=short")
    assert not any(line.startswith("evaluate") for line in tagged)
    assert any(line.startswith("evaluate") for line in planned("fusion", "DATA=mine", places(tmp_path)))


@pytest.mark.parametrize("none", ["ARGS=tag=null", "ARGS=tag="])
def test_no_tag_is_none(none):
    commands = planned("fusion", "DATA=mine", none)
    assert not any("parent_tag" in line for line in commands)
    assert any(line.endswith("_conv/split1-seed0") for line in commands)
    assert "tag=" not in planned("report", "DATA=mine", none)[-1]


def test_stills_may_have_arguments_of_their_own():
    commands = planned("two-stream", "ARGS=data.actions=[fight,no_fight]", "STILLS_ARGS=data.size=112")
    assert [("no_fight" in line, "data.size=112" in line) for line in commands if "experiment=stanford40" in line] == [
        (False, True)
    ]
    assert all("no_fight" in line for line in commands if "experiment=hmdb51" in line)


@pytest.mark.parametrize(
    "wrong",
    [
        *("SPLIT=1 2", "SEED=0 1", "DATA=my data", "TAG=a b", "RECIPE=x;touch pwned", "SEED=0`touch pwned`"),
        *("DATA=a$(shell touch pwned)", "TAG=../x", "SPLITS=1;touch pwned"),
    ],
)
def test_variables_that_are_no_words_are_refused_in_one_line(wrong):
    done = subprocess.run(["make", "two-stream", wrong], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert wrong.replace("=", "='", 1) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (ROOT / "pwned").exists()


def test_the_report_comes_after_the_chain_even_where_rules_run_side_by_side():
    [last] = [line for line in planned("-j4", "all", "DATA=mine") if line.startswith("report")]
    assert planned("-j4", "all", "DATA=mine")[-1] == last


def test_crossval_is_every_splits_own_chain_but_for_what_is_made(tmp_path):
    commands = planned("crossval", "DATA=mine", "SEEDS=0 1", places(tmp_path))
    for split in (1, 2, 3):
        for seed in (0, 1):
            chain = [line for line in commands if f"split={split} seed={seed} " in line]
            assert [line.split()[0] for line in chain].count("fuse") == 1
            both = [line for line in chain if "experiment=hmdb51_two_stream" in line]
            assert ["fusion=conv" in line for line in both] == [False, True]
    assert commands[-1].startswith("report")
    for stage in ("hmdb51_frame", "hmdb51_flow"):
        made(tmp_path / f"mine/{stage}/split1-seed0/scores_train.npz")
    again = planned("crossval", "DATA=mine", places(tmp_path))
    measured = [line for line in again if line.startswith("evaluate")]
    assert not any("split=1 seed=0 " in line for line in measured)
    assert any("split=2 seed=0 " in line for line in measured)


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
