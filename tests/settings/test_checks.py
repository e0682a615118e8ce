"""Settings are refused where they are composed: mostly by changing a composed configuration and checking it."""

import copy
import logging
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from actionrec.commands.app import command
from actionrec.evaluation.metrics import METRICS
from actionrec.flow import estimators, raft
from actionrec.networks import backbone, fusions
from actionrec.settings import allowed_values, checks, overrides
from actionrec.settings.composition import COMPOSITION_ERRORS, config_groups
from actionrec.settings.messages import one_line
from actionrec.streams import flow, sampling, transforms
from actionrec.system.errors import ActionRecError
from tests.conftest import Outcome

STILLS, CLIPS = ("train", "experiment=stanford40_frame"), ("train", "experiment=hmdb51_two_stream")
WINDOWS = ("train", "experiment=two_stream", "stream=[clip,rgb_difference]")
EXTRACT, FARNEBACK, REPORT = ("extract_flow",), ("extract_flow", "flow=farneback"), ("report",)
EVALUATE, SEARCH = ("evaluate", "experiment=stanford40_frame"), ("search", "experiment=stanford40_frame")
PREPARE, DEMO = ("prepare", "dataset=hmdb51"), ("prepare", "dataset=demo")
RATE = "key: optimizer.lr, low: 1e-4, high: 1e-2"

