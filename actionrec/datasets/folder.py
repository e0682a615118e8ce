"""A user's own clips: `<action>/*.mp4` in a folder, or a CSV list of clips, with the user's split or a drawn split."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actionrec.datasets import listing
from actionrec.datasets.actions import class_list
from actionrec.datasets.base import ClipSet
from actionrec.datasets.listing import Listed
from actionrec.datasets.records import (
    Clip,
    Splits,
    is_clip,
    is_there,
    present,
    require_clips,
    require_filled,
    require_folder,
    shared_sources,
)
from actionrec.datasets.splitting import carve_validation, draw_sources
from actionrec.system.errors import ActionRecError
from actionrec.system.locks import only_writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder(ClipSet):
    """A user's own clips; the names of actions are those of the folders, or those in the CSV.

    Without a split in the CSV, a split is drawn by source video, stratified by action: about a fifth of the clips is
    for the test, and a fifth of the others for validation. The split is written to `split_file`, from which later runs
    read it, so that all runs are measured on the same clips.

    Args:
        name: name of the data set.
        videos: folder of `<action>/*.mp4` (or another suffix of `records.VIDEO_SUFFIXES`); ignored with `csv`.
        csv: a list with the columns `path` (relative to the list's folder), `action`, and optionally `split` (train,
            val, test; without val, a fifth of train becomes val) and `group` (the source video); see `listing`.
        split_file: file of the drawn split; a CSV of the same columns, with paths relative to the folder of the clips.
        seed: seed of the drawn split.
        group_pattern: a regular expression, searched in file names, whose first group is the source video. Without a
            pattern or a match, a clip is its own source, unless the CSV has a `group`.
    """

    name: str
    videos: Path | None
    csv: Path | None
    split_file: Path
    seed: int = 0
    group_pattern: str | None = None

    def __post_init__(self) -> None:
        for field in ("videos", "csv", "split_file"):  # Hydra passes strings
            value = getattr(self, field)
            object.__setattr__(self, field, value if value is None else Path(os.path.abspath(value)))
        if not self.videos and not self.csv:
            raise ActionRecError("dataset=folder has no clips; set dataset.videos=<folder> or dataset.csv=<list>")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ActionRecError(f"dataset.seed={self.seed}: use a whole number of at least 0")
        try:
            groups = re.compile(self.group_pattern).groups if self.group_pattern is not None else 1
        except (re.error, TypeError) as error:
            raise ActionRecError(
                f"dataset.group_pattern={self.group_pattern}: not a regular expression: {error}"
            ) from None
        if not groups:
            raise ActionRecError(
                f"dataset.group_pattern={self.group_pattern}: put the part that is the source video in parentheses"
            )

    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.index`."""
        return self._index(actions, strict, keep=True)

    def look(self, actions: str | Sequence[str]) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.look`."""
        return self._index(actions, strict=False, keep=False)

    def _index(self, actions: str | Sequence[str], strict: bool, keep: bool) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.index`; `keep` says whether a split that is drawn is written."""
        listed = self._listed()
        chosen = class_list(actions, {each.action for each in listed}, str(self._source))
        clips = self._clips(listed)
        if listed[0].split:
            sides = {each.path: each.split for each in listed}
            clips = present((clip for clip in clips if clip.action in chosen), "clips", self._root, strict)
        else:
            clips = present(clips, "clips", self._root, strict)
            sides = self._drawn(clips, chosen, strict, keep)
        splits = _parts(clips, sides, chosen)
        if "val" not in sides.values():
            train, val = carve_validation(splits.train)
            splits = Splits(train, val, splits.test)
        if leaks := sorted(shared_sources(splits.train + splits.val, splits.test)):
            log.warning(
                "%d source videos have clips in test and in train or val (first: %s), so the test accuracy is too "
                "high (leakage); put all clips of a source video into one part",
                *(len(leaks), leaks[0]),
            )
        return chosen, require_filled(splits, chosen, "clips")

    def lists(self) -> list[Path]:
        """See `DataSet.lists`."""
        return [path for path in (self.csv, self.split_file) if path and path.is_file()]

    def clips(self, actions: str | Sequence[str]) -> list[Clip]:
        """See `ClipSet.clips`."""
        listed = self._listed()
        chosen = class_list(actions, {each.action for each in listed}, str(self._source))
        place = "dataset.csv" if self.csv else "dataset.videos"
        found = [clip for clip in self._clips(listed) if clip.action in chosen and is_there(clip.path)]
        return require_clips(sorted(found, key=lambda clip: chosen.index(clip.action)), chosen, self._source, place)

    @property
    def _root(self) -> Path:
        """The folder to which paths in lists are relative."""
        return self.csv.parent if self.csv else self._source

    @property
    def _source(self) -> Path:
        """The CSV list or the folder of the clips."""
        source = self.csv or self.videos
        assert source
        return source

    def _listed(self) -> list[Listed]:
        """Every clip of the list or of the folder; clips of a folder have no split yet."""
        if self.csv:
            return listing.read(self.csv, self.csv.parent)
        require_folder(self._source, "dataset.videos")
        folders = sorted(path for path in self._source.iterdir() if path.is_dir() and not path.name.startswith("."))
        entries = [path for folder in folders for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        files = [path for path in entries if is_clip(path)]
        if others := [path.relative_to(self._source).as_posix() for path in entries if not is_clip(path)]:
            log.warning(
                "%s: %d files and folders are no clips and are ignored (first: %s)",
                *(self._source, len(others), others[0]),
            )
        if not files:
            raise ActionRecError(f"dataset.videos={self.videos} has no <action>/*.mp4; make one folder per action")
        for path in files:
            _require_listable(path)
        return [Listed(path, path.parent.name, "", "") for path in files]

    def _clips(self, listed: Sequence[Listed]) -> list[Clip]:
        names = unique_names({each.path: each.action for each in listed}, self._root)
        clips, unmatched = [], []
        for path, action, _, group in listed:
            if self.group_pattern and not group:
                match = re.search(self.group_pattern, path.name)
                group = ((match and match[1]) or "").strip()  # as lists have it
                if not group:
                    unmatched.append(path.name)
            alias = None if names[path] == path.stem else names[path]
            clips.append(Clip(path, action, group or place_in(path, self._root), alias))
        if unmatched:
            log.warning(
                "dataset.group_pattern=%s does not match the names of %d of %d clips (first: %s); each of these clips "
                "counts as its own source video",
                *(self.group_pattern, len(unmatched), len(listed), unmatched[0]),
            )
        return clips

    def _drawn(self, clips: Sequence[Clip], actions: Sequence[str], strict: bool, keep: bool) -> dict[Path, str]:
        """The part of every clip from the split file, which is drawn if it does not exist, and written if `keep`."""
        if not self.split_file.exists() and not keep:
            return {each.path: each.split for each in self._draw(clips, actions)}
        if not self.split_file.exists():
            with only_writer(self.split_file, "split", wait=True):
                if not self.split_file.exists():  # another process may have written it while this one waited
                    drawn = self._draw(clips, actions)
                    listing.write(self.split_file, drawn, self._root)
                    log.info(
                        "%s: drew a split of %d clips with dataset.seed=%d", self.split_file, len(drawn), self.seed
                    )
        stored = listing.read(self.split_file, self._root)
        self._check_stored(stored, clips, strict)
        return {each.path: each.split for each in stored}

    def _draw(self, clips: Sequence[Clip], actions: Sequence[str]) -> list[Listed]:
        drawn = draw(clips, self.seed)
        for part, side in _parts(clips, {each.path: each.split for each in drawn}, actions)._asdict().items():
            if absent := [action for action in actions if action not in {clip.action for clip in side}]:
                raise ActionRecError(
                    f"{self._source}: no clip of {', '.join(absent)} is left for {part}; add clips of other source "
                    "videos (an action needs three, one each for train, val and test), or leave the action out of "
                    "data.actions"
                )
        return drawn

    def _check_stored(self, stored: Sequence[Listed], clips: Sequence[Clip], strict: bool) -> None:
        """Raise unless the split file fits these clips; without `strict`, clips may be gone or new."""
        now = {clip.path: clip for clip in clips}
        both = [each for each in stored if each.path in now]
        wrong = {
            "have no split": [each.path.name for each in stored if not each.split],
            "are of another action now": [each.path.name for each in both if each.action != now[each.path].action],
            "have another source video now": [each.path.name for each in both if each.group != now[each.path].group],
        }
        changed = {
            "are new": sorted(path.name for path in now.keys() - {each.path for each in stored}),
            "are gone": [each.path.name for each in stored if each.path not in now],
        }
        strict_only = not any(wrong.values())
        if strict:
            wrong |= changed
        elif any(changed.values()):
            counts = ", ".join(f"{len(names)} {change}" for change, names in changed.items())
            log.warning("%s: %s", self.split_file, counts)
        if reasons := [f"{len(names)} {reason} (first: {names[0]})" for reason, names in wrong.items() if names]:
            raise ActionRecError(
                f"{self.split_file} no longer matches the clips of {self._source}: {', '.join(reasons)}; restore the "
                f"clips,{' set data.strict=false to go on without them,' if strict_only else ''} or move the file away "
                "to draw a new split, whose results are not comparable with earlier results"
            )


def _require_listable(path: Path) -> None:
    """Raise unless a list, which is UTF-8 text of lines whose cells have no blanks around them, can name a clip."""
    name = f"{path.parent.name}/{path.name}"
    encoded = name.encode(errors="replace").decode() == name
    if not encoded or not name.isprintable() or path.parent.name != path.parent.name.strip():
        raise ActionRecError(
            f"{name!a} in {path.parents[1]}: no list of clips can hold this name, which has blanks around the "
            "action, control characters or bytes that are no UTF-8; rename it"
        )


def _parts(clips: Sequence[Clip], sides: Mapping[Path, str], actions: Sequence[str]) -> Splits:
    chosen = [clip for clip in clips if clip.action in actions]
    return Splits(*([clip for clip in chosen if sides.get(clip.path) == part] for part in listing.PARTS))


def draw(clips: Sequence[Clip], seed: int) -> list[Listed]:
    """Draw a split by source video, stratified by action.

    An action with fewer than three source videos is missing in a part.

    Args:
        clips: the clips of all actions.
        seed: seed of the split.
    """
    test = draw_sources(clips, seed, left=2)
    val = draw_sources([clip for clip in clips if clip.group not in test], seed, left=1)
    side = dict.fromkeys(test, "test") | dict.fromkeys(val, "val")
    return [Listed(clip.path, clip.action, side.get(clip.group, "train"), clip.group) for clip in clips]


def place_in(path: Path, root: Path) -> str:
    """The path of a file relative to a folder; for files elsewhere, the absolute path without the leading slash."""
    return (path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)).as_posix()


def unique_names(actions: Mapping[Path, str], root: Path) -> dict[Path, str]:
    """A unique name for every file: its stem, or `<action>/<stem>` if stems repeat, or its path if these repeat, too.

    Args:
        actions: action of each file.
        root: folder of the data set, to which paths are relative.
    """
    forms: Iterable[Callable[[Path], str]] = (
        lambda path: path.stem,
        lambda path: f"{actions[path]}/{path.stem}",
        lambda path: place_in(path, root),
    )
    names: dict[Path, str] = {}
    for form in forms:
        left = {path: form(path) for path in actions if path not in names}
        counts = Counter(left.values())
        names |= {path: name for path, name in left.items() if counts[name] == 1}
    return names
