"""Base class of the data modules: loaders of uint8 batches over the parts of one data set."""

import logging
import multiprocessing
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from actionrec.datamodules.balance import SAMPLERS, balanced_sampler
from actionrec.datamodules.samples import ActionDataset, Sample
from actionrec.datasets.base import DataSet
from actionrec.datasets.records import Splits
from actionrec.datasets.splitting import refold
from actionrec.storage import cache
from actionrec.streams import Modality
from actionrec.streams.transforms import View, eval_views
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import loader_workers

RESERVED = ("label", "name")  # keys of a batch that cannot be stream names
log = logging.getLogger(__name__)


class ActionDataModule(LightningDataModule, ABC):
    """Loaders over the three parts of a data set.

    A batch has a tensor (B, *`Modality.shape`) uint8 for each stream, under the stream's name, `label` (B,) int64, and
    `name`, a list of B strings.

    Args:
        dataset: the data set.
        actions: see `actions.class_list`.
        size: side of the input in pixels.
        batch_size: samples per batch, on each device.
        num_workers: number of loader processes; `auto` takes `hardware.loader_workers`.
        augmentation: augmentation preset of training, see `streams.transforms`.
        strict: whether a listed file that is missing on disk is an error; otherwise it is left out.
        crops: number of views per picture whose scores the test averages, see `streams.transforms.eval_views`.
        region: `square` keeps the proportions of a picture, see `streams.transforms.eval_views`.
        cache: `ram` keeps the decoded pictures of training and validation in memory, see `storage.cache`.
        sampler: `balanced` draws the training samples by `balance.balanced_sampler`; None takes each once an epoch.
        fold: 0 for the data set's own training and validation parts; see `splitting.refold` for others.
        streams: the modality of each stream, by stream name.
    """

    def __init__(
        self,
        dataset: DataSet,
        actions: str | Sequence[str],
        size: int,
        batch_size: int,
        num_workers: int | str,
        augmentation: str,
        strict: bool,
        crops: int = 1,
        region: str = "whole",
        cache: str | None = None,
        sampler: str | None = None,
        fold: int | str = 0,
        **streams: Modality,
    ):
        super().__init__()
        if wrong := [name for name, each in streams.items() if not isinstance(each, Modality) or name in RESERVED]:
            raise ActionRecError(f"data.{wrong[0]}: neither a setting of the data nor a stream; see conf/stream/")
        if not streams:
            raise ActionRecError("no stream is chosen; choose one or more, such as stream=[frame]")
        self.source = dataset
        self.requested_actions = actions
        self.size = size
        self.batch_size = batch_size
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise ActionRecError(f"data.num_workers={num_workers}: use auto, or a number of processes")
        self.num_workers = num_workers
        self.augmentation = augmentation
        self.strict = strict
        self.views = eval_views(crops, region)
        self.region = region
        if cache not in (None, "ram"):
            raise ActionRecError(f"data.cache={cache}: use ram or null")
        self.cache = cache
        if sampler not in (None, *SAMPLERS):
            raise ActionRecError(f"data.sampler={sampler}: use balanced or null")
        self.sampler = sampler
        self.fold = fold
        self.streams = streams
        self.splits: Splits | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """The settings that determine the network's input, as plain types; checkpoints keep them."""
        streams = {name: each.settings() for name, each in self.streams.items()}
        return {"size": self.size, "region": self.region, "streams": streams}

    def views_of(self, part: str) -> Sequence[View]:
        """The views of a part without an augmentation."""
        return self.views if part == "test" else eval_views(1, self.region)

    def index(self) -> tuple[tuple[str, ...], Splits]:
        """The class list, in the order of the labels, and the records of each part."""
        actions, splits = self.source.index(self.requested_actions, self.strict)
        unique_names(splits)
        if self.fold:
            splits = Splits(*refold(splits.train, splits.val, self.fold), splits.test)
        return actions, splits

    @abstractmethod
    def dataset(self, records: Sequence[Any], labels: Mapping[str, int], part: str) -> ActionDataset:
        """The samples of a part: `train`, `val` or `test`."""

    def setup(self, stage: str | None = None) -> None:
        """Index the data set, once; errors in the data raise here, except for files that cannot be decoded."""
        if self.splits is not None:
            return
        self.actions, self.splits = self.index()
        self.labels = {action: label for label, action in enumerate(self.actions)}
        self.datasets = {
            part: self.dataset(records, self.labels, part)
            for part, records in zip(Splits._fields, self.splits, strict=True)
        }
        cached = [self.datasets["train"], self.datasets["val"]] if self.cache else []  # test pictures are read once
        cache.fill(source for dataset in cached for source in dataset.sources())
        counts = ", ".join(f"{len(records)} {part}" for part, records in self.splits._asdict().items())
        log.info("%s: %d actions, %s", type(self).__name__, len(self.actions), counts)

    def names(self, part: str) -> list[str]:
        """Names of a part's records, as in the batches."""
        assert self.splits is not None
        return [record.name for record in getattr(self.splits, part)]

    def training_labels(self) -> list[int]:
        """Labels of the training samples; in training a record gives one sample."""
        assert self.splits is not None
        return [self.labels[record.action] for record in self.splits.train]

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches in random order or by `sampler`; a last batch of a single sample is dropped: batch norm needs two."""
        dataset = self.datasets["train"]
        single = len(dataset) % self.batch_size == 1
        order: dict[str, Any] = (
            {"sampler": balanced_sampler(self.training_labels())} if self.sampler else {"shuffle": True}
        )
        return self._loader(dataset, **order, drop_last=single)

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """Batches in the order of the index; none at all if all records but those of the test are for training."""
        return self.ordered_dataloader("val") if self.names("val") else []

    def ordered_dataloader(self, part: str) -> DataLoader[Sample]:
        """Batches of a part in the order of the index."""
        return self._loader(self.datasets[part])

    def test_dataloader(self) -> DataLoader[Sample]:
        """Batches in the order of the index; the samples of one clip are consecutive."""
        return self.ordered_dataloader("test")

    def scoring_dataloader(self, part: str) -> DataLoader[Sample]:
        """Batches of a part under the protocol of the test: all views, no augmentation, in the order of the index."""
        if part == "test":
            return self.test_dataloader()
        assert self.splits is not None
        return self._loader(self.dataset(getattr(self.splits, part), self.labels, "test"))

    def groups(self) -> dict[str, str]:
        """The source video of every record, by record name; a still is its own source."""
        assert self.splits is not None
        return {record.name: getattr(record, "group", record.name) for part in self.splits for record in part}

    def _loader(self, dataset: ActionDataset, **options: Any) -> DataLoader[Sample]:
        workers = self.num_workers
        if not isinstance(workers, int):
            workers = loader_workers(self.trainer.num_devices if self.trainer else 1)
            if self.cache and multiprocessing.get_start_method() != "fork":
                workers = 0  # only forked loader processes share the cached pictures
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
    """Collate samples into a batch: tensors are stacked, names are a list.

    Tensors in `channels_last` or `channels_last_3d` keep this memory format, which is that of decoded pictures and of
    the network's input.
    """
    last = [key for key, value in samples[0].items() if isinstance(value, Tensor) and _channels_last(value)]
    batch = default_collate([{**sample, **{key: sample[key].movedim(0, -1) for key in last}} for sample in samples])
    return {**batch, **{key: batch[key].movedim(-1, 1) for key in last}}


def _channels_last(sample: Tensor) -> bool:
    return sample.dim() > 1 and sample.stride(0) == 1 and sample.movedim(0, -1).is_contiguous()


def unique_names(splits: Splits) -> None:
    """Raise unless the names of records are unique, since scores are stored by name."""
    names = Counter(record.name for part in splits for record in part)
    if doubled := [name for name, count in names.items() if count > 1]:
        raise ActionRecError(f"{len(doubled)} names occur twice (first: {doubled[0]}); rename one file of each")
