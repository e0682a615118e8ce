"""`actionrec prepare dataset=<name>`: bring a data set into its folder, and say what is there.

`check=true` reads every file that is there, and brings nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

if TYPE_CHECKING:
    from actionrec.datasets.base import DataSet
    from actionrec.datasets.download import Sources
    from actionrec.datasets.hmdb51 import HMDB51
    from actionrec.datasets.install import Found
    from actionrec.datasets.stanford40 import Stanford40
    from actionrec.datasets.ucf101 import UCF101

Places = str | Sequence[str] | None  # a path, several, or nothing


class Given(NamedTuple):
    """What the user has and wants of a preparation."""

    source: Places
    source_splits: Places
    downloads: Path  # where fetched archives stay
    expect_complete: bool


def demo(data: None, given: Given, root: str, seed: int) -> None:
    """Generate the demo set, unless it is there."""
    from actionrec.datasets.demo import generate

    generate(Path(root), seed)
    clips = sum(1 for _ in Path(root).glob("hmdb51/*/*.avi"))
    stills = sum(1 for _ in Path(root).glob("Stanford40/JPEGImages/*.jpg"))
    print(f"{root}: {stills:,} stills and {clips:,} clips")


def stanford40(data: "Stanford40", given: Given, addresses: list[dict[str, Any]]) -> None:
    """Stanford40 from what the user has, else from the addresses."""
    from actionrec.datasets import install

    found = install.stanford40(
        _sources(given.source, addresses), data.root, given.downloads, expect_complete=given.expect_complete
    )
    print(_describe(found, data.root, "images"))


def clips(
    data: "HMDB51 | UCF101",
    given: Given,
    addresses: list[dict[str, Any]],
    addresses_splits: list[dict[str, Any]],
) -> None:
    """A set of clips with official lists, from what the user has, else from the addresses."""
    from actionrec.datasets import install

    found = install.clips(
        data.release,
        _sources(given.source, addresses),
        _sources(given.source_splits, addresses_splits),
        data.videos,
        data.splits,
        given.downloads,
        expect_complete=given.expect_complete,
    )
    print(_describe(found, data.videos, "clips"))


def prepare(config: DictConfig) -> None:
    """Bring the data set into place, or check it."""
    from actionrec.datasets.base import create

    section = config.dataset
    if config.check not in (True, False):
        raise ActionRecError(f"check={config.check}: use true or false")
    data = create(section) if "_target_" in section else None
    if config.check and data is None:
        raise ActionRecError(
            f"dataset={section.name} fills the places of others; say dataset=hmdb51 paths={section.name}"
        )
    if config.check and data:
        _check(data)
    elif config.get("install"):
        given = Given(config.source, config.source_splits, Path(config.downloads), config.expect_complete)
        instantiate(config.install, _convert_="all")(data, given)
    elif data:
        if config.source or config.source_splits:
            raise ActionRecError(
                f"source={config.source}: dataset={data.name} is read where it lies; say dataset.videos"
            )
        actions, splits = data.index("all", strict=config.expect_complete)
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in splits._asdict().items())
        print(f"{data.name}: {sum(map(len, splits)):,} {data.kind} of {len(actions)} actions: {sizes}")


def _check(data: "DataSet") -> None:
    """Print what is there, and raise if it would break or bias a training."""
    from actionrec.datasets import check

    report = check.check(data, usable_cores())
    print("\n".join(check.lines(report, data.kind)))
    if report.wrong:
        raise ActionRecError(f"dataset={data.name}: {'; '.join(report.wrong)}; mend this before a training")


def _sources(given: Places, addresses: list[dict[str, Any]]) -> "Sources":
    from actionrec.datasets.download import Address

    if not given:
        return [Address(**address) for address in addresses]
    paths = [Path(path) for path in ([given] if isinstance(given, str) else given)]
    if missing := [path for path in paths if not path.exists()]:
        raise ActionRecError(f"source={missing[0]}: no such folder or archive")
    if odd := [path for path in paths if not path.is_dir() and not path.is_file()]:
        raise ActionRecError(f"source={odd[0]}: a device or a pipe; give a folder or an archive")
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
