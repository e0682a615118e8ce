from actionrec.callbacks import LogLineage
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


def test_a_lineage_has_an_item_for_each_ancestor():
    text = lineage_text(PAIR)
    items = [line for line in text.splitlines() if "- " in line]
    assert [(line.index("-") // 4, line.split("**")[1]) for line in items] == [
        (0, "hmdb51_two_stream"),
        (1, "hmdb51_frame"),
        (2, "stanford40_frame"),
        (1, "hmdb51_flow"),
    ]
    assert ["split 1" in line for line in items] == [True, True, False, True]
    for line, sha256 in zip(items[1:], ("def", "abc", "012"), strict=True):
        assert f"`outputs/a.ckpt`, sha256 `{sha256}`" in line
    assert "sha256" not in items[0]
    assert items[0].count("resnet18 from IMAGENET1K_V1 weights") == 1
    assert "2 records" in text


def test_configuration_and_lineage_are_among_the_texts(fit, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("stage: x\nseed: 1\n")
    module = FrameAnswers()
    module.lineage = PAIR
    dataset = Samples([0, 1, 2], [0, 1, 2])
    found = events(fit(module, dataset, dataset, [LogLineage(str(config))]))
    texts = {
        tag: found.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        for tag in ("config", "lineage")
    }
    assert texts["config"] == "```yaml\nstage: x\nseed: 1\n```"
    assert texts["lineage"] == lineage_text(PAIR)
