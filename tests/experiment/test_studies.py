import csv
import json
import subprocess
import sys

import cv2
import pytest
from hydra import compose, initialize_config_dir
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from actionrec.experiment.studies import Study, parse, study_rows, write
from actionrec.settings.composition import CONF
from actionrec.system.errors import ActionRecError
from actionrec.system.locks import lock_file


def finished(folder, overrides: list[str], val: float, test: float, name: str | None = None) -> None:
    run = folder / (name or "_".join(overrides).replace("=", "-"))
    run.mkdir(parents=True)
    (run / "overrides.yaml").write_text("\n".join(f"- {override}" for override in overrides))
    metrics = {"val/acc": val, "test/acc": test, "test/acc_macro": test, "test/confusion": [[4, 1], [2, 3]]}
    for metric in ("test/acc", "test/acc_macro"):
        metrics |= {f"{metric}_low": test - 0.2, f"{metric}_high": test + 0.3}
    (run / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def folder(tmp_path):
    for lr, val, accuracies in (("0.001", 0.7, (0.5, 0.6)), ("0.0001", 0.9, (0.4, 0.3))):
        for seed, accuracy in enumerate(accuracies):
            finished(tmp_path, ["data.size=64", f"optimizer.lr={lr}", f"seed={seed}"], val, accuracy)
    return tmp_path


ASKED = ["optimizer.lr=1e-3,1e-4,1e-5", "seed=0,1", "data.size=64"]


def test_what_is_swept_is_told_from_what_is_fixed():
    swept = parse(["seed=0,1", "flow=a,b", "data.actions=[clap,wave]", "+x=1", "seed=2"])
    assert swept.values == {"flow": ["a", "b"]}
    assert swept.fixed == {"data.actions": "[clap,wave]", "x": "1", "seed": "2"}


def test_rows_are_of_the_sweeps_own_finished_runs_over_seeds(folder):
    finished(folder, ["data.size=96", "optimizer.lr=0.001", "seed=0"], 1, 1)  # of another sweep
    finished(folder, ["data.size=64", "optimizer.lr=0.001", "seed=2"], 1, 1)
    finished(folder, ["data.size=64", "optimizer.lr=0.001", "seed=0", "x=1"], 1, 1)
    for suffix in (".partial", ".replaced"):  # a training that goes on, and a run that was replaced
        finished(folder, ["data.size=64", "optimizer.lr=0.00001", "seed=0"], 0.5, 0.5, f"half{suffix}")
    rows = study_rows(folder, parse(ASKED))
    assert [row["optimizer.lr"] for row in rows] == ["0.001", "0.0001"]
    assert [(row["runs"], row["n"]) for row in rows] == [(2, 10), (2, 10)]
    assert rows[0]["test/acc"] == pytest.approx(0.55)
    assert rows[0]["test/acc sd"] == pytest.approx(0.0707, abs=1e-4)
    assert rows[0]["values"] == [0.5, 0.6]
    assert [rows[0][f"test/acc {bound}"] for bound in ("low", "high")] == pytest.approx([0.35, 0.85])


@pytest.mark.parametrize(
    ("objective", "values", "best"), [("val/loss", (0.2, 0.9), "a"), ("val/map", (0.2, 0.9), "b"), ("val/acc", (), "a")]
)
def test_the_objective_says_which_row_is_the_best(tmp_path, objective, values, best):
    """Also where it is none of the table's usual columns; of a loss the lowest is the best."""
    for name, accuracy in (("a", 0.9), ("b", 0.5)):
        finished(tmp_path, [f"flow={name}", "seed=0"], accuracy, 0.5)
    for name, value in zip(("a", "b"), values, strict=False):
        path = tmp_path / f"flow-{name}_seed-0" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {objective: value}))
    rows = study_rows(tmp_path, parse(["flow=a,b", "seed=0"]), objective)
    table = write(tmp_path, "flow", "flow", rows, objective)
    study = json.loads((tmp_path / "study.json").read_text())
    assert (study["by"], study["best"]) == (["flow"], {"flow": best})
    assert objective in table.splitlines()[0]


