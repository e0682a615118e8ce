import pytest

from actionrec.actions import SHARED, STANFORD40_TO_HMDB51, canonical, class_list, stanford40_name
from actionrec.errors import ActionRecError


def test_twelve_actions_are_shared_and_named_both_ways():
    assert len(SHARED) == 12
    for stanford40, hmdb51 in STANFORD40_TO_HMDB51.items():
        assert canonical(stanford40) == canonical(hmdb51) == hmdb51
        assert stanford40_name(hmdb51) == stanford40
    assert canonical("brush_hair") == stanford40_name("brush_hair") == "brush_hair"


def test_class_list_keeps_the_order_and_takes_either_spelling():
    assert class_list(["wave", "applauding"], SHARED, "here") == ("wave", "clap")
    assert class_list("shared", [*SHARED, "golf"], "here") == SHARED
    assert class_list("all", ["wave", "golf"], "here") == ("golf", "wave")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["clap", "wav"], "here has no action wav; did you mean wave?"),
        (["clap", "clap"], "twice"),
        (["clap", "applauding"], "twice"),
        (["clap"], "at least two"),
        ("some", "use shared, all, or a list"),
    ],
)
def test_class_list_refuses(choice, message):
    with pytest.raises(ActionRecError, match=message.replace("?", r"\?")):
        class_list(choice, SHARED, "here")


def test_shared_needs_all_twelve():
    with pytest.raises(ActionRecError, match="no action climb"):
        class_list("shared", ["clap"], "here")
