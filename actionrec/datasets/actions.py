"""Names of actions in Stanford40 and HMDB51, and class lists.

The *canonical* name of an action is HMDB51's name if both data sets have the action, otherwise the data set's own name.
Stanford40's stills are labelled by canonical names, so that the rows of a head can be carried from stills to clips by
name. Other data sets keep their names.
"""

import difflib
from collections.abc import Iterable, Sequence

from actionrec.system.errors import ActionRecError

STANFORD40_TO_HMDB51 = {
    "applauding": "clap",
    "climbing": "climb",
    "drinking": "drink",
    "jumping": "jump",
    "pouring_liquid": "pour",
    "riding_a_bike": "ride_bike",
    "riding_a_horse": "ride_horse",
    "running": "run",
    "shooting_an_arrow": "shoot_bow",
    "smoking": "smoke",
    "throwing_frisby": "throw",
    "waving_hands": "wave",
}
HMDB51_TO_STANFORD40 = {hmdb51: stanford40 for stanford40, hmdb51 in STANFORD40_TO_HMDB51.items()}
SHARED = tuple(HMDB51_TO_STANFORD40)
BACKGROUND = "background"  # the class of clips of none of the actions, see `datasets.background`


def canonical(name: str) -> str:
    """The canonical name of an action given by its name in either data set."""
    return STANFORD40_TO_HMDB51.get(name, name)


def stanford40_name(action: str) -> str:
    """The name under which Stanford40 lists a canonical action."""
    return HMDB51_TO_STANFORD40.get(action, action)


def class_list(requested: str | Sequence[str], known: Iterable[str], source: str) -> tuple[str, ...]:
    """The class list, in the order of the labels.

    Args:
        requested: `shared` (the twelve actions of Stanford40 and HMDB51), `all` (all known actions, sorted), or names
            in the wanted order. A name is the data set's own, or the name in Stanford40 or HMDB51.
        known: names of the data set's actions; for Stanford40, the canonical names.
        source: place of the known names, for messages.

    Raises:
        ActionRecError: a name is unknown or given twice, or there are fewer than two actions.
    """
    names = set(known)
    if isinstance(requested, str):
        if requested not in ("shared", "all"):
            raise ActionRecError(
                f"data.actions={requested}: use shared, all, or a list such as data.actions=[clap,wave]"
            )
        chosen = SHARED if requested == "shared" else tuple(sorted(names))
    else:
        chosen = tuple(name if name in names else canonical(name) for name in requested)
    for action in chosen:
        if action not in names:
            if action == BACKGROUND:
                raise ActionRecError(
                    f"data.actions names {action}, which {source} has no clips of; set data.background to their folder"
                )
            close = difflib.get_close_matches(action, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(names)) or 'none'}"
            raise ActionRecError(f"data.actions: {source} has no action {action}; {hint}")
    if len(set(chosen)) != len(chosen):
        raise ActionRecError(f"data.actions names an action twice: {', '.join(chosen)}; name each action once")
    if len(chosen) < 2:
        raise ActionRecError(f"data.actions has {len(chosen)} actions; name at least two actions")
    return chosen
