"""What docs/extending.md adds from outside of the package: its own files, written to a folder, trained and measured."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import noise_video

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> Path:
    """A folder with the page's files, and clips of gestures in their layout."""
    folder = tmp_path_factory.mktemp("outside")
    for name, content in BLOCK.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    people = ("ann", "bob", "cem", "dot", "eve", "fay", "gus")
    names = [f"{person}_{gesture}_1" for person in people for gesture in ("nod", "point")]
    for seed, name in enumerate(names):
        noise_video(folder / "data/gestures" / f"{name}.avi", 9, seed)
    return folder


def call(outside: Path, verb: str, *words: str) -> str:
    """What a command line prints, run in the folder by a process that imports the package from here."""
    place = os.pathsep.join(map(str, (outside, ROOT)))
    settings = [f"paths.root={outside / 'data'}", "paths.name=mine", "hydra.searchpath=[]"]
    command = [sys.executable, "-m", "actionrec", verb, "--config-dir", "myconf", *settings[:2], *words]
    done = subprocess.run(
        command, cwd=outside, env={**os.environ, "PYTHONPATH": place}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
