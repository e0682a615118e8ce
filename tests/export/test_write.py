"""Exported files agree with PyTorch's networks, describe themselves, and are refused otherwise."""

import json
import logging

import onnx
import pytest
import torch

from actionrec.export import run as exporting
from actionrec.export.comparison import BATCHES, compare
from actionrec.export.graph import Graph
from actionrec.export.onnx_file import EXPORTERS, convert, describe
from actionrec.export.run import write
from actionrec.modules import exported
from actionrec.modules.exported import KEY, described
from actionrec.system.errors import ActionRecError
from tests.conftest import attempt
from tests.export.conftest import BOTH, CLIP, LIGHT, SIZE, batch_of, made
from tests.export.conftest import described as description_of

RIGHT = EXPORTERS["torchscript"]
FUSIONS = (
    "concat",
    *(pytest.param(name, marks=pytest.mark.ci) for name in ("concat_features", "conv", "average", "product", "max")),
)


def written(module, path, tolerance=1e-4):
    with torch.no_grad():
        return write(Graph(module), module, description_of(module), batch_of(module), path, tolerance)


def test_the_logits_are_those_of_pytorch_at_every_batch_size(tmp_path, fast_exporter):
    module, path = made(), tmp_path / "a.onnx"
    assert written(module, path).comparison.size > 0.1
    network = exported.load(path)
    for size in (*BATCHES, 40):
        batch = batch_of(module, size)
        with torch.no_grad():
            expected = module(batch)
        assert (network(batch) - expected).abs().max() <= 1e-3 * expected.abs().max()
    assert (expected - expected[:1]).abs().max() > 0.1 * expected.abs().max()  # samples have different logits


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusions_are_inside_the_graph(tmp_path, fast_exporter, fusion):
    module, path = made(BOTH, fusion=fusion), tmp_path / "a.onnx"
    written(module, path)
    assert [each.name for each in onnx.load(path).graph.input] == ["frame", "flow"]


