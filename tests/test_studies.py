import csv
import json

import cv2
import pytest

from actionrec.studies import gather, parse, write


def finished(folder, overrides: list[str], val: float, test: float) -> None:
    run = folder / "_".join(overrides).replace("=", "-")
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
    (folder / "half.partial").mkdir()
    (folder / "half.partial" / "overrides.yaml").write_text("- data.size=64")
    rows = gather(folder, parse(ASKED))
    assert [row["optimizer.lr"] for row in rows] == ["0.001", "0.0001"]
    assert [(row["runs"], row["n"]) for row in rows] == [(2, 10), (2, 10)]
    assert rows[0]["test/acc"] == pytest.approx(0.55)
    assert rows[0]["test/acc sd"] == pytest.approx(0.0707, abs=1e-4)
    assert rows[0]["values"] == [0.5, 0.6]
    assert [rows[0][f"test/acc {bound}"] for bound in ("low", "high")] == pytest.approx([0.35, 0.85])


def test_one_run_has_no_spread(folder):
    [row] = gather(folder, parse(["optimizer.lr=1e-3", "seed=1", "data.size=64", "data.size=64"]))
    assert (row["runs"], row["test/acc"], row["test/acc sd"]) == (1, 0.6, None)


def test_a_study_is_a_table_a_file_of_figures_and_a_plot(folder):
    text = write(folder, "lr", "learning rate", gather(folder, parse(ASKED)))
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
