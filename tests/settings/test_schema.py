"""The JSON Schema of the settings takes the project's own files, and refuses settings that the project refuses."""

import json
import sys
from functools import cache
from typing import Any

import pytest
from omegaconf import OmegaConf

from actionrec.commands import schema as command
from actionrec.settings import schema
from actionrec.settings.composition import CONF, config_groups
from actionrec.system.errors import ActionRecError

jsonschema = pytest.importorskip("jsonschema", reason="of the extra dev")

VERBS = sorted(path.stem for path in CONF.glob("*.yaml"))
NEEDED = {"train": ["experiment=hmdb51_flow"], "evaluate": ["experiment=hmdb51_flow"], "search": ["experiment=clip"]}
COMPOSED = [
    ["experiment=hmdb51_flow", "recipe=strong", "model.class_weights=balanced"],
    ["experiment=two_stream", "dataset=folder", "chain=no_stills", "callbacks=[default,ema]", "logger=many"],
    ["experiment=clip", "scheduler=cosine", "flow=tvl1", "model.clip.backbone.mean=[0.5,0.5,0.5]"],
    ["experiment=hmdb51_two_stream", "recipe=demo", "debug=profile", "trainer=ddp", "optimizer=sgd"],
    ["experiment=stanford40_frame", "+callbacks.early_stopping.min_delta=0.1", "+optimizer.betas=[0.9,0.95]"],
]


@cache
def validator(*words: str) -> Any:
    made = jsonschema.Draft202012Validator(schema.create(*words))
    made.check_schema(made.schema)
    return made


def errors(content: Any, *words: str) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(*words).iter_errors(content)]


@pytest.mark.parametrize("group", config_groups())
def test_the_files_of_every_group_pass(group):
    verb = "predict" if group in ("network", "window") else "train"
    for path in sorted((CONF / group).glob("*.yaml")):
        assert errors(OmegaConf.to_container(OmegaConf.load(path)), verb, group) == [], path


@pytest.mark.parametrize("verb", VERBS)
def test_the_settings_of_every_verb_pass(verb, compose_config):
    assert errors(OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml")), verb) == []
    assert errors(OmegaConf.to_container(compose_config(verb, *NEEDED.get(verb, []))), verb) == []


@pytest.mark.parametrize("overrides", COMPOSED)
def test_composed_settings_pass_as_they_are_and_resolved(overrides, compose_config):
    config = compose_config("train", "paths=real", *overrides)
    assert errors(OmegaConf.to_container(config), "train") == []
    assert errors(OmegaConf.to_container(config, resolve=True), "train") == []


OWN = {
    "defaults": ["hmdb51_flow", {"override /optimizer": "sgd"}, {"override hydra/launcher": "joblib"}, "_self_"],
    "stage": "mine",
    "seed": "${oc.env:SEED}",
    "trainer": {"max_epochs": 30, "max_time": "00:08:00:00"},
    "optimizer": {"_target_": "mine.Optimizer", "own": 1},
    "model": {"fusion": {"_target_": "mine.Fusion"}, "left": {"backbone": {"name": "resnet18"}}},
    "data": {"left": {"_target_": "mine.Left"}, "position": "random"},
    "dataset": {"_target_": "mine.DataSet", "folder": "x"},
}
WRONG = [
    ({"optimiser": {}}, "'optimiser' was unexpected"),
    ({"data": {"sizee": 224}}, "$.data.sizee"),
    ({"data": {"size": "large"}}, "$.data.size"),
    ({"data": {"augmentation": "stronk"}}, "$.data.augmentation"),
    ({"data": {"flow": {"filds": 4}}}, "'filds' was unexpected"),
    ({"model": {"mixupp": 0.2}}, "$.model.mixupp"),
    ({"model": {"fusion": "sum"}}, "$.model.fusion"),
    ({"trainer": {"max_epoch": 3}}, "'max_epoch' was unexpected"),
    ({"dataset": {"video": "x"}}, "$.dataset"),
    ({"recipe": {"epochs": {"flow": "many"}}}, "$.recipe"),
    ({"defaults": [{"override /optimizzer": "sgd"}]}, "$.defaults[0]"),
    ({"search": {"space": []}}, "'search' was unexpected"),
]


def test_an_experiment_of_ones_own_passes():
    assert errors(OWN, "train", "experiment") == []


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_a_misspelled_key_or_a_wrong_value_is_found(content, said):
    [found] = errors(content, "train")
    assert said in found


def test_a_chain_file_has_known_keys_and_any_stages():
    stage = {"experiment": "frame", "parents": {"parent": "other"}, "split": False}
    assert errors({"name": "mine", "stages": {"any_name": stage}}, "train", "chain") == []
    assert errors({"name": "mine", "stages": {"any_name": {**stage, "experimnt": "frame"}}}, "train", "chain")
    assert errors(
        {"name": "mine", "stages": {"any_name": {**stage, "parents": {"parent": ["other"]}}}}, "train", "chain"
    )


def test_values_and_descriptions_are_those_of_the_project():
    settings = schema.create("train")["properties"]
    augmentation = settings["data"]["properties"]["augmentation"]
    assert augmentation["description"] == "none, reference or strong"
    assert augmentation["anyOf"][0] == {"enum": ["none", "reference", "strong"]}
    size = settings["data"]["properties"]["size"]["anyOf"][0]
    assert size == {"type": "integer", "minimum": 16, "maximum": 4096}
    assert settings["objective"]["description"].startswith("The validation metric that ranks epochs")
    [of_experiment] = [each for each in (settings["defaults"]["items"]["anyOf"]) if "properties" in each]
    assert "onecycle" in of_experiment["properties"]["override /scheduler"]["anyOf"][0]["enum"]
    assert "description" not in settings["recipe"]["properties"]["patience"]  # the comment of recipe=strong is its own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trane"], "no verb with settings; use one of"),
        (["train", "x"], "no config group"),
        (["train", "chain", "x"], "name one verb"),
    ],
)
def test_unknown_words_are_one_line(monkeypatch, words, said):
    monkeypatch.setattr(sys, "argv", ["actionrec schema", *words])
    with pytest.raises(SystemExit, match=said) as stop:
        command.main()
    assert "\n" not in str(stop.value.code)
    if words[0] == "trane":
        with pytest.raises(ActionRecError):
            schema.create("trane")


def test_the_command_prints_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["actionrec schema", "predict"])
    command.main()
    assert json.loads(capsys.readouterr().out)["title"] == "actionrec predict"