@pytest.mark.parametrize("tag", [[], ["tag=mine"], ["+tag='mine'"], ["++tag=null"]])
def test_a_job_counts_once_under_the_name_that_the_sweep_gives_it(tmp_path, tag):
    """The same job lies under the names of a narrower sweep and of an earlier version, too."""
    suffix = "-mine" if tag and "mine" in tag[0] else ""
    for seed in (0, 1):
        overrides = ["optimizer@model.optimizer=adam", "+optimizer.lr=0.001", f"seed={seed}", *tag]
        finished(tmp_path, overrides, 0.3, 0.3)
        finished(tmp_path, overrides, 0.5, 0.5, f"seed-{seed}{suffix}")
        finished(tmp_path, overrides, 0.6, 0.6, f"optimizer.lr-0.001_seed-{seed}{suffix}")
        name = f"optimizer.lr-0.001_optimizer-model.optimizer-adam_seed-{seed}{suffix}"
        finished(tmp_path, overrides, 0.4, 0.4, name)
    fixed = ["optimizer@model.optimizer=adam", "optimizer.lr=0.001", *tag]
    for sweep, accuracy in (
        ([*fixed, "seed=0,1"], 0.5),
        ([*fixed, "optimizer.lr=1e-3,1e-4", "seed=0,1"], 0.6),
        ([*fixed, "seed=0,1", "optimizer.lr=1e-3,1e-4", "optimizer@model.optimizer=adam,sgd"], 0.4),
    ):
        [row] = study_rows(tmp_path, parse(sweep))
        assert (row["runs"], row["values"]) == (2, [accuracy] * 2), sweep


def test_runs_that_were_measured_in_other_ways_are_rows_of_their_own(folder):
    """As where one seed was trained on another device, whose precision is another."""
    for run in folder.glob("*lr-0.001_seed-*"):
        precision = "bf16-mixed" if run.name.endswith("1") else "32-true"
        protocol = {"segments": 1, "crops": 1, "position": None, "precision": precision}
        (run / "measurement.json").write_text(json.dumps({"test": protocol}))
    rows = study_rows(folder, parse(ASKED))
    assert [(row["optimizer.lr"], row["views"], row["values"]) for row in rows] == [
        *(("0.001", "1x1-32-true", [0.5]), ("0.001", "1x1-bf16-mixed", [0.6]), ("0.0001", None, [0.4, 0.3])),
    ]
    text = write(folder, "lr", "learning rate", rows)
    column = [each.strip() for each in text.splitlines()[0].split("|")].index("views")
    lines = [[each.strip() for each in line.split("|")] for line in text.splitlines()[2:5]]
    assert [line[column] for line in lines] == ["1x1-32-true", "1x1-bf16-mixed", "not recorded"]
    assert json.loads((folder / "study.json").read_text())["by"] == ["optimizer.lr"]


def multirun(folder) -> DictConfig:
    """The arguments that Hydra gives the callbacks."""
    hydra = {"sweep": {"dir": str(folder)}, "sweeper": {"params": {}}, "overrides": {"task": ["seed=0,1"], "hydra": []}}
    return OmegaConf.create({"hydra": hydra, "sweep": {"name": "both", "title": "both"}, "objective": "val/acc"})


