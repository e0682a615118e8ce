import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from google.protobuf import text_format
from lightning.pytorch.loggers import CSVLogger
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from actionrec.callbacks import BestCheckpoint, LogValidationImages, validation
from actionrec.callbacks.pictures import RED, grid, note, sample_pictures, tile
from actionrec.callbacks.tensorboard import TensorBoard, writer_of
from actionrec.networks.fusions import FUSION_LAYERS
from tests.callbacks.conftest import ACTIONS, FrameAnswers, PairAnswers, Samples, events, image, stream

LABELS, ANSWERS = [0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 0, 2, 0]
WRONG = [2, 4, 6]  # the surest first


def samples(**options) -> Samples:
    return Samples(LABELS, ANSWERS, **options)


def test_counts_and_accuracies_are_those_of_all_samples(fit, monkeypatch):
    counted = []
    draw = validation.confusion_matrix
    monkeypatch.setattr(validation, "confusion_matrix", lambda c, names: counted.append((c, names)) or draw(c, names))
    found = events(fit(FrameAnswers(), samples(), samples(), [LogValidationImages()], epochs=2))
    assert len(counted) == len(found.Images("val/confusion")) == 2
    assert counted[1][0].tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert counted[1][1] == ACTIONS
    expected = {"clap": 2 / 3, "wave": 1 / 2, "run": 1 / 2}
    for action, accuracy in expected.items():
        last = found.Scalars(f"val_acc/{action}")[-1]
        assert last.value == pytest.approx(accuracy)
        assert last.step == found.Scalars("val/acc")[-1].step
    assert found.Scalars("val/acc")[-1].value == pytest.approx(4 / 7)


def test_an_action_without_samples_has_no_accuracy(fit):
    found = events(fit(FrameAnswers(), samples(), Samples([0, 0, 1], [0, 1, 2]), [LogValidationImages()]))
    assert {tag for tag in found.Tags()["scalars"] if tag.startswith("val_acc/")} == {"val_acc/clap", "val_acc/wave"}


def test_what_is_shown_as_wrong_is_wrong(fit):
    found = events(fit(FrameAnswers(), samples(), samples(), [LogValidationImages(wrong=2)]))
    module, dataset, tiles = FrameAnswers(), samples(), []
    for index in WRONG[:2]:
        sample = dataset[index]
        with torch.no_grad():
            chance = module({"frame": sample["frame"][None]}).softmax(1)[0]
        right, answer = LABELS[index], ANSWERS[index]
        lines = [
            f"{ACTIONS[right]} {chance[right]:.2f}",
            f"answer: {ACTIONS[answer]} {chance[answer]:.2f}",
            f"clip_{index}",
        ]
        tiles.append(tile([sample_pictures(sample, module.inputs)["frame"]], lines, RED))
    assert np.array_equal(image(found, "val/wrong"), grid(tiles))


def test_where_all_is_right_it_says_so(fit):
    found = events(fit(FrameAnswers(), samples(), Samples([0, 1, 2], [0, 1, 2]), [LogValidationImages()]))
    assert np.array_equal(image(found, "val/wrong"), note("no answer is wrong"))


def test_pictures_are_those_of_the_best_epoch(fit, tmp_path):
    """The network does not learn, so the second epoch is no better."""
    callback = LogValidationImages()
    callbacks = [BestCheckpoint(str(tmp_path), monitor="val/acc", mode="max"), callback]
    found = events(fit(FrameAnswers(), samples(), samples(), callbacks, epochs=2))
    for tag in ("val/wrong", "val/grad_cam", "weights/frame_stem"):
        assert len(found.Images(tag)) == 1
    resumed = LogValidationImages()
    resumed.load_state_dict(callback.state_dict())
    assert resumed.best == pytest.approx(4 / 7)