WRONG = {
    STILLS: {
        "data.size": ["0", "-5", "abc", "64.5", "1", "true", "null", "100000"],
        "data.batch_size": ["0", "-1", "abc", "1.5"],
        "data.num_workers": ["-1", "many", "100000", "1.5"],
        "data.actions": ["null", "clap", "5", "[1,2]"],
        "data.strict": ["maybe", "1"],
        "views.segments": ["0", "abc", "1.5"],
        "views.crops": ["4", "abc", "true"],
        "split": ["0", "abc", "1.5", "null"],
        "seed": ["-1", "abc", "99999999999", "1.5", "null", "", "[]"],
        "trainer.max_epochs": ["0", "-1", "abc", "1.5", "null"],
        "trainer.log_every_n_steps": ["0", "-1"],
        "trainer.limit_train_batches": ["0", "-1", "abc"],
        "trainer.limit_val_batches": ["0"],
        "trainer.devices": ["99", '"99"'],
        "optimizer.lr": ["abc", "-1", "0", "nan", "inf", "null"],
        "optimizer.weight_decay": ["-1", "nan"],
        "optimizer.fused": ["maybe"],
        "scheduler.monitor": ["val/nope", "null"],
        "scheduler.interval": ["day"],
        "scheduler.frequency": ["0"],
        "objective": ["acc", "val/ece", "test/acc", "null"],
        "model.decay_norms": ["null", "1"],
        "model.head_lr_factor": ["0", "-1", "null"],
        "model.backbone_lr_factor": ["0", "null"],
        "model.batch_norm": ["half", "null", "true"],
        "model.head_epochs": ["-1", "0.5", "null"],
        "model.mixup": ["-1", "null", "nan"],
        "model.class_weights": ["inverse", "true", "[1,2]"],
        "data.sampler": ["weighted", "true"],
        "data.fold": ["5", "-1", "null"],
        "trainer.gradient_clip_val": ["-1", "abc"],
        "model.dropout": ["2", "-1", "nan"],
        "model.label_smoothing": ["2", "-1", "abc"],
        "compile": ["abc", "1", "null", "{fast: true}"],
        "fast_depthwise": ["bf16"],
        "cache_features": ["maybe"],
        "resume": ["null", "5", "[]", "''"],
        "init_from": ["5", "''", "{frame: 5}"],
        "stage": ["../x", "''", "a/b"],
        "run_dir": ["''", ".", "..", "/", "a/..", "5", "{readme}", "{readme}/x"],
        "paths.name": ["../x", ".", "..", "a/b", "''", ".hidden", "x.partial", "a\\\\b", "{long}"],
        "paths.outputs": ["''", "5", "{readme}", "'~/data'"],
        "paths.hmdb51": ["null"],
        "sweep.name": ["../x", "''"],
        "callbacks.best": ["5"],
        "callbacks.best.monitor": ["foo", "val/ece", "null"],
        "callbacks.best.mode": ["min"],
        "callbacks.early_stopping.patience": ["-1", "abc"],
        "callbacks.validation.projected": ["-1", "abc"],
        "callbacks.validation.wrong": ["-1"],
        "callbacks.training_batch.samples": ["-1"],
    },
    CLIPS: {
        "model.frozen": ["frame", "[foo]", "null"],
        "model.fusion": ["foo"],
        "model.members": ["0", "6", "1.5", "null"],
        "model.stream_loss": ["-1", "null", "abc"],
        "model.stream_dropout": ["-0.1", "1.5", "null"],
        "data.flow.fields": ["0", "abc"],
        "data.flow.stride": ["0"],
        "data.position": ["center"],
        "data.flow.representation": ["foo"],
        "data.flow.focus": ["person", "true"],
        "data.flow.size": ["8", "abc"],
        "data.flow.folder": ["null"],
        "flow.bound": ["-1", "inf", "nan", "abc"],
    },
    WINDOWS: {
        "data.clip.frames": ["0", "abc"],
        "data.rgb_difference.length": ["1.5"],
        "data.rgb_difference.stride": ["0"],
        "model.frozen": ["[frame]"],
    },
    EXTRACT: {
        "workers": ["0", "abc", "10000"],
        "shard.count": ["0", "abc"],
        "shard.index": ["-1", "1.5"],
        "flow.params.finest_scale": ["99", "-1", "abc"],
        "flow.params.preset": ["foo"],
        "flow.params": ["5"],
        "flow.short_side": ["8", "abc"],
        "flow.name": ["../x"],
        "verify": ["maybe"],
    },
    FARNEBACK: {
        "flow.params.pyr_scale": ["0", "1"],
        "flow.params.levels": ["0"],
        "flow.params.winsize": ["0"],
        "flow.params.poly_n": ["1000000"],
    },
    REPORT: {"gallery": ["-1", "abc"], "split": ["abc", "0"], "seed": ["-1"]},
    EVALUATE: {
        "parts": ["[foo]", "test", "[]", "null"],
        "output": ["{readme}", "''"],
        "checkpoint": ["null", "''"],
    },
    SEARCH: {
        "search.trials": ["0", "-1", "abc"],
        "search.name": ["../x"],
        "search.space": [
            "[]",
            "null",
            "[5]",
            "[{key: optimizer.lr, low: 1.0, high: 0.1}]",
            "[{key: optimizer.lr, low: 0, high: 0.1, log: true}]",
            "[{key: optimizer.lr, low: a, high: b}]",
            "[{key: optimizer.lr, low: -1.0, high: 1.0}]",
            "[{key: optimizer.weight_decay, low: 0.0, high: 0.1, log: true}]",
            "[{key: data.size, low: 8, high: 64}]",
            "[{key: data.augmentation, values: 5}]",
            "[{key: data.augmentation, values: []}]",
            "[{key: data.augmentation, values: [none,foo]}]",
            "[{key: data.actions, values: [[clap,wave]]}]",
            f"[{{{RATE}}},{{{RATE}}}]",
            f"[{{{RATE}, log: maybe}}]",
        ],
    },
    PREPARE: {"source": ["5", "[]", "''"], "expect_complete": ["maybe"]},
    DEMO: {"dataset.seed": ["-1", "abc"]},
}
RIGHT = {
    STILLS: [
        *("data.size=16", "data.batch_size=100000", "data.num_workers=0", "seed=4294967295", "init_from=null"),
        *("compile=true", "compile={mode: max-autotune}", "resume=auto", "resume=last.ckpt", "views.crops=10"),
        *("data.actions=[clap,wave]", "data.actions=all", "paths.name=my data", "run_dir=../elsewhere/mine"),
        *("trainer.devices=auto", "trainer.limit_train_batches=0.5", "stage=mine", "model.dropout=1"),
        *("init_from={frame: a.ckpt, flow: null}", "optimizer.lr=1e30", "callbacks.best.monitor=val/acc_macro"),
        *("callbacks.best.monitor=val/map", "callbacks.best.monitor=val/loss", "callbacks.best=null"),
        *("objective=val/f1_macro", "optimizer.fused=auto", "trainer.gradient_clip_val=1", "model.batch_norm=partial"),
    ],
    CLIPS: ["model.frozen=[]", "model.frozen=[frame,flow]", "data.flow.fields=null", "flow.bound=15"],
    EXTRACT: ["workers=auto", "workers=8", "flow.params.finest_scale=0", "flow.short_side=240"],
    REPORT: ["split=null", "seed=3", "gallery=0"],
    EVALUATE: ["parts=[train]", "output=null"],
    SEARCH: [f"search.space=[{{{RATE}, log: true}}]", "search.trials=1"],
    PREPARE: ["source=null", "source=[a,b]", "source=a.zip"],
}


@pytest.fixture(scope="module")
def base(compose_config):
    """A verb's composed configuration, composed once."""
    return cache(lambda name, *overrides: compose_config(name, *overrides))


