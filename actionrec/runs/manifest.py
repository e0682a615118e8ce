"""The record of the settings, split lists, parents and code of a run: `manifest.json` in its folder.

Two runs are the same if their settings, split lists and parents' checkpoints are the same. Paths, settings of the
machine (loader processes, accelerator), and callbacks of this project that only report do not count.
"""

import copy
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from actionrec.runs import folds, provenance
from actionrec.settings.earlier import renew_flat
from actionrec.settings.untrusted import read_config, read_json
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_json

FILE = "manifest.json"
CHOICES = ("experiment", "recipe", "backbone", "optimizer", "scheduler", "flow", "dataset", "data", "stream", "model")
SHOWN = 4  # differences that a message names

_CALLBACKS = (  # those of this project that only report; others may change the weights
    *("last", "learning_rate", "speed", "random_state", "epoch_line", "origin", "training_batch", "validation"),
    *("progress_bar", "divergence", "best._target_", "best.dirpath"),
)
# Settings that do not change the result, or that repeat another one: a stage reads `data.dataset`, not `dataset`.
_IGNORED = (
    *("run_dir", "work_dir", "init_from", "resume", "overwrite", "run_again", "trust", "tag", "parent_tag", "split"),
    *("chain", "parents"),
    *("paths", "flow", "dataset", "views", "backbone", "recipe", "sweep", "search", "logger", "hydra"),
    *("debug", "objective", "stage_kind", "optimizer.fused", "model.optimizer.fused", "trainer.profiler"),
    "fast_depthwise",
    *("data.num_workers", "data.cache"),
    *("trainer._target_", "trainer.accelerator", "trainer.default_root_dir", "trainer.log_every_n_steps"),
    *("trainer.num_sanity_val_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("checkpoint", "parts", "output"),
    *(f"callbacks.{name}" for name in _CALLBACKS),
)
_COUNTED = ("paths.name",)
# Stores of frames and flow, which anyone may compute anew.
_STORES = re.compile(r"data\.[^.]+\.folder")
# Paths of records, which do not count where `Manifest.lists` identifies the records.
_PLACES = re.compile(r"data\.dataset\.(root|videos|splits|csv|split_file)")
# Settings that earlier versions lacked. At these values they do not count, so that runs of before stay the same runs.
_ADDED = {
    **{
        "model.decay_norms": True,
        "model.batch_norm": "train",
        "data.fold": 0,
        "data.background": None,
        "model.mixup": 0.0,
        "model.head_epochs": 0,
        "trainer.gradient_clip_val": None,
        "model.class_weights": None,
        "data.sampler": None,
        "data.region": "whole",
        "model.fixed_layers": 0.0,
        "model.members": 1,
        "refit": False,
        "model.stream_loss": 0.0,
        "model.stream_dropout": 0.0,
    },
    **{
        f"data.{stream}.{key}": None
        for stream in ("flow", "rgb_difference", "dynamic_image", "clip")
        for key in ("size", "focus")
    },
    "data.frame.focus": None,
    **dict.fromkeys(("model.head_lr_factor", "model.backbone_lr_factor"), 1.0),
}


@dataclass(frozen=True)
class Manifest:
    """The settings, split lists, parents and code of a run.

    Args:
        settings: those that decide the result, by dotted key.
        choices: of the config groups, such as `recipe: strong`; they explain differences and are not compared.
        lists: hex sha256 of the split lists; empty if the data have none.
        parents: hex sha256 of the parents' checkpoints by role; None if the file does not exist.
        overrides: of the command line.
        command: the whole command line.
        commit: of this code, with `+` behind it if tracked files have changed; None outside a git repository.
        versions: of Python and of the packages `provenance.PACKAGES`.
        started: time in UTC, ISO 8601.
        whole: whether the settings are complete. Those of a run without a manifest come from its `config.yaml`, and
            settings that it lacks are not compared.
    """

    settings: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)
    lists: str = ""
    parents: dict[str, str | None] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    whole: bool = True

    @property
    def hash(self) -> str:
        """Hex sha256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it into a run's folder."""
        content = {"format": 1, "settings_sha256": self.hash, **asdict(self)}
        write_json(folder / FILE, content)

    def differences(self, other: "Manifest", but: Iterable[str] = ()) -> list[str]:
        """The differences between this run and another one, such as `seed: 1, was 0`; empty for the same run.

        Args:
            other: manifest of the other run.
            but: dotted keys of settings to ignore.
        """
        known = {*self.settings, *other.settings} - {*but}
        keys = sorted(key for key in known if _decides(key))  # an earlier version may have counted other settings
        if (self.lists and other.lists) or not other.whole:
            keys = [key for key in keys if not _PLACES.fullmatch(key)]
        if not other.whole:
            keys = [key for key in keys if key in self.settings and key in other.settings]
        found = [_difference(key, self.settings, other.settings) for key in keys]
        for role in sorted({*self.parents, *other.parents}):
            now, then = self.parents.get(role), other.parents.get(role)
            if not other.whole:
                continue
            if role not in self.parents or role not in other.parents:
                found.append(f"init_from: {role} is {'new' if role in self.parents else 'gone'}")
            elif now and then and now != then:
                found.append(f"parent {role}: checkpoint {now[:10]}, was {then[:10]}")
        if self.lists and other.lists and self.lists != other.lists:
            found.append(f"split lists: {self.lists[:10]}, were {other.lists[:10]}")
        if real := [line for line in found if line]:
            chosen = [_difference(key, self.choices, other.choices) for key in CHOICES if key in other.choices]
            return [*filter(None, chosen), *real]
        return []


