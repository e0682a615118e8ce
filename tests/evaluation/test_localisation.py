"""Average precision of segments, against values computed by hand."""

import pytest

from actionrec.evaluation.localisation import (
    Detection,
    Instance,
    average_precision,
    average_precisions,
    covered,
    mean_over_actions,
    overlap,
)


def there(start, end, video="v", action="run"):
    return Instance(video, start, end, action)


def seen(start, end, score, video="v", action="run"):
    return Detection(video, start, end, action, score)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0, 2), (1, 3), 1 / 3), ((0, 2), (0, 2), 1), ((0, 1), (1, 2), 0), ((0, 1), (5, 6), 0), ((0, 4), (1, 2), 0.25)],
)
def test_overlap_is_intersection_over_union(one, other, expected):
    assert overlap(there(*one), there(*other)) == pytest.approx(expected)
    assert overlap(there(*other), there(*one)) == pytest.approx(expected)


def test_right_detections_alone_are_perfect():
    instances = [there(0, 2), there(4, 6)]
    assert average_precision([seen(0, 2, 0.9), seen(4, 6, 0.5)], instances, 0.5) == 1
    assert average_precision([], instances, 0.5) == 0
    assert average_precision([seen(0, 2, 0.9)], instances, 0.5) == 0.5


def test_the_order_of_the_scores_counts():
    instances = [there(0, 2), there(4, 6)]
    wrong, first, second = seen(10, 12, 0.7), seen(0, 2, 0.9), seen(4, 6, 0.5)
    # Right, wrong, right: precision 1 up to recall 1/2, then 2/3 up to recall 1.
    assert average_precision([wrong, first, second], instances, 0.5) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # Wrong, right, right: the best precision at recall 1/2 or more is 2/3.
    late = wrong._replace(score=1.0)
    assert average_precision([second, late, first], instances, 0.5) == pytest.approx(2 / 3)


def test_an_instance_is_matched_once():
    doubled = [seen(0, 2, 0.9), seen(0, 2, 0.8)]
    assert average_precision(doubled, [there(0, 2)], 0.5) == 1  # the second one is wrong, at full recall
    assert average_precision(doubled, [there(0, 2), there(4, 6)], 0.5) == 0.5
    # The second detection takes the other instance that it overlaps enough.
    near = [there(0, 2), there(0.5, 2.5)]
    assert average_precision([seen(0, 2, 0.9), seen(0, 2, 0.8)], near, 0.5) == 1


def test_a_detection_takes_the_instance_that_it_overlaps_most():
    near = [there(0, 2), there(0.5, 2.5)]
    # With the first instance taken by the first detection, the second detection would reach neither at 0.7.
    assert average_precision([seen(0.5, 2.5, 0.9), seen(0, 2, 0.8)], near, 0.7) == 1


def test_detections_of_other_videos_are_wrong():
    assert average_precision([seen(0, 2, 0.9, "w")], [there(0, 2, "v")], 0.5) == 0


def test_the_overlap_decides():
    # Two thirds of a second in common, four thirds together.
    found = [seen(0, 1, 0.9)]
    instances = [there(1 / 3, 4 / 3)]
    assert [average_precision(found, instances, least) for least in (0.3, 0.5, 0.7)] == [1, 1, 0]


def test_the_mean_is_over_actions_with_instances():
    instances = [there(0, 2), there(2, 4, action="jump")]
    detections = [seen(0, 2, 0.9), seen(4, 6, 0.9, action="clap")]
    found = average_precisions(detections, instances, (0.5,))
    assert found == {"jump": {0.5: 0.0}, "run": {0.5: 1.0}}
    assert mean_over_actions(found) == {0.5: 0.5}


def test_the_time_that_is_covered_by_the_right_action():
    instances = [there(0, 2), there(2, 4, action="jump"), there(0, 4, "w")]
    detections = [seen(1, 3, 0.9), seen(3, 4, 0.9, action="jump"), seen(0, 9, 0.5, "w", "jump")]
    assert covered(detections, instances) == pytest.approx(2 / 8)
    assert covered([], instances) == 0
