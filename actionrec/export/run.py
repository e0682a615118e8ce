"""`actionrec export`: from its settings to an exported file and a model card."""

import logging
import tempfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import Tensor

from actionrec.datamodules.base import ActionDataModule
from actionrec.evaluation import metrics
from actionrec.export import card, samples, speed
from actionrec.export.comparison import BATCHES, Comparison, compare
from actionrec.export.graph import Graph
from actionrec.export.onnx_file import EXPORTERS, convert, describe, require_extra, versions
from actionrec.export.samples import Samples
from actionrec.modules import exported
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import load_module, read
from actionrec.modules.exported import Description, is_exported
from actionrec.prediction import calibration
from actionrec.prediction.loading import Place, create_network, measured_views, place_of
from actionrec.prediction.pipeline import Network
from actionrec.reporting.tables import lines_of
from actionrec.settings.composition import plain
from actionrec.settings.rules import require
from actionrec.settings.values import one_of, reason
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path, sha256, write_text
from actionrec.system.gauges import counting
from actionrec.system.hardware import fast_precision

FORMATS = ("onnx", "card")
CARD = ".md"  # behind the name of the file that the card is of
log = logging.getLogger(__name__)


class Written(NamedTuple):
    """How a file was made.

    Args:
        exporter: the one of `EXPORTERS` that wrote it.
        comparison: of the file with PyTorch; of an int8 file, that of the float32 file that it was made from.
    """

    exporter: str
    comparison: Comparison


class Candidate(NamedTuple):
    """A network that is measured: its name in tables, a function from batches to logits, and the size in bytes."""

    name: str
    run: Network
    size: int


def export(config: DictConfig) -> None:
    """Export the network of `checkpoint` with a model card beside it, or write the card alone, and print the figures.

    Raises:
        ActionRecError: a setting is wrong, the extra is not installed, or the file differs from PyTorch's network by
            more than `tolerance`; then there is no file.
    """
    require("format", config.format, one_of(*FORMATS))
    require("precision", config.precision, one_of(*exported.PRECISIONS))
    place = place_of(config)
    if is_exported(place.checkpoint):
        raise ActionRecError(f"checkpoint={place.checkpoint} is exported already; name the run or its checkpoint")
    if config.format == "card":
        _write_card(config, place)
        return
    require_extra()
    _export(config, place)


def _write_card(config: DictConfig, place: Place) -> None:
    path = _out(config, place, place.checkpoint.name + CARD)
    checkpoint = read(place.checkpoint, "checkpoint", plain(config)["trust"])
    streams = Graph(load_module(place.checkpoint, checkpoint)).names
    description = _description(place, checkpoint, streams)
    write_text(path, card.text(card.Facts(place.checkpoint, place.checkpoint.name, description, place.run)))
    print(path)


def _export(config: DictConfig, place: Place) -> None:
    trust, quantised = plain(config)["trust"], config.precision == "int8"
    out = _out(config, place, place.checkpoint.stem + ("-int8.onnx" if quantised else exported.SUFFIX))
    terminal.doing("loading the network")
    checkpoint = read(place.checkpoint, "checkpoint", trust)
    module = load_module(place.checkpoint, checkpoint)
    graph = Graph(module)
    description = _description(place, checkpoint, graph.names)
    terminal.doing("reading the data")
    data = samples.data_of(place.run, description.lineage, description.views, trust)
    if quantised and data is None:
        raise ActionRecError(
            "precision=int8 takes the ranges of the activations from the run's training clips; name the folder of a "
            "run whose data are there"
        )
    taken = samples.compared(data, plain(config)["source"], description.lineage, description.views, trust)
    log.info("comparing on %s", taken.origin)
    networks = _of_torch(module, graph)
    with tempfile.TemporaryDirectory() as folder, atomic_path(out) as temporary:
        path = Path(folder, "float32.onnx") if quantised else temporary
        written = write(graph, networks[0].run, description, taken.batch, path, config.tolerance)
        networks.append(Candidate("ONNX float32", exported.load(path, "out", trust), path.stat().st_size))
        if data and quantised:
            from actionrec.export.quantization import quantise

            terminal.doing("quantising")
            quantise(path, samples.training_batches(data), graph.names, temporary)
            description = description._replace(precision="int8")
            describe(temporary, description)
            networks.append(Candidate("ONNX int8", exported.load(temporary, "out", trust), temporary.stat().st_size))
        figures = _figures(networks, taken, data if quantised else None, set(description.lineage["trained_on"]))
        made_by = written.exporter, written.comparison, taken.origin
        facts = card.Facts(temporary, out.name, description, place.run, *made_by, figures)
        text = card.text(facts)
    write_text(out.with_name(out.name + CARD), text)
    print(f"{card.compared(facts)}\n\n{lines_of(figures)}\n\n{out}\n{out}{CARD}")


