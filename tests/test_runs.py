import pytest

from actionrec.errors import ActionRecError
from actionrec.runs import RunFolder, job_name


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "demo" / "hmdb51_flow" / "split1-seed0")


def write(run, text: str) -> None:
    (run.partial / "checkpoints").mkdir(exist_ok=True)
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.json"):
        (run.partial / name).write_text(text)


def test_a_run_appears_when_it_is_finished(run):
    run.start(False)
    assert run.resume_from(False) is None
    write(run, "first")
    assert not run.path.exists()
    assert not run.finished
    run.finish()
    assert run.finished
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_an_interrupted_second_run_keeps_the_first(run):
    run.start(False)
    write(run, "first")
    run.finish()
    run.start(False)
    (run.partial / "half").write_text("…")
    assert run.finished
    assert (run.path / "metrics.json").read_text() == "first"
    run.start(False)
    assert not (run.partial / "half").exists()
    write(run, "second")
    run.finish()
    assert (run.path / "metrics.json").read_text() == "second"
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_a_finish_that_was_killed_between_its_steps_loses_nothing(run):
    run.start(False)
    write(run, "first")
    run.finish()
    run.path.rename(run.path.with_name("split1-seed0.replaced"))
    run.start(False)
    assert (run.path / "metrics.json").read_text() == "first"
    write(run, "second")
    run.finish()
    assert (run.path / "metrics.json").read_text() == "second"
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_resume_goes_on_with_the_interrupted_run_then_with_the_finished(run):
    with pytest.raises(ActionRecError, match=r"resume: there is no .*last\.ckpt"):
        run.start(True)
    run.start(False)
    write(run, "half")
    run.start(True)
    assert run.resume_from(True).read_text() == "half"
    run.finish()
    run.start(True)
    assert run.resume_from(True).read_text() == "half"
    assert run.finished  # the finished one stays until the new one is
    run.start(str(run.best))
    assert run.resume_from(str(run.best)) == run.best
    with pytest.raises(ActionRecError, match=r"there is no nowhere\.ckpt"):
        run.start("nowhere.ckpt")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["experiment=a", "paths=real", "paths.name=x", "seed=1", "optimizer.lr=1e-4"], "optimizer.lr-1e-4_seed-1"),
        (["+data.actions=[clap,wave]", "backbone=resnet18"], "backbone-resnet18_data.actions-clap,wave-"),
        (["init_from=/a/b c.ckpt"], "init_from-a-b-c.ckpt"),
        ([], "default"),
    ],
)
def test_job_names_are_stable_and_safe(overrides, name):
    assert job_name(overrides) == name
    assert job_name(overrides[::-1]) == name
    assert not set(name) & set("=/ []")


def test_long_job_names_stay_apart_and_fit_a_file_system():
    actions = "data.actions=[" + ",".join(f"action{i}" for i in range(50)) + "]"
    first, second = job_name([actions, "seed=0"]), job_name([actions, "seed=1"])
    assert first != second
    assert len(first) <= 200
