from actionrec.callbacks import Origin
from actionrec.callbacks.origin import lineage_text
from tests.callbacks.conftest import FrameAnswers, Samples, events

GRANDPARENT = {
    "stage": "stanford40_frame",
    "data": "demo",
    "split": None,
    "seed": 3,
    "actions": ["clap"],
    "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
    "inputs": {"size": 224},
    "parents": {},
    "versions": {"actionrec": "0.1.0", "torch": "2.14.1", "lightning": "2.6.6"},
    "path": "outputs/a.ckpt",
    "sha256": "abc",
}
FRAME = {**GRANDPARENT, "stage": "hmdb51_frame", "split": 1, "parents": {"parent": GRANDPARENT}, "sha256": "def"}
FLOW = {**GRANDPARENT, "stage": "hmdb51_flow", "split": 1, "sha256": "012"}
PAIR = {
    **{key: value for key, value in FLOW.items() if key not in ("path", "sha256")},
    "stage": "hmdb51_two_stream",
    "backbone": {"frame": GRANDPARENT["backbone"], "flow": GRANDPARENT["backbone"]},
    "parents": {"frame": FRAME, "flow": FLOW},
    "trained_on": ["x", "y"],
}


def test_a_lineage_has_a_row_for_each_ancestor():
    text = lineage_text(PAIR)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == [
        "hmdb51_two_stream",
        "frame ← hmdb51_frame",
        "frame ← ← stanford40_frame",
        "flow ← hmdb51_flow",
    ]
    assert [row[-1] for row in rows[2:]] == ["", "`def`", "`abc`", "`012`"]
    assert [row[2] for row in rows[2:]] == ["1", "1", "–", "1"]
    assert len({len(row) for row in rows}) == 1
    assert "2 records" in text


def test_configuration_and_lineage_are_among_the_texts(fit, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("stage: x\nseed: 1\n")
    module = FrameAnswers()
    module.lineage = PAIR
    dataset = Samples([0, 1, 2], [0, 1, 2])
    found = events(fit(module, dataset, dataset, [Origin(str(config))]))
    texts = {
        tag: found.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        for tag in ("config", "lineage")
    }
    assert texts["config"] == "```yaml\nstage: x\nseed: 1\n```"
    assert texts["lineage"] == lineage_text(PAIR)
