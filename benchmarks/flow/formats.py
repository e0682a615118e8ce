"""Formats that the store could have: bytes a field, time to write one and to read a window, error added."""

import argparse
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from actionrec.flow.extract import clip_fields
from benchmarks.common import clips_under, median, seconds
from benchmarks.flow.estimators import DEFAULT, settings_of

FIELDS = 60  # of a clip
WINDOW = 4
RLE = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


class Format(NamedTuple):
    """`write(path, fields)` of all fields (N, 2, H, W) uint8 of a clip, and `read(path, first)` of a window of them."""

    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path, int], np.ndarray]


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A row for each format, on fields of the default estimator of real clips, one thread."""
    clips = [
        np.stack(list(islice(clip_fields(clip, settings_of(DEFAULT)), FIELDS)))
        for clip in clips_under(options.data / "hmdb51_clips")
    ]
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        return {}, [{"format": name, **_row(each, clips, Path(folder))} for name, each in formats().items()]


def formats() -> dict[str, Format]:
    """The formats of well-kept libraries; HDF5 where h5py is installed."""
    found = {f"zip of JPEG {quality}": _zip(".jpg", (cv2.IMWRITE_JPEG_QUALITY, quality)) for quality in (90, 95, 98)}
    found |= {"zip of PNG": _zip(".png", ()), "zip of PNG, run lengths": _zip(".png", RLE), "npz": _npz()}
    try:
        import h5py
    except ImportError:
        print("HDF5 was not measured: pip install h5py")
        return found
    return found | {
        "HDF5, gzip": _hdf5(h5py, compression="gzip"),
        "HDF5, lzf": _hdf5(h5py, compression="lzf"),
    }


def _row(each: Format, clips: Sequence[np.ndarray], folder: Path) -> dict[str, Any]:
    sizes, writing, reading, errors = [], [], [], []
    path = folder / "clip"
    for fields in clips:
        writing.append(seconds(partial(each.write, path, fields)) / len(fields) * 1000)
        sizes.append(path.stat().st_size / len(fields) / 1000)
        for first in range(0, len(fields) - WINDOW, 7):
            reading.append(seconds(partial(each.read, path, first)) * 1000)
            errors.append(np.abs(each.read(path, first).astype(int) - fields[first : first + WINDOW]))
    return {
        "kB/field": float(np.mean(sizes)),
        "write ms/field": median(writing),
        f"read ms/{WINDOW} fields": median(reading),
        "mean error (codes)": float(np.mean([error.mean() for error in errors])),
        "largest": int(max(error.max() for error in errors)),
    }


def _zip(suffix: str, options: Sequence[int]) -> Format:
    def write(path: Path, fields: np.ndarray) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for index, codes in enumerate(fields):
                planes = codes.reshape(-1, codes.shape[-1])
                archive.writestr(f"{index:05d}{suffix}", cv2.imencode(suffix, planes, options)[1].tobytes())

    def read(path: Path, first: int) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            data = [archive.read(f"{index:05d}{suffix}") for index in range(first, first + WINDOW)]
        planes = [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_GRAYSCALE) for each in data]
        return np.stack([each.reshape(2, -1, each.shape[1]) for each in planes])

    return Format(write, read)


def _npz() -> Format:
    def write(path: Path, fields: np.ndarray) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **{str(index): codes for index, codes in enumerate(fields)})

    def read(path: Path, first: int) -> np.ndarray:
        with np.load(path) as archive:
            return np.stack([archive[str(index)] for index in range(first, first + WINDOW)])

    return Format(write, read)


def _hdf5(h5py: Any, **compression: Any) -> Format:
    def write(path: Path, fields: np.ndarray) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("flow", data=fields, chunks=(1, *fields.shape[1:]), **compression)

    def read(path: Path, first: int) -> np.ndarray:
        with h5py.File(path) as file:
            return file["flow"][first : first + WINDOW]

    return Format(write, read)
