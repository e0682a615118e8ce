"""Windows of a camera or a network stream, as they happen: a thread reads, and the caller computes.

The thread takes every frame in time, so that no frame inside a stack of flow is left out. If the network is late, whole
windows are left out instead: only the newest window that is complete waits for the network.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from actionrec.prediction.pipeline import Windowing
from actionrec.prediction.reading import Job, Length, Reader, Video
from actionrec.prediction.windows import TOLERANCE
from actionrec.settings.messages import is_users, one_line
from actionrec.storage.cameras import Stream, connect
from actionrec.storage.video import Grabbed
from actionrec.system.errors import ActionRecError

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before the first reconnection, doubled for each further one, and most
clock = time.monotonic  # in seconds
log = logging.getLogger(__name__)


class Begun(NamedTuple):
    """A connection has begun, `offset` seconds after the first one. Windows are numbered anew."""

    offset: float


class Complete(NamedTuple):
    """A window whose frames are there."""

    window: int
    jobs: list[Job]


class Ended(NamedTuple):
    """A connection has ended; the length of its part of the stream is None if it sent too few frames."""

    length: Length | None


Event = Begun | Complete | Ended


class Watch:
    """The windows of a camera or a network stream; use as a context manager, whose end ends the thread.

    Args:
        address: see `cameras.is_address`.
        reader: plans the windows; the caller makes their samples with `Reader.samples`.
        windowing: of the stream.
        timeout: see `cameras.connect`.
        reconnect: number of attempts, one after the other, to connect again to a stream that broke off.
        open_stream: opens the stream.

    Attributes:
        dropped: number of windows that were left out because the network was late.
        reconnections: number of connections after the first one.
        seconds: time of the last frame since the first one.

    Raises:
        ActionRecError: the source cannot be opened.
    """

    def __init__(
        self,
        address: str,
        reader: Reader,
        windowing: Windowing,
        timeout: float,
        reconnect: int,
        open_stream: Callable[[str, float], Stream] = connect,
    ):
        self.address, self.reader, self.windowing = address, reader, windowing
        self.timeout, self.reconnect, self._connect = timeout, reconnect, open_stream
        self.dropped = self.reconnections = 0
        self.seconds = self._offset = 0.0
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._over = False
        self._error: BaseException | None = None
        self._began = clock()
        first = open_stream(address, timeout)
        self._drops = not first.whole
        self._thread = threading.Thread(target=self._run, args=(first,), name="watching", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        # In a silent stream the thread ends at the time-out. A thread that returned from OpenCV while the interpreter
        # exits would abort the process (std::terminate).
        self._thread.join(self.timeout + 1)

    def events(self) -> Iterator[Event]:
        """The events of the stream in order, until it is over.

        Raises:
            ActionRecError: see `Reader.windows`.
        """
        while True:
            with self._changed:
                while not self._events and not self._over:
                    self._changed.wait(1.0)  # a wait without a limit would not heed signals on some systems
                if not self._events:
                    if self._error:
                        raise self._error
                    return
                event = self._events.popleft()
                self._changed.notify_all()
            yield event

    def _run(self, first: Stream) -> None:
        try:
            self._connections(first)
        except BaseException as error:
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _connections(self, first: Stream) -> None:
        stream: Stream | None = first
        while stream:
            self._put(Begun(self._offset))
            self._windows(stream)
            stream = None if first.whole or self._stopped.is_set() else self._again()

    def _again(self) -> Stream | None:
        """The next connection; None if all attempts have failed."""
        for attempt in range(self.reconnect):
            wait = min(FIRST_WAIT * 2 ** min(attempt, 16), LONGEST_WAIT)
            log.warning("%s broke off; attempt %d of %d in %g s", self.address, attempt + 1, self.reconnect, wait)
            if self._stopped.wait(wait):
                return None
            try:
                stream = self._connect(self.address, self.timeout)
            except ActionRecError:
                continue
            self.reconnections += 1
            self._offset = max(clock() - self._began, self.seconds)
            return stream
        return None

    def _windows(self, stream: Stream) -> None:
        """Hand over the windows of one connection."""
        ended, instants = False, len(self.reader.fractions)
        parts: dict[int, list[Job]] = {}
        ready: deque[Complete] = deque()

        def frames() -> Iterator[Grabbed]:
            nonlocal ended
            for grabbed in stream.frames:
                self.seconds = self._offset + grabbed.time
                yield grabbed
                if self._stopped.is_set():
                    break
            ended = True

        def release(until: float) -> None:
            """Hand over the complete windows, of a whole video only those that end by then, as in a file."""
            while ready and (self._drops or ready[0].window * hop + seconds <= until + TOLERANCE):
                self._put(ready.popleft(), newest=self._drops and not ended)

        (_, seconds, hop, _), length = self.windowing, None
        try:
            for each in self.reader.jobs(Video(self.address, stream.rate, frames()), seconds, hop):
                if self._stopped.is_set():
                    return
                if isinstance(each, Length):
                    length = each
                    release(length.duration)
                    continue
                own = parts.setdefault(each.window, [])
                own.append(each._replace(held={index: each.held[index] for index in each.needed}))
                if len(own) == instants:
                    ready.append(Complete(each.window, parts.pop(each.window)))
                release(self.seconds - self._offset)
        except Exception as error:
            if not is_users(error) or not self._drops:
                raise
            log.warning("%s", one_line(error))
        self._put(Ended(length))

    def _put(self, event: Event, newest: bool = False) -> None:
        """Add an event. A window waits until the one before is taken, or replaces the one before if it is `newest`."""
        with self._changed:
            while isinstance(event, Complete) and self._events and isinstance(self._events[-1], Complete):
                if newest:
                    self._events.pop()
                    self.dropped += 1
                elif self._stopped.is_set():
                    return
                else:
                    self._changed.wait(1.0)
            self._events.append(event)
            self._changed.notify_all()
