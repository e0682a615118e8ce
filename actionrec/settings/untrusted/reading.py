"""Files of runs as plain data: YAML, JSON, and tensors."""

import json
import pickle
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actionrec.settings.earlier import renew
from actionrec.settings.untrusted.allowed import MAX_DEPTH
from actionrec.settings.values import UnfitError, brief, list_of, number, reason, text
from actionrec.system.errors import ActionRecError

LARGEST_CONFIG = 1 << 18  # bytes; a run's has about three thousand
LARGEST_JSON = 1 << 26


def read_config(path: Path) -> dict[str, Any]:
    """A run's `config.yaml` as plain types: numbers as OmegaConf reads them (1e-4 is one), nothing resolved.

    Settings of earlier versions are translated to those of this version, see `settings.earlier`.

    Raises:
        ActionRecError: the file is missing, too large, not UTF-8, or not a mapping of plain types; or it has tags,
            aliases or interpolations, which this project never writes.
    """
    mend = "it is no run's config.yaml; take the folder out, or train the run again"
    try:
        content = _text(path)
        _check_events(content, yaml.MappingStartEvent, resolved=True)
        found = OmegaConf.to_container(OmegaConf.create(content), resolve=False)
        _check_plain(found)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ActionRecError(f"{path}: {reason(error)}; {mend}") from None
    return renew(found)  # type: ignore[arg-type]


def read_overrides(path: Path) -> list[str]:
    """A job's `overrides.yaml` as the user typed it, nothing resolved.

    Raises:
        ActionRecError: the file is missing, too large, not UTF-8, or not a list of texts.
    """
    try:
        content = _text(path)
        _check_events(content, yaml.SequenceStartEvent, resolved=False)
        found = yaml.safe_load(content)
        list_of(text(10_000, resolved=False))(found, "overrides")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ActionRecError(f"{path}: {reason(error)}; it is no job's overrides.yaml; train the job again") from None
    return found


def read_json(path: Path, kind: type = dict, mend: str = "delete it, and have it made again") -> Any:
    """A JSON file that holds a mapping or a list. NaN and infinities, which JSON lacks, are read as None.

    Args:
        path: the file.
        kind: `dict` or `list`.
        mend: how to fix a damaged file, for the message.

    Raises:
        ActionRecError: the file is missing, too large, or does not hold that.
    """
    try:
        found = json.loads(_text(path, LARGEST_JSON), parse_constant=lambda _: None)
        if type(found) is not kind:
            raise ValueError(f"it holds no {'mapping' if kind is dict else 'list'}")
    except (OSError, ValueError, RecursionError) as error:
        raise ActionRecError(f"{path}: not what was written there ({reason(error)}); {mend}") from None
    return found


def read_metrics(path: Path) -> dict[str, Any]:
    """A run's `metrics.json`. Numbers are checked, accuracies to lie between 0 and 1; tables are returned unchecked.

    Raises:
        ActionRecError: the file is missing, damaged, or has a number out of range.
    """
    mend = "measure the run with actionrec evaluate"
    found = read_json(path, mend=f"move it away, and {mend}")
    for tag, value in found.items():
        low, high = (0, 1) if "/acc" in tag else (-1e15, 1e15)
        if type(value) in (int, float):
            try:
                number(low, high)(value, brief(tag))
            except UnfitError as error:
                raise ActionRecError(f"{path}: {error}; {mend}") from None
    return found


def read_tensors(path: Path, key: str, what: str) -> Any:
    """A file that `torch.save` wrote, on the CPU: tensors and plain data, no pickled classes (`weights_only=True`).

    Args:
        path: the file.
        key: the setting that names the file, for the message.
        what: the expected kind, for the message: `a checkpoint`, `a state dict`.

    Raises:
        ActionRecError: the file is missing, damaged, or holds something else.
    """
    import torch  # slow to import; --help does without

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ActionRecError(f"{key}={path}: no such file") from None
    except pickle.UnpicklingError:  # torch's message advises weights_only=False, which would run the file's code
        said = "it is damaged, or holds more than tensors and plain data"
    except Exception as error:  # torch.load raises many types for damaged files
        said = reason(error, 80)
    raise ActionRecError(f"{key}={path}: not {what} ({said})")


def _text(path: Path, largest: int = LARGEST_CONFIG) -> str:
    if not path.is_file():  # neither a pipe nor a device, which could be endless
        raise ActionRecError(f"there is no {path}; name a run's folder")
    if path.stat().st_size > largest:
        raise ValueError(f"it has more than {largest >> 10} KiB")
    return path.read_text(encoding="utf-8-sig")


def _check_events(content: str, start: type[yaml.Event], resolved: bool) -> None:
    """Raise unless YAML starts with the event `start`, has neither aliases nor tags, and is not nested deeply.

    Aliases of aliases would unfold to gigabytes, and tags would build Python objects. The parser's events show both
    before anything is built.

    Args:
        content: the YAML.
        start: `yaml.MappingStartEvent` or `yaml.SequenceStartEvent`.
        resolved: also refuse interpolations.
    """
    depth, first = 0, True
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.AliasEvent) or event.anchor:
                raise ValueError("it has aliases")
            if event.tag and event.tag != "!":  # quoted scalars have the tag `!`
                raise ValueError("it has tags")
            if first and not isinstance(event, start):
                raise ValueError("it is no mapping" if start is yaml.MappingStartEvent else "it is no list")
            if resolved and isinstance(event, yaml.ScalarEvent) and "${" in event.value:
                raise ValueError(f"{brief(event.value)} is an interpolation, which a file's settings may not have")
            first = False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
    if first:
        raise ValueError("it is empty")


def _check_plain(node: Any) -> None:
    if isinstance(node, dict):
        if strange := [key for key in node if type(key) is not str]:
            raise ValueError(f"{brief(strange[0])} is no key")
        for value in node.values():
            _check_plain(value)
    elif isinstance(node, list):
        for value in node:
            _check_plain(value)
    elif node is not None and type(node) not in (bool, int, float, str):
        raise ValueError(f"it holds a {type(node).__name__}")