@pytest.mark.parametrize("mixes", [True, False])
def test_a_gate_leaves_a_stream_without_weight_out(tmp_path, fast_exporter, mixes):
    module, path = made(BOTH, fusion="gated"), tmp_path / "a.onnx"
    module.network.fusion.weights.copy_(torch.tensor([0.0, 0.6]))
    module.network.fusion.temperatures.copy_(torch.tensor([1.0, 1.7]))
    module.network.fusion.mixes.fill_(mixes)
    written(module, path)
    assert [each.name for each in onnx.load(path).graph.input] == ["flow"]
    weights = sum(each.nbytes for each in module.network.state_dict().values())
    assert path.stat().st_size < 0.6 * weights
    network = exported.load(path)
    assert list(network.description.inputs["streams"]) == ["flow"]
    batch = batch_of(module)
    with torch.no_grad():
        expected = module(batch)
    assert (network({"flow": batch["flow"]}) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.ci
def test_all_networks_of_bagged_streams_are_inside_the_graph(tmp_path, fast_exporter):
    module, path = made(BOTH, fusion="gated", members=2, frozen=["frame", "flow"]), tmp_path / "a.onnx"
    written(module, path)
    batch, before = batch_of(module), exported.load(path)(batch_of(module))
    with torch.no_grad():
        module.network.flow.members[1].head.bias.add_(torch.arange(len(module.actions)))
        expected = module(batch)
    written(module, path)
    found = exported.load(path)(batch)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (found - before).abs().max() > 0.1


@pytest.mark.parametrize(
    "exporter", [pytest.param(name, marks=pytest.mark.ci if name == "dynamo" else ()) for name in EXPORTERS]
)
@pytest.mark.parametrize(
    ("name", "streams"),
    [(LIGHT, BOTH), ("resnet18", {}), ("efficientnet_lite0", {}), ("r3d_18", {"clip": CLIP})],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_both_exporters_write_every_kind_of_network(tmp_path, monkeypatch, exporter, name, streams):
    monkeypatch.setattr(exporting, "EXPORTERS", {exporter: EXPORTERS[exporter]})
    assert written(made(streams, name) if streams else made(name=name), tmp_path / "a.onnx").exporter == exporter


@pytest.mark.ci
def test_the_file_describes_itself_without_the_users_folders(tmp_path, fast_exporter):
    module, path = made(BOTH), tmp_path / "a.onnx"
    written(module, path)
    found = exported.load(path).description
    assert found == description_of(module)
    assert found.shapes == {"frame": (3, SIZE, SIZE), "flow": (4, SIZE, SIZE)}
    assert b"site-packages" not in path.read_bytes()
    assert str(tmp_path).encode() not in path.read_bytes()
    describe(path, found._replace(precision="int8"))
    assert exported.load(path).description.precision == "int8"


def wrong(graph, inputs, path):
    """An exporter that writes other weights than the network's."""
    RIGHT(graph, inputs, path)
    model = onnx.load(path)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    values = onnx.numpy_helper.to_array(weights) * 1.1
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, path)


def broken(graph, inputs, path):
    raise RuntimeError("no such\noperator")


@pytest.mark.ci
@pytest.mark.parametrize(("first", "said"), [(wrong, "differ from PyTorch's by up to"), (broken, "no such operator")])
def test_the_second_exporter_is_taken_where_the_first_one_fails(tmp_path, monkeypatch, caplog, first, said):
    monkeypatch.setitem(EXPORTERS, "dynamo", first)
    with caplog.at_level(logging.INFO):
        assert written(made(), tmp_path / "a.onnx").exporter == "torchscript"
    assert said in caplog.text
    assert "exported with torchscript" in caplog.text


@pytest.mark.ci
def test_a_file_that_differs_is_refused_and_removed(tmp_path, monkeypatch):
    module, path = made(), tmp_path / "a.onnx"
    monkeypatch.setitem(EXPORTERS, "dynamo", broken)
    monkeypatch.setitem(EXPORTERS, "torchscript", wrong)
    _, message = attempt(written, module, path)
    assert "is refused (dynamo: no such operator; torchscript: its logits differ" in message
    assert not path.exists()
    assert written(module, path, 1e3).exporter == "torchscript"  # as the tolerance allows


def test_a_graph_leaves_the_network_in_evaluation_mode(tmp_path):
    module = made()
    graph = Graph(module)
    convert(graph, [batch_of(module)["frame"][:2]], "torchscript", tmp_path / "a.onnx")
    assert not any(each.training for each in module.network.modules())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_never_agree(value):
    batch = {"frame": torch.zeros(2, 1)}
    found = compare(lambda each: each["frame"] + 1, lambda each: each["frame"] + value, batch)
    assert found.relative == torch.inf
    assert compare(lambda each: each["frame"] + 2, lambda each: each["frame"] + 3, batch).relative == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "int4"}, "precision=int4"),
        ({"streams": ["sound"]}, "sound is not a stream"),
        ({"checkpoint": "x"}, "checkpoint=x"),
        ({"licence": "free"}, "no such key"),
        ({"lineage": {"model": "os.system"}}, "lineage"),
        ({"views": {"segments": 0, "crops": 1}}, "segments=0"),
        ({"streams": ["flow"]}, "are not those of its description"),
    ],
)
def test_a_description_that_makes_no_sense_is_one_line(tmp_path, shared_file, change, said):
    content = json.loads(exported.session(shared_file).get_modelmeta().custom_metadata_map[KEY])
    model = onnx.load(shared_file)
    onnx.helper.set_model_props(model, {KEY: json.dumps({**content, **change})})
    onnx.save(model, tmp_path / "b.onnx")
    assert said in attempt(exported.load, tmp_path / "b.onnx")[1]


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "a.onnx"
    module = made(BOTH)
    graph = Graph(module)
    batch = batch_of(module)
    convert(graph, [batch[name][:2] for name in graph.names], "torchscript", path)
    describe(path, description_of(module))
    return path


def test_files_of_others_are_one_line(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    assert "not an ONNX file" in attempt(exported.load, text)[1]
    assert "no such file" in attempt(exported.load, tmp_path / "gone.onnx")[1]
    with pytest.raises(ActionRecError, match="not an exported network of actionrec"):
        described(None, text)
