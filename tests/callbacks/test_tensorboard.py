import pytest
from tensorboard.plugins.hparams import metadata

from actionrec.callbacks.tensorboard import COLUMNS, HEADLINES, TensorBoard, hyperparameters
from tests.callbacks.conftest import events
from tests.conftest import QUICK


@pytest.mark.ci
def test_settings_are_those_the_run_has(compose_config):
    flow = hyperparameters(compose_config("train", "experiment=hmdb51_flow", "optimizer.lr=0.25", "seed=3"))
    assert flow["optimizer.lr"] == 0.25
    assert flow["seed"] == 3
    assert flow["optimizer"] == "Adam"
    assert flow["scheduler"] == "none"
    assert flow["flow.name"] == "dis_balanced"
    assert flow["data.flow.representation"] == "xy"
    assert "data.flow.fields" not in flow
    best = hyperparameters(compose_config("train", "experiment=hmdb51_flow", "recipe=best"))
    assert [best[f"data.flow.{key}"] for key in ("fields", "size", "focus")] == [8, 112, "motion"]
    stills = hyperparameters(compose_config("train", "experiment=stanford40_frame", "scheduler=cosine"))
    assert stills["scheduler"] == "cosine"
    assert stills["backbone.weights"] == "IMAGENET1K_V1"
    assert hyperparameters(compose_config("train", "experiment=hmdb51_frame", *QUICK))["backbone.weights"] == "none"
    assert not {"flow.name", "data.flow.fields", "model.fusion"} & set(stills)
    both = hyperparameters(compose_config("train", "experiment=hmdb51_two_stream", "model.frozen=[frame,flow]"))
    assert both["model.frozen"] == "frame, flow"
    for settings in (flow, stills, both):
        assert set(settings) <= set(COLUMNS)
        for name, value in settings.items():
            assert isinstance(value, str) == (COLUMNS[name] is str), name


def test_every_run_has_the_same_columns_and_its_own_values(tmp_path):
    """TensorBoard takes the columns of whichever run it finds first."""
    metrics = {"test/acc": 0.5, "test/acc_low": 0.4, "val/acc": 0.75}
    columns = []
    for name, settings in {
        "a": {"stage": "x", "optimizer.lr": 0.1},
        "b": {"stage": "y", "data.flow.fields": 4},
    }.items():
        logger = TensorBoard(tmp_path, name="", version=name, default_hp_metric=False)
        logger.log_metrics({"epoch": 1, "val/acc": 0.7}, 9)
        logger.log_outcome(settings, metrics, 10)
        logger.finalize("success")
        found = events(tmp_path / name)
        content = {tag: each.plugin_data.content for tag, each in found.summary_metadata.items()}
        experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
        columns.append([info.name for info in experiment.hparam_infos])
        assert [info.name for info in experiment.hparam_infos if info.differs] == [
            "stage",
            "split",
            "seed",
            "backbone.name",
            "optimizer.lr",
        ]
        shown = [info.name.tag for info in experiment.metric_infos]
        assert shown == [tag for tag in HEADLINES if tag in metrics]
        session = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
        values = {key: each.number_value or each.string_value for key, each in session.hparams.items()}
        assert values == settings
        assert set(found.Tags()["scalars"]) == set(metrics)
        assert [each.value for each in found.Scalars("val/acc")] == pytest.approx([0.7, 0.75])
    assert columns[0] == columns[1] == list(COLUMNS)
