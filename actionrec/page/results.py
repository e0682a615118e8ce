"""The latest results, by random names, which only the browser that asked for a result knows."""

import secrets
import threading
from collections import OrderedDict

from actionrec.page.looking import Result

COUNT, BYTES = 16, 256 << 20  # results that are kept, and their memory without the networks


class Results:
    """Keeps the latest results, so that a browser may ask for another window of one; older ones are dropped."""

    def __init__(self, count: int = COUNT, size: int = BYTES):
        self.count, self.size = count, size
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Result] = OrderedDict()

    def add(self, result: Result) -> str:
        """Keep a result, and drop those that were used longest ago if there is no room; returns its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = result
            while len(self._kept) > 1 and (len(self._kept) > self.count or self._bytes() > self.size):
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Result | None:
        """The result of a name; None if there is none, or none any more."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def _bytes(self) -> int:
        return sum(each.size for each in self._kept.values())
