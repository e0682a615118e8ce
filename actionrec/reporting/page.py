"""The report: one self-contained HTML file with all sections, and a CSV and a Markdown file for each table."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import jinja2

import actionrec
from actionrec.reporting import tables
from actionrec.reporting.chain import Chain, choose
from actionrec.reporting.missing import Commands
from actionrec.reporting.records import Outputs
from actionrec.reporting.sections import Section, create
from actionrec.system.errors import ActionRecError
from actionrec.system.files import replaced_folder


def write(
    outputs: Outputs,
    folder: Path,
    commands: Commands,
    split: int | None,
    seed: int | None,
    each: int,
    tag: str | None = None,
    splits: Mapping[str, Sequence[int]] | None = None,
) -> list[Section]:
    """Write `index.html`, and every table as CSV and Markdown; an earlier report in `folder` is replaced.

    Args:
        outputs: the runs, fusions and studies.
        folder: of the report.
        commands: writes the commands for missing items.
        split, seed: of the chain to show in detail; None takes those of the first run, see `chain.choose`.
        each: largest number of right, and of wrong, predictions in the gallery.
        tag: of the chain to show in detail; None takes the runs without a tag, or if there are none the first tag.
        splits: official splits of the stages' data.

    Raises:
        ActionRecError: no run has that split, seed and tag, or the folder holds files that are no report's.
    """
    _check_folder(folder)
    chain = choose(outputs.tagged(_shown(outputs, tag)), split, seed)
    sections = create(outputs, chain, commands, each, splits)
    with replaced_folder(folder) as temporary:
        (temporary / "index.html").write_text(render(outputs, chain, sections), encoding="utf-8")
        for table in (table for section in sections for table in (*section.tables, *section.folded)):
            (temporary / f"{table.name}.csv").write_text(tables.comma_separated(table), encoding="utf-8")
            (temporary / f"{table.name}.md").write_text(tables.markdown(table), encoding="utf-8")
    return sections


def _shown(outputs: Outputs, tag: str | None) -> str | None:
    there = list(dict.fromkeys(run.tag for run in outputs.runs))
    if tag is None:
        return None if None in there or not there else there[0]
    tag = str(tag)  # tag=1 is a number to Hydra
    if tag not in there:
        names = ", ".join(map(str, filter(None, there))) or "none"
        raise ActionRecError(f"tag={tag}: no run under {outputs.folder} has that tag; the tags are: {names}")
    return tag


def _check_folder(folder: Path) -> None:
    """Raise unless the report's folder is missing, is empty or holds an earlier report."""
    strange = [path.name for path in folder.iterdir() if not _written(path)] if folder.is_dir() else []
    if strange or (folder.exists() and not folder.is_dir()):
        thing = f"holds {min(strange)}, which is none of a report's files" if strange else "is a file"
        raise ActionRecError(f"{folder} {thing}; move it away, since a report replaces the whole folder")


def _written(path: Path) -> bool:
    return path.is_file() and (path.name == "index.html" or path.suffix in (".csv", ".md"))


def render(outputs: Outputs, chain: Chain, sections: Sequence[Section]) -> str:
    """Render the page's HTML."""
    loader = jinja2.PackageLoader("actionrec.reporting")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.get_template("page.html").render(
        data=outputs.folder.name,
        chain=chain,
        sections=sections,
        cells=tables.cells,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=actionrec.__version__,
    )
