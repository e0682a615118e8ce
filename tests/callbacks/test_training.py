import numpy as np
import pytest

from actionrec.callbacks import LogFirstBatch
from actionrec.callbacks.pictures import grid, sample_pictures, tile
from tests.callbacks.conftest import ACTIONS, INPUTS, PairAnswers, Samples, events, image

LABELS = [0, 2, 1, 0, 1]


class Mirrored(Samples):
    """Frame and flow flipped, as an augmentation might; or only one of them, as it must not."""

    def __init__(self, flipped):
        super().__init__(LABELS, LABELS, modalities=("frame", "flow"))
        self.flipped = flipped

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample | {modality: sample[modality].flip(-1) for modality in self.flipped}


@pytest.mark.parametrize("flipped", [(), ("frame",), ("frame", "flow")])
def test_the_first_batch_is_shown_as_it_is(fit, flipped):
    dataset = Mirrored(flipped)
    found = events(fit(PairAnswers(), dataset, dataset, [LogFirstBatch(samples=2)], epochs=2))
    tiles = []
    for index in range(2):
        shown = sample_pictures(dataset[index], INPUTS)
        tiles.append(tile(list(shown.values()), [ACTIONS[LABELS[index]], f"clip_{index}"]))
    assert len(found.Images("train/batch")) == 1
    seen = image(found, "train/batch")
    assert np.array_equal(seen, grid(tiles))
    corners = seen[0, 0], seen[0, 16 * 14 - 1]  # of the first frame: the left is the bright one
    assert (int(corners[0][0]) > int(corners[1][0])) == ("frame" not in flipped)


def test_features_have_no_picture(fit):
    dataset = Samples(LABELS, LABELS, modalities=("frame", "flow"), features=True)
    assert not events(fit(PairAnswers(), dataset, dataset, [LogFirstBatch()])).Tags()["images"]