def elsewhere(folder) -> subprocess.CompletedProcess[str]:
    """Another process begins a multirun of that folder, of other keys."""
    code = f"""
from omegaconf import OmegaConf
from actionrec.experiment.studies import Study
config = OmegaConf.create({OmegaConf.to_container(multirun(folder))!r})
config.hydra.overrides.task = ["data.size=64,96"]
Study().on_multirun_start(config)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def varying(folder) -> list[str]:
    return json.loads((folder / "multirun.json").read_text())["varying"]


def test_a_second_multirun_of_a_folder_is_refused_and_leaves_the_names_of_the_first_ones_jobs(tmp_path):
    folder, study = tmp_path / "sweeps/both", Study()
    study.on_multirun_start(multirun(folder))
    second = elsewhere(folder)
    assert second.returncode == 1
    [line] = second.stderr.strip().splitlines()
    assert line.startswith(f"error: the sweep in {folder} is being written by process")
    assert varying(folder) == ["seed"]
    study.on_multirun_end(multirun(folder))
    assert elsewhere(folder).returncode == 0
    assert varying(folder) == ["data.size"]


def test_the_command_line_says_in_one_line_that_another_process_writes_the_sweep(tmp_path, run):
    folder = tmp_path / "demo/sweeps/both"
    code = "from actionrec.system import locks; "
    code += f"locks.acquire(locks.Path({str(folder)!r}), ''); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        command = ["experiment=stanford40_frame", f"paths.outputs={tmp_path}", "sweep.name=both", "seed=0,1"]
        outcome = run("train", *command, "--multirun")
        first.stdin.close()
    assert outcome.status == 1
    [line] = outcome.err.strip().splitlines()
    assert line.startswith(f"error: the sweep in {folder} is being written by process {first.pid}")
    assert not folder.exists()


@pytest.mark.parametrize("same", [True, False])
def test_a_multirun_that_failed_holds_nothing_back_from_the_next_of_its_process(tmp_path, same):
    failed, folder = tmp_path / "failed", tmp_path / ("failed" if same else "next")
    Study().on_multirun_start(multirun(failed))  # Hydra tells of no end
    Study().on_multirun_start(multirun(folder))
    Study().on_multirun_end(multirun(folder))
    assert not lock_file(failed).exists()
    assert not lock_file(folder).exists()


def test_a_multirun_whose_table_fails_lets_its_folder_go(tmp_path):
    Study().on_multirun_start(multirun(tmp_path / "both"))
    finished(tmp_path / "both", ["seed=0"], 1, 1, "seed-0")
    (tmp_path / "both/seed-0/metrics.json").write_text("[")
    with pytest.raises(ActionRecError):
        Study().on_multirun_end(multirun(tmp_path / "both"))
    assert not lock_file(tmp_path / "both").exists()


def test_where_the_sweeps_notes_cannot_be_written_no_job_starts(tmp_path):
    (tmp_path / "sweeps").touch()
    with pytest.raises(SystemExit, match=r"^error: .*sweeps.*"):
        Study().on_multirun_start(multirun(tmp_path / "sweeps/both"))


def test_extractions_on_several_machines_keep_no_study_and_no_lock():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("extract_flow", return_hydra_config=True)
    assert type(instantiate(config.hydra.callbacks.study)) is Callback


def test_one_run_has_no_spread(folder):
    [row] = study_rows(folder, parse(["optimizer.lr=1e-3", "seed=1", "data.size=64", "data.size=64"]))
    assert (row["runs"], row["test/acc"], row["test/acc sd"]) == (1, 0.6, None)


def test_a_study_is_a_table_a_file_of_figures_and_a_plot(folder):
    text = write(folder, "lr", "learning rate", study_rows(folder, parse(ASKED)))
    first, second = text.splitlines()[2:4]
    assert "0.550 ± 0.071 [0.350, 0.850]" in first
    assert "best on validation" not in first  # though its test is better
    assert "best on validation" in second
    assert (folder / "study.md").read_text().startswith(text)
    study = json.loads((folder / "study.json").read_text())
    assert (study["name"], study["title"], study["by"]) == ("lr", "learning rate", ["optimizer.lr"])
    rows = list(csv.DictReader((folder / "study.csv").open()))
    assert [row["optimizer.lr"] for row in rows] == ["0.001", "0.0001"]
    assert cv2.imread(str(folder / "study.png")).std() > 10
