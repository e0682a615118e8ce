"""Every experiment composes and instantiates with every option of every config group."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product

import pytest
import torch
from hydra.errors import ConfigCompositionException, InstantiationException
from hydra.utils import instantiate
from lightning import LightningDataModule, LightningModule
from omegaconf import OmegaConf

from actionrec.experiment.build import create_callbacks, create_data, create_loggers, create_module
from actionrec.runs.manifest import Manifest, settings_of
from actionrec.settings.composition import CONF
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK, VERBS

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHAIN = ("stanford40_frame", "hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream")
# Of networks of clips, which have backbones of their own.
SMALL = {"clip": ["model.clip.backbone.name=r3d_18", "model.clip.backbone.weights=null", "data.size=32"]}
GROUPS = ("backbone", "optimizer", "scheduler", "trainer", "callbacks", "logger", "flow", "recipe", "debug", "sweep")


def choices() -> Iterator[tuple[str, str]]:
    for experiment in EXPERIMENTS:
        if experiment not in CHAIN:
            yield experiment, "recipe=reference"
    for experiment, group in product(CHAIN, GROUPS):
        for path in sorted((CONF / group).glob("*.yaml")):
            of_no_use = group == "flow" and (path.stem == "default" or experiment.endswith("_frame"))
            # They see nothing of the stage, or nothing but whether it is of stills or of two streams.
            alike = group in ("callbacks", "logger") and experiment != CHAIN[0]
            alike |= group in ("trainer", "debug", "sweep") and experiment in CHAIN[1:-1]
            if not of_no_use and not alike:
                yield experiment, f"{group}={path.stem}"


@pytest.fixture(scope="module")
def data_of(compose_config, demo_root, demo_flow, demo_frames, tmp_path_factory):
    """A stage's data module, the same for all options that do not reach it."""
    outputs = tmp_path_factory.mktemp("outputs")
    places = {"root": demo_root, "flow": demo_flow, "frames": demo_frames, "outputs": outputs}
    paths = [f"paths.{name}={place}" for name, place in places.items()]
    shared = [*paths, *QUICK]
    return cache(
        lambda experiment: create_data(
            compose_config("train", f"experiment={experiment}", *shared, *SMALL.get(experiment, []))
        )
    )


@pytest.mark.parametrize(("experiment", "option"), list(choices()))
def test_every_option_instantiates(compose_config, paths, tmp_path, data_of, experiment, option):
    group = option.partition("=")[0]
    overrides = [f"experiment={experiment}", *paths, *QUICK, *SMALL.get(experiment, [])]
    if group == "trainer":
        overrides.remove("trainer=cpu")
    if group == "callbacks":
        overrides.remove("~callbacks.validation")
    if group == "flow":
        overrides += [f"paths.flow={tmp_path / 'none'}", "flow.bound=20"]
    if option == "recipe=best":
        overrides.append("recipe.motion.fields=4")  # the clips here have 7
    config = compose_config("train", *overrides, option)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if group == "flow":  # the store holds one estimator's
        with pytest.raises(ActionRecError, match="not extracted"):
            create_data(config)
        return
    data = create_data(config) if group == "recipe" else data_of(experiment)
    module = create_module(config, data, parents={})
    assert isinstance(data, LightningDataModule)
    assert isinstance(module, LightningModule)
    create_callbacks(config)
    package = option.partition("=")[2]
    if group == "logger" and package in ("wandb", "mlflow") and not find_spec(package):
        with pytest.raises(ActionRecError, match=rf"pip install 'actionrec\[{package}\]'"):
            create_loggers(config)
    else:
        create_loggers(config)
    if torch.cuda.is_available() or option not in ("trainer=gpu", "trainer=ddp"):
        module.trainer = instantiate(config.trainer)
    else:
        with pytest.raises(InstantiationException, match="use trainer=auto"):
            instantiate(config.trainer)
    if group in ("backbone", "recipe"):
        batch = next(iter(data.val_dataloader()))
        with torch.no_grad():
            assert module(batch).shape == (len(batch["label"]), 12)


