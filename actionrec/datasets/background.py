"""Clips of none of the actions as a further class, `background`, beside the actions of a data set."""

from collections.abc import Sequence
from pathlib import Path

from actionrec.datasets.actions import BACKGROUND
from actionrec.datasets.base import ClipSet, DataSet
from actionrec.datasets.folder import draw
from actionrec.datasets.records import Clip, Splits, is_clip, present, require_folder, require_names
from actionrec.system.errors import ActionRecError

LEAST = 3  # source videos: one for each part


class WithBackground(ClipSet):
    """A data set of clips with a further action `background`, the last one, from a folder of other clips.

    All clips in a subfolder are of one source video; any other clip is a source video of its own. About a fifth of the
    source videos is for the test, and a fifth of the others for validation. The draw depends on the files' names only,
    and is the same for all splits of the data set.

    Args:
        dataset: the data set of the actions.
        folder: folder of the background clips, searched to its depths.
    """

    def __init__(self, dataset: ClipSet, folder: Path):
        self.dataset, self.folder = dataset, folder
        self.name, self.split = dataset.name, dataset.split

    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        return self._with_background(*self.dataset.index(_without_background(actions), strict))

    def look(self, actions: str | Sequence[str]) -> tuple[tuple[str, ...], Splits]:
        return self._with_background(*self.dataset.look(_without_background(actions)))

    def lists(self) -> list[Path]:
        return self.dataset.lists()

    def official_splits(self) -> list[int]:
        return self.dataset.official_splits()

    def clips(self, actions: str | Sequence[str]) -> list[Clip]:
        return self.dataset.clips(_without_background(actions)) + self.background()

    def background(self) -> list[Clip]:
        """The background clips.

        Raises:
            ActionRecError: there is no such folder, two clips share a name, or there are fewer than `LEAST` source
                videos.
        """
        require_folder(self.folder, "data.background")
        inside = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if is_clip(path))
        hidden = [path for path in inside if any(part.startswith(".") for part in path.parts)]
        clips = [self._clip(path) for path in inside if path not in hidden]
        if (sources := len({clip.group for clip in clips})) < LEAST:
            raise ActionRecError(
                f"data.background={self.folder} has {len(clips)} clips of {sources} source videos (a subfolder counts "
                f"as one); it needs {LEAST} or more, one each for train, val and test"
            )
        require_names(clips)
        return clips

    def _clip(self, path: Path) -> Clip:
        """The clip at a path that is relative to the folder."""
        source = path.parts[0]
        return Clip(self.folder / path, BACKGROUND, f"{BACKGROUND}/{source}", f"{BACKGROUND}/{path.with_suffix('')}")

    def _with_background(self, actions: tuple[str, ...], splits: Splits) -> tuple[tuple[str, ...], Splits]:
        if BACKGROUND in actions:
            raise ActionRecError(
                f"data.background={self.folder}: dataset={self.name} has an action {BACKGROUND} of its own; leave "
                "data.background out"
            )
        clips = present(self.background(), "background clips", self.folder, strict=True)
        side = {each.path: each.split for each in draw(clips, seed=0)}
        parts = [
            [*records, *(clip for clip in clips if side[clip.path] == part)]
            for part, records in splits._asdict().items()
        ]
        return (*actions, BACKGROUND), Splits(*parts)


def with_background(dataset: DataSet, folder: str | Path | None) -> DataSet:
    """A data set with the background clips of `data.background`, or the data set itself if there is no such folder.

    Raises:
        ActionRecError: the data set has stills.
    """
    if not folder:
        return dataset
    if not isinstance(dataset, ClipSet):
        raise ActionRecError(f"data.background={folder}: dataset={dataset.name} has stills; leave data.background out")
    return WithBackground(dataset, Path(folder))


def _without_background(actions: str | Sequence[str]) -> str | list[str]:
    """The requested actions of the data set; the list of a checkpoint names the background as well."""
    return actions if isinstance(actions, str) else [action for action in actions if action != BACKGROUND]
