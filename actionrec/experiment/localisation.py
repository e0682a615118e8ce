"""`actionrec evaluate experiment=<stage> localisation=true`: measure the segments of untrimmed videos.

The videos are made by joining the clips of the test part, so that the borders of the actions are known. They are
predicted as `actionrec predict` predicts long videos, and scored as ActivityNet scores temporal localisation.
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from actionrec.datasets.actions import BACKGROUND
from actionrec.evaluation import localisation
from actionrec.evaluation.localisation import OVERLAPS, Detection, Instance
from actionrec.experiment.evaluation import Measured, load
from actionrec.modules.base import ActionModule
from actionrec.prediction import calibration, output, pipeline, sources
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.joining import Joined, Part, join, shuffled
from actionrec.prediction.loading import create_network
from actionrec.prediction.pipeline import Failed
from actionrec.prediction.reading import Reader
from actionrec.prediction.run import segmentation_of, windowing_of
from actionrec.reporting.tables import Table, lines_of, texts
from actionrec.settings.composition import plain
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_json
from actionrec.system.gauges import counting
from actionrec.system.locks import only_writer

FILE = "localisation.json"  # in the run's folder, or in `output`
log = logging.getLogger(__name__)


def localise(config: DictConfig) -> dict[str, Any]:
    """Measure the localisation of `checkpoint`, and write `localisation.json`; returns the metrics by tag.

    Raises:
        ActionRecError: the stage is one of stills, a clip cannot be read, or see `evaluation.remeasure`.
    """
    terminal.doing("loading torch and lightning")
    measured = load(config, ["test"])
    joined = [join(f"joined{number}", parts) for number, parts in enumerate(_groups(config, measured), 1)]
    if not any(each.instances for each in joined):
        raise ActionRecError("localisation=true: the test part has no clips; choose a run with a test part")
    with only_writer(measured.place, "the measurements in"):
        checkpoint = sha256(measured.path)
        detections = _detected(config, measured, joined, _calibration(measured.path, checkpoint))
        instances = [instance for each in joined for instance in each.instances]
        precisions = localisation.average_precisions(detections, instances)
        means = localisation.mean_over_actions(precisions)
        metrics = {f"test/localisation_map_{least:g}": value for least, value in means.items()}
        metrics["test/localisation_time"] = localisation.covered(detections, instances)
        content = {
            "checkpoint": checkpoint,
            "localisation": plain(config)["localisation"],
            "window": plain(config)["window"],
            **metrics,
            "per_action": {
                action: {f"{least:g}": value for least, value in found.items()} for action, found in precisions.items()
            },
            "videos": {each.video.name: each.duration for each in joined},
            "instances": [each._asdict() for each in instances],
            "detections": [each._asdict() for each in detections],
        }
        write_json(measured.place / FILE, content)
    log.info(
        "%s\n\n%s\n",
        measured.place / FILE,
        "\n".join([_table(precisions, means, instances), "", _facts(joined, metrics)]),
    )
    return metrics


def _groups(config: DictConfig, measured: Measured) -> list[list[Part]]:
    """The clips of each joined video."""
    splits = measured.data.splits
    assert splits is not None
    if not hasattr(measured.data, "segments"):
        raise ActionRecError("localisation=true: the stage has stills, which have no time; choose a stage of clips")
    chosen = config.localisation
    parts = [Part(clip.path, None if clip.action == BACKGROUND else clip.action) for clip in splits.test]
    if chosen.background:
        parts += [Part(path, None) for path in sources.find(chosen.background, images=False)]
    return shuffled(parts, chosen.clips, chosen.seed)


def _detected(config: DictConfig, measured: Measured, joined: list[Joined], made: Calibration) -> list[Detection]:
    """The segments that `actionrec predict` finds in the joined videos."""
    data, module = measured.data, measured.module
    segments, crops = getattr(data, "segments", 1), len(data.views)
    reader = Reader(measured.checkpoint["lineage"]["inputs"], segments, crops, plain(config)["trust"])
    network: pipeline.Network = module  # an exported network computes on the CPU in its own precision
    if isinstance(module, ActionModule):
        network = create_network(module, config.trainer.accelerator, str(config.trainer.precision))
    windowing = windowing_of(config.window)._replace(use=True)
    segmentation = segmentation_of(config.window, made.threshold, module.actions)
    found = []
    frames = round(sum(each.duration * each.video.rate for each in joined))
    with counting("localising", "frames", frames) as bar:

        def tick() -> None:
            bar.done += 1

        videos = [each.video for each in joined]
        for each in pipeline.predict(videos, reader, network, windowing, data.batch_size, tick):
            if isinstance(each, Failed):
                raise ActionRecError(each.reason)
            segments = output.course(each, made, windowing, segmentation).segments or []
            found += [
                Detection(str(each.path), s.start, s.end, module.actions[s.label], s.probability) for s in segments
            ]
    return found


def _calibration(checkpoint: Path, found: str) -> Calibration:
    path = checkpoint.parent / calibration.FILE
    return calibration.load(path, found) if path.is_file() else Calibration()


def _table(precisions: dict[str, dict[float, float]], means: dict[float, float], instances: list[Instance]) -> str:
    header = ("action", "instances", *(f"AP at {least:g}" for least in OVERLAPS))
    counts = {action: sum(each.action == action for each in instances) for action in precisions}
    rows = [(action, counts[action], *found.values()) for action, found in precisions.items()]
    return lines_of(texts(Table("", "", header, [*rows, ("mean", len(instances), *means.values())])))


def _facts(joined: list[Joined], metrics: dict[str, Any]) -> str:
    seconds = sum(each.duration for each in joined)
    share = metrics["test/localisation_time"]
    return f"{len(joined)} videos of {seconds:.0f} s together; the right action is found for {share:.1%} of its time"
