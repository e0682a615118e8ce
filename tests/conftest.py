"""Data made for the tests, and command lines run in this process."""

import copy
import functools
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import omegaconf.base
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

from actionrec.commands import (
    chain,
    evaluate,
    export,
    extract_flow,
    features,
    fuse,
    import_flow,
    page,
    predict,
    prepare,
    report,
    search,
    train,
)
from actionrec.datasets import demo
from actionrec.evaluation.metrics import HEADLINES, METRICS
from actionrec.settings.composition import CONF
from actionrec.system.errors import ActionRecError

# Of the workers of pytest-xdist each has a core; with more threads they, and the commands that tests start, wait for
# each other. torch is loaded by the verbs, later.
os.environ.setdefault("OMP_NUM_THREADS", "1")

VERBS = {
    "app": page,
    "chain": chain,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "extract_flow": extract_flow,
    "features": features,
    "fuse": fuse,
    "import_flow": import_flow,
    "predict": predict,
    "prepare": prepare,
    "report": report,
    "search": search,
}

# Small, on the CPU, from random weights: overrides that every test of a stage adds to its experiment.
QUICK = (
    "trainer=cpu",
    "trainer.max_epochs=1",
    "backbone.name=shufflenet_v2_x0_5",  # a third of the time of ResNet-18, which `make demo` trains
    "backbone.weights=null",
    "data.size=64",
    "data.batch_size=16",
    "data.num_workers=0",
    "~callbacks.validation",  # takes a second of each
)

# The keys of a run's metrics.json.
TAGS = {"train/loss", "train/acc"} | {f"{part}/{name}" for part in ("val", "test") for name in METRICS}
TAGS |= {f"test/{name}_{bound}" for name in HEADLINES for bound in ("low", "high")} | {"test/n", "test/sources"}
TABLES = {"test/per_action", "test/confusion"}


def pytest_collection_finish() -> None:
    """Leave the imported libraries out of garbage collections, which searched them for 0.2 seconds each."""
    gc.collect()
    gc.freeze()


def load_once(load: Callable[[ConfigSource, str], ConfigResult]) -> Callable[[ConfigSource, str], ConfigResult]:
    """Parse a YAML file of a composition once; Hydra parses 35 of them for each composition anew."""
    found: dict[tuple[object, ...], ConfigResult] = {}

    def load_config(source: ConfigSource, config_path: str) -> ConfigResult:
        path = Path(source.path, source._normalize_file_name(config_path))
        if not path.is_file():
            return load(source, config_path)
        stat = path.stat()
        key = (source.provider, path, stat.st_mtime_ns, stat.st_size)
        if key not in found:
            found[key] = load(source, config_path)
        return copy.deepcopy(found[key])  # Hydra changes its argument

    return load_config


Plugins.instance()  # fills the registry
FILES = SourcesRegistry.instance().resolve("file")
FILES.load_config = load_once(FILES.load_config)
omegaconf.base.parse = functools.cache(omegaconf.base.parse)  # of interpolations, the same ones in each composition


def choices_once(create: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Build the choices that a list of defaults may refer to once; Hydra builds them for each of its entries anew."""
    found: dict[str, DictConfig] = {}

    def create_choices(overrides: Any, entries: Sequence[Any], self_added: bool) -> DictConfig:
        key = repr((self_added, overrides.known_choices, [(type(entry), vars(entry)) for entry in entries]))
        if key not in found:
            found[key] = create(overrides, entries, self_added)
        return found[key]

    return create_choices


defaults_list._create_interpolation_map = choices_once(defaults_list._create_interpolation_map)


def mode_where_set(get_mode: Callable[..., Any]) -> Callable[..., Any]:
    """Compose a command line once; Hydra does it once more before, for `hydra.mode`, which sweeps alone set."""

    def get_mode_of(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        is_set = any(override.lstrip("+").startswith(("sweep=", "hydra.")) for override in overrides)
        return get_mode(self, config_name, overrides) if is_set else None

    return get_mode_of


Hydra.get_mode = mode_where_set(Hydra.get_mode)


class Outcome(NamedTuple):
    """The outcome of a command line."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a verb with overrides, as its command line would."""

    def run_verb(verb: str, *overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [verb, *overrides])
        handlers, status = logging.root.handlers[:], 0
        try:
            VERBS[verb].main()
        except SystemExit as stop:  # Python prints a text to stderr before it exits with 1
            status = 1 if isinstance(stop.code, str) else int(stop.code or 0)
            print(stop.code if isinstance(stop.code, str) else "", file=sys.stderr)
        logging.root.handlers[:] = handlers  # Hydra's write to this test's stderr, which is closed after it
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run_verb


@pytest.fixture(scope="session")
def compose_config() -> Callable[..., DictConfig]:
    """Compose `conf/<name>.yaml` with overrides."""

    def compose_with(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(name, list(overrides))

    return compose_with


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory) -> Path:
    """A demo set of a few small items an action."""
    root, items = tmp_path_factory.mktemp("demo") / "data", {"stills_per_action": (5, 2), "clips_per_action": (10, 3)}
    demo.generate(root, **items, frames=(8, 9), size=(96, 72), workers=1)
    return root


@pytest.fixture(scope="session")
def demo_flow(demo_root, tmp_path_factory, compose_config) -> Path:
    """The demo set's flow, as `paths.flow`."""
    store = tmp_path_factory.mktemp("flow")
    config = compose_config("extract_flow", f"paths.root={demo_root}", f"paths.flow={store}", "workers=1")
    extract_flow.extract_flow(config)
    return store


@pytest.fixture(scope="session")
def demo_frames(tmp_path_factory) -> Path:
    """The demo set's frames, as `paths.frames`; whoever needs some first takes them out."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture
def paths(demo_root, demo_flow, demo_frames, tmp_path) -> list[str]:
    """Overrides that read the demo set and write below the test's own folder."""
    places = {"root": demo_root, "flow": demo_flow, "frames": demo_frames, "outputs": tmp_path / "outputs"}
    return [f"paths.{name}={place}" for name, place in places.items()]


def write_video(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write (H, W, 3) uint8 RGB frames as MPEG-4 in AVI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def noise_video(path: Path, n_frames: int, seed: int = 0) -> Path:
    """A clip of smooth random pictures."""
    rng = np.random.default_rng(seed)
    frames = [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48)) for _ in range(n_frames)]
    return write_video(path, frames)


def write_splits(folder: Path, tags: dict[str, dict[str, int]], splits: Sequence[int] = (1,)) -> None:
    """Write split files of `{action: {file name: tag}}`."""
    folder.mkdir(parents=True, exist_ok=True)
    for action, names in tags.items():
        for split in splits:
            text = "".join(f"{name} {tag} \n" for name, tag in names.items())
            (folder / f"{action}_test_split{split}.txt").write_text(text, encoding="utf-8")


def attempt(function: Callable[..., Any], *arguments: object) -> tuple[Any, str]:
    """The result of a function, or the message of its ActionRecError, which is one line; the other one is empty."""
    try:
        return function(*arguments), ""
    except ActionRecError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None, message


def raise_error(error: BaseException) -> Callable[..., None]:
    def function(*_: object, **__: object) -> None:
        raise error

    return function


def metrics_of(outputs: Path, stage: str) -> dict[str, float]:
    metrics = numbers(outputs / "demo" / stage / "split1-seed0/metrics.json")
    return {tag: value for tag, value in metrics.items() if tag != "fit_seconds"}


def numbers(path: Path) -> dict[str, float]:
    """The content of a metrics file but for its tables."""
    return {tag: value for tag, value in json.loads(path.read_text()).items() if tag not in TABLES}