@pytest.mark.parametrize(
    ("verb", "choice"),
    [
        ("train", ["experiment=hmdb51_flow"]),
        ("evaluate", ["experiment=hmdb51_flow"]),
        ("chain", []),
        ("export", []),
        ("features", []),
        ("extract_flow", []),
        ("fuse", []),
        ("import_flow", []),
        ("predict", []),
        ("prepare", ["dataset=hmdb51"]),
        ("report", []),
    ],
)
def test_every_verb_composes_and_a_typo_in_a_key_is_an_error(compose_config, verb, choice):
    assert {path.stem for path in CONF.glob("*.yaml")} == set(VERBS)
    OmegaConf.to_container(compose_config(verb, *choice), resolve=True)
    with pytest.raises(ConfigCompositionException, match=r"paths\.nam"):
        compose_config(verb, *choice, "paths.nam=x")


def test_every_paths_file_names_itself():
    """Make takes DATA for both."""
    for path in (CONF / "paths").glob("*.yaml"):
        if path.stem != "default":
            assert OmegaConf.load(path).name == path.stem


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_have_stable_places_without_equals_signs(compose_config, experiment):
    config = compose_config("train", f"experiment={experiment}", "split=1", "seed=3", "paths=real")
    stage = experiment if experiment in CHAIN else f"hmdb51_{experiment}"
    assert config.run_dir == f"outputs/real/{stage}/split1-seed3"
    parents = OmegaConf.to_container(config, resolve=True)["init_from"]
    for parent in parents.values() if isinstance(parents, dict) else [parents] if parents else []:
        assert parent.endswith("/split1-seed3/checkpoints/best.ckpt")


