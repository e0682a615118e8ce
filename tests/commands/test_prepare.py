import shutil

import pytest
from omegaconf import OmegaConf

from actionrec.datasets import install
from actionrec.datasets.base import create
from actionrec.settings.composition import CONF
from tests.conftest import noise_video


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
        (["dataset=cats"], ["cats", "demo folder hmdb51 jhmdb stanford40 ucf101"]),
        ([], ["say which dataset: dataset=demo|folder|hmdb51|jhmdb|stanford40|ucf101"]),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, overrides, names):
    outcome = run("prepare", f"paths.root={tmp_path / 'data'}", *overrides)
    assert outcome.status == 1
    [line] = [line for line in outcome.err.splitlines() if line]
    assert all(name in line for name in names)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("overrides", "urls"),
    [
        ([], [["http://files.is.tue.mpg.de/jhmdb/JHMDB_video.zip"], ["http://files.is.tue.mpg.de/jhmdb/splits.zip"]]),
        (["addresses=[a.zip,{url: b.zip}]", "addresses_splits=c.zip"], [["a.zip", "b.zip"], ["c.zip"]]),
        (["addresses=[{uri: a}]"], None),
    ],
)
def test_files_come_from_the_authors_or_from_a_mirror(run, monkeypatch, tmp_path, overrides, urls):
    asked = []

    def gathered(release, videos, splits, *places, **options):
        asked.extend([[each.url for each in sources] for sources in (videos, splits)])
        return install.Found(0, {}, {}, (), ())

    monkeypatch.setattr(install, "clips", gathered)
    outcome = run("prepare", "dataset=jhmdb", f"paths.root={tmp_path / 'data'}", *overrides)
    assert outcome.status == (0 if urls else 1)
    assert asked == (urls or [])
    assert urls or "addresses=[{'uri': 'a'}]: use an address" in outcome.err


def test_less_than_the_official_set_is_refused(run, tmp_path, demo_root):
    outcome = run("prepare", "dataset=stanford40", f"paths.root={tmp_path / 'data'}", f"source={demo_root}")
    assert outcome.status == 1
    assert "officially 4,000" in outcome.err
    assert not (tmp_path / "data/Stanford40").exists()


@pytest.fixture
def own(tmp_path):
    """Settings that name clips of the user's own."""
    for number, action in enumerate(("hop", "sit")):
        for index in range(5):
            noise_video(tmp_path / "mine" / action / f"{action}{index}.avi", 9, 10 * number + index)
    return [
        "dataset=folder",
        f"dataset.videos={tmp_path / 'mine'}",
        f"paths.outputs={tmp_path / 'out'}",
        "paths.name=x",
    ]


def test_a_folder_of_ones_own_is_counted_and_split_once(run, tmp_path, own):
    outcome = run("prepare", *own)
    assert outcome.status == 0, outcome.err
    assert outcome.out == "folder: 10 clips of 2 actions: 6 train, 2 val, 2 test\n"
    split = (tmp_path / "out/x/split-seed0.csv").read_text()
    assert run("prepare", *own).out == outcome.out
    assert (tmp_path / "out/x/split-seed0.csv").read_text() == split
    (tmp_path / "mine/hop/new.avi").touch()
    outcome = run("prepare", *own)
    assert outcome.status == 1
    assert "1 are new (first: new.avi)" in outcome.err


def test_a_check_prints_what_is_there_and_fails_where_it_is_wrong(run, tmp_path, own):
    outcome = run("prepare", *own, "check=true")
    assert outcome.status == 0, outcome.err
    assert "hop         3    1     1       0" in outcome.out
    assert "frames: 9 to 9, median 9" in outcome.out
    (tmp_path / "mine/hop/hop0.avi").write_bytes(b"junk" * 100)
    outcome = run("prepare", *own, "check=true")
    assert outcome.status == 1
    assert "wrong: 1 cannot be read" in outcome.out
    [line] = [line for line in outcome.err.splitlines() if line.startswith("error")]
    assert line.startswith("error: dataset=folder: 1 cannot be read: ")


@pytest.mark.parametrize("dataset", ["stanford40", "hmdb51"])
def test_the_demo_set_is_sound(run, demo_root, dataset):
    outcome = run("prepare", "dataset=" + dataset, "paths=demo", f"paths.root={demo_root}", "check=true")
    assert outcome.status == 0, outcome.err
    assert "ride_horse" in outcome.out


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["dataset=demo", "check=true"], "use dataset=hmdb51 paths=demo"),
        (["dataset=folder"], "dataset=folder has no clips; set dataset.videos=<folder> or dataset.csv=<list>"),
        (["dataset=folder", "dataset.videos=x", "source=x"], "dataset=folder is read from its own folder"),
        (["dataset=hmdb51", "check=maybe"], "check=maybe: use true or false"),
    ],
)
def test_what_a_set_does_not_do_is_one_line(run, tmp_path, overrides, line):
    outcome = run("prepare", f"paths.root={tmp_path / 'data'}", *overrides)
    assert outcome.status == 1
    [said] = [each for each in outcome.err.splitlines() if each]
    assert line in said


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (CONF / "dataset").glob("*.yaml")))
def test_every_data_set_composes_within_a_training(compose_config, dataset):
    config = compose_config("train", "experiment=hmdb51_frame", "dataset=" + dataset, "split=2")
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if dataset == "folder":
        config.dataset.videos = "mine"
    if "_target_" in config.dataset:
        data = create(config.dataset)
        assert (data.name, data.kind) == (dataset, "stills" if dataset == "stanford40" else "clips")
        assert data.split == (None if dataset in ("folder", "stanford40") else 2)


@pytest.mark.parametrize("dataset", ["hmdb51", "stanford40"])
def test_places_of_the_users_own_need_no_root(compose_config, dataset):
    places = [f"paths.{name}={name}" for name in ("name", "stanford40", "hmdb51", "hmdb51_splits")]
    config = compose_config("train", "experiment=hmdb51_frame", "dataset=" + dataset, "paths=default", *places)
    assert OmegaConf.to_container(config, resolve=True)["dataset"]["name"] == dataset
