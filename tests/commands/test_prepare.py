import shutil

import pytest


def test_the_demo_set_is_generated_once(run, monkeypatch, tmp_path, demo_root):
    shutil.copytree(demo_root, tmp_path / "data")
    monkeypatch.setattr("actionrec.datasets.demo.generate", lambda root, seed: None)
    outcome = run("prepare", "dataset=demo", f"paths.root={tmp_path / 'data'}")
    assert outcome.status == 0
    assert "84 stills and" in outcome.out


@pytest.mark.parametrize("dataset", ["stanford40", "hmdb51"])
def test_a_folder_is_brought_into_place_and_counted(run, tmp_path, demo_root, dataset):
    place = ["dataset=" + dataset, f"paths.root={tmp_path / 'data'}", f"source={demo_root}", "expect_complete=false"]
    outcome = run("prepare", *place)
    assert outcome.status == 0, outcome.err
    if dataset == "stanford40":
        assert "84 images of 12 actions" in outcome.out
        assert "train: 60 of 60 listed" in outcome.out
        assert (tmp_path / "data/Stanford40/ImageSplits/train.txt").is_file()
    else:
        assert "clips of 12 actions" in outcome.out
        assert "split 1, test: 36 of 36 listed" in outcome.out
        assert len(list((tmp_path / "data/hmdb51_splits").iterdir())) == 36
    assert run("prepare", *place).out == outcome.out


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["dataset=stanford40", "source=nowhere"], ["source=nowhere: no such folder or archive"]),
        (["dataset=stanford40", "source=/dev/zero"], ["source=/dev/zero: a device or a pipe"]),
        (["dataset=hmdb51", "source_splits=[/dev/null]", "source=/tmp"], ["source=/dev/null: a device or a pipe"]),
        (["dataset=cats"], ["cats", "demo hmdb51 stanford40"]),
        ([], ["say which dataset: dataset=demo|hmdb51|stanford40"]),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, overrides, names):
    outcome = run("prepare", f"paths.root={tmp_path / 'data'}", *overrides)
    assert outcome.status == 1
    [line] = [line for line in outcome.err.splitlines() if line]
    assert all(name in line for name in names)
    assert not (tmp_path / "data").exists()


def test_less_than_the_official_set_is_refused(run, tmp_path, demo_root):
    outcome = run("prepare", "dataset=stanford40", f"paths.root={tmp_path / 'data'}", f"source={demo_root}")
    assert outcome.status == 1
    assert "officially 4,000" in outcome.err
    assert not (tmp_path / "data/Stanford40").exists()
