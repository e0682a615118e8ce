"""Command lines: mistakes that Hydra accepts silently or answers with a traceback, and values that it cannot parse."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType
from hydra.errors import HydraException

from actionrec.settings.rules import path
from actionrec.settings.values import UnfitError, shown
from actionrec.system.errors import ActionRecError

_NO_OPTION = (type(None), int, float, dict, list)  # types that cannot be an option of a config group, which is a name
_FUNCTION = re.compile(  # of Hydra's grammar
    r"(bool|choice|extend_list|float|glob|int|interval|json_str|range|shuffle|sort|str|tag)\("
)

# Mappings whose keys the user chooses, such as names of runs: name on the command line, name in conf/.
_OPEN = {"init_from": "parents", "runs": "runs", "trained": "trained"}


# Arguments of lightning.Trainer, which takes seconds to import. A test compares them with its signature.
TRAINER_OPTIONS = frozenset(
    """
    accelerator strategy devices num_nodes precision fast_dev_run max_epochs min_epochs max_steps min_steps max_time
    limit_train_batches limit_val_batches limit_test_batches limit_predict_batches overfit_batches val_check_interval
    check_val_every_n_epoch num_sanity_val_steps log_every_n_steps enable_checkpointing enable_progress_bar
    enable_model_summary accumulate_grad_batches gradient_clip_val gradient_clip_algorithm deterministic benchmark
    inference_mode use_distributed_sampler profiler detect_anomaly barebones plugins sync_batchnorm
    reload_dataloaders_every_n_epochs default_root_dir enable_autolog_hparams model_registry
    """.split()  # noqa: SIM905
)


def for_hydra(words: Iterable[str], groups: Mapping[str, Collection[str]], trains: bool) -> list[str]:
    """The arguments of a command line in Hydra's syntax.

    `group=null` chooses the group's option `none`. `group={_target_: …}` replaces the group's option; Hydra alone would
    merge the two. Arguments of Lightning's Trainer, and keys of mappings that take any key, need no `++`, whether or
    not conf/ has them.

    Args:
        words: the arguments.
        groups: the choices of each config group.
        trains: whether the command has a trainer.
    """
    found = []
    for word in words:
        parsed = _parse([word])
        found += _for_hydra(word, parsed[0], groups, trains) if parsed else [word]
    return found


def _for_hydra(word: str, override: Override, groups: Mapping[str, Collection[str]], trains: bool) -> list[str]:
    key, (_, _, text) = override.key_or_group, word.partition("=")
    if override.type != OverrideType.CHANGE:
        return [word]
    if key in groups and "none" in groups[key] and any(each is None for each in _options(override.value())):
        options = text.split(",") if isinstance(override.value(), ChoiceSweep) else [text]
        return [f"{key}={','.join('none' if each.strip() == 'null' else each for each in options)}"]
    value = override.value()
    if key in groups and isinstance(value, dict) and "_target_" in value:
        return [f"~{key}", f"+{key}={text}"]
    group, dot, rest = key.partition(".")
    if dot and group in _OPEN:
        return [f"++{_OPEN[group]}.{rest}={text}"]
    return [f"++{word}"] if trains and group == "trainer" and rest in TRAINER_OPTIONS else [word]


def check(words: Iterable[str], groups: Mapping[str, Collection[str]], choose: str | None) -> None:
    """Raise for mistakes of a command line that Hydra accepts silently, or answers with a traceback.

    Args:
        words: the arguments.
        groups: the choices of each config group.
        choose: the group of which exactly one option is chosen, see `commands.app.command`.
    """
    overrides = _parse(words)
    chosen = {str(override.input_line).partition("=")[2] for override in overrides if override.key_or_group == choose}
    if len(chosen) > 1 or any(each.startswith("[") for each in chosen):
        raise ActionRecError(f"{choose}={f' {choose}='.join(sorted(chosen))}: name one of them")
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key in groups and override.is_delete() and value is not None and not isinstance(value, str):
            raise ActionRecError(f"~{key}={shown(value)}: say ~{key} alone")
        replaced = isinstance(value, dict) and "_target_" in value
        unfit = any(isinstance(each, _NO_OPTION) for each in _options(value))
        if key in groups and unfit and not (override.is_delete() or replaced):
            options = "none" if "none" in groups[key] else "|".join(sorted(groups[key]))
            raise ActionRecError(f"{key}={shown(value)}: say {key}={options}")
        if isinstance(value, ChoiceSweep):
            swept = list(override.sweep_string_iterator())
            if doubled := [each for each in swept if swept.count(each) > 1]:
                raise ActionRecError(f"{key}={','.join(swept)} has {doubled[0]} twice; name each value once")


def _options(value: Any) -> list[Any]:
    """The options of a config group that an override names."""
    return value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]


def unreadable(override: str) -> str | None:
    """How to quote a value that Hydra's grammar rejects; None if quotes do not help."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w./@-]+", key) or _FUNCTION.match(value):
        return None
    if value.startswith("~"):
        try:
            path(value)
        except UnfitError as error:
            return f"{override}: use {error.wanted}"
    for quote in "'", '"':
        quoted = f"{key}={quote}{value}{quote}"
        if _parse([quoted]):
            outer = '"' if quote == "'" else "'"
            return f"{override}: Hydra cannot read this value as it is; quote it twice, {outer}{quoted}{outer}"
    return None


def _parse(words: Iterable[str]) -> list[Override]:
    """The overrides among arguments, without those that Hydra cannot parse and will report itself."""
    parser, overrides = OverridesParser.create(), []
    for word in words:
        if not word.startswith("-"):
            try:
                overrides.append(parser.parse_override(word))
            except HydraException:
                continue
    return overrides
