"""The installed command: a wheel in an environment of its own, away from the checkout, and completion in a shell."""

import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import QUICK

ROOT = Path(__file__).parents[2]
COMPLETE = """
PATH={programs}:$PATH
eval "$(actionrec -sc install=bash)"
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; words=($COMP_LINE)
COMP_CWORD=$((${{#words[@]}} - 1)); [[ $COMP_LINE == *" " ]] && COMP_CWORD=${{#words[@]}}
hydra_bash_completion; echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of the programs of an environment that has the wheel, and this environment's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
    programs = folder / "environment/bin"
    [packages] = (folder / "environment/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))  # .pth files within are not followed
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel]
    subprocess.run(install, check=True)
    return programs


def test_a_wheel_runs_away_from_the_checkout(installed, tmp_path):
    [wheel] = installed.parents[1].glob("*.whl")
    there = {name.removeprefix("actionrec/") for name in zipfile.ZipFile(wheel).namelist()}
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("conf/**/*.yaml")} <= there
    command = [installed / "actionrec", "train", "experiment=hmdb51_flow", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stage: hmdb51_flow" in done.stdout
    load = [installed / "python", "-c", "from actionrec.settings.chain import load; print(*load().stages)"]
    assert "hmdb51_flow" in subprocess.run(load, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    where = [installed / "python", "-c", "import actionrec; print(actionrec.__file__)"]
    assert str(ROOT) not in subprocess.run(where, capture_output=True, text=True, cwd=tmp_path).stdout


@pytest.mark.ci
def test_a_wheel_trains_the_chain_on_the_demo_set_away_from_the_checkout(installed, tmp_path):
    def actionrec(*words: str) -> str:
        done = subprocess.run([installed / "actionrec", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    actionrec("prepare", "dataset=demo")
    few = "data.actions=[clap,wave]"
    printed = actionrec("chain", "report=true", *QUICK, few)
    stages = ("stanford40_frame", "hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream")
    assert [line.split()[:2] for line in printed.splitlines()[:4]] == [[stage, "trained"] for stage in stages]
    page = (tmp_path / "outputs/demo/report/index.html").read_text(encoding="utf-8")
    assert all(stage in page for stage in stages)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("actionrec ", "train"),
        ("actionrec eva", "evaluate"),
        ("actionrec train exp", "experiment="),
        ("actionrec train experiment=hmdb51_fl", "experiment=hmdb51_flow"),
        ("actionrec train experiment=hmdb51_flow optimizer.l", "optimizer.lr="),
        ("actionrec prepare data", "dataset="),
    ],
)
def test_a_shell_completes_verbs_groups_and_settings(installed, tmp_path, line, offered):
    script = COMPLETE.format(programs=installed, line=line)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert offered in done.stdout.split(), done.stderr


@pytest.mark.parametrize(("words", "status", "said"), [([], 0, "usage"), (["trian"], 1, "no such verb; use one of")])
def test_the_command_says_which_verbs_there_are(words, status, said):
    done = subprocess.run([sys.executable, "-m", "actionrec", *words], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
