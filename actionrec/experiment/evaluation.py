"""`actionrec evaluate experiment=<stage>`: measure a run again, or any checkpoint of that stage."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from actionrec.experiment import measurement, outcome, saved
from actionrec.runs import manifest, measurements
from actionrec.runs.folder import RunFolder
from actionrec.settings import checks
from actionrec.settings.composition import plain
from actionrec.settings.untrusted import read_config, read_metrics
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_json
from actionrec.system.locks import only_writer

if TYPE_CHECKING:  # heavy; a verb's --help does without
    from actionrec.datamodules.base import ActionDataModule
    from actionrec.modules.base import ActionModule
    from actionrec.modules.exported import ExportedModule

log = logging.getLogger(__name__)

# Settings (and prefixes of settings) that a measurement may change; all others are taken from the training.
CHANGEABLE = (
    *("paths", "trainer", "views", "data.segments", "data.crops", "data.batch_size", "data.num_workers", "data.cache"),
    "data.background",  # its place, since other clips than those of the training would have other names
    *("data.strict", "checkpoint", "parts", "output", "split", "seed", "tag", "parent_tag", "run_dir", "init_from"),
    *(
        "search",
        "chain",
        "parents",
        "hydra",
        "logger",
        "callbacks",
        "resume",
        "overwrite",
        "trust",
        "compile",
        "fast_depthwise",
        "cache_features",
    ),
)


class Measured(NamedTuple):
    """A checkpoint with the data that it is measured on.

    Args:
        path: the checkpoint, or an exported network.
        run: the folder of the checkpoint's run; None if the checkpoint lies elsewhere.
        checkpoint: content of the checkpoint.
        data: set up.
        module: with the weights of the checkpoint.
        place: folder of the results.
    """

    path: Path
    run: Path | None
    checkpoint: Mapping[str, Any]
    data: "ActionDataModule"
    module: "ActionModule | ExportedModule"
    place: Path


def load(config: DictConfig, parts: Sequence[str]) -> Measured:
    """Load the network and the data of a measurement, and copy the run's settings of the data into the configuration.

    Args:
        config: of the verb.
        parts: those that are measured.

    Raises:
        ActionRecError: the command line changes a setting of the training, the checkpoint is of another stage, or the
            checkpoint was trained on records that it would be measured on, or on all but those of the test.
    """
    from actionrec.experiment.build import create_data, data_split
    from actionrec.modules import exported
    from actionrec.modules.checkpoint import load_module, read
    from actionrec.modules.parents import Parent, check_parent

    path = Path(config.checkpoint)
    network = exported.load(path, "checkpoint", plain(config)["trust"]) if exported.is_exported(path) else None
    run = path.parents[1] if path.parts[-2:] == ("checkpoints", "best.ckpt") else None
    if network:
        best = RunFolder(path.parents[1]).best if path.parent.name == "checkpoints" else path
        of_run = best.is_file() and sha256(best) == network.description.checkpoint
        run = path.parents[1] if of_run else None
    if not config.output and not run:
        what = "is not in the folder of its run" if network else "is not a run's best.ckpt"
        raise ActionRecError(f"checkpoint={path} {what}; name a folder for the metrics: output=<folder>")
    checkpoint: dict[str, Any] = (
        {"lineage": network.description.lineage} if network else read(path, "checkpoint", plain(config)["trust"])
    )
    lineage = checkpoint["lineage"]
    if lineage["stage"] != config.stage:
        raise ActionRecError(f"checkpoint={path} is of another stage; use experiment={lineage['stage']}")
    kept = run is not None and (run / "config.yaml").is_file()
    if run and kept:
        _check_given(config, run)
        saved.for_measurement(config, run, plain(config)["trust"])
    _check_inputs(config, lineage["inputs"], path)
    OmegaConf.update(config, "data.actions", lineage["actions"])
    for key, value in _seen(lineage["inputs"]).items():
        OmegaConf.update(config, f"data.{key}", value, merge=False)  # merging would mix two flow estimators' params
    if run and not {"trainer", "trainer.precision"} & set(saved.given_keys()):
        config.trainer.precision = _precision(run) or config.trainer.precision
    checks.check(config)
    terminal.doing("reading the data")
    data = create_data(config)
    if "views.segments" in saved.given_keys() and not hasattr(data, "segments"):
        raise ActionRecError("views.segments: stills have no segments; leave it out")
    tested = data.names("test") if "test" in parts else []
    check_parent(Parent(path, checkpoint), data_split(config), tested, data.names("train"))
    # Of bagged streams the network that was not trained on the validation clips answers for those, but if exported.
    bagged = checkpoint.get("hyper_parameters", {}).get("members", 1) > 1
    known = not bagged and bool({*lineage["trained_on"]} & {*data.names("val")})
    if "val" in parts and (known or not data.names("val")):
        raise ActionRecError(
            f"{path} was trained on the validation clips of this run, too, which say nothing about it then; use "
            "parts=[test]"
        )
    terminal.doing("loading the network")
    module = network or load_module(path, checkpoint)
    place = Path(config.output) if config.output else run
    assert place
    return Measured(path, run, checkpoint, data, module, place)


def remeasure(config: DictConfig) -> dict[str, Any]:
    """Measure `checkpoint` on `parts`, with the class list and the inputs of its training; returns the metrics.

    The settings of the data are those of the run; the command line may change the views, the precision and the
    folders. Results go to `output`. The default is the folder of the checkpoint's run: the run's `metrics.json` and
    scores if these were measured with the same protocol, otherwise `measurements/<views>` in the run's folder.

    Raises:
        ActionRecError: see `load`, or the folder of the results has those of another measurement.
    """
    terminal.doing("loading torch and lightning")
    from actionrec.modules.exported import ExportedModule

    parts = plain(config)["parts"]
    path, run, _, data, module, place = load(config, parts)
    network = module if isinstance(module, ExportedModule) else None
    trainer = measurement.create_trainer(config)
    with only_writer(place, "the measurements in"):
        checkpoint_hash = network.description.checkpoint if network else sha256(path)
        protocols = {part: measurement.protocol_of(trainer, data, checkpoint_hash, part) for part in parts}
        if network:
            precision = {"precision": f"onnx-{network.description.precision}"}
            protocols = {part: {**protocol, **precision} for part, protocol in protocols.items()}
        folder = _folder(config, run, protocols)
        written = folder / "metrics.json"
        earlier = read_metrics(written) if written.exists() else {}
        metrics = measurement.measure(trainer, module, data, folder, protocols)
        write_json(written, {**earlier, **metrics})
    counts = {part: len(data.names(part)) for part in parts if part != "train"}
    found = f"\n\n{outcome.table(metrics, counts)}\n" if counts else ""
    log.info("%s, %s%s", folder, measurements.name(protocols[parts[0]]), found)
    return metrics


def _check_given(config: DictConfig, run: Path) -> None:
    """Raise if the command line changes a setting of the training to another value than the run's."""
    kept = OmegaConf.create(read_config(run / "config.yaml"))
    for key in saved.given_keys():
        if manifest.below(key, CHANGEABLE):
            continue
        asked, had = saved.value_at(config, key), saved.value_at(kept, key)
        if isinstance(asked, dict) and isinstance(had, dict):
            had = {**asked, **had}  # an earlier version's run lacks some settings
        if asked != had and OmegaConf.select(kept, key, default=kept) is not kept:
            raise ActionRecError(
                f"{key}={manifest.shown(asked)}: {run} was trained with {manifest.shown(had)}, which a measurement "
                f"cannot change; leave {key} out, or train a run with it"
            )
    there = manifest.read(run)
    asked = saved.given_choice("recipe")
    if there and asked and there.choices.get("recipe", asked) != asked:
        raise ActionRecError(
            f"recipe={asked}: {run} was trained with recipe={there.choices['recipe']}; leave recipe out"
        )


