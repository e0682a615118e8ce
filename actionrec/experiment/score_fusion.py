"""`actionrec fuse`: one table of the streams, of every fusion of their scores, and of the trained fusion networks."""

import logging
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from actionrec.runs import measurements
from actionrec.runs.folder import RunFolder
from actionrec.settings import chain
from actionrec.settings.composition import plain
from actionrec.settings.untrusted import read_json
from actionrec.system.errors import ActionRecError
from actionrec.system.files import sha256, write_json, write_text

log = logging.getLogger(__name__)
TABLE = "fusion.json"


def fuse(config: DictConfig) -> None:
    """Fuse the scores of `runs`, print the table, and write it and the figures to `output`.

    Without the training or the validation scores of a run the fusions that need them have no row. Without the latter,
    rows are compared with the stream that is better on the test, which favours that stream.

    Raises:
        ActionRecError: scores are missing, are not of the same samples, are of samples that a run was trained on, or
            are of another checkpoint than the run's `best.ckpt`; or `output` has a table of other streams, which
            `overwrite` does not let be replaced.
    """
    from actionrec.evaluation import fusion, scores
    from actionrec.modules.checkpoint import read
    from actionrec.modules.parents import Parent, check_parent
    from actionrec.reporting.fusions import fusion_table
    from actionrec.reporting.records import Fusion
    from actionrec.reporting.tables import lines_of, texts

    runs, trained = _of_chain(config)
    runs = {name: Path(path) for name, path in {**runs, **plain(config)["runs"]}.items() if path}
    if len(runs) < 2:
        raise ActionRecError("runs: name two runs or more, such as runs.frame=<folder> runs.flow=<folder>")
    folder = Path(config.output)
    if not config.overwrite:
        _check_place(folder / TABLE, list(runs))
    files = {part: name for part, name in scores.FILES.items() if part == "test" or not _lacking(runs, part)}
    parts = {part: [scores.load(run / name) for run in runs.values()] for part, name in files.items()}
    trained = {name: Path(path) for name, path in {**trained, **plain(config)["trained"]}.items() if path}
    for name in [name for name, path in trained.items() if not RunFolder(path).finished]:
        log.info("%s is not trained; its row is left out", trained.pop(name))
    for found in parts.values():
        measurements.require_same({name: each.protocol for name, each in zip(runs, found, strict=True)})
    tested, validated = ({name for found in parts.get(part, []) for name in found.names} for part in ("test", "val"))
    whole = {name: scores.load(run / scores.FILES["test"]) for name, run in trained.items()}
    measured = [(run, {part: found[row] for part, found in parts.items()}) for row, run in enumerate(runs.values())]
    measured += [(run, {"test": whole[name]}) for name, run in trained.items()]
    for run, theirs in measured:
        held_out = tested | validated if "val" in theirs else tested
        best = RunFolder(run).best
        parent = Parent(best, read(best, "runs", plain(config)["trust"]))
        check_parent(parent, None, held_out)
        _check_current(theirs, run, parent.lineage["stage"])
    matched = fusion.matched(parts)
    networks = {name: fusion.Fused(found) for name, found in zip(runs, matched["test"], strict=True)}
    against = fusion.better(dict(zip(runs, matched.get("val", matched["test"]), strict=True)))
    better = networks[against].scores
    networks |= {
        name: function(matched)
        for name, function in fusion.SCORE_FUSIONS.items()
        if all(part in matched for part in fusion.NEEDED.get(name, ()))
    }
    measurements.require_same({"streams": better.protocol, **{name: found.protocol for name, found in whole.items()}})
    networks |= {name: fusion.Fused(found) for name, found in whole.items()}

    chosen = {"against": against} if "val" in matched else {}
    rows = [_row(name, found, chosen, better) for name, found in networks.items()]
    write_json(folder / TABLE, rows)
    table = fusion_table(Fusion(folder.name, rows))
    text = lines_of(texts(table))
    write_text(folder / "fusion.md", text + "\n")
    seen = measurements.name(better.protocol) if better.protocol else "unrecorded views"
    print(f"{text}\n\nMeasured at {seen}. {table.note}")


def _of_chain(config: DictConfig) -> tuple[dict[str, Path], dict[str, Path]]:
    """Run folders by row of the table: the stage's parents by stream, and the trained stage with its variants."""
    declared = chain.of(config)
    stage = declared.stages.get(config.stage)
    if not stage:
        return {}, {}
    run, place = stage.run(config.split, config.seed, config.tag), Path(config.paths.outputs) / config.paths.name
    variants = [name for name, variant in declared.variants.items() if variant.of == stage.name]
    beside = {f"trained{name.removeprefix(stage.name)}": place / name / run for name in variants}
    return dict(chain.runs_of(config, stage.parents, config.tag)), {"trained": Path(config.run_dir), **beside}


def _check_place(table: Path, streams: Sequence[str]) -> None:
    """Raise if there is a table of other streams already."""
    from actionrec.evaluation.fusion import SCORE_FUSIONS

    if not table.is_file():
        return
    there = [str(row["network"]) for row in read_json(table, list) if isinstance(row, dict) and "network" in row]
    fused = list(takewhile(lambda network: network not in SCORE_FUSIONS, there))
    if fused and fused != streams:
        raise ActionRecError(
            f"{table.parent} holds the fusions of {', '.join(fused)}; name another folder by output=<folder>, or "
            "replace them by overwrite=true"
        )


def _check_current(measured: Mapping[str, Any], run: Path, stage: str) -> None:
    """Raise if a run's scores, by part, are of another checkpoint than the run's present `best.ckpt`.

    Scores without a recorded checkpoint, of earlier versions, pass.
    """
    from actionrec.evaluation.scores import FILES

    best = RunFolder(run).best
    now = sha256(best)
    for part, found in measured.items():
        then = (found.protocol or {}).get("checkpoint", now)
        if then != now:
            raise ActionRecError(
                f"{run / FILES[part]}: these scores are of checkpoint {str(then)[:10]}, {best} is {now[:10]}; measure "
                f"the run with actionrec evaluate experiment={stage} checkpoint={best} parts=[train,val,test]"
            )


def _lacking(runs: Mapping[str, Path], part: str) -> bool:
    """Whether a run has no scores of the training or validation part, without which the table has fewer rows."""
    from actionrec.evaluation import fusion, scores

    without = [name for name, run in runs.items() if not (run / scores.FILES[part]).exists()]
    if not without:
        return False
    *rows, last = (name for name, needed in fusion.NEEDED.items() if part in needed)
    log.info(
        "%s: no %s scores, so the rows of %s and %s are left out; actionrec evaluate … parts=[%s] measures them%s",
        *(", ".join(without), {"train": "training", "val": "validation"}[part], ", ".join(rows), last, part),
        ", unless data.fold=all leaves none" if part == "val" else "",
    )
    return True


def _row(name: str, found: Any, chosen: Mapping[str, str], better: Any) -> dict[str, Any]:
    from actionrec.evaluation.metrics import intervals, measure
    from actionrec.evaluation.significance import compare

    measured = measure(found.scores, "test", likelihoods=found.likelihoods)
    row = {"network": name, "chosen": found.chosen, **measured, **intervals(found.scores, "test")}
    if found.scores is better:
        return row
    return {**row, **chosen, **compare(found.scores, better)._asdict()}
