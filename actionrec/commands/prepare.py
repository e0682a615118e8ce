"""`actionrec prepare dataset=<name>`: bring a data set into its folder, and say what is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:
    from actionrec.datasets.download import Sources
    from actionrec.datasets.gather import Found

Given = str | Sequence[str] | None  # what the user has: a path, several, or nothing


def demo(root: str, seed: int) -> None:
    """Generate the demo set, unless it is there."""
    from actionrec.datasets.demo import generate

    generate(Path(root), seed)
    clips = sum(1 for _ in Path(root).glob("hmdb51/*/*.avi"))
    stills = sum(1 for _ in Path(root).glob("Stanford40/JPEGImages/*.jpg"))
    print(f"{root}: {stills:,} stills and {clips:,} clips")


def stanford40(
    target: str, source: Given, downloads: str, expect_complete: bool, addresses: list[dict[str, Any]]
) -> None:
    """Stanford40 from what the user has, else from the addresses."""
    from actionrec.datasets import gather

    found = gather.stanford40(
        _sources(source, addresses), Path(target), Path(downloads), expect_complete=expect_complete
    )
    print(_describe(found, Path(target), "images"))


def hmdb51(
    target_videos: str,
    target_splits: str,
    source: Given,
    source_splits: Given,
    downloads: str,
    expect_complete: bool,
    addresses: list[dict[str, Any]],
    addresses_splits: list[dict[str, Any]],
) -> None:
    """HMDB51 from what the user has, else from the addresses."""
    from actionrec.datasets import gather

    found = gather.hmdb51(
        _sources(source, addresses),
        _sources(source_splits, addresses_splits),
        Path(target_videos),
        Path(target_splits),
        Path(downloads),
        expect_complete=expect_complete,
    )
    print(_describe(found, Path(target_videos), "clips"))


def prepare(config: DictConfig) -> None:
    """Run the data set's function above."""
    instantiate(config.dataset, _convert_="all")


def _sources(given: Given, addresses: list[dict[str, Any]]) -> "Sources":
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
    from actionrec.datasets.gather import few

    lists = "\n".join(f"  {name}: {there:,} of {listed:,} listed" for name, (listed, there) in found.lists.items())
    rest = "".join(
        f"\n  {label}: {len(names):,} ({few(names)})"
        for label, names in (("listed but not there", found.missing), ("there but in no list", found.unlisted))
        if names
    )
    return f"{folder}: {found.files:,} {what} of {len(found.actions)} actions\n{lists}{rest}"


main = command("prepare", choose="dataset")(prepare)
