"""Frames of cameras and network streams, which may be late, stall or break off."""

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from actionrec.storage.video import Grabbed, usable_rate
from actionrec.system.errors import ActionRecError

_NETWORK = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Over UDP lost packets become grey smears; OpenCV's own default changes with its version.
_TCP = "rtsp_transport;tcp"
_MJPEG = cv2.VideoWriter_fourcc(*"MJPG")


class Stream(NamedTuple):
    """An open camera or network stream.

    Args:
        rate: frames a second, about.
        whole: whether the source announces its number of frames, as a file behind an address does.
        frames: the frames; the iterator ends when the source ends, breaks off, or is silent for longer than its
            timeout, and it releases the source.
    """

    rate: float
    whole: bool
    frames: Iterator[Grabbed]


def is_address(source: str) -> bool:
    """Whether a source is the index of a camera, or an address of RTSP or HTTP."""
    return source.isdecimal() or bool(_NETWORK.match(source))


def connect(address: str, timeout: float) -> Stream:
    """Open a camera or a network stream.

    Times of frames are the timestamps of the source. Cameras and MJPEG over HTTP have none, so that their frames have
    the times at which they arrive.

    Args:
        address: see `is_address`.
        timeout: seconds without an answer or a frame after which a network stream counts as broken off.

    Raises:
        ActionRecError: there is no such source, it does not answer, or it sends no video.
    """
    capture = _open(address, timeout)
    read, first = capture.read() if capture.isOpened() else (False, None)
    if not read or first is None:
        capture.release()
        kind = "camera" if address.isdecimal() else "stream"
        raise ActionRecError(f"source={address}: no {kind} answers with frames within {timeout:g} s; see that it runs")
    rate = usable_rate(capture.get(cv2.CAP_PROP_FPS))
    timeless = address.isdecimal() or (_is_http(address) and int(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPEG)
    # Without a number of frames FFmpeg gives a negative one.
    whole = not address.isdecimal() and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    return Stream(rate, whole, _frames(capture, first, timeless and not whole, rate))


def _is_http(address: str) -> bool:
    return address.lower().startswith("http")


def _open(address: str, timeout: float) -> cv2.VideoCapture:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # `connect` reports failures in one line
    if address.isdecimal():
        return cv2.VideoCapture(int(address))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    options = [each for key in limits for each in (key, max(int(1000 * timeout), 1))]
    os.environ.setdefault(_OPTIONS, _TCP)  # the user's own value takes precedence
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, [*options, cv2.CAP_PROP_N_THREADS, 1])


def _frames(capture: cv2.VideoCapture, first: np.ndarray, timeless: bool, rate: float) -> Iterator[Grabbed]:
    def now() -> float:
        return time.monotonic() if timeless else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def image() -> np.ndarray:
        read, frame = capture.retrieve()
        return frame if read else first  # a damaged frame, which must not end the stream

    began, last = now(), 0.0
    try:
        yield Grabbed(0.0, _constant(first))
        while capture.grab():
            stamp = now() - began
            last = stamp if stamp > last else last + 1 / rate
            yield Grabbed(last, image)
    finally:
        capture.release()


def _constant(frame: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: frame