def changed(config: DictConfig, override: str) -> DictConfig:
    """The configuration after `key=value`, the value read as on a command line."""
    config = copy.deepcopy(config)
    parsed = OverridesParser.create().parse_override(f"++{override}")
    OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=False, force_add=True)
    return config


@pytest.mark.parametrize(
    ("verb_and_choice", "key", "value"),
    [(verb, key, value) for verb, wrong in WRONG.items() for key, values in wrong.items() for value in values],
)
def test_what_a_setting_may_not_be_is_one_line(base, tmp_path, verb_and_choice, key, value):
    (tmp_path / "readme").touch()
    value = value.replace("{readme}", str(tmp_path / "readme")).replace("{long}", "x" * 300)
    with pytest.raises(ActionRecError) as caught:
        checks.check(changed(base(*verb_and_choice), f"{key}={value}"))
    line = str(caught.value)
    assert "\n" not in line
    assert key in line or (key.startswith("callbacks.best") and "callbacks.best" in line)
    assert ": use " in line or " needs " in line or "; use " in line or "name" in line or "low must be" in line


@pytest.mark.parametrize(
    ("verb_and_choice", "override"), [(verb, right) for verb, rights in RIGHT.items() for right in rights]
)
def test_what_a_setting_may_be_passes(base, verb_and_choice, override):
    checks.check(changed(base(*verb_and_choice), override))


def test_the_line_names_the_setting_its_value_and_what_it_may_be(base):
    for override, line in {
        "data.size=1": "data.size=1: use a whole number from 16 to 4096",
        "data.cache=disk": "data.cache=disk: use ram or null",
        "callbacks.best.mode=min": "callbacks.best.mode=min: callbacks.best.monitor=val/acc needs "
        "callbacks.best.mode=max",
        "seed=1.5": "seed=1.5: use a whole number from 0 to 4294967295",
    }.items():
        with pytest.raises(ActionRecError) as caught:
            checks.check(changed(base(*STILLS), override))
        assert str(caught.value) == line


def test_choices_are_those_of_the_code():
    def takes(key: str, values) -> bool:
        return all(allowed_values.SETTINGS[key](value) is None for value in values)

    assert takes("data.augmentation", {*transforms.STILL_PRESETS, *transforms.CLIP_PRESETS})
    assert takes("data.position", [*sampling.POSITIONS, sampling.RANDOM])
    assert takes("data.*.representation", flow.CHANNELS_OF_A_FIELD)
    assert takes("views.crops", transforms.EVAL_VIEWS)
    assert takes("model.fusion", fusions.FUSION_LAYERS)
    assert takes("backbone.stem", backbone.STEMS)
    assert set(allowed_values.FLOW_PARAMS) == set(estimators.ESTIMATORS)
    assert all(allowed_values.FLOW_PARAMS["dis"]["preset"](preset) is None for preset in estimators.DIS_PRESETS)
    assert all(allowed_values.FLOW_PARAMS["raft"]["network"](network) is None for network in raft.NETWORKS)
    assert {metric.partition("/")[2] for metric in allowed_values.MONITORED} - {"loss"} <= set(METRICS)


def test_modules_of_the_users_own_say_themselves_what_they_take(base):
    config = changed(base(*STILLS), "data._target_=mine.Data")
    checks.check(changed(config, "data.augmentation=wild"))
    config = changed(base(*STILLS), "model._target_=mine.Module")
    checks.check(changed(config, "callbacks.best.monitor=val/mine"))


@pytest.mark.parametrize(("key", "value"), [("data.flow.focus", "motion"), ("data.flow.size", "112")])
def test_streams_with_places_of_their_own_are_not_mixed_by_place(base, key, value):
    config = changed(base(*CLIPS), f"{key}={value}")
    checks.check(config)
    with pytest.raises(ActionRecError, match=rf"^{key}={value}: model\.fusion=conv .* set {key}=null"):
        checks.check(changed(config, "model.fusion=conv"))


def test_bagged_streams_are_those_of_a_gate_and_do_not_learn(base):
    config = changed(base(*CLIPS), "model.members=5")
    for own in ("model.fusion=average", "model.fusion=gated", "model.frozen=[frame,flow]"):
        with pytest.raises(ActionRecError, match=r"^model.members=5: .*use model.fusion=gated model.frozen=\[fr"):
            checks.check(changed(config, own))
    checks.check(changed(changed(config, "model.fusion=gated"), "model.frozen=[frame,flow]"))


