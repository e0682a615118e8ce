"""What the data modules share: splits of one data set and modality, as loaders of uint8 batches."""

import logging
import multiprocessing
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, default_collate

from actionrec.storage import cache
from actionrec.datamodules.samples import ActionDataset, Sample
from actionrec.streams.transforms import eval_views
from actionrec.datasets.records import Splits
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import loader_workers

log = logging.getLogger(__name__)


class ActionDataModule(LightningDataModule, ABC):
    """Loaders over the three parts of a data set.

    Args:
        actions: see `actions.class_list`.
        size: side of the input, in pixels.
        batch_size: samples per batch, on each device.
        num_workers: loader processes; `auto` asks `hardware.loader_workers`.
        augmentation: preset of training, see `streams.transforms`.
        strict: whether a listed file that is not on disk is an error, or left out.
        crops: views of each picture that are averaged in the test, see `streams.transforms.eval_views`.
        cache: `ram` keeps the decoded pictures of training and validation in memory, see `storage.cache`.
    """

    def __init__(
        self,
        actions: str | Sequence[str],
        size: int,
        batch_size: int,
        num_workers: int | str,
        augmentation: str,
        strict: bool,
        crops: int = 1,
        cache: str | None = None,
    ):
        super().__init__()
        self.choice = actions
        self.size = size
        self.batch_size = batch_size
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise ActionRecError(f"data.num_workers={num_workers}: use auto, or a number of processes")
        self.num_workers = num_workers
        self.augmentation = augmentation
        self.strict = strict
        self.views = eval_views(crops)
        if cache not in (None, "ram"):
            raise ActionRecError(f"data.cache={cache}: use ram or null")
        self.cache = cache
        self.splits: Splits | None = None

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What decides the values that the network sees, as plain types; kept in checkpoints."""

    @abstractmethod
    def index(self) -> tuple[tuple[str, ...], Splits]:
        """The class list, in the order of the labels, and the records of each part."""

    @abstractmethod
    def dataset(self, records: Sequence[Any], labels: Mapping[str, int], part: str) -> ActionDataset:
        """The samples of a part: `train`, `val` or `test`."""

    def setup(self, stage: str | None = None) -> None:
        """Index the data set, once. All that is wrong with it, short of a file that does not decode, raises here."""
        if self.splits is not None:
            return
        self.actions, self.splits = self.index()
        self.labels = {action: label for label, action in enumerate(self.actions)}
        self.datasets = {
            part: self.dataset(records, self.labels, part)
            for part, records in zip(Splits._fields, self.splits, strict=True)
        }
        kept = [self.datasets["train"], self.datasets["val"]] if self.cache else []  # the test reads a picture once
        cache.fill(source for dataset in kept for source in dataset.sources())
        counts = ", ".join(f"{len(records)} {part}" for part, records in self.splits._asdict().items())
        log.info("%s: %d actions, %s", type(self).__name__, len(self.actions), counts)

    def names(self, part: str) -> list[str]:
        """Names of a part's records, as in the batches."""
        assert self.splits is not None
        return [record.path.stem for record in getattr(self.splits, part)]

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches in random order; a last one of a single sample, which batch norm cannot take, is left out."""
        dataset = self.datasets["train"]
        single = len(dataset) % self.batch_size == 1
        return self._loader(dataset, shuffle=True, drop_last=single)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Batches in the index's order."""
        return self.ordered_dataloader("val")

    def ordered_dataloader(self, part: str) -> DataLoader[Sample]:
        """Batches of a part in the index's order."""
        return self._loader(self.datasets[part])

    def test_dataloader(self) -> DataLoader[Sample]:
        """Batches in the index's order; all segments of a clip follow each other."""
        return self.ordered_dataloader("test")

    def scoring_dataloader(self, part: str) -> DataLoader[Sample]:
        """Batches of a part as the test sees its own: all views, no augmentation, in the index's order."""
        if part == "test":
            return self.test_dataloader()
        assert self.splits is not None
        return self._loader(self.dataset(getattr(self.splits, part), self.labels, "test"))

    def groups(self) -> dict[str, str]:
        """The source video of every record, by name; a still is its own."""
        assert self.splits is not None
        return {record.path.stem: getattr(record, "group", record.path.stem) for part in self.splits for record in part}

    def _loader(self, dataset: ActionDataset, **options: Any) -> DataLoader[Sample]:
        workers = self.num_workers
        if not isinstance(workers, int):
            workers = loader_workers(self.trainer.num_devices if self.trainer else 1)
            if self.cache and multiprocessing.get_start_method() != "fork":
                workers = 0  # others would not see the pictures
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
            **options,
        )


def collate(samples: list[Sample]) -> dict[str, Any]:
    """A batch of samples: tensors stacked, names in a list.

    Frames keep the memory format `channels_last`, in which they were decoded and the network wants them.
    """
    if "frame" not in samples[0] or samples[0]["frame"].dim() == 1:  # flow alone, or features
        return default_collate(samples)
    batch = default_collate([{**sample, "frame": sample["frame"].permute(1, 2, 0)} for sample in samples])
    return {**batch, "frame": batch["frame"].permute(0, 3, 1, 2)}


def unique_names(splits: Splits) -> None:
    """Raise unless every record has a name of its own: scores are kept by name."""
    names = Counter(record.path.stem for part in splits for record in part)
    if doubled := [name for name, count in names.items() if count > 1]:
        raise ActionRecError(f"{len(doubled)} names occur twice (first: {doubled[0]}); rename one file of each")
