"""The data modules, on clips whose pixels encode the clip and the frame."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from actionrec.datamodules import HMDB51TwoStreamDataModule
from actionrec.datasets.hmdb51 import HMDB51
from actionrec.datasets.records import Clip
from actionrec.storage import flow as store
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.streams import Flow, Frame
from tests.conftest import write_splits, write_video

N_FRAMES = 12
ACTIONS = ["clap", "wave"]


def identity_of(frame: torch.Tensor) -> torch.Tensor:
    """The number of the clip of a frame, from its brightness in red."""
    return ((frame[:, 0].float().mean(dim=(1, 2)) - 20) / 10).round().long()


@pytest.fixture
def identity_module(tmp_path):
    """Clip i has red 20 + 10 i, frame t has blue 10 + 15 t, and field t has the codes x = i, y = t."""
    settings = FlowSettings("dis", {"preset": "ultrafast"})
    tags: dict[str, dict[str, int]] = {action: {} for action in ACTIONS}
    identity = {}
    for i in range(20):
        action = ACTIONS[i % 2]
        name = f"source{i}_{action}_f_cm_np1_fr_med_0"
        frames = np.zeros((N_FRAMES, 48, 64, 3), np.uint8)
        frames[..., 0] = 20 + 10 * i
        frames[..., 2] = 10 + 15 * np.arange(N_FRAMES)[:, None, None]
        path = write_video(tmp_path / "videos" / action / f"{name}.avi", list(frames))
        fields = np.empty((N_FRAMES - 1, 2, 48, 64), np.uint8)
        fields[:, 0] = 140 + i
        fields[:, 1] = 140 + np.arange(N_FRAMES - 1)[:, None, None]
        clip = Clip(path, action, f"source{i}")
        store.write(clip_path(tmp_path / "flow", clip), clip, fields, settings)
        tags[action][path.name] = 1 if i < 14 else 2
        identity[name] = i
    write_splits(tmp_path / "splits", tags)

    def create(
        position: str, segments: int = 1, workers: int | str = 0, augmentation: str = "none", crops: int = 1
    ) -> HMDB51TwoStreamDataModule:
        module = HMDB51TwoStreamDataModule(
            HMDB51("hmdb51", tmp_path / "videos", tmp_path / "splits", 1),
            position=position,
            segments=segments,
            frame=Frame(str(tmp_path / "frames")),
            flow=Flow("dis", {"preset": "ultrafast"}, folder=str(tmp_path / "flow")),
            actions=ACTIONS,
            size=32,
            batch_size=3,
            num_workers=workers,
            augmentation=augmentation,
            strict=True,
            crops=crops,
        )
        module.setup()
        return module

    return create, identity


@pytest.mark.parametrize(("position", "workers"), [("middle", 0), ("random", 0), ("random", 2), ("last", 0)])
def test_pairs_are_of_one_clip_and_one_instant(identity_module, position, workers):
    create, identity = identity_module
    torch.manual_seed(0)
    module = create(position, workers=workers)
    seen = set()
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        for batch in loader:
            clips = torch.tensor([identity[name] for name in batch["name"]])
            assert (identity_of(batch["frame"]) == clips).all()
            assert (batch["flow"][:, 0::2] == (140 + clips).view(-1, 1, 1, 1)).all()
            assert (batch["label"] == clips % 2).all()
            instant = ((batch["frame"][:, 2].float().mean(dim=(1, 2)) - 10) / 15).round().long()
            first, last = batch["flow"][:, 1, 0, 0].long() - 140, batch["flow"][:, 7, 0, 0].long() - 140
            assert (last - first == 3).all()
            centred = instant - first == 2
            assert (centred | (first == 0) | (last == N_FRAMES - 2)).all()
            assert ((first <= instant) & (instant <= last + 1)).all()
            seen |= set(batch["name"])
    assert seen == set(identity)


def test_batches_are_uint8(identity_module):
    batch = next(iter(identity_module[0]("middle").val_dataloader()))
    assert batch["frame"].dtype == batch["flow"].dtype == torch.uint8
    assert batch["frame"].shape[1:] == (3, 32, 32)
    assert batch["flow"].shape[1:] == (8, 32, 32)


def test_segments_show_every_clip_at_several_instants(identity_module):
    create, _ = identity_module
    batches = list(create("middle", segments=3).test_dataloader())
    names = [name for batch in batches for name in batch["name"]]
    assert len(names) == 3 * len(set(names)) == 18
    blues = {round(float(frame[2].float().mean()), -1) for batch in batches for frame in batch["frame"]}
    assert len(blues) == 3


@pytest.mark.parametrize(("segments", "crops"), [(1, 3), (2, 5), (25, 10)])
def test_every_view_of_a_clip_is_seen_by_frame_and_flow(identity_module, segments, crops):
    create, identity = identity_module
    module = create("middle", segments=segments, crops=crops)
    batches = list(module.test_dataloader())
    names = [name for batch in batches for name in batch["name"]]
    assert len(names) == segments * crops * len(set(names))
    for batch in batches:
        clips = torch.tensor([identity[name] for name in batch["name"]])
        assert (identity_of(batch["frame"]) == clips).all()
        x = batch["flow"][:, 0].amax((1, 2)).long()
        assert ((x == 140 + clips) | (x == 255 - 140 - clips)).all()  # mirrored ones are negated
    assert len(module.val_dataloader().dataset) == len(module.names("val"))
    assert len(module.scoring_dataloader("val").dataset) == segments * crops * len(module.names("val"))


def test_no_source_video_is_on_two_sides(identity_module):
    splits = identity_module[0]("middle").splits
    groups = [{clip.group for clip in part} for part in splits]
    assert all(not first & second for first, second in combinations(groups, 2))


def test_random_instants_differ_between_epochs_and_repeat_by_seed(identity_module):
    module = identity_module[0]("random")

    def draw() -> list[float]:
        return [
            float(sample) for batch in module.train_dataloader() for sample in batch["frame"][:, 2].float().mean((1, 2))
        ]

    torch.manual_seed(1)
    first, second = draw(), draw()
    torch.manual_seed(1)
    assert draw() == first
    assert first != second


def test_frames_lie_as_the_network_wants_them(identity_module):
    batch = next(iter(identity_module[0]("middle").train_dataloader()))
    assert batch["frame"].is_contiguous(memory_format=torch.channels_last)
    assert batch["flow"].is_contiguous()


def test_views_differ_by_process_and_epoch_and_repeat_by_seed(identity_module):
    """Loader processes with the same random numbers would give pairs of samples the same crop and flip."""
    module = identity_module[0]("middle", workers=2, augmentation="strong")
    dataset = module.datasets["train"]
    dataset.clips = [dataset.clips[0]] * 12  # so that all that differs is the view

    def epochs(seed: int) -> list[list[torch.Tensor]]:
        torch.manual_seed(seed)
        loader = module.train_dataloader()
        return [[frame for batch in loader for frame in batch["frame"]] for _ in range(2)]

    first, second = epochs(1)
    everything = torch.stack(first + second).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 24
    again = [frame for epoch in epochs(1) for frame in epoch]
    assert all(torch.equal(one, other) for one, other in zip(first + second, again, strict=True))
    assert not torch.equal(torch.stack(epochs(2)[0]), torch.stack(first))


@pytest.mark.parametrize("gpu", [True, False])
def test_memory_is_pinned_where_there_is_a_gpu(identity_module, monkeypatch, gpu):
    module = identity_module[0]("middle")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert module.train_dataloader().pin_memory == gpu


def test_processes_follow_the_machine_unless_they_are_given(identity_module, monkeypatch):
    monkeypatch.setattr("actionrec.datamodules.base.loader_workers", lambda devices: 2)
    assert identity_module[0]("middle", workers="auto").train_dataloader().num_workers == 2
    assert identity_module[0]("middle", workers=1).train_dataloader().num_workers == 1


@pytest.mark.parametrize("stage", ["stanford40_frame", "hmdb51_frame"])
def test_all_but_the_test_may_be_for_training(compose_config, demo_root, demo_frames, stage):
    places = [f"paths.root={demo_root}", f"paths.frames={demo_frames}", "data.num_workers=0"]

    def data(fold):
        found = instantiate(
            compose_config("train", f"experiment={stage}", *places, f"data.fold={fold}").data, _convert_="all"
        )
        found.setup()
        return found

    own, everything = data(0), data("all")
    assert own.names("val")
    assert sorted(everything.names("train")) == sorted(own.names("train") + own.names("val"))
    assert everything.names("test") == own.names("test")
    assert everything.names("val") == everything.val_dataloader() == []
