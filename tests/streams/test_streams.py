"""The interface of modalities, tested for each modality."""

import numpy as np
import pytest
import torch

from actionrec import streams
from actionrec.datasets.records import Clip
from actionrec.settings.composition import CONF
from actionrec.storage import flow as store
from actionrec.storage import frames
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.streams.transforms import WHOLE, Augmentation
from actionrec.system.classes import concrete
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video

FLOW = FlowSettings("dis", {"preset": "fast"})
OPTIONS = {"Flow": {"algorithm": "dis", "params": {"preset": "fast"}}}  # of those that need some
NAMES = sorted(kind.__name__ for kind in concrete("actionrec.streams", streams.Modality).values())
N_FRAMES, SIZE = 12, 16


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    folder = tmp_path_factory.mktemp("clip")
    return Clip(noise_video(folder / "wave" / "a.avi", N_FRAMES), "wave", "a")


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory) -> str:
    """Folders from which the modalities read; the flow of the clip exists."""
    folder = tmp_path_factory.mktemp("folder")
    fields = np.random.default_rng(0).integers(0, 256, (N_FRAMES - 1, 2, 48, 64), np.uint8)
    store.write(clip_path(folder / "flow", clip), clip, fields, FLOW)
    return str(folder)


@pytest.fixture(params=NAMES)
def modality(request, folder, clip) -> streams.Modality:
    place = f"{folder}/{'flow' if request.param == 'Flow' else 'frames'}"
    found = getattr(streams, request.param)(folder=place, **OPTIONS.get(request.param, {}))
    found.check([clip])
    found.prepare([clip], (0.0, 0.5, 1.0), 1)
    return found


def seen(modality, clip, instant=6, view=WHOLE, augmentation=None) -> torch.Tensor:
    source = modality.source(clip, [instant])
    pictures = source.read(source.path, source.keys)
    return modality.see(pictures, view, SIZE, augmentation, np.random.default_rng(0))


def test_samples_have_the_shape_that_is_said_and_are_uint8(modality, clip):
    assert modality.frames_of(clip) == N_FRAMES
    for instant in (0, 6, N_FRAMES - 1):
        sample = seen(modality, clip, instant)
        assert tuple(sample.shape) == modality.shape(SIZE)
        assert sample.dtype == torch.uint8
        assert sample.float().std() > 1


def test_settings_make_it_again_without_places(modality):
    settings = modality.settings()
    again = streams.create(settings)
    assert "folder" not in settings
    assert again.settings() == settings
    assert again.shape(SIZE) == modality.shape(SIZE)


def test_constants_are_one_for_all_channels_or_one_for_each(modality):
    mean, std = modality.normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert len(mean) == len(std) or 1 in (len(mean), len(std))
    assert {len(mean), len(std)} <= {1, modality.shape(SIZE)[0]}
    assert min(std) > 0


def test_people_see_a_picture(modality, clip):
    picture = modality.picture(seen(modality, clip))
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8


def test_a_mirrored_view_shows_the_mirrored_motion(modality, clip):
    plain, mirrored = seen(modality, clip), seen(modality, clip, view=WHOLE._replace(flip=True)).flip(-1)
    if isinstance(modality, streams.Flow):  # whose x is negated
        assert torch.equal(plain[1::2], mirrored[1::2])
        assert (255 - plain[::2].int() - mirrored[::2]).abs().max() <= 1  # no motion stays 128
    else:
        assert torch.equal(plain, mirrored)


def test_what_several_instants_need_holds_what_each_needs(modality, clip):
    """The cache uses the keys to find the pictures to hold."""
    together = modality.source(clip, [0, 6, N_FRAMES - 1])
    for instant in (0, 6, N_FRAMES - 1):
        assert {*modality.source(clip, [instant]).keys} <= {*together.keys}
    assert list(together.keys) == sorted(set(together.keys))