def test_pictures_of_a_resumed_run_wait_for_a_better_epoch(fit, tmp_path):
    best, callback = BestCheckpoint(str(tmp_path), monitor="val/acc", mode="max"), LogValidationImages()
    callback.load_state_dict({"best": 0.9})
    found = events(fit(FrameAnswers(), samples(), samples(), [best, callback]))
    assert set(found.Tags()["images"]) == {"val/confusion"}


def test_a_training_that_keeps_its_last_epoch_shows_that_one(fit):
    callback = LogValidationImages()
    callback.load_state_dict({"best": 0.9})  # no epoch is better
    found = events(fit(FrameAnswers(), samples(), samples(), [callback], epochs=3))
    for tag in ("val/wrong", "val/grad_cam", "weights/frame_stem"):
        assert [picture.step for picture in found.Images(tag)] == [found.Images("val/confusion")[-1].step]


def test_grad_cam_finds_the_square_that_decides():
    module, dataset = FrameAnswers(), samples()
    rows = [0, 3]
    scores = validation.Scores(["a", "b"], torch.eye(3)[:2], torch.tensor([0, 1]), ACTIONS, ["a", "b"])
    shown = validation.grad_cam_pictures(scores, [0, 1], [dataset[row] for row in rows], module)["val/grad_cam"]
    first = shown[: 16 * 14, : 2 * 16 * 14 + 2]
    plain, heat = first[:, : 16 * 14].astype(int), first[:, 16 * 14 + 2 :].astype(int)
    changed = np.abs(plain - heat).sum(2) > 0
    assert changed[:90, :90].all()
    assert not changed[130:, 130:].any()


@pytest.mark.parametrize("fusion", FUSION_LAYERS)
def test_two_streams_show_both_and_project_the_features_of_both(fit, fusion):
    dataset = samples(modalities=("frame", "flow"))
    folder = fit(PairAnswers(fusion), dataset, dataset, [LogValidationImages()])
    images = set(events(folder).Tags()["images"])
    assert images == {"val/confusion", "val/wrong", "val/grad_cam", "weights/frame_stem", "weights/flow_stem"}
    features = np.loadtxt(folder / "projector/features.tsv", delimiter="\t")
    streams = {"frame": stream(3), "flow": stream(8)}
    with torch.no_grad():
        expected = [
            torch.cat([each.embed(sample[role][None]) for role, each in streams.items()], 1) for sample in dataset
        ]
    assert features == pytest.approx(torch.cat(expected).numpy(), rel=1e-3)


def test_the_projector_has_a_row_for_each_sample(fit):
    folder = fit(FrameAnswers(), samples(), samples(), [LogValidationImages()])
    header, *rows = [line.split("\t") for line in (folder / "projector/samples.tsv").read_text().splitlines()]
    assert header == ["action", "answer", "right", "name"]
    assert [row[0] for row in rows] == [ACTIONS[label] for label in LABELS]
    assert [row[1] for row in rows] == [ACTIONS[answer] for answer in ANSWERS]
    assert [index for index, row in enumerate(rows) if row[2] == "wrong"] == WRONG
    assert [row[3] for row in rows] == [f"clip_{index}" for index in range(7)]
    [config] = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    sheet = cv2.imread(str(folder / config.sprite.image_path))[..., ::-1]
    width, height = config.sprite.single_image_dim
    assert sheet.shape == (3 * height, 3 * width, 3)
    assert sheet[height, 0].tolist() == [0, 220, 0]  # of the fourth, an answer of the second channel


@pytest.mark.parametrize("most", [1, 3, 4, 7, 100])
def test_of_many_samples_some_are_projected(fit, most):
    folder = fit(FrameAnswers(), samples(), samples(), [LogValidationImages(projected=most)])
    every = math.ceil(7 / most)
    names = [line.split("\t")[3] for line in (folder / "projector/samples.tsv").read_text().splitlines()[1:]]
    assert names == [f"clip_{index}" for index in range(0, 7, every)]
    features = (folder / "projector/features.tsv").read_text().splitlines()
    strongest = [np.argmax([float(value) for value in line.split("\t")]) for line in features]
    assert strongest == ANSWERS[::every]


