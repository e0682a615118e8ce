"""The data module for each data set and choice of streams, and the contents of its batches."""

import pytest
import torch

from actionrec import datamodules
from actionrec.datamodules import create
from actionrec.datasets.folder import Folder
from actionrec.datasets.hmdb51 import HMDB51
from actionrec.datasets.jhmdb import JHMDB
from actionrec.datasets.stanford40 import Stanford40
from actionrec.datasets.ucf101 import UCF101
from actionrec.streams import Clip, Flow, Frame, RGBDifference
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video, write_splits

OPTIONS = {"actions": ["clap", "wave"], "size": 16, "batch_size": 2, "num_workers": 0, "augmentation": "none"}
OPTIONS |= {"strict": True}
INSTANTS = {"position": "middle", "segments": 1}
FLOW, FRAME = Flow("dis"), Frame()


def sets(folder) -> dict[str, object]:
    places = [folder / "videos", folder / "splits", 1]
    clips = {kind.__name__: kind(kind.__name__.lower(), *places) for kind in (HMDB51, JHMDB, UCF101)}
    return {**clips, "Folder": Folder("folder", folder / "videos", None, folder / "split.csv")}


@pytest.mark.parametrize("data", ["HMDB51", "JHMDB", "UCF101", "Folder"])
def test_usual_pairs_have_a_class_of_their_name(tmp_path, data):
    for streams, name in (
        ({"frame": FRAME}, f"{data}FrameDataModule"),
        ({"flow": FLOW}, f"{data}FlowDataModule"),
        ({"flow": FLOW, "frame": FRAME}, f"{data}TwoStreamDataModule"),
        ({"clip": Clip()}, "ClipDataModule"),
        ({"frame": FRAME, "flow": FLOW, "clip": Clip()}, "ClipDataModule"),
        ({"left": FRAME}, "ClipDataModule"),
    ):
        module = create(sets(tmp_path)[data], **OPTIONS, **INSTANTS, **streams)
        assert type(module) is getattr(datamodules, name)
        assert list(module.inputs["streams"]) == list(streams)


def test_stills_have_theirs(tmp_path):
    data = Stanford40("stanford40", tmp_path)
    assert type(create(data, **OPTIONS, frame=FRAME)) is datamodules.Stanford40FrameDataModule
    assert type(create(data, **OPTIONS, left=FRAME)) is datamodules.StillDataModule
    assert create(data, **OPTIONS, frame=FRAME).inputs == {
        "size": 16,
        "region": "whole",
        "streams": {"frame": {"_target_": "actionrec.streams.Frame"}},
    }


@pytest.mark.parametrize(
    ("stills", "options", "line"),
    [
        (True, {"frame": FRAME, **INSTANTS}, r"data\.position: stills have no instants; use data=stills"),
        (True, {"frame": FRAME, "fold": 1}, r"data\.fold=1: stills are not divided into folds; use 0 or all"),
        (True, {"clip": Clip()}, "has stills, and the stream clip needs clips"),
        (False, {"frame": FRAME}, "use data=clips"),
        (False, INSTANTS, "choose one or more, such as stream="),
        (False, {**INSTANTS, "frame": None}, r"data\.frame: neither a setting"),
        (False, {**INSTANTS, "label": FRAME}, r"data\.label: neither a setting"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, stills, options, line):
    data = Stanford40("stanford40", tmp_path) if stills else sets(tmp_path)["HMDB51"]
    with pytest.raises(ActionRecError, match=line) as error:
        create(data, **OPTIONS, **options)
    assert "\n" not in str(error.value)


def test_batches_have_a_key_for_each_stream(tmp_path):
    tags: dict[str, dict[str, int]] = {"clap": {}, "wave": {}}
    for number in range(24):
        action = ("clap", "wave")[number % 2]
        path = noise_video(tmp_path / "videos" / action / f"s{number}_{action}_f_0.avi", 8, number)
        tags[action][path.name] = 1 if number < 16 else 2
    write_splits(tmp_path / "splits", tags)
    frames = str(tmp_path / "frames")
    streams = {"frame": Frame(frames), "clip": Clip(4, 1, frames), "moves": RGBDifference(folder=frames)}
    module = create(sets(tmp_path)["HMDB51"], **OPTIONS, **INSTANTS, **streams)
    module.setup()
    batch = next(iter(module.train_dataloader()))
    assert set(batch) == {*streams, "label", "name"}
    for stream, modality in streams.items():
        assert batch[stream].shape[1:] == modality.shape(16)
        assert batch[stream].dtype == torch.uint8
    assert batch["frame"].is_contiguous(memory_format=torch.channels_last)
    assert batch["clip"].is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(batch["clip"][:, :, 2], batch["frame"])  # of four frames the third is the middle
