"""Chains as their files describe them, and the settings of runs that follow from them."""

import re

import pytest
from omegaconf import OmegaConf

from actionrec.runs.manifest import settings_of
from actionrec.settings import chain
from actionrec.settings.chain import DEFAULT, FUSIONS, load, read
from actionrec.settings.composition import CONF
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt

CHAINS = sorted(path.stem for path in (CONF / "chain").glob("*.yaml"))
EXPERIMENTS = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
MAKEFILE = (CONF.parent / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_called_as_its_file_and_tells_its_networks_apart(name):
    found = load(name)
    assert found.name == name
    stages = [*found.stages.values()]
    for column in ("colour", "hatch"):
        assert len({getattr(stage.look, column) for stage in stages}) == len(stages)
    assert len({stage.label for stage in stages}) == len(stages)
    for stage in stages:
        assert not stage.make or re.search(rf"^{stage.make}:", MAKEFILE, re.M)


@pytest.mark.parametrize("name", CHAINS)
def test_every_chain_may_end_with_a_gate(name):
    found = load(name)
    last = [*found.stages.values()][-1]
    frozen = f"model.frozen=[{','.join(last.parents)}]"
    product, gated, refit, bagged = (found.variants[f"{last.name}_{each}"] for each in FUSIONS)
    assert product.of == gated.of == refit.of == bagged.of == last.name
    assert set(product.overrides) == {"model.fusion=product", frozen}
    assert set(gated.overrides) == {"model.fusion=gated", frozen}
    assert set(refit.overrides) == {*gated.overrides, "refit=true"}
    assert set(bagged.overrides) == {*gated.overrides, "model.members=5"}


def test_the_chain_that_is_left_unsaid_is_the_same_everywhere(compose_config):
    assert OmegaConf.load(CONF / "report.yaml").defaults[2] == {"chain": DEFAULT}
    assert {"chain": DEFAULT} in OmegaConf.load(CONF / "train.yaml").defaults
    assert f"\nCHAIN ?= {DEFAULT}\n" in MAKEFILE


@pytest.mark.parametrize("name", CHAINS)
def test_the_stages_of_a_chain_compose_and_start_from_each_other(compose_config, name):
    found = load(name)
    if not {stage.experiment for stage in found.stages.values()} <= EXPERIMENTS:
        pytest.skip("its experiments are not there")
    for stage in found.stages.values():
        given = [f"chain={name}", f"stage={stage.name}", "split=2", "seed=3", "paths=real", "tag=a", "parent_tag=b"]
        config = compose_config("train", f"experiment={stage.experiment}", *stage.overrides, *given)
        place = f"outputs/real/{stage.name}/split{2 if stage.split else 1}-seed3"
        assert config.run_dir == f"{place}-a"
        parents = OmegaConf.to_container(config, resolve=True)["init_from"]
        expected = {}
        for role, parent in stage.parents.items():
            run = f"split{2 if found.stages[parent].split else 1}-seed3-b"
            expected[role] = f"outputs/real/{parent}/{run}/checkpoints/best.ckpt"
        assert parents == (expected.get("parent", expected) or None)


def test_a_stage_that_is_none_of_the_chain_starts_from_nothing(compose_config):
    given = ["experiment=hmdb51_frame", "stage=mine", "split=2"]
    config = compose_config("train", *given)
    assert config.init_from is None
    assert config.run_dir == "outputs/demo/mine/split2-seed0"
    assert compose_config("train", *given, "init_from=a.ckpt").init_from == "a.ckpt"


@pytest.mark.parametrize("sweep", ["frame_position", "fusion", "initialisation"])
def test_the_jobs_of_a_study_start_from_the_parents_of_seed_0(compose_config, sweep):
    given = [f"sweep={sweep}", "split=2", "seed=1", "paths=real"]
    still = "outputs/real/stanford40_frame/split1-seed0/checkpoints/best.ckpt"
    both = {name: f"outputs/real/hmdb51_{name}/split2-seed0/checkpoints/best.ckpt" for name in ("frame", "flow")}
    found = OmegaConf.to_container(compose_config("train", *given), resolve=True)["init_from"]
    assert found == (both if sweep == "fusion" else still)
    role = "flow" if sweep == "fusion" else "parent"
    found = compose_config("train", *given, f"++parents.{role}=mine.ckpt").init_from
    assert found == ({**both, "flow": "mine.ckpt"} if sweep == "fusion" else "mine.ckpt")


def test_a_parent_of_ones_own_takes_the_place_of_the_chains(compose_config):
    both = OmegaConf.to_container(
        compose_config("train", "experiment=hmdb51_two_stream", "++parents.flow=mine.ckpt"), resolve=True
    )["init_from"]
    assert both == {
        "frame": "outputs/demo/hmdb51_frame/split1-seed0/checkpoints/best.ckpt",
        "flow": "mine.ckpt",
    }


def test_the_chain_is_no_part_of_what_a_run_is(compose_config):
    one = settings_of(compose_config("train", "experiment=hmdb51_flow"))
    other = settings_of(compose_config("train", "experiment=hmdb51_flow", "chain=no_stills"))
    assert one == other
    assert not [key for key in one if key.startswith(("chain", "parents"))]


def test_a_stage_comes_after_all_that_it_starts_from():
    found = load()
    assert found.upto("hmdb51_flow") == ["hmdb51_flow"]
    assert found.upto("hmdb51_frame") == ["stanford40_frame", "hmdb51_frame"]
    assert found.upto("hmdb51_two_stream") == [*found.stages]
    assert found.last.name == "hmdb51_two_stream"
    assert found.is_stills("stanford40_frame")
    assert not found.is_stills("hmdb51_two_stream_conv")
    assert found.look("hmdb51_two_stream_conv") == chain.OTHER


STAGE = {"experiment": "hmdb51_flow"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "chain=null: use a mapping"),
        ({"name": "x", "stages": {}}, "chain.stages is empty"),
        ({"name": "../x", "stages": {"a": STAGE}}, "chain.name=../x"),
        ({"name": "x", "stages": {"a": STAGE}, "colour": 1}, "chain.colour: no such setting"),
        ({"name": "x", "stages": {"a/b": STAGE}}, "chain.stages.a/b=a/b: use"),
        ({"name": "x", "stages": {"a": {}}}, "chain.stages.a.experiment=null"),
        ({"name": "x", "stages": {"a": {**STAGE, "data": "frames"}}}, "chain.stages.a.data=frames: use"),
        ({"name": "x", "stages": {"a": {**STAGE, "split": 1}}}, "chain.stages.a.split=1"),
        ({"name": "x", "stages": {"a": {**STAGE, "colour": "red' onload='"}}}, "chain.stages.a.colour=red"),
        ({"name": "x", "stages": {"a": {**STAGE, "hatch": "abc"}}}, "chain.stages.a.hatch=abc"),
        ({"name": "x", "stages": {"a": {**STAGE, "parent": "b"}}}, "chain.stages.a.parent: no such setting"),
        ({"name": "x", "stages": {"a": {**STAGE, "overrides": "b=1"}}}, "chain.stages.a.overrides=b=1: use a list"),
        (
            {"name": "x", "stages": {"a": {**STAGE, "parents": {"parent": "b"}}, "b": STAGE}},
            "chain.stages.a.parents.parent=b: use a stage that comes before it",
        ),
        (
            {"name": "x", "stages": {"a": STAGE, "b": {**STAGE, "parents": {"parent": "a", "flow": "a"}}}},
            "chain.stages.b.parents: parent is the role of an only parent",
        ),
        ({"name": "x", "stages": {"a": STAGE}, "variants": {"b": {"of": "c"}}}, "chain.variants.b.of=c: use one of a"),
        (
            {"name": "x", "stages": {"a": {**STAGE, "fusions": True}}},
            "chain.stages.a.fusions: name a parent of each stream",
        ),
        ({"name": "x", "stages": {"a": {**STAGE, "fusions": "all"}}}, "chain.stages.a.fusions=all: use"),
        (
            {
                "name": "x",
                "stages": {"a": STAGE, "b": {**STAGE, "parents": {"frame": "a", "flow": "a"}, "fusions": True}},
                "variants": {"b_refit": {"of": "b"}},
            },
            "b_refit is a variant of b by its fusions=true",
        ),
    ],
)
def test_what_is_no_chain_is_named_by_its_key(content, says):
    _, message = attempt(read, content)
    assert says in message


def test_a_chain_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(ActionRecError, match=r"chain=five: use one of .*no_stills, .*two_stream"):
        load("five")