def test_features_in_place_of_pixels_have_no_pictures(fit):
    dataset = samples(features=True)
    folder = fit(FrameAnswers(), dataset, dataset, [LogValidationImages()])
    assert set(events(folder).Tags()["images"]) == {"val/confusion", "weights/frame_stem"}
    assert len((folder / "projector/samples.tsv").read_text().splitlines()) == 8
    assert not (folder / "projector/pictures.png").exists()


def test_what_is_turned_off_is_left_out(fit):
    folder = fit(FrameAnswers(), samples(), samples(), [LogValidationImages(wrong=0, grad_cam=0, projected=0)])
    assert set(events(folder).Tags()["images"]) == {"val/confusion", "weights/frame_stem"}
    assert not (folder / "projector").exists()


def test_without_tensorboard_it_does_nothing(fit):
    module, callback = FrameAnswers(), LogValidationImages()
    folder = fit(module, samples(), samples(), [callback], logger=False)
    assert not folder.exists()
    assert callback.best == -math.inf


def test_pictures_are_those_of_the_epoch_that_the_best_checkpoint_is_chosen_by(fit, tmp_path):
    best, callback = BestCheckpoint(str(tmp_path), monitor="val/loss", mode="min"), LogValidationImages()
    fit(FrameAnswers(), samples(), samples(), [callback, best])
    assert callback.best == best.best.value < 0  # the negative loss


def test_tensorboard_is_found_among_other_loggers(tmp_path):
    loggers = [CSVLogger(tmp_path), TensorBoard(tmp_path)]
    trainer = SimpleNamespace(loggers=loggers, is_global_zero=True)
    assert writer_of(trainer) is loggers[1].experiment
    assert writer_of(SimpleNamespace(loggers=loggers[:1], is_global_zero=True)) is None


def test_training_draws_what_it_would_have_drawn(fit):
    states = []
    for callbacks in ([], [LogValidationImages()]):
        torch.manual_seed(0)
        module = FrameAnswers()
        fit(module, samples(), samples(), callbacks)
        states.append(torch.get_rng_state())
        assert not module.network.dropout._forward_pre_hooks
    assert torch.equal(*states)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_pictures_of_networks_of_half_precision(fit, precision):
    found = events(fit(FrameAnswers(), samples(), samples(), [LogValidationImages()], precision=precision))
    whole = events(fit(FrameAnswers(), samples(), samples(), [LogValidationImages()]))
    apart = np.abs(image(found, "val/grad_cam").astype(int) - image(whole, "val/grad_cam"))
    assert apart[: 16 * 14, : 2 * 16 * 14].max() < 16


def test_pictures_do_not_have_a_network_compiled_again():
    scores = validation.Scores(["a", "b"], torch.eye(3)[:2], torch.tensor([0, 1]), ACTIONS, ["a", "b"])
    dataset = [samples()[row] for row in (0, 3)]
    expected = validation.grad_cam_pictures(scores, [0, 1], dataset, FrameAnswers())["val/grad_cam"]
    module, made = FrameAnswers(), []
    module.network.backbone.compile(backend=lambda graph, inputs: made.append(graph) or graph)
    module({"frame": torch.stack([sample["frame"] for sample in dataset])})
    for _ in range(2):
        assert np.array_equal(validation.grad_cam_pictures(scores, [0, 1], dataset, module)["val/grad_cam"], expected)
    assert len(made) == 1


def test_a_network_that_diverged_is_shown_all_the_same(fit):
    module = FrameAnswers()
    module.network.head.weight.data.fill_(math.nan)
    folder = fit(module, samples(), samples(), [LogValidationImages()])
    assert events(folder).Scalars("val_acc/wave")[0].value == 0
