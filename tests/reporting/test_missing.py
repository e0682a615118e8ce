import pytest

from actionrec.reporting.chain import choose
from actionrec.reporting.gather import gather
from actionrec.reporting.missing import Commands, find
from tests.reporting.trees import STAGES, write_chain, write_run, write_studies


@pytest.mark.parametrize(
    ("commands", "make", "verb"),
    [
        (Commands("demo", "demo"), "make all SEED=1", "python -m actionrec.fuse split=1"),
        (Commands("real", "real"), "make all DATA=real SEED=1", "python -m actionrec.fuse paths=real split=1"),
        (
            Commands("real", "fights", "/data/out"),
            "make all DATA=real SEED=1 ARGS='paths.name=fights paths.outputs=/data/out'",
            "python -m actionrec.fuse paths=real paths.name=fights paths.outputs=/data/out split=1",
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
    outputs = gather(data)
    found = find(outputs, choose(outputs), Commands("demo", "demo"))
    assert all(each.what.startswith("study ") for each in found)
    assert "study frame_position" not in [each.what for each in found]
    assert found[0].command == "make study-augmentation"


def test_what_the_chain_lacks_is_told_from_what_no_run_has(tmp_path):
    data = tmp_path / "demo"
    for stage in STAGES[:3]:
        write_run(data, stage)
    write_run(data, "hmdb51_flow", split=3)
    (data / "hmdb51_flow" / "mine.partial").mkdir()
    outputs = gather(data)
    found = {each.what: each for each in find(outputs, choose(outputs, split=3), Commands("demo", "demo"))}
    assert found["hmdb51_two_stream"].command == "make two-stream SPLIT=3 SEED=0"
    assert found["hmdb51_frame of split 3, seed 0"].why == "only runs of other splits or seeds"
    assert found["splits 2 and 3 of hmdb51_frame"].command == "make crossval"
    assert found["split 2 of hmdb51_flow"].command == "make crossval"
    assert found["hmdb51_flow/mine.partial"].command == "make hmdb51-flow"