def test_refit_streams_are_those_of_a_gate_of_one_network_each_and_do_not_learn(base):
    config = changed(base(*CLIPS), "refit=true")
    gated = changed(changed(config, "model.fusion=gated"), "model.frozen=[frame,flow]")
    with pytest.raises(ActionRecError, match=r"^refit=true is of a gated fusion"):  # which a single stream has not
        checks.check(changed(base(*STILLS), "refit=true"))
    wrong = [config, changed(config, "model.fusion=gated"), changed(gated, "model.members=5")]
    for each in wrong:
        with pytest.raises(
            ActionRecError, match=r"^refit=true is .* use model.fusion=gated model.frozen=\[frame,flow\] m"
        ):
            checks.check(each)
    checks.check(gated)


def test_without_validation_samples_nothing_is_chosen(base):
    config = changed(base(*CLIPS), "data.fold=all")
    with pytest.raises(
        ActionRecError, match=r"^data.fold=all .* add callbacks.best=null callbacks.early_stopping=null, "
    ):
        checks.check_validation(config, ranked=False)
    config = changed(changed(config, "callbacks.early_stopping=null"), "scheduler={monitor: val/loss}")
    with pytest.raises(ActionRecError, match=r"add callbacks.best=null scheduler=none, or use data.fold=0$"):
        checks.check_validation(config, ranked=False)
    config = changed(changed(config, "callbacks.best=null"), "scheduler={monitor: train/loss}")
    checks.check_validation(config, ranked=False)
    with pytest.raises(ActionRecError, match=r"add model.fusion=product, or use data.fold=0$"):
        checks.check_validation(changed(config, "model.fusion=gated"), ranked=False)
    with pytest.raises(ActionRecError, match=r"no run can be ranked; train one by one, or use data.fold=0"):
        checks.check_validation(config, ranked=True)
    checks.check_validation(changed(config, "data.fold=0"), ranked=True)
    checks.check_validation(base(*CLIPS, "recipe=best", "data.fold=all"), ranked=False)  # keeps its last epoch


def test_a_stage_does_not_take_the_name_of_another_experiment(base):
    config, groups = changed(base(*STILLS), "stage=hmdb51_flow"), config_groups()
    with pytest.raises(ActionRecError, match="stage=hmdb51_flow: experiment=stanford40_frame is another stage"):
        checks.check_stage(config, {"experiment": "stanford40_frame"}, groups)
    checks.check_stage(config, {"experiment": "mine"}, groups)
    checks.check_stage(changed(config, "stage=mine"), {"experiment": "stanford40_frame"}, groups)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["experiment=a", "experiment=b"], "experiment=a experiment=b: name one of them"),
        (["experiment=[a,b]"], "name one of them"),
        (["backbone=null"], "backbone=null: say backbone=efficientnet_lite0|resnet18"),
        (["scheduler=null"], "scheduler=null: say scheduler=none"),
        (["optimizer=5"], "optimizer=5: say optimizer=adam|adamw|sgd"),
        (["optimizer=adam,5", "-m"], "say optimizer=adam|adamw|sgd"),
        (["~trainer=5"], "~trainer=5: say ~trainer alone"),
        (["logger=[none,5]"], "say logger=none"),
        (["experiment=null"], "experiment=null: say experiment=clip|"),
        (["seed=0,0", "--multirun"], "seed=0,0 has 0 twice"),
        (["optimizer.lr=choice(1,2,1)", "-m"], "optimizer.lr=1,2,1 has 1 twice"),
    ],
)
def test_command_lines_that_hydra_takes_silently(words, line):
    with pytest.raises(ActionRecError, match=line.replace("[", "\\[").replace("|", "\\|")):
        overrides.check(words, config_groups(), "experiment")


def test_command_lines_that_are_right():
    for words in (
        ["experiment=a", "experiment=a"],
        ["experiment=a,b", "--multirun"],
        [
            "split=1",
            "split=2",
            "seed=0,1",
            "~callbacks.best",
            "init_from=null",
            "x=range(1,3)",
            "optimizer=glob(ad*)",
            "logger=[none]",
        ],
        ["--config-dir", "some=where", "--cfg", "job", "(("],
    ):
        overrides.check(words, config_groups(), "experiment")


compose_and_check = command("train", choose="experiment")(lambda config: None)