def test_colours_of_a_sample_are_jittered_together(modality, clip):
    """A static clip has no motion under any colour jitter."""
    picture = np.random.default_rng(1).integers(60, 120, (48, 64, 3), np.uint8)
    if isinstance(modality, streams.Flow):
        return
    number = len(modality.source(clip, [6]).keys)
    augmentation = Augmentation(jitter=0.4)
    sample = modality.see([picture] * number, WHOLE, SIZE, augmentation, np.random.default_rng(0))
    if len(modality.shape(SIZE)) == 4:
        assert all(torch.equal(sample[:, 0], sample[:, step]) for step in range(number))
    elif number > 1:
        assert (sample == 128).all()
    else:
        assert not torch.equal(sample, modality.see([picture], WHOLE, SIZE, None, np.random.default_rng(0)))


def test_without_a_folder_reading_is_one_line(modality, clip):
    with pytest.raises(ActionRecError, match=r"data\.\w+\.folder is not set"):
        streams.create(modality.settings()).source(clip, [0])


def test_each_has_a_look_of_its_own_and_a_file_of_settings(compose_config):
    kinds = [getattr(streams, name) for name in NAMES]
    for of in ("label", "colour", "hatch"):
        assert len({getattr(kind, of) for kind in kinds}) == len(kinds)
    targets = {}
    for path in (CONF / "stream").glob("*.yaml"):
        config = compose_config("train", "experiment=hmdb51_frame", f"stream=[{path.stem}]")
        targets[config.data[path.stem]._target_] = path.stem
        assert config.model[path.stem].backbone.name
        assert "frame" not in config.data or path.stem == "frame"
    assert set(targets) == {f"actionrec.streams.{name}" for name in NAMES}


def test_a_clip_that_is_too_short_repeats_its_last_frame():
    assert frames.window(1, 3, 5, 1) == [0, 1, 2, 2, 2]
    assert frames.window(5, 10, 3, 2) == [3, 5, 7]
    assert frames.window(0, 10, 3, 2) == [0, 2, 4]
    assert frames.window(9, 10, 3, 2) == [5, 7, 9]


def test_differences_are_of_the_frames_that_follow_each_other():
    levels = [0, 255, 0, 100, 101, 101]
    pictures = [np.full((8, 8, 3), level, np.uint8) for level in levels]
    modality = streams.RGBDifference()
    codes = modality.see(pictures, WHOLE, 8, None, np.random.default_rng(0))
    assert codes[::3, 0, 0].tolist() == [255, 1, 178, 128, 128]
    backwards = modality.see(pictures[::-1], WHOLE, 8, None, np.random.default_rng(0))
    assert torch.equal(backwards.int(), 256 - codes.flip(0).int())


def test_dynamic_images_tell_the_order_of_frames():
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (10, 16, 16, 3), np.uint8))
    modality = streams.DynamicImage()
    forth, back = (modality.see(each, WHOLE, 16, None, rng).int() - 128 for each in (pictures, pictures[::-1]))
    assert torch.equal(forth, -back)
    assert forth.abs().max() == 127
    weights = [2 * t - 11 for t in range(1, 11)]
    pooled = sum(weight * picture.astype(int) for weight, picture in zip(weights, pictures, strict=True))
    expected = torch.from_numpy(pooled / np.abs(pooled).max() * 127).permute(2, 0, 1)
    assert (forth - expected).abs().max() <= 0.51


def test_dynamic_images_of_what_brightens_are_bright():
    pictures = [np.full((8, 8, 3), 100 + 10 * step, np.uint8) for step in range(10)]
    assert (streams.DynamicImage().see(pictures, WHOLE, 8, None, np.random.default_rng(0)) == 255).all()
    with pytest.raises(ActionRecError, match=r"data\.dynamic_image\.length=1"):
        streams.DynamicImage(length=1)


def test_clips_keep_the_order_of_frames():
    modality = streams.Clip(frames=4, stride=1)
    pictures = [np.full((8, 8, 3), (step, 50, 100), np.uint8) for step in range(4)]
    sample = modality.see(pictures, WHOLE, 8, None, np.random.default_rng(0))
    assert sample[:, :, 0, 0].tolist() == [[0, 1, 2, 3], [50] * 4, [100] * 4]
    assert (modality.picture(sample) == pictures[2]).all()
