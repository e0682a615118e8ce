"""`actionrec prepare dataset=<name>`: put a data set into its folder, and print a summary of the folder's content.

`check=true` reads every file in the folder, and changes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

if TYPE_CHECKING:
    from actionrec.datasets.base import DataSet
    from actionrec.datasets.download import Sources
    from actionrec.datasets.install import Found
    from actionrec.datasets.stanford40 import Stanford40

Places = str | Sequence[str] | None  # a path, several paths, or None


def demo(config: DictConfig) -> None:
    """Generate the demo set, unless it is there."""
    from actionrec.datasets.demo import generate

    root = Path(config.paths.root)
    generate(root, config.dataset.seed)
    clips = sum(1 for _ in root.glob("hmdb51/*/*.avi"))
    stills = sum(1 for _ in root.glob("Stanford40/JPEGImages/*.jpg"))
    print(f"{root}: {stills:,} stills and {clips:,} clips")


def stanford40(data: "Stanford40", config: DictConfig) -> None:
    """Stanford40 from the user's files, else from the addresses."""
    from actionrec.datasets import install

    sources = _sources(config.source, config.addresses, data.addresses)
    found = install.stanford40(sources, data.root, Path(config.downloads), expect_complete=config.expect_complete)
    print(_describe(found, data.root, "images"))


def clips(data: Any, config: DictConfig) -> None:
    """A set of clips with official lists, from the user's files, else from the addresses.

    Args:
        data: with a `release`, see `ClipSet`.
        config: of `conf/prepare.yaml`.
    """
    from actionrec.datasets import install

    found = install.clips(
        data.release,
        _sources(config.source, config.addresses, data.release.addresses),
        _sources(config.source_splits, config.addresses_splits, data.release.list_addresses),
        Path(data.videos),
        Path(data.splits),
        Path(config.downloads),
        expect_complete=config.expect_complete,
    )
    print(_describe(found, data.videos, "clips"))


def prepare(config: DictConfig) -> None:
    """Put the data set into its folder, or check it."""
    from actionrec.datasets.base import create
    from actionrec.datasets.stanford40 import Stanford40

    section = config.dataset
    if config.check not in (True, False):
        raise ActionRecError(f"check={config.check}: use true or false")
    data = create(section) if "_target_" in section else None
    if data is None and config.check:
        raise ActionRecError(
            f"dataset={section.name} fills the folders of other data sets; use dataset=hmdb51 paths={section.name}"
        )
    if data is None:
        demo(config)
    elif config.check:
        _check(data)
    elif isinstance(data, Stanford40):
        stanford40(data, config)
    elif getattr(data, "release", None):
        clips(data, config)
    elif config.source or config.source_splits:
        raise ActionRecError(
            f"source={config.source}: dataset={data.name} is read from its own folder; set dataset.videos"
        )
    else:
        actions, splits = data.index("all", strict=config.expect_complete)
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in splits._asdict().items())
        print(f"{data.name}: {sum(map(len, splits)):,} {data.kind} of {len(actions)} actions: {sizes}")


def _check(data: "DataSet") -> None:
    """Print a summary of a data set's files, and raise if a problem would break or bias a training."""
    from actionrec.experiment import check

    report = check.check(data, usable_cores())
    print("\n".join(check.lines(report, data.kind)))
    if report.wrong:
        raise ActionRecError(f"dataset={data.name}: {'; '.join(report.wrong)}; fix this before a training")


def _sources(given: Places, mirror: Any, addresses: Sequence[str]) -> "Sources":
    """The user's files; else the mirror that the user names; else the authors' addresses."""
    from actionrec.datasets.download import Address

    if not given:
        listed = [mirror] if isinstance(mirror, str | Mapping) else mirror or addresses
        try:
            return [Address(each) if isinstance(each, str) else Address(**each) for each in listed]
        except TypeError:
            raise ActionRecError(
                f"addresses={mirror}: use an address, or a list of such and of {{url: …, size: …, sha256: …}}"
            ) from None
    paths = [Path(path) for path in ([given] if isinstance(given, str) else given)]
    if missing := [path for path in paths if not path.exists()]:
        raise ActionRecError(f"source={missing[0]}: no such folder or archive")
    if odd := [path for path in paths if not path.is_dir() and not path.is_file()]:
        raise ActionRecError(f"source={odd[0]}: a device or a pipe; use a folder or an archive")
    return paths


def _describe(found: "Found", folder: Path, what: str) -> str:
    from actionrec.datasets.install import few

    lists = "\n".join(f"  {name}: {there:,} of {listed:,} listed" for name, (listed, there) in found.lists.items())
    rest = "".join(
        f"\n  {label}: {len(names):,} ({few(names)})"
        for label, names in (("listed but not there", found.missing), ("there but in no list", found.unlisted))
        if names
    )
    return f"{folder}: {found.files:,} {what} of {len(found.actions)} actions\n{lists}{rest}"


main = command("prepare", choose="dataset")(prepare)
