"""Command lines: mistakes that Hydra takes silently or answers with a traceback, and values that it cannot read."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType
from hydra.errors import HydraException

from actionrec.settings.rules import path
from actionrec.settings.values import UnfitError, shown
from actionrec.system.errors import ActionRecError

_NO_OPTION = (type(None), int, float, dict, list)  # of a config group, whose options are names
_FUNCTION = re.compile(  # of Hydra's grammar
    r"(bool|choice|extend_list|float|glob|int|interval|json_str|range|shuffle|sort|str|tag)\("
)

# Mappings whose keys are the user's own, such as the names of runs, by what a command line calls them.
_OPEN = {"init_from": "parents", "runs": "runs", "trained": "trained"}


# Arguments of lightning.Trainer, which takes seconds to import; a test compares them with its signature.
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
    """The arguments of a command line, some of which are said in Hydra's own way.

    `group=null` is the group's option `none`. `group={_target_: …}` takes the place of the group's option, where Hydra
    would add its keys to those of the option. Arguments of Lightning's Trainer, and keys of mappings that take any,
    need no `++`, whether or not conf/ has them.

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
    """Check the overrides of a command line for mistakes that Hydra takes silently, or answers with a traceback.

    Args:
        words: the arguments.
        groups: the choices of each config group.
        choose: the group of which one is chosen, see `cli.verb`.
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
    """The options that an override of a config group chooses."""
    return value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]


def unreadable(override: str) -> str | None:
    """How to quote a value that Hydra's grammar does not take; None where quotes are not the mend."""
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
    """The overrides among arguments, but for those that Hydra will complain of."""
    parser, overrides = OverridesParser.create(), []
    for word in words:
        if not word.startswith("-"):
            try:
                overrides.append(parser.parse_override(word))
            except HydraException:
                continue
    return overrides