# Rate and weight decay by experiment and recipe, with the optimiser that the recipe chooses.
RATES = {
    ("stanford40_frame", "reference"): ("Adam", 1e-3, 0.0),
    ("hmdb51_frame", "reference"): ("Adam", 1e-4, 1e-5),
    ("hmdb51_flow", "reference"): ("Adam", 1e-3, 0.0),
    ("hmdb51_two_stream", "reference"): ("Adam", 1e-3, 0.0),
    ("stanford40_frame", "strong"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_frame", "strong"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_flow", "strong"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_two_stream", "strong"): ("AdamW", 1e-4, 0.01),
    ("stanford40_frame", "best"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_frame", "best"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_flow", "best"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_two_stream", "best"): ("AdamW", 1e-4, 0.01),
    ("stanford40_frame", "demo"): ("AdamW", 1e-3, 0.01),
    ("hmdb51_frame", "demo"): ("AdamW", 5e-4, 0.01),
    ("hmdb51_flow", "demo"): ("AdamW", 1e-3, 0.01),
    ("hmdb51_two_stream", "demo"): ("AdamW", 3e-4, 0.01),
}


@pytest.mark.parametrize(("experiment", "recipe"), RATES)
def test_rates_are_the_optimisers_own_by_the_factor_of_the_stage(compose_config, experiment, recipe):
    choice = [f"experiment={experiment}", f"recipe={recipe}"]
    usual = compose_config("train", *choice).optimizer
    assert (usual._target_.rpartition(".")[2], usual.lr, usual.weight_decay) == RATES[experiment, recipe]
    adam, adamw, sgd = (
        compose_config("train", *choice, f"optimizer={name}").optimizer for name in ("adam", "adamw", "sgd")
    )
    assert adam.lr == pytest.approx(2 * adamw.lr)
    # The reference project's weight decay of one stage is of its own recipe; with others Adam has torch's default.
    assert adam.weight_decay == (1e-5 if (experiment, recipe) == ("hmdb51_frame", "reference") else 0)
    assert (sgd.lr, sgd.weight_decay, sgd.momentum) == (pytest.approx(20 * adamw.lr), 1e-4, 0.9)
    assert 1e-3 <= sgd.lr <= 2e-2
    assert compose_config("train", *choice, "optimizer=sgd", "optimizer.lr=0.3").optimizer.lr == 0.3


# Epochs, patience, batch, smoothing, size and views, likewise.
LENGTHS = {
    ("stanford40_frame", "reference"): (6, 10, 64, 0.0, 224, 1),
    ("hmdb51_frame", "reference"): (5, 10, 64, 0.0, 224, 1),
    ("hmdb51_flow", "reference"): (6, 10, 64, 0.0, 224, 1),
    ("hmdb51_two_stream", "reference"): (20, 10, 64, 0.0, 224, 1),
    ("stanford40_frame", "strong"): (5, 100, 32, 0.1, 224, 5),
    ("hmdb51_frame", "strong"): (12, 100, 32, 0.1, 224, 5),
    ("hmdb51_flow", "strong"): (45, 100, 32, 0.1, 224, 5),
    ("hmdb51_two_stream", "strong"): (10, 100, 32, 0.1, 224, 5),
    ("stanford40_frame", "best"): (5, 100, 32, 0.1, 224, 5),
    ("hmdb51_frame", "best"): (12, 100, 32, 0.1, 224, 5),
    ("hmdb51_flow", "best"): (45, 100, 32, 0.1, 224, 5),
    ("hmdb51_two_stream", "best"): (10, 100, 32, 0.1, 224, 5),
    ("stanford40_frame", "demo"): (10, 100, 32, 0.1, 80, 1),
    ("hmdb51_frame", "demo"): (6, 100, 32, 0.1, 80, 1),
    ("hmdb51_flow", "demo"): (16, 100, 32, 0.1, 80, 1),
    ("hmdb51_two_stream", "demo"): (3, 100, 32, 0.1, 80, 1),
}


@pytest.mark.parametrize(("experiment", "recipe"), LENGTHS)
def test_recipes_give_each_stage_its_epochs_and_all_the_same_rest(compose_config, experiment, recipe):
    config = compose_config("train", f"experiment={experiment}", f"recipe={recipe}", "callbacks=default")
    assert (
        config.trainer.max_epochs,
        config.callbacks.early_stopping.patience,
        config.data.batch_size,
        config.model.label_smoothing,
        config.data.size,
        config.views.segments,
    ) == LENGTHS[experiment, recipe]
    assert config.data.augmentation == ("none" if recipe == "reference" else "strong")
    assert config.scheduler.get("_target_") == (
        None if recipe == "reference" else "actionrec.modules.schedules.onecycle"
    )
    if "position" in config.data:
        assert config.data.position == ("middle" if recipe == "reference" else "random")


# What of the network learns: share of fixed layers, batch norms, first epochs of the head alone, factors on the rate of
# head and backbone, dropout.
LEARNS = {
    "stanford40_frame": (0.5, "frozen", 1, 10, 0.3, 0),
    "hmdb51_frame": (0.5, "frozen", 2, 10, 0.1, 0),
    "frame": (0.5, "frozen", 2, 10, 0.1, 0),
    "hmdb51_flow": (0, "train", 0, 1, 1, 0.5),
    "flow": (0, "train", 0, 1, 1, 0.5),
    "dynamic_image": (0, "train", 0, 1, 1, 0.5),
    "hmdb51_two_stream": (0.5, "frozen", 0, 1, 1, 0),
}


@pytest.mark.parametrize("experiment", LEARNS)
def test_the_best_recipe_says_of_each_stage_what_learns(compose_config, experiment):
    words = [f"experiment={experiment}", "recipe=best", *(["dataset=hmdb51"] if "_" not in experiment else [])]
    config = compose_config("train", *words)
    keys = ("fixed_layers", "batch_norm", "head_epochs", "head_lr_factor", "backbone_lr_factor", "dropout")
    assert tuple(config.model[key] for key in keys) == LEARNS[experiment]
    assert config.data.region == "square"
    assert config.views.crops == 2
    if "fusion" in config.model:
        assert (config.model.stream_loss, config.model.stream_dropout) == (1.0, 0.2)
    if "frame" in config.data:
        assert config.data.frame.focus == (None if experiment == "stanford40_frame" else "motion")
    if "flow" in config.data:
        assert config.data.flow.fields == 8
    for stream in {"flow", "rgb_difference", "dynamic_image", "clip"} & {*config.data}:
        assert [config.data[stream][key] for key in ("size", "focus")] == [112, "motion"]
    said = compose_config("train", *words, "model.head_epochs=7", "data.region=whole")
    assert (said.model.head_epochs, said.data.region) == (7, "whole")


def test_a_stage_of_another_name_has_the_rate_and_epochs_of_its_kind(compose_config):
    for recipe, epochs in (("reference", 5), ("strong", 12), ("best", 12), ("demo", 6), ("none", 10)):
        config = compose_config("train", "experiment=hmdb51_frame", f"recipe={recipe}", "stage=mine")
        assert config.trainer.max_epochs == epochs
    config = compose_config("train", "experiment=hmdb51_frame", "recipe=strong", "stage_kind=new")
    assert (config.optimizer.lr, config.trainer.max_epochs) == (5e-4, 12)


OWN = """# @package _global_
defaults:
  - hmdb51_flow
  - override /optimizer: sgd
  - _self_
stage: mine
optimizer: {lr: 3e-3}
data: {batch_size: 5}
trainer: {max_epochs: 3}
"""


@pytest.mark.parametrize("recipe", ["reference", "strong", "best", "demo", "none"])
def test_an_experiment_has_the_last_word_but_for_the_command_line(compose_config, tmp_path, recipe):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(OWN)
    words = [f"hydra.searchpath=[{tmp_path}]", "experiment=mine", f"recipe={recipe}"]
    config = compose_config("train", *words)
    assert (config.optimizer._target_, config.optimizer.lr) == ("torch.optim.SGD", 3e-3)
    assert (config.data.batch_size, config.trainer.max_epochs) == (5, 3)
    assert config.run_dir == "outputs/demo/mine/split1-seed0"
    said = compose_config("train", *words, "optimizer=adam", "optimizer.lr=0.5", "trainer.max_epochs=9")
    assert (said.optimizer._target_, said.optimizer.lr, said.trainer.max_epochs) == ("torch.optim.Adam", 0.5, 9)


def test_callbacks_are_chosen_one_by_one(compose_config):
    def names(*words: str) -> list[str]:
        config = compose_config("train", "experiment=stanford40_frame", "recipe=strong", *words)
        return [type(each).__name__ for each in create_callbacks(config)]

    default = names()
    assert names("callbacks=[default,ema]") == [*default, "EMAWeightAveraging"]
    assert names("callbacks=[best,last]") == ["BestCheckpoint", "LastCheckpoint"]
    assert names("callbacks=none") == []
    without = [name for name in default if name != "EarlyStopping"]
    assert names("~callbacks.early_stopping") == names("callbacks.early_stopping=null") == without
    with pytest.raises(ActionRecError, match=r"callbacks\.mine has no _target_"):
        names("+callbacks.mine={patience: 3}")


def test_the_best_recipe_keeps_its_last_epoch(compose_config):
    def names(*words: str) -> list[str]:
        config = compose_config("train", "experiment=stanford40_frame", *words)
        return [type(each).__name__ for each in create_callbacks(config)]

    without = [name for name in names() if name not in ("BestCheckpoint", "EarlyStopping")]
    assert names("recipe=best") == names("callbacks=last_epoch") == without
    assert names("recipe=best", "callbacks=[last_epoch,ema]") == [*without, "EMAWeightAveraging"]
    assert names("recipe=best", "callbacks=default") == names()


def test_the_objective_decides_between_epochs(compose_config):
    config = compose_config("train", "experiment=stanford40_frame", "objective=val/loss")
    for callback in (config.callbacks.best, config.callbacks.early_stopping):
        assert (callback.monitor, callback.mode) == ("val/loss", "min")
    config = compose_config("train", "experiment=stanford40_frame", "callbacks.best.monitor=val/loss")
    assert (config.callbacks.best.mode, config.callbacks.early_stopping.mode) == ("min", "max")


def test_loggers_are_one_none_or_many(compose_config, tmp_path):
    def names(*words: str) -> list[str]:
        config = compose_config("train", "experiment=stanford40_frame", f"paths.outputs={tmp_path}", *words)
        return [type(each).__name__ for each in create_loggers(config)]

    assert names() == ["TensorBoard"]
    assert names("logger=none") == []
    assert names("logger=many") == names("logger=[tensorboard,csv]") == ["TensorBoard", "CSVLogger"]
    assert names("logger.tensorboard=null") == []
    own = "+logger={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: x}"
    assert names("~logger", own) == ["CSVLogger"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("debug", ["overfit", "profile"])
def test_debugging_does_not_take_the_place_of_a_run(compose_config, experiment, debug):
    config = compose_config("train", f"experiment={experiment}", f"debug={debug}", "recipe=strong")
    assert config.run_dir == f"outputs/demo/{config.stage}/split1-seed0-debug-{debug}"
    assert config.stage in (experiment, f"hmdb51_{experiment}")
    assert config.data.augmentation == ("none" if debug == "overfit" else "strong")


def test_runs_of_before_settings_were_added_are_the_same_run(compose_config):
    """A manifest as it was written before there were kinds of stages, objectives, groups of parameters and clipping."""
    now = settings_of(compose_config("train", "experiment=stanford40_frame"))
    then = {**now, "optimizer.fused": True}
    added = ("stage_kind", "objective", "debug", "model.decay_norms", "model.batch_norm", "trainer.gradient_clip_val")
    assert not {*added} & {*now}
    assert Manifest(settings=now).differences(Manifest(settings=then)) == []
    changed = ("model.decay_norms=false", "model.head_lr_factor=10", "trainer.gradient_clip_val=1.0")
    for override in changed:
        key, _, _ = override.partition("=")
        other = Manifest(settings=settings_of(compose_config("train", "experiment=stanford40_frame", override)))
        [line] = other.differences(Manifest(settings=then))
        assert line.startswith(f"{key}: ")
        assert line.endswith("was not set")


def test_runs_of_stills_of_before_there_were_streams_are_the_same_run(compose_config):
    """They read no frames out of clips, so that they had no place of frames."""
    now = settings_of(compose_config("train", "experiment=stanford40_frame"))
    assert "data.frame._target_" in now
    assert not any(key.endswith(".folder") for key in now)


def test_places_of_records_count_where_no_list_says_which_they_are(compose_config):
    here, there = (
        settings_of(compose_config("train", "experiment=frame", "dataset=folder", f"dataset.videos={place}"))
        for place in ("/here", "/there")
    )
    assert Manifest(settings=here, lists="a").differences(Manifest(settings=there, lists="a")) == []
    [line] = Manifest(settings=here, lists="a").differences(Manifest(settings=there))  # the first drew the split
    assert line == "data.dataset.videos: /here, was /there"
    assert Manifest(settings=here).differences(Manifest(settings=there, whole=False)) == []


@pytest.mark.parametrize(
    ("override", "counts"),
    [
        ("data.frame.folder=/elsewhere", False),
        ("callbacks.best.tie_breaker=null", True),
        ("+callbacks.ema={_target_: lightning.pytorch.callbacks.EMAWeightAveraging}", True),
        ("model.optimizer={_target_: torch.optim.SGD, lr: 0.1}", True),
        ("optimizer.lr=0.5", True),
        ("callbacks.early_stopping.patience=3", True),
        ("trainer.max_epochs=9", True),
        ("trainer.accelerator=gpu", False),
        ("callbacks.validation.wrong=1", False),
        ("~callbacks.speed", False),
        ("data.num_workers=3", False),
        ("paths.outputs=/elsewhere", False),
        ("paths.stanford40=/elsewhere", False),
        ("split=2", False),  # of stills
        ("flow=farneback", False),
        ("resume=false", False),
        ("tag=x", False),
    ],
)
def test_settings_that_decide_the_result_are_what_a_run_is_known_by(compose_config, override, counts):
    plain, changed = (
        settings_of(compose_config("train", "experiment=stanford40_frame", *given)) for given in ([], [override])
    )
    assert (plain != changed) == counts
