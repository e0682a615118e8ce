"""Whatever a run says, its report shows it as text: nothing in it is markup, a script or a link."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml

from actionrec.evaluation import scores
from tests.reporting.trees import gate_of, write_run, write_studies

MARK = "Zq7"
SCRIPTS = (
    f"<script>{MARK}()</script>",
    f"</script><script>{MARK}()</script>",
    f'"><img src=x onerror={MARK}()>',
    f"'><svg/onload={MARK}()>",
    f'" onmouseover="{MARK}()',
    f"' autofocus onfocus='{MARK}()",
    f"javascript:{MARK}()",
    f"<a href=javascript:{MARK}()>x</a>",
    f"--><script>{MARK}()</script><!--",
    f"]]><script>{MARK}()</script>",
    f"</style><script>{MARK}()</script>",
    f"</textarea></title><iframe srcdoc='<script>{MARK}()</script>'>",
    f"{{{{ {MARK} }}}}{{% raw %}}",
    f"&lt;script&gt;{MARK}()&lt;/script&gt;",
)


class Page(HTMLParser):
    """A page as a browser parses it: its tags, and its attributes with their values."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        if self.cdata_elem in ("script", "style"):
            self.scripts.append(data)


def page_of(run, outputs: Path) -> str:
    outcome = run("report", f"paths.outputs={outputs}", "gallery=0")
    assert outcome.status == 0, outcome.err
    return (outputs / "demo/report/index.html").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_whatever_runs_say_is_shown_as_text(tmp_path, run):
    honest = Page(page_of(run, written(tmp_path / "a", "a plain text as long as scripts ")))
    text = page_of(run, written(tmp_path / "b", None))
    page = Page(text)
    assert MARK in text  # it is shown
    assert MARK not in "".join(page.scripts)
    assert set(page.tags) <= set(honest.tags)
    for tag in ("script", "style", "svg", "iframe", "a"):
        assert page.tags.count(tag) == honest.tags.count(tag), tag
    allowed = {name for name, _ in honest.attributes}
    assert {name for name, _ in page.attributes} <= allowed
    assert not [name for name in allowed if name.startswith("on") or name == "srcdoc"]
    assert not [value for name, value in page.attributes if name in ("href", "src") and MARK in value]
    assert "${" not in text or "{% raw" in text  # a template's own signs stay what they are


def written(outputs: Path, plain: str | None) -> Path:
    """A tree whose every text is one of the scripts, or a plain one."""
    queue = iter(range(10**6))

    def text(shortest: str = "") -> str:
        number = next(queue)
        return f"{plain}{number}" if plain else f"{SCRIPTS[number % len(SCRIPTS)]}{number}{shortest}"

    data = outputs / "demo"
    path = write_run(data, "hmdb51_flow")
    found = scores.load(path / "scores.npz")
    said = found._replace(
        names=[text() for _ in found.names],
        groups=[text() for _ in found.groups],
        actions=tuple(text() for _ in found.actions),
    )
    scores.save(said, path / "scores.npz")
    numbers = {
        key: value for key, value in json.loads((path / "metrics.json").read_text()).items() if "/acc" not in key
    }
    (path / "metrics.json").write_text(json.dumps({**numbers, text(): 0.5}))
    settings = {
        "stage": text(),
        text(): text(),
        "data": {"size": text(), text(): [text()]},
        "optimizer": {"lr": text()},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(settings))
    best = torch.load(path / "checkpoints/best.ckpt", weights_only=True)
    best["lineage"] |= {"stage": text(), "data": text(), "actions": [text(), text()], "versions": {text(): text()}}
    best["lineage"]["backbone"] |= {"weights": text(), "stem": text()[:50]}
    best["lineage"]["parents"] = {"parent": {"path": text(), "stage": text(), "data": text(), "sha256": "0" * 64}}
    torch.save(best, path / "checkpoints/best.ckpt")
    (path / "gate.json").write_text(json.dumps(gate_of(text(), text(), text())))
    write_studies(data)
    fusion = [
        {"network": text(), "chosen": text(), "test/acc": 0.5},
        {"network": text(), "chosen": text(), "test/acc": 0.5, "difference": 0.1, "low": 0.0, "high": 0.2, "p": 0.5},
    ]
    (data / "fusion/split1-seed0/fusion.json").write_text(json.dumps(fusion))
    rows = [{text(): text(), "test/acc": 0.5, "b": [text()], "c": {text(): text()}} for _ in range(2)]
    for place in ("sweeps/frame_position/study.json", "search/lr/search.json"):
        content = {
            "title": text(),
            "name": text(),
            "stage": text(),
            "note": text(),
            "best": {text(): text()},
            "rows": rows,
        }
        (data / place).write_text(json.dumps(content))
    for folder in ("fusion/split1-seed0", "sweeps/frame_position", "search/lr"):
        name = re.sub("/", "", text())
        (data / folder).rename((data / folder).with_name(name))
    (data / re.sub("/", "", text()) / "split1-seed0").mkdir(parents=True)
    (data / "hmdb51_frame" / re.sub("/", "", text())).mkdir(parents=True)
    (data / "hmdb51_frame" / re.sub("/", "", text()) / "more").mkdir(parents=True)
    damaged = data / "fusion" / re.sub("/", "", text()) / "fusion.json"
    damaged.parent.mkdir()
    damaged.write_text("{" + text())
    return outputs