def create(config: DictConfig) -> Manifest:
    """The manifest of the run that a composed configuration describes."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    choices = dict(hydra.runtime.choices) if hydra else {}
    return Manifest(
        settings=settings_of(config),
        choices={key: str(choices[key]) for key in CHOICES if choices.get(key)},
        lists=provenance.hash_of_lists(config),
        parents={
            role: sha256(path) if path.is_file() else None
            for role, path in {**parent_files(config), **folds.checkpoints(config)}.items()
        },
        overrides=list(hydra.overrides.task) if hydra else [],
        command=[provenance.program(), *sys.argv[1:]],
        commit=provenance.commit(),
        versions=provenance.versions(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def read(folder: Path) -> Manifest | None:
    """The manifest in a run's folder, or for a run of an earlier version, one made of its `config.yaml`; else None.

    Raises:
        ActionRecError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return of_before(folder)
    content = read_json(path)
    try:
        known = {key: content[key] for key in Manifest.__dataclass_fields__ if key in content}
        made = Manifest(**known)
        if not all(isinstance(each, dict) for each in (made.settings, made.choices, made.parents)):
            raise TypeError("settings, choices or parents are no tables")
        return replace(made, settings=dict(_counted(renew_flat(made.settings).items())))
    except (TypeError, AttributeError) as error:
        raise ActionRecError(f"{path}: not a manifest ({error}); overwrite=true replaces that run") from None


def parent_files(config: DictConfig) -> dict[str, Path]:
    """The checkpoints that `init_from` names, by role."""
    named = OmegaConf.select(config, "init_from")
    if not named:
        return {}
    named = {"parent": named} if isinstance(named, str) else OmegaConf.to_container(named, resolve=True)
    return {str(role): Path(path) for role, path in named.items() if path}  # type: ignore[union-attr]


def settings_of(config: DictConfig) -> dict[str, Any]:
    """The settings that decide the result of a run, by dotted key; paths are replaced by their settings' names."""
    config = copy.deepcopy(config)
    with open_dict(config):
        for key in config.paths:
            if key != "name":
                config.paths[key] = f"<paths.{key}>"
        config.run_dir, config.work_dir = "<run_dir>", "<work_dir>"
        config.init_from = None
        config.pop("search", None)
    found: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    for name in ("optimizer", "scheduler"):  # copies of the groups, unless the user set them apart
        if found["model"].get(name) == found[name]:
            del found["model"][name]
    return dict(_counted(_flat(found)))


def refusal(folder: Path, differences: Iterable[str], state: str = "holds another run") -> ActionRecError:
    """The error for a folder that holds another run."""
    return ActionRecError(
        f"{folder} {state} ({listed(differences)}); keep both with tag=<name>, or replace it with overwrite=true"
    )


def listed(differences: Iterable[str]) -> str:
    """The first differences for a message, and the number of the rest."""
    lines = list(differences)
    return "; ".join(lines[:SHOWN]) + (f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")


def shown(value: Any) -> str:
    """A setting for a message, at most 60 characters."""
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def below(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted key is one of the names, or lies below one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _counted(settings: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for key, value in settings:
        usual = key in _ADDED and value == _ADDED[key]
        left_out = value is None and key.startswith("callbacks.") and key.count(".") == 1
        if _decides(key) and not usual and not left_out:
            yield key, value


def _decides(key: str) -> bool:
    """Whether a setting counts for the identity of a run."""
    return below(key, _COUNTED) or not (below(key, _IGNORED) or _STORES.fullmatch(key))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key; lists and empty mappings are leaves."""
    for key, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flat(each, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", each


def _difference(key: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    if key in now and key in then and now[key] == then[key]:
        return ""
    return f"{key}: {_text(now, key)}, was {_text(then, key)}"


def _text(settings: Mapping[str, Any], key: str) -> str:
    return shown(settings[key]) if key in settings else "not set"


def of_before(folder: Path) -> Manifest | None:
    """A manifest made of the `config.yaml` in a run's folder, with its settings alone; None if there is no such file.

    Raises:
        ActionRecError: the file is damaged.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    return Manifest(settings=dict(_counted(_flat(read_config(path)))), whole=False)
