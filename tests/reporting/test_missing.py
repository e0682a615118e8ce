import pytest
from omegaconf import OmegaConf

from actionrec.reporting.chain import choose
from actionrec.reporting.missing import Commands, find, splits_of
from actionrec.reporting.outputs import read_outputs
from actionrec.settings.chain import read
from tests.reporting.trees import STAGES, write_chain, write_run, write_studies

SPLITS = dict.fromkeys(STAGES, (1, 2, 3))


@pytest.mark.parametrize(
    ("commands", "make", "verb"),
    [
        (Commands("demo", "demo"), "make all SEED=1", "actionrec fuse split=1"),
        (Commands("real", "real"), "make all DATA=real SEED=1", "actionrec fuse paths=real split=1"),
        (
            Commands("real", "fights", "/data/out"),
            "make all DATA=real SEED=1 ARGS='paths.name=fights paths.outputs=/data/out'",
            "actionrec fuse paths=real paths.name=fights paths.outputs=/data/out split=1",
        ),
    ],
)
def test_commands_say_which_data_they_mean(commands, make, verb):
    assert commands.make("all", SPLIT=None, SEED=1) == make
    assert commands.verb("fuse", "split=1") == verb


def test_of_a_whole_tree_only_the_studies_that_were_not_run_are_missing(tmp_path):
    data = tmp_path / "demo"
    for split, seed in ((1, 0), (2, 0), (3, 0), (1, 1)):
        write_chain(data, split, seed)
    write_studies(data)
    outputs = read_outputs(data)
    found = find(outputs, choose(outputs), Commands("demo", "demo"), SPLITS)
    assert all(each.what.startswith("study ") for each in found)
    assert "study frame_position" not in [each.what for each in found]
    assert found[0].command == "make study-augmentation"


def test_studies_of_stages_that_a_chain_does_not_have_are_not_missing(tmp_path):
    stages = {"my_frame": {"experiment": "frame"}, "hmdb51_flow": {"experiment": "hmdb51_flow"}}
    write_run(tmp_path / "own", "my_frame")
    outputs = read_outputs(tmp_path / "own", chain=read({"name": "mine", "stages": stages}))
    found = [each.what for each in find(outputs, choose(outputs), Commands("own", "own"))]
    assert [what for what in found if what.startswith(("study", "search"))] == ["study flow"]


def test_commands_for_a_tagged_chain_say_its_tag(tmp_path):
    data = tmp_path / "demo"
    for stage in STAGES[:2]:
        write_run(data, stage, tag="v1.2", parent_tag="v1.2")
    write_studies(data)  # with the fusions of the untagged chain
    for name in ("split2-seed1-v1.2.partial", "split1-seed0-a b.replaced"):
        (data / "hmdb51_flow" / name).mkdir(parents=True)
    outputs = read_outputs(data).tagged("v1.2")
    chain = choose(outputs)
    found = {each.what: each.command for each in find(outputs, chain, Commands("demo", "demo"), SPLITS)}
    assert found["hmdb51_flow"] == "make hmdb51-flow SPLIT=1 SEED=0 TAG=v1.2"
    assert found["hmdb51_flow/split2-seed1-v1.2.partial"] == "make hmdb51-flow SPLIT=2 SEED=1 TAG=v1.2"
    assert found["hmdb51_flow/split1-seed0-a b.replaced"] == "make hmdb51-flow SPLIT=1 SEED=0 TAG='a b'"
    assert found["fusions of split 1, seed 0, v1.2"] == "make fusion SPLIT=1 SEED=0 TAG=v1.2"
    assert found["splits 2 and 3 of hmdb51_frame"] == "make crossval TAG=v1.2"
    assert found["a second seed of stanford40_frame, hmdb51_frame"] == "make all SEED=1 TAG=v1.2"
    fusion = data / "fusion" / "split1-seed0"
    fusion.rename(f"{fusion}-v1.2")
    outputs = read_outputs(data).tagged("v1.2")
    assert not any("fusions" in each.what for each in find(outputs, chain, Commands("demo", "demo"), SPLITS))


def test_a_parent_in_another_folder_is_not_missing(tmp_path):
    data = tmp_path / "demo"
    write_run(data, STAGES[0])
    write_run(data, STAGES[1], tag="short")
    outputs = read_outputs(data).tagged("short")
    found = [each.what for each in find(outputs, choose(outputs), Commands("demo", "demo"), SPLITS)]
    assert "hmdb51_flow" in found
    assert STAGES[0] not in found


def test_what_the_chain_lacks_is_told_from_what_no_run_has(tmp_path):
    data = tmp_path / "demo"
    for stage in STAGES[:3]:
        write_run(data, stage)
    write_run(data, "hmdb51_flow", split=3)
    (data / "hmdb51_flow" / "mine.partial").mkdir()
    outputs = read_outputs(data)
    found = {each.what: each for each in find(outputs, choose(outputs, split=3), Commands("demo", "demo"), SPLITS)}
    assert found["hmdb51_two_stream"].command == "make two-stream SPLIT=3 SEED=0"
    assert found["hmdb51_frame of split 3, seed 0"].why == "only runs of other splits or seeds"
    assert found["splits 2 and 3 of hmdb51_frame"].command == "make crossval"
    assert found["split 2 of hmdb51_flow"].command == "make crossval"
    assert found["hmdb51_flow/mine.partial"].command == "make hmdb51-flow"


@pytest.mark.parametrize(
    ("dataset", "lists"),
    [
        ("jhmdb", "jhmdb/splits/wave_test_split{}.txt"),
        ("ucf101", "ucfTrainTestlist/trainlist0{}.txt"),
        ("hmdb51", "hmdb51_splits/wave_test_split{}.txt"),
        ("stanford40", "Stanford40/ImageSplits/wave_train{}.txt"),
    ],
)
def test_the_splits_wanted_are_those_of_the_stages_own_data(tmp_path, compose_config, dataset, lists):
    data, root = tmp_path / "mine", tmp_path / "data"
    choice = "stanford40_frame" if dataset == "stanford40" else "frame"
    config = compose_config("train", f"experiment={choice}", f"dataset={dataset}", "paths=real", f"paths.root={root}")
    for number in (1, 2, 3):
        (root / lists.format(number)).parent.mkdir(parents=True, exist_ok=True)
        (root / lists.format(number)).touch()
    run = write_run(data, STAGES[0])
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    assert splits_of(read_outputs(data)) == ({} if dataset == "stanford40" else {STAGES[0]: [1, 2, 3]})
    config.data.dataset._target_ = "os.system"
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    assert splits_of(read_outputs(data)) == {}
