"""A prediction of a clip has the scores that an evaluation gives to the clip."""

import pytest
import torch

from actionrec.evaluation import scores
from actionrec.prediction import pipeline
from tests.prediction.conftest import KINDS, SMALL, loaded

VIEWS = {"flow": ["views.segments=2", "views.crops=3"]}  # of a single instant and view otherwise


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_those_of_evaluate(run, paths, tmp_path, compose_config, checkpoint_of, demo_root, kind):
    path, views = checkpoint_of(*KINDS[kind]), VIEWS.get(kind, ["views.segments=1"])
    place = [f"checkpoint={path}", f"output={tmp_path / 'measured'}", "parts=[test]"]
    outcome = run("evaluate", *paths, *SMALL, *KINDS[kind], *place, *views)
    assert outcome.status == 0, outcome.err
    measured = scores.load(tmp_path / "measured" / "scores.npz")
    assert measured.logits.std(dim=0).max() > 0.01  # scores of different clips differ

    config = compose_config("predict", f"checkpoint={path}", "accelerator=cpu", "precision=32-true", *views)
    found = loaded(config)
    videos = [demo_root / "hmdb51" / measured.actions[label] / f"{name}.avi" for name, label in _named(measured)]
    predicted = list(pipeline.predict(videos, found.reader, found.network, pipeline.Windowing(), 5))
    assert [each.path for each in predicted] == videos
    assert found.actions == measured.actions
    torch.testing.assert_close(torch.cat([each.logits for each in predicted]), measured.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.3, 0.7)])
def test_a_stream_without_weight_is_not_read(compose_config, checkpoint_of, demo_root, weights):
    path = checkpoint_of("experiment=two_stream", "model.fusion=gated", "model.frozen=[frame,flow]")
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["state_dict"]["network.fusion.weights"].copy_(torch.tensor(weights))
    torch.save(checkpoint, path)
    found = loaded(compose_config("predict", f"checkpoint={path}", "accelerator=cpu", "precision=32-true"))
    assert list(found.reader.feeds) == [name for name, weight in zip(("frame", "flow"), weights, strict=True) if weight]
    [answer] = pipeline.predict(
        [next(demo_root.glob("hmdb51/clap/*.avi"))], found.reader, found.network, pipeline.Windowing(), 5
    )
    assert answer.logits.isfinite().all()


@pytest.mark.ci
def test_images_have_the_scores_of_evaluate(run, paths, tmp_path, compose_config, checkpoint_of, demo_root):
    stills = ["experiment=stanford40_frame", "data.actions=[applauding,drinking]"]
    path = checkpoint_of(*stills)
    place = [f"checkpoint={path}", f"output={tmp_path / 'measured'}", "parts=[test]", "views.crops=5"]
    outcome = run("evaluate", *paths, *SMALL, *stills, *place)
    assert outcome.status == 0, outcome.err
    measured = scores.load(tmp_path / "measured" / "scores.npz")

    found = loaded(
        compose_config("predict", f"checkpoint={path}", "accelerator=cpu", "precision=32-true", "views.crops=5")
    )
    images = [demo_root / "Stanford40" / "JPEGImages" / f"{name}.jpg" for name in measured.names]
    predicted = list(pipeline.predict(images, found.reader, found.network, pipeline.Windowing(), 7))
    torch.testing.assert_close(torch.cat([each.logits for each in predicted]), measured.logits, rtol=1e-5, atol=1e-5)


def _named(measured: scores.Scores) -> list[tuple[str, int]]:
    return list(zip(measured.names, measured.labels.tolist(), strict=True))
