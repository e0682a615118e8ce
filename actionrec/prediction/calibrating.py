"""`actionrec predict <run> calibrate=true`: the temperature and the threshold of a run's network."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from actionrec.datasets.actions import BACKGROUND
from actionrec.datasets.background import with_background
from actionrec.datasets.base import ClipSet
from actionrec.datasets.base import create as create_data_set
from actionrec.evaluation import scores
from actionrec.evaluation.scores import Scores
from actionrec.prediction import alarms, calibration, pipeline, sources
from actionrec.prediction.alarms import Alarms
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.files import frames_in
from actionrec.prediction.loading import load, place_of
from actionrec.prediction.pipeline import Scored
from actionrec.prediction.run import segmentation_of, windowing_of
from actionrec.settings.composition import plain
from actionrec.settings.untrusted import check_data, read_config
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256
from actionrec.system.gauges import counting

log = logging.getLogger(__name__)


def calibrate_run(config: DictConfig) -> None:
    """Fit a temperature and a threshold, and write both beside the run's checkpoint.

    The temperature is fitted to the validation scores. The threshold is chosen for `false_alarms` an hour on the videos
    of `background`, or on the background clips of the validation part; without any, see `calibration.calibrate`.

    Raises:
        ActionRecError: the run has no validation samples, or no scores of them, or these are of other weights, or
            background videos cannot be predicted.
    """
    place = place_of(config)
    if not place.run:
        raise ActionRecError(f"calibrate=true needs the folder of a run, with its scores; {place.checkpoint} has none")
    _check_held_out(place.run)
    found = scores.load(place.run / scores.FILES["val"])
    now = sha256(place.checkpoint)
    if (found.protocol or {}).get("checkpoint", now) != now:
        raise ActionRecError(f"the scores of {place.run} are of other weights; measure it with actionrec evaluate")
    made = calibration.calibrate(found.logits, found.labels, config.rate, now, _label(found))
    videos = _background(config, place.run, found)
    chosen = _alarms(config, made, videos) if videos else None
    if chosen:
        made = alarms.with_threshold(made, found.logits, found.labels, _label(found), chosen)
    path = place.checkpoint.parent / calibration.FILE
    calibration.save(made, path)
    print(f"{_told(made, chosen, config.false_alarms)}\n{path}")


def _check_held_out(run: Path) -> None:
    """Raise if the run was trained on the validation samples, so that there are no scores of them."""
    settings = run / "config.yaml"
    data = read_config(settings).get("data") if settings.is_file() else None
    if isinstance(data, dict) and data.get("fold") == "all":
        raise ActionRecError(
            f"{run} was trained on the validation samples, too (data.fold=all), so nothing is left to calibrate it by; "
            "calibrate the run of data.fold=0"
        )


def _label(found: Scores) -> int | None:
    return found.actions.index(BACKGROUND) if BACKGROUND in found.actions else None


def _background(config: DictConfig, run: Path, found: Scores) -> list[Path]:
    """The videos of `background`, else the background clips of the run's validation part."""
    if config.background:
        return sources.find(config.background, images=False)
    names = {name for name, label in zip(found.names, found.labels.tolist(), strict=True) if label == _label(found)}
    if not names:
        return []
    data = check_data(read_config(run / "config.yaml").get("data"), run / "config.yaml", plain(config)["trust"])
    dataset = with_background(create_data_set(data["dataset"]), data.get("background"))
    assert isinstance(dataset, ClipSet)  # stills have no background
    paths = [clip.path for clip in dataset.clips(list(found.actions)) if clip.name in names]
    if len(paths) < len(names):
        raise ActionRecError(
            f"{len(names) - len(paths)} of the {len(names)} background clips of the validation part of {run} are gone; "
            "name other videos with background=<folder>"
        )
    return paths


def _alarms(config: DictConfig, made: Calibration, videos: Sequence[Path]) -> Alarms:
    terminal.doing("loading the network")
    network = load(config, place_of(config), made)
    windowing = windowing_of(config.window)
    # Both limits of segments follow the threshold that is looked for.
    window = OmegaConf.create({**plain(config.window), "enter": None, "leave": None})
    background: list[Scored] = []
    with counting("background", "frames", sum(map(frames_in, videos))) as bar:

        def tick() -> None:
            bar.done += 1

        for each in pipeline.predict(videos, network.reader, network.network, windowing, config.batch_size, tick):
            if isinstance(each, Scored):
                background.append(each)
            else:
                log.warning("%s", each.reason)
    if not background:
        raise ActionRecError(f"none of the {len(videos)} background videos can be predicted; the lines above say why")
    return alarms.choose(
        background, made, windowing, lambda least: segmentation_of(window, least, network.actions), config.false_alarms
    )


def _told(made: Calibration, chosen: Alarms | None, most: float) -> str:
    """Lines about a calibration, for people."""
    lines = [f"temperature {made.temperature:.3f}, threshold {made.threshold:.3f} from {made.n} validation samples"]
    if chosen:
        few = "" if chosen.rate <= most else f", more than false_alarms={most:g}, with the highest threshold there is"
        lines += [
            f"{chosen.rate:.1f} false alarms an hour on background ({chosen.number} in {chosen.hours:.3g} h; elsewhere "
            f"at most {chosen.upper:.1f} an hour, with {alarms.CONFIDENCE:.0%} confidence){few}",
            f"the threshold rejects {made.rate:.1%} of the right answers",
        ]
    else:
        lines += [
            f"the threshold rejects {made.rate:.1%} of the right answers at most",
            "the false alarms an hour are not known: name videos of none of the actions with background=<folder>",
        ]
    return "\n".join(lines)