def _of_torch(module: ActionModule, graph: Graph) -> list[Candidate]:
    """The network in float32, and in the precision that predictions have on this CPU, if that is another one."""
    weights = sum(each.numel() * each.element_size() for each in graph.state_dict().values())
    names = {"32-true": "float32"}
    return [
        Candidate(f"PyTorch {names.get(precision, precision)}", create_network(module, "cpu", precision), weights)
        for precision in dict.fromkeys(("32-true", fast_precision("cpu")))
    ]


def write(
    graph: Graph,
    reference: Network,
    description: Description,
    batch: dict[str, Tensor],
    path: Path,
    tolerance: float,
) -> Written:
    """Write an exported file that agrees with PyTorch, by the first exporter that manages.

    Args:
        graph: the network.
        reference: the same network of PyTorch, on batches of all its streams.
        description: of the file.
        batch: samples that both are compared on, see `comparison.compare`.
        path: of the file, which is replaced.
        tolerance: largest difference, as a share of the largest logit.

    Raises:
        ActionRecError: no exporter wrote a file that agrees; `path` is then removed.
    """
    failures = []
    example = [batch[name][[0, min(1, len(batch[name]) - 1)]].contiguous() for name in graph.names]
    for exporter in EXPORTERS:
        terminal.doing(f"exporting with {exporter}")
        try:
            convert(graph, example, exporter, path)
            describe(path, description)
            found = compare(reference, exported.load(path, "out"), batch)
        except Exception as error:  # exporters and onnxruntime raise many types for layers that they do not know
            failures.append(f"{exporter}: {reason(error)}")
        else:
            if found.relative <= tolerance:
                if failures:
                    log.info("exported with %s, since the first exporter failed: %s", exporter, failures[0])
                return Written(exporter, found)
            failures.append(
                f"{exporter}: its logits differ from PyTorch's by up to {found.difference:.2g}, {found.relative:.2g} "
                f"of the largest one, at batches of {', '.join(map(str, BATCHES))}"
            )
    path.unlink(missing_ok=True)
    raise ActionRecError(
        f"the exported network is refused ({'; '.join(failures)}); tolerance={tolerance:g} is a share of the largest "
        "logit"
    )


def _description(place: Place, checkpoint: Mapping[str, Any], streams: list[str]) -> Description:
    lineage, digest = _portable(checkpoint["lineage"]), sha256(place.checkpoint)
    path = place.checkpoint.parent / calibration.FILE
    made = calibration.load(path, digest)._asdict() if path.is_file() else None
    return Description(lineage, digest, streams, measured_views(place.run), "float32", made, versions())


def _portable(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """A lineage without the folders of the user's machine: paths keep `<data>/<stage>/<run>/checkpoints/best.ckpt`."""
    found = {**lineage, "parents": {role: _portable(each) for role, each in lineage.get("parents", {}).items()}}
    if "path" in lineage:
        found["path"] = str(Path(*Path(lineage["path"]).parts[-5:]))
    return found


def _out(config: DictConfig, place: Place, name: str) -> Path:
    """The file to write: `out`, or `name` beside the checkpoint."""
    out = Path(config.out) if config.out else place.checkpoint.with_name(name)
    if out.is_dir():
        raise ActionRecError(f"out={out} is a folder; name a file")
    wanted = CARD if config.format == "card" else exported.SUFFIX
    if out.suffix != wanted:
        raise ActionRecError(f"out={out}: name a file with the suffix {wanted}")
    return out


def _figures(
    networks: Sequence[Candidate], taken: Samples, data: ActionDataModule | None, trained_on: Container[str]
) -> list[list[str]]:
    """Rows of a table, the header first: size, speed, and with data the accuracy on the validation part.

    Of bagged streams the networks of further folds were trained on that part, which the header says.
    """
    terminal.doing("measuring speed")
    functions = {each.name: each.run for each in networks}
    speeds = speed.measure(functions, taken.batch)
    header = ["network", "MB", "ms a sample, batch 1", f"batch {speed.BATCHES[-1]}"]
    rows = [
        [name, f"{size / 1e6:.1f}", *(f"{each:.2f}" for each in took)]
        for (name, _, size), took in zip(networks, speeds.values(), strict=True)
    ]
    if data is None:
        return [header, *rows]
    with counting("measuring the validation part", "samples", len(samples.part_of(data, "val"))) as bar:

        def tick(number: int) -> None:
            bar.done += number

        found = samples.validation_scores(functions, data, tick)
    for row, each in zip(rows, found.values(), strict=True):
        top, bounds = metrics.measure(each, "val")["val/acc"], metrics.intervals(each, "val")
        low, high, n = (bounds[f"val/{key}"] for key in ("acc_low", "acc_high", "n"))
        row[1:1] = [f"{top:.3f} [{low:.3f}, {high:.3f}]", str(n)]
    seen = any(name in trained_on for name in data.names("val"))
    return [[header[0], f"top-1, validation{', in part trained on' if seen else ''}", "n", *header[1:]], *rows]
