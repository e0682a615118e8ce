from pathlib import Path

from actionrec.experiment import outcome

METRICS = {
    **{"val/acc": 0.5, "val/acc_macro": 0.4, "val/loss": 1.25},
    **{"test/acc": 0.25, "test/acc_low": 0.125, "test/acc_high": 0.375},
    **{"test/acc_macro": 0.2, "test/acc_macro_low": 0.1, "test/acc_macro_high": 0.3, "test/loss": 2.5},
}


def test_the_table_has_intervals_where_there_are_any():
    header, _, val, test = outcome.table(METRICS, {"val": 12, "test": 1024}).splitlines()
    assert [cell.strip() for cell in header.split("|")] == ["", "part", "n", "top-1", "mean class", "loss", ""]
    assert [cell.strip() for cell in val.split("|")] == ["", "val", "12", "0.500", "0.400", "1.250", ""]
    assert [cell.strip() for cell in test.split("|")][2:] == [
        *("1,024", "0.250 [0.125, 0.375]", "0.200 [0.100, 0.300]", "2.500", "")
    ]


def test_background_has_a_line_below_the_table():
    more = {"val/background_n": 5, "val/background_as_action": 0.4, "val/action_as_background": 0.125}
    last = outcome.table({**METRICS, **more}, {"val": 12, "test": 1024}).splitlines()[-1]
    assert last == (
        "val: 5 of the 12 samples are background; 40.0% of them are taken for an action, and 12.5% of the others for "
        "background"
    )


def test_the_line_has_the_accuracies():
    assert outcome.line(METRICS, "test") == "test/acc 0.250  test/acc_macro 0.200"


def test_the_places_are_the_run_and_what_shows_it(compose_config, tmp_path):
    config = compose_config("train", "experiment=hmdb51_flow", f"paths.outputs={tmp_path}/my outputs")
    run = Path(config.run_dir)
    assert outcome.places(config, run).splitlines()[:2] == [  # within a command line the report follows
        f"run:         {run}",
        f"TensorBoard: tensorboard --logdir '{tmp_path}/my outputs/demo'",
    ]
    one = compose_config("train", "experiment=hmdb51_flow", "logger=many", "logger.csv=null")
    assert "tensorboard --logdir" in outcome.places(one, Path(one.run_dir))
    elsewhere = tmp_path / "elsewhere"
    assert f"tensorboard --logdir {elsewhere}" in outcome.places(config, elsewhere)


def test_without_tensorboard_none_is_named(compose_config):
    config = compose_config("train", "experiment=hmdb51_flow", "logger=none")
    assert "tensorboard" not in outcome.places(config, Path(config.run_dir))