def _seen(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's `inputs` as settings by dotted key below `data`."""
    own = {"region": "whole"} | {key: value for key, value in inputs.items() if key != "streams"}
    streams = inputs["streams"].items()
    return own | {f"{name}.{key}": value for name, settings in streams for key, value in settings.items()}


def _check_inputs(config: DictConfig, inputs: dict[str, Any], path: Path) -> None:
    """Raise if the configuration has other streams than the checkpoint, or the command line changes the inputs."""
    asked = {str(name) for name, node in config.data.items() if isinstance(node, DictConfig) and name != "dataset"}
    if asked != set(inputs["streams"]):
        raise ActionRecError(
            f"{path} has the streams {', '.join(inputs['streams'])}, the command line asks for "
            f"{', '.join(sorted(asked))}; use stream=[{','.join(inputs['streams'])}]"
        )
    seen = _seen(inputs)
    for key in saved.given_keys():
        group, _, name = key.partition(".")
        asked_for = saved.value_at(config, key)
        if group == "data" and name in seen and asked_for != seen[name]:
            raise ActionRecError(
                f"{key}={manifest.shown(asked_for)}: {path} was trained with {manifest.shown(seen[name])}, which a "
                f"measurement cannot change; leave {key} out"
            )


def _precision(run: Path) -> str | None:
    """The precision of the run's measurement; None if there is no record."""
    for protocol in measurements.read(run).values():
        return protocol.get("precision")
    return None


def _folder(config: DictConfig, run: Path | None, protocols: Mapping[str, measurements.Protocol]) -> Path:
    """Folder of a measurement, such that no measurement of another protocol, checkpoint or data is replaced."""
    from actionrec.evaluation.scores import FILES

    protocol = next(iter(protocols.values()))
    if config.output:
        folder = Path(config.output)
        record = measurements.read(folder)
        if not record and any((folder / name).exists() for name in ("metrics.json", *FILES.values())):
            raise ActionRecError(f"output={folder} holds results without {measurements.FILE}; name another folder")
        for part, there in record.items():
            if not measurements.same(there, protocol) or there.get("checkpoint") != protocol["checkpoint"]:
                raise ActionRecError(
                    f"output={folder} holds {part} scores of another measurement ({measurements.name(there)} of "
                    f"checkpoint {str(there.get('checkpoint'))[:10]}); name another folder"
                )
        return folder
    assert run
    own = measurements.read(run) or _of_before(run)
    for part, made in protocols.items():
        if part in own and own[part].get("names", made["names"]) != made["names"]:
            raise ActionRecError(
                f"the {part} samples are not those that {run} was measured on; name another folder: output=<folder>"
            )
    if not own or all(measurements.same(each, protocol) for each in own.values()):
        return run
    return run / measurements.FURTHER / measurements.name(protocol)


def _of_before(run: Path) -> dict[str, measurements.Protocol]:
    """The protocol of a run without a measurement record, as far as the run's settings tell it."""
    if not (run / "config.yaml").is_file():
        return {}
    data = read_config(run / "config.yaml").get("data") or {}
    return {"test": {key: data[key] for key in ("segments", "crops", "position") if key in data}}
