"""Names of the actions in each data set, and the class lists made of them.

An action's *canonical* name is HMDB51's where the two data sets share it, else its own. Stanford40's stills are
labelled by canonical names, so that heads can be carried from stills to clips by name; other sets keep their names.
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


def canonical(name: str) -> str:
    """The canonical name of an action given by its name in either data set."""
    return STANFORD40_TO_HMDB51.get(name, name)


def stanford40_name(action: str) -> str:
    """The name under which Stanford40 lists a canonical action."""
    return HMDB51_TO_STANFORD40.get(action, action)


def class_list(choice: str | Sequence[str], known: Iterable[str], source: str) -> tuple[str, ...]:
    """The class list, in the order of the labels.

    Args:
        choice: `shared` (the twelve of both data sets), `all` (everything known, sorted), or names in the wanted order,
            each as the data set calls it, or as Stanford40 or HMDB51 do.
        known: names that the data set has; of Stanford40 the canonical ones.
        source: where they were found, for the message.

    Raises:
        ActionRecError: a name is unknown or given twice, or fewer than two are chosen.
    """
    names = set(known)
    if isinstance(choice, str):
        if choice not in ("shared", "all"):
            raise ActionRecError(f"data.actions={choice}: use shared, all, or a list such as data.actions=[clap,wave]")
        chosen = SHARED if choice == "shared" else tuple(sorted(names))
    else:
        chosen = tuple(name if name in names else canonical(name) for name in choice)
    for action in chosen:
        if action not in names:
            close = difflib.get_close_matches(action, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(names)) or 'none'}"
            raise ActionRecError(f"data.actions: {source} has no action {action}; {hint}")
    if len(set(chosen)) != len(chosen):
        raise ActionRecError(f"data.actions names an action twice: {', '.join(chosen)}")
    if len(chosen) < 2:
        raise ActionRecError(f"data.actions needs at least two actions, not {len(chosen)}")
    return chosen
