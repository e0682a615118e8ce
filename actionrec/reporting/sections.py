"""The sections of the page: texts, tables and pictures."""

import base64
import logging
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from hydra.errors import InstantiationException
from matplotlib.figure import Figure

from actionrec.evaluation import plots
from actionrec.evaluation.metrics import confusion, reliability
from actionrec.reporting import comparison, fusions, gallery, missing, results
from actionrec.reporting.chain import OTHER, Chain, lineage_table, settings_tables
from actionrec.reporting.diagram import Diagram, draw
from actionrec.reporting.missing import Commands, Missing
from actionrec.reporting.outputs import curves
from actionrec.reporting.records import Damage, Outputs, Run, Study
from actionrec.reporting.tables import Table
from actionrec.settings.messages import one_line
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

DPI = 130


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, at most `width` CSS pixels wide (0: its own width); `wide` gives it a row of its own."""

    source: str
    alt: str
    caption: str = ""
    width: int = 0
    wide: bool = False


@dataclass(frozen=True)
class Clip:
    """A clip of the gallery, with its pictures as data URIs."""

    shown: gallery.Shown
    pictures: list[Picture]


@dataclass
class Section:
    """A section of the page; the page shows the content in the order of these fields.

    Args:
        key: anchor of the section.
        title: heading.
        text: paragraphs.
        diagram: diagram of the chain.
        tables: tables.
        beside: pictures under a table, by the table's name.
        pictures: all other pictures.
        clips: clips of the gallery, by heading.
        folded: tables that are collapsed at first.
    """

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    diagram: Diagram | None = None
    tables: list[Table] = field(default_factory=list)
    beside: dict[str, list[Picture]] = field(default_factory=lambda: defaultdict(list))
    pictures: list[Picture] = field(default_factory=list)
    clips: dict[str, list[Clip]] = field(default_factory=dict)
    folded: list[Table] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.text or self.diagram or self.tables or self.pictures or self.clips or self.folded)


def create(
    outputs: Outputs, chain: Chain, commands: Commands, each: int, splits: Mapping[str, Sequence[int]] | None = None
) -> list[Section]:
    """Create the page's sections, without empty ones; the last section lists missing items.

    Args:
        outputs: the runs, fusions and studies.
        chain: the chain to show in detail.
        commands: writes the commands for missing items.
        each: largest number of right, and of wrong, predictions in the gallery.
        splits: official splits of the stages' data.
    """

    def damage(run: Run, reason: str) -> None:
        outputs.damaged.append(Damage(run.path, reason))

    compared = comparison.comparison_table(chain, damage)
    gallery_section, no_gallery = _gallery(chain, each, outputs.trust, commands)
    sections = [
        Section(
            "results",
            "Results",
            comparison.headline(chain, compared, results.crossval_table(outputs.tagged(chain.tag))),
            tables=results.present([results.runs_table(outputs), compared]),
            folded=results.present([results.cost_table(outputs), results.measured_table(outputs)]),
        ),
        _crossval(outputs),
        _chain(outputs, chain),
        _curves(outputs, chain),
        _confusions(chain),
        _actions(chain),
        _calibration(chain),
        _fusions(outputs, chain),
        _studies("studies", "Studies", "study", outputs.studies),
        _studies("search", "Search for settings", "search", outputs.searches),
        gallery_section,
    ]
    absent = [*missing.find(outputs.tagged(chain.tag), chain, commands, splits), *no_gallery]
    return [section for section in [*sections, _missing(outputs, absent)] if not section.empty]


def _crossval(outputs: Outputs) -> Section:
    return Section("crossval", "Over splits and seeds", tables=results.present([results.crossval_table(outputs)]))


def _chain(outputs: Outputs, chain: Chain) -> Section:
    if not chain.runs:
        return Section("chain", "Chain")
    text = [f"The stages of {chain.name}. A box shows a stage's best checkpoint, an arrow the start from a checkpoint."]
    text += [
        f"{link.child} was trained from another checkpoint of {link.parent} ({link.recorded[:10]}) than the one there "
        f"now: the results of {link.child} do not belong to this chain."
        for link in chain.links
        if link.state == OTHER
    ]
    folded = results.present([lineage_table(outputs), *settings_tables(chain)])
    return Section("chain", "Chain", text, draw(chain), folded=folded)


def _curves(outputs: Outputs, chain: Chain) -> Section:
    pictures, without = [], []
    for stage, run in chain.runs.items():
        found = outputs.attempt(run.path / "tensorboard", lambda _, run=run: curves(run))  # type: ignore[misc]
        if not found:
            without.append(stage)
            continue
        kept = run.checkpoint.epoch if run.checkpoint else None
        alt = f"Learning curves of {stage}: loss and top-1 of training and validation by epoch"
        pictures.append(_picture(plots.learning_curves(found, chain.config.look(stage), kept), alt, stage))
    text = [
        f"Curves of {chain.name}. Training accuracy is measured on augmented inputs while the weights change, so it "
        "may lie below validation accuracy. The dotted line marks the kept epoch, the best on validation or the last."
    ]
    if without:
        text.append(f"No curves were logged for: {', '.join(without)}.")
    return Section("curves", "Learning curves", text if pictures else [], pictures=pictures)


def _confusions(chain: Chain) -> Section:
    pictures = [
        _picture(
            plots.confusion_matrix(confusion(run.scores), run.scores.actions),
            f"Confusion matrix of {stage} on {run.samples} test samples",
            f"{stage}, n = {run.samples}",
            wide=len(run.scores.actions) > 20,
        )
        for stage, run in chain.runs.items()
        if run.scores
    ]
    text = [f"Test part, {chain.name}: rows are true actions, columns predictions, shades shares of the row."]
    return Section("confusions", "Confusion matrices", text if pictures else [], pictures=pictures)


def _actions(chain: Chain) -> Section:
    table = comparison.actions_table(chain)
    if not table:
        return Section("actions", "Actions")
    networks = [name for name in chain.runs if f"{name} recall" in table.header]
    recalls = {}
    for name in networks:
        values = [row[table.header.index(f"{name} recall")] for row in table.rows]
        recalls[chain.config.stages[name].label] = [float("nan") if each is None else each for each in values]
    looks = [chain.config.look(name) for name in networks]
    figure = plots.action_bars(recalls, looks, [row[0] for row in table.rows], [row[1] for row in table.rows])
    alt = f"Bars: recall of each action by {', '.join(recalls)}; the values are in the table"
    picture = _picture(figure, alt, f"Recall by action, {chain.name}; in brackets the number of test clips", wide=True)
    return Section("actions", "Actions", pictures=[picture], folded=[table])


def _calibration(chain: Chain) -> Section:
    pictures = [
        _picture(
            plots.reliability_diagram(reliability(run.scores), chain.config.look(stage)),
            f"Reliability diagram of {stage}: accuracy over confidence in 15 bins; the values are in the table",
            f"{stage}: expected calibration error {run.metrics.get('test/ece', float('nan')):.3f}",
        )
        for stage, run in chain.runs.items()
        if run.scores
    ]
    text = [
        "A network is calibrated if a share p of its predictions with confidence p is right, so that the bars end on "
        "the diagonal. A bar below the diagonal shows overconfidence. Bars of few samples (lower panel) are unreliable."
    ]
    folded = results.present([comparison.calibration_table(chain)])
    return Section("calibration", "Calibration", text if pictures else [], pictures=pictures, folded=folded)


def _fusions(outputs: Outputs, chain: Chain) -> Section:
    tables = [fusions.gates_table(outputs), fusions.fusions_table(outputs), *map(fusions.fusion_table, outputs.fusions)]
    candidates = results.present(map(fusions.gate_table, chain.runs.values()))
    return Section("fusions", "Fusions of scores", tables=results.present(tables), folded=candidates)


def _studies(key: str, title: str, kind: str, studies: Sequence[Study]) -> Section:
    section = Section(key, title)
    for study in studies:
        table = fusions.study_table(kind, study)
        section.tables.append(table)
        section.beside[table.name] = [
            Picture(_uri(path.read_bytes(), "png"), f"{table.title}: {path.stem}; the values are in the table")
            for path in study.pictures
        ]
    return section


def _gallery(chain: Chain, each: int, trust: Sequence[str], commands: Commands) -> tuple[Section, list[Missing]]:
    """The gallery; an empty section and the reason as a missing item if there is none."""
    section = Section("gallery", "Gallery")
    again = commands.verb("report", *([f"tag={shlex.quote(chain.tag)}"] if chain.tag else []))
    if each <= 0:
        return section, [Missing("gallery", "gallery=0", again)]
    try:
        made = gallery.create(chain, each, trust)
    except Exception as error:  # a report without a gallery is better than none if data or weights do not load
        reason = f"{type(error).__name__}: {one_line(error)}"[:300] if _unforeseen(error) else one_line(error)
        log.warning("no gallery: %s", reason)
        return section, [Missing("gallery", reason, again)]
    section.text = [
        gallery.CHOICE.format(network=made.stage),
        "The pictures show one view at one instant; the probabilities are averages over all views of the test. Flow: "
        "the hue is the direction, the saturation the length, and white is no motion. Grad-CAM: bright regions raise "
        "the score of the predicted action most.",
    ]
    section.clips = {
        f"Right ({len(made.right)} of {made.n_right})": [_clip(shown) for shown in made.right],
        f"Wrong ({len(made.wrong)} of {made.n_wrong})": [_clip(shown) for shown in made.wrong],
    }
    return section, []


def _unforeseen(error: Exception) -> bool:
    return not isinstance(error, (ActionRecError, InstantiationException))


def _clip(shown: gallery.Shown) -> Clip:
    return Clip(
        shown,
        [Picture(_jpeg(pixels), f"{caption} of {shown.name}", caption) for caption, pixels in shown.pictures.items()],
    )


def _missing(outputs: Outputs, absent: list[Missing]) -> Section:
    section = Section("missing", "Missing")
    if absent:
        section.tables.append(missing.table(absent))
    if outputs.damaged:
        unique = dict.fromkeys(outputs.damaged)
        rows = [(_below(path, outputs.folder), reason) for path, reason in unique]
        section.tables.append(Table("damaged", "Damaged", ("file", "what is wrong"), rows))
    if not (absent or outputs.damaged):
        section.text = ["This report knows of no missing runs and no damaged files."]
    return section


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _picture(figure: Figure, alt: str, caption: str, wide: bool = False) -> Picture:
    width = round(96 * figure.get_figwidth())  # CSS pixels (96 per inch); the PNG has more pixels, for high-DPI screens
    return Picture(_uri(plots.png(figure, DPI), "png"), alt, caption, width, wide)


def _jpeg(pixels: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return _uri(data.tobytes(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
