"""`actionrec features`: the pooled features of each stream, before its head, of clips, windows and images."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from actionrec.modules import exported
from actionrec.modules.checkpoint import load_module, read
from actionrec.networks.stream import Stream
from actionrec.prediction import files, pipeline, sources
from actionrec.prediction.loading import create_network, measured_views, place_of, precision_of, reader_of
from actionrec.prediction.pipeline import Failed, Scored, Windowing
from actionrec.prediction.run import windowing_of
from actionrec.settings.composition import plain
from actionrec.storage.cameras import is_address
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path, sha256

log = logging.getLogger(__name__)

SUFFIX = ".npz"


class Embedding(nn.Module):
    """The features of several streams, side by side: inputs by stream name → (B, sum of the streams' F) float32."""

    def __init__(self, streams: Mapping[str, Stream]):
        super().__init__()
        self.streams = nn.ModuleDict(streams)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        return torch.cat([stream.embed(batch[name]) for name, stream in self.streams.items()], dim=1)  # type: ignore[operator]


class Rows(NamedTuple):
    """Features of the clips, windows or images of one file.

    Args:
        path: the file.
        features: (N, F) float32.
        start, end: (N,) float64 of the clip or of each window, in seconds; NaN for an image.
        rate: mean number of frames a second; NaN for an image, and for a video that was not read to its end.
    """

    path: Path
    features: np.ndarray
    start: np.ndarray
    end: np.ndarray
    rate: float


def write_features(config: DictConfig) -> None:
    """Write the features of the files of `source` to `out`, see `save`.

    All streams of a fusion have features, those that a gate leaves out, too.

    Raises:
        ActionRecError: a setting is wrong, or files have failed: the log names them, and the features of all others are
            written.
    """
    place = place_of(config)
    source, out = plain(config)["source"], Path(config.out)
    if source is None:
        raise ActionRecError("say of which files: source=<video, image, folder, pattern or list.txt>")
    if isinstance(source, str) and is_address(source):
        raise ActionRecError(f"source={source}: features are of files; record the stream first")
    if out.suffix.lower() != SUFFIX or out.is_dir():
        raise ActionRecError(f"out={out}: use the name of a file that ends with {SUFFIX}")
    if exported.is_exported(place.checkpoint):
        raise ActionRecError(f"checkpoint={place.checkpoint} returns scores alone; name the run or its checkpoint")
    terminal.doing("loading the network")
    checkpoint = read(place.checkpoint, "checkpoint", plain(config)["trust"])
    module, lineage = load_module(place.checkpoint, checkpoint), checkpoint["lineage"]
    reader = reader_of(config, lineage["inputs"], measured_views(place.run))
    paths = sources.find(source, reader.of_stills)
    precision = precision_of(config, place.run)
    network = create_network(Embedding(module.streams), config.accelerator, precision)
    windowing = windowing_of(config.window)
    rows: list[Rows] = []

    def read_all(tick: files.Tick) -> Iterator[Scored | Failed]:
        return pipeline.predict(paths, reader, network, windowing, config.batch_size, tick, mean_of_views)

    passed = files.go_through(paths, read_all, lambda scored, _: rows.append(rows_of(scored, windowing)))
    if rows:
        kept = ("stage", "data", "split", "seed", "backbone", "inputs", "versions")
        metadata = {
            "checkpoint": str(place.checkpoint),
            "sha256": sha256(place.checkpoint),
            **{key: lineage.get(key) for key in kept},
            "views": {"instants": list(reader.fractions), "crops": len(reader.views)},
            "precision": precision,
        }
        save(
            out, rows, {name: each.backbone.features for name, each in module.streams.items()}, module.actions, metadata
        )
        log.info("%d vectors of %d files in %s", sum(len(each.start) for each in rows), len(rows), out)
    files.raise_failures(passed, len(paths))


def mean_of_views(of_window: Tensor, features: Tensor) -> Tensor:
    """Features (N, F) of windows from the features (V, F) of their views: the mean."""
    windows, rows, views = of_window.unique(return_inverse=True, return_counts=True)  # in ascending order
    return torch.zeros(len(windows), features.shape[1]).index_add_(0, rows, features) / views[:, None]


def rows_of(scored: Scored, windowing: Windowing) -> Rows:
    """The features of a file, with the times that they belong to."""
    features, length = scored.logits.numpy(), scored.length
    if not length:
        return Rows(scored.path, features, np.array([np.nan]), np.array([np.nan]), np.nan)
    rate = length.frames / length.duration if length.frames and length.duration else np.nan
    if not scored.windowed:
        return Rows(scored.path, features, np.array([0.0]), np.array([length.duration]), rate)
    start = np.arange(len(features)) * windowing.hop
    return Rows(scored.path, features, start, start + windowing.seconds, rate)


def save(
    path: Path, rows: list[Rows], widths: Mapping[str, int], actions: tuple[str, ...], metadata: Mapping[str, Any]
) -> None:
    """Write features as `.npz`, whose arrays `numpy.load` reads without pickle.

    The arrays are `features` (N, F) float32 of a single stream, else `features_<stream>` of each; `sources` (N,) text;
    `start` and `end` (N,) float64 in seconds, and `rate` (N,) float64, see `Rows`; `actions` (K,) text, the classes
    of the network; and `metadata`, JSON.

    Args:
        path: the file.
        rows: of each file.
        widths: number of features of each stream, in the order of the columns.
        actions: classes of the network.
        metadata: of plain types.
    """
    features = np.concatenate([each.features for each in rows])
    borders = np.cumsum(list(widths.values()))[:-1]
    parts = dict(zip(widths, np.split(features, borders, axis=1), strict=True))
    counts = [len(each.features) for each in rows]
    arrays = {
        **({f"features_{name}": each for name, each in parts.items()} if len(parts) > 1 else {"features": features}),
        "sources": np.repeat([str(each.path) for each in rows], counts),
        "start": np.concatenate([each.start for each in rows]),
        "end": np.concatenate([each.end for each in rows]),
        "rate": np.repeat([each.rate for each in rows], counts),
        "actions": np.array(actions),
        "metadata": np.array(json.dumps(metadata)),
    }
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # allow_pickle is no array
