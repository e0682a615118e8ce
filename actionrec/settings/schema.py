"""JSON Schema (draft 2020-12) of a verb's settings, for editors, from the files of `conf/`.

Keys are those of a verb's file and of all options of its config groups, since the choice of options decides which of
them a configuration has. Values are those of `allowed_values`, descriptions are the comments of the files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from actionrec.settings.allowed_values import SETTINGS
from actionrec.settings.composition import CONF, config_groups
from actionrec.settings.overrides import TRAINER_OPTIONS
from actionrec.settings.values import schema_of
from actionrec.system.errors import ActionRecError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

# Mappings whose keys the user chooses, with values of one kind.
_NAMED = (
    *("chain.stages", "chain.variants", "chain.stages.*.parents"),
    *("recipe.lr_factors", "recipe.adam_weight_decays", "recipe.epochs", "recipe.kinds"),
)
# Mappings that take further keys: arguments of classes, and names of the user's own.
_OPEN = (
    "hydra",
    "optimizer",
    "scheduler",
    "callbacks",
    "callbacks.*",
    "logger",
    "logger.*",
    "flow.params",
    "data.*.params",
)
_REPLACEABLE = ("data", "model", "dataset")  # sections for which a user's own class may have any settings
_WITH_STREAMS = ("data", "model")  # sections with a mapping for each stream, of the user's own, too
_UNRESOLVED = r"\$\{|^\?\?\?$"  # an interpolation of OmegaConf, or a value that must be set
_SPACE = {
    "type": "object",
    "required": ["key"],
    "additionalProperties": False,
    "properties": {
        "key": {"type": "string"},
        "low": {"type": "number"},
        "high": {"type": "number"},
        "log": {"type": "boolean"},
        "values": {"type": "array"},
    },
}


@dataclass
class Setting:
    """A setting as the files of `conf/` have it.

    Args:
        children: settings below, by key; `*` stands for any key.
        values: the values of the files, as plain types.
        description: the first comment.
    """

    children: dict[str, "Setting"] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)
    description: str = ""


def create(verb: str, group: str | None = None) -> Schema:
    """The schema of a verb's settings: of `conf/<verb>.yaml`, of experiments, and of a run's `config.yaml`.

    Args:
        verb: name of the verb.
        group: a config group of the verb, for the schema of a file of that group.

    Raises:
        ActionRecError: there is no such verb with settings, or no such group.
    """
    verbs = sorted(path.stem for path in CONF.glob("*.yaml"))
    if verb not in verbs:
        raise ActionRecError(f"actionrec schema {verb}: no verb with settings; use one of {', '.join(verbs)}")
    groups = sorted(_groups(verb))
    if group is not None and group not in groups:
        raise ActionRecError(f"actionrec schema {verb} {group}: no config group; use one of {', '.join(groups)}")
    root = Setting()
    for own in _roots(verb):
        _add(root, CONF / f"{own}.yaml", (), explains=True)
    files = [(_is_global(path), each, path) for each in groups for path in sorted((CONF / each).glob("*.yaml"))]
    for is_global, each, path in sorted(files):
        _add(root, path, () if is_global else (each,), explains=not is_global)
    whole = _section(root, root, "", groups)
    found = whole
    if group is not None and group in root.children and root.children[group].children:
        found = _section(root, root.children[group], group, groups)
        if any(is_global for is_global, each, _ in files if each == group):
            found = {"anyOf": [found, whole]}
    title = f"actionrec {verb}" + (f": a file of conf/{group}" if group else "")
    return {"$schema": DIALECT, "title": title, **found}


def _roots(verb: str) -> list[str]:
    """The files of `conf/` that a verb's configuration begins with, the verb's own last."""
    named = [each for each in _defaults(verb) if isinstance(each, str) and each != "_self_"]
    return [name for each in named for name in _roots(each)] + [verb]


def _groups(verb: str) -> set[str]:
    """The config groups of a verb."""
    named = [each for root in _roots(verb) for each in _defaults(root) if isinstance(each, dict)]
    return {key for each in named for key in each} & set(config_groups())


def _is_global(path: Path) -> bool:
    """Whether the settings of a file belong to the root, wherever the file is."""
    return "@package _global_" in path.read_text(encoding="utf-8")


def _defaults(name: str) -> list[Any]:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")).get("defaults", [])


# ------------------------------------------------------------------------------------------------------------ files


def _add(root: Setting, path: Path, package: Sequence[str], explains: bool) -> None:
    """Add the settings of a file below `package`.

    Args:
        root: of all settings.
        path: the file.
        package: keys of the mapping that the content belongs to.
        explains: whether the comments describe settings that other files have, too. Those of an experiment or a recipe
            say why it sets them.
    """
    text = path.read_text(encoding="utf-8")
    content = yaml.compose(text, yaml.SafeLoader)
    node = root
    for name in package:
        node = node.children.setdefault(name, Setting())
    if isinstance(content, yaml.MappingNode):
        entries = [(key, value) for key, value in content.value if key.value != "defaults"]
        _add_entries(node, entries, text.splitlines(), package, explains)


def _add_entries(
    node: Setting, entries: Sequence[tuple[Any, Any]], lines: Sequence[str], place: Sequence[str], explains: bool
) -> None:
    """Add the entries of a mapping, given as the nodes of keys and values."""
    for key, value in entries:
        name = "*" if ".".join(place) in _NAMED else key.value
        explained = explains or name not in node.children
        child = node.children.setdefault(name, Setting())
        if explained and not child.description:
            child.description = _comment(key, value, lines)
        if isinstance(value, yaml.MappingNode) and value.value:
            _add_entries(child, value.value, lines, (*place, name), explains)
        else:
            child.values.append(yaml.SafeLoader("").construct_object(value, deep=True))


def _comment(key: yaml.Node, value: yaml.Node, lines: Sequence[str]) -> str:
    """The comment behind a setting, else the comment lines above it, unless the file begins with them."""
    last = key if value.start_mark.line > key.start_mark.line else value
    if last.end_mark.line < len(lines):
        _, sign, behind = lines[last.end_mark.line][last.end_mark.column :].partition(" #")
        if sign:
            return behind.strip()
    above: list[str] = []
    for line in reversed(lines[: key.start_mark.line]):
        if not line.startswith(" " * key.start_mark.column + "# "):
            return " ".join(above)
        above.insert(0, line.strip()[2:])
    return ""


# ----------------------------------------------------------------------------------------------------------- schemas


def _render(root: Setting, node: Setting, place: str) -> Schema:
    found = _section(root, node, place) if node.children else _value(root, node, place)
    return {"description": node.description, **found} if node.description else found


def _section(root: Setting, node: Setting, place: str, groups: Sequence[str] = ()) -> Schema:
    """Schema of a mapping; a whole mapping may also be null, which leaves it out, or an interpolation."""
    known = {
        key: _render(root, child, f"{place}.{key}" if place else key)
        for key, child in node.children.items()
        if key != "*"
    }
    if place == "hydra":
        known = {}
    if place == "trainer":
        known |= {option: {} for option in sorted(TRAINER_OPTIONS) if option not in known}
    if groups or not place:  # a file as a whole
        known = {"defaults": _defaults_list(groups), **known}
    others: Any = _render(root, node.children["*"], f"{place}.*") if "*" in node.children else _is_open(place)
    if place in _WITH_STREAMS:
        others = {"type": "object", "title": "settings of a stream"}  # editors quote the title in messages
    found = {"type": ["object", "null", "string"] if place else "object", "pattern": _UNRESOLVED, "properties": known}
    if place not in _REPLACEABLE:
        return {**found, "additionalProperties": others}
    own = {"required": ["_target_"], "properties": {"_target_": {"not": {"pattern": r"^actionrec\."}}}}
    return {**found, "if": own, "else": {"properties": dict.fromkeys(known, True), "additionalProperties": others}}


def _value(root: Setting, node: Setting, place: str) -> Schema:
    """Schema of a setting without settings below: a value that passes its check, or an interpolation."""
    rule = next((rule for pattern, rule in SETTINGS.items() if _matches(pattern, place)), None)
    if place == "search.space":
        found: Schema = {"type": "array", "items": _SPACE}
    elif rule:
        found = schema_of(rule)
    else:
        found = _of_values(root, node.values)
    if not found or _takes_any_text(found):
        return found
    return {"anyOf": [found, {"type": "string", "pattern": _UNRESOLVED}]}


def _of_values(root: Setting, values: Sequence[Any]) -> Schema:
    """Schema of a setting without a check, from the types of its values in the files."""
    if all(value is None for value in values):
        return {}
    found: list[Schema] = []
    kinds: set[str] = set()
    for value in values:
        if isinstance(value, str) and (named := re.fullmatch(r"\$\{([\w.]+)\}", value)):
            if (other := _find(root, named[1].split("."))) is None:
                return {}
            found.append(_render(root, other, named[1]))
        elif isinstance(value, str) and re.match(r"\$\{[^}]*:|\?\?\?$", value):  # a resolver, which returns anything
            return {}
        else:
            kinds |= _KINDS[type(value)]
    found += [{"type": sorted(kinds)}] if kinds else []
    return found[0] if len(found) == 1 else {"anyOf": found} if found else {"type": ["object", "null"]}


# A text may stand for a word beside other values, such as `auto` beside a number.
_SCALARS = {"boolean", "null", "number", "string"}
_KINDS: dict[type, set[str]] = {
    **{bool: {"boolean", "null"}, int: {"number", "null"}, float: {"number", "null"}},
    **{str: _SCALARS, type(None): _SCALARS, list: {"array", "null"}, dict: {"object", "null"}},
}


def _takes_any_text(schema: Schema) -> bool:
    return any("string" in each.get("type", "") and "pattern" not in each for each in schema.get("anyOf", [schema]))


def _find(root: Setting, keys: Sequence[str]) -> Setting | None:
    node: Setting | None = root
    for key in keys:
        node = node.children.get(key) if node else None
    return node


def _defaults_list(groups: Sequence[str]) -> Schema:
    """Schema of Hydra's defaults list; the options of a group are offered, and others are allowed."""
    options = config_groups()
    known: Schema = {}
    for group in groups:
        one = {"anyOf": [{"enum": options[group]}, {"type": ["string", "null"]}]}
        for key in (group, f"/{group}", f"override /{group}"):
            known[key] = {"anyOf": [*one["anyOf"], {"type": "array"}]}
    pattern = rf"^(optional |override )?/?({'|'.join(map(re.escape, groups))}|hydra/\w+)(@[\w.]+)?$"
    entry = {"type": "object", "properties": known, "patternProperties": {pattern: {}}, "additionalProperties": False}
    return {"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}}


def _is_open(place: str) -> bool:
    return any(_matches(pattern, place) for pattern in _OPEN)


def _matches(pattern: str, place: str) -> bool:
    wanted, found = pattern.split("."), place.split(".")
    return len(wanted) == len(found) and all(each in ("*", one) for each, one in zip(wanted, found, strict=True))


def text(schema: Mapping[str, Any]) -> str:
    """A schema as indented JSON."""
    import json

    return json.dumps(schema, indent=2, ensure_ascii=False)