@pytest.fixture
def tried(monkeypatch, capsys):
    """Compose and check a training, and do nothing else."""

    def try_words(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["train", *words])
        handlers, status = logging.root.handlers[:], 0
        try:
            compose_and_check()
        except SystemExit as stop:
            status = 1 if isinstance(stop.code, str) else int(stop.code or 0)
            print(stop.code if isinstance(stop.code, str) else "", file=sys.stderr)
        logging.root.handlers[:] = handlers
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return try_words


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["data.size=1"], ["data.size=1", "whole number"]),
        (["stage=hmdb51_flow"], ["another stage"]),
        (["experiment=hmdb51_flow"], ["experiment=hmdb51_flow experiment=stanford40_frame", "name one"]),
        (["backbone=null"], ["backbone=null"]),
        (["paths.outputs=aü"], ["paths.outputs=aü", "quote it twice", "\"paths.outputs='aü'\""]),
        (["run_dir=a (b)"], ["quote it twice"]),
        (["paths.root=~/data"], ["paths.root=~/data", "$HOME"]),
        (["seed=choice()"], ["empty choice"]),
        (["seed"], ["missing EQUAL"]),
        (["data.size=${nope}"], ["'nope' not found"]),
        (["views=3"], ["views"]),
        (["seed=", "sweep.name=x", "--multirun"], ["seed=: use"]),
        (["seed=[]", "sweep.name=x", "--multirun"], ["seed=[]: use"]),
        (["seed=0,0", "sweep.name=x", "--multirun"], ["seed=0,0 has 0 twice"]),
    ],
)
def test_every_mistake_ends_in_one_line_and_status_1(tried, tmp_path, monkeypatch, words, names):
    monkeypatch.chdir(tmp_path)
    outcome = tried("experiment=stanford40_frame", *words)
    assert outcome.status == 1
    *above, line = [line for line in outcome.err.splitlines() if line]
    assert line.startswith("error: ")
    assert [each[:5] for each in above] == (["Error"] if "[]" in words[0] or words[0] == "seed=" else [])  # which job
    for each in names:
        assert each in line


@pytest.mark.parametrize("words", [["dataset=demo"], ["dataset=demo", "experiment=hmdb51_flow"]])
def test_a_training_on_the_generated_set_takes_a_stage_on_its_folders(tried, words):
    line = tried(*words).err.strip()
    assert re.match("error: dataset=demo is generated by actionrec prepare, .* paths=demo .* experiment=hmdb51_", line)


def test_what_is_quoted_as_the_line_says_is_taken(tried, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tried("experiment=stanford40_frame", "paths.outputs='aü (b)~'").status == 0


PIECES = st.one_of(
    st.sampled_from(
        ["0", "-1", "1.5", "1e400", "nan", "inf", "null", "true", "abc", "", "[]", "{}", "[1,2]", "{a: 1}"]
    ),
    st.sampled_from(["../x", ".", "..", "/", "~", "~/x", "a b", "a=b", "${seed}", "${nope}", "${paths}", "'a'", '"'])
    | st.sampled_from(["range(3)", "choice(1,1)", "choice()", "glob(*)", "a,b", "[a", "{", "ü", "(", "\\", "%", "\n"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text(max_size=12),
)


# Shrinking would take minutes of compositions.
QUICKLY = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.explicit, Phase.generate]}


def keys_of(config: DictConfig, above: str = "") -> Iterator[str]:
    """Dotted keys of all settings and groups."""
    for key in config:
        yield f"{above}{key}"
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from keys_of(node, f"{above}{key}.")


def refusal(function: Callable[..., object], *arguments: object) -> str | None:
    """The line that bad input ends in, if it does; whatever else is raised is a failure."""
    try:
        function(*arguments)
    except (ActionRecError, *COMPOSITION_ERRORS) as error:
        return one_line(error)
    return None


def test_random_values_are_right_or_one_line(base):
    config = base(*CLIPS)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("${nope}"),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    )

    @settings(max_examples=60, **QUICKLY)
    @given(st.sampled_from(sorted(keys_of(config))), values)
    def holds(key, value):
        broken = copy.deepcopy(config)
        if refusal(partial(OmegaConf.update, merge=False, force_add=True), broken, key, value) is None:
            refusal(checks.check, broken)

    holds()


def test_random_overrides_compose_or_are_one_line(base, tried):
    signs = st.sampled_from(["", "", "", "+", "++", "~"])
    keys = st.sampled_from([*keys_of(base(*CLIPS)), *config_groups(), "nope", "data.nope"])

    @settings(max_examples=8, **QUICKLY)
    @given(st.lists(st.tuples(signs, keys, PIECES), max_size=3))
    def holds(words):
        outcome = tried("experiment=hmdb51_two_stream", *(f"{sign}{key}={value}" for sign, key, value in words))
        assert outcome.status in (0, 1)
        assert len([line for line in outcome.err.splitlines() if line.strip()]) == outcome.status

    holds()
