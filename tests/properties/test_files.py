"""Damaged and forged files are read correctly or give an error of one line: no traceback, and no wrong numbers."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from actionrec.datasets.records import Clip
from actionrec.evaluation import scores
from actionrec.evaluation.metrics import intervals, measure
from actionrec.modules.checkpoint import read
from actionrec.modules.earlier import renew
from actionrec.reporting import fusions, results
from actionrec.reporting.outputs import read_outputs
from actionrec.reporting.tables import comma_separated, markdown
from actionrec.settings import untrusted
from actionrec.storage import flow as store
from actionrec.storage import frames
from actionrec.storage.flow import FlowSettings
from actionrec.system.errors import ActionRecError
from tests.conftest import noise_video
from tests.properties.damage import attempt, changed, damaged, examples, junk, places, write
from tests.reporting.trees import made_scores, write_run, write_studies
from tests.settings.test_untrusted import HPARAMS, whole_lineage

SETTINGS = FlowSettings("dis", {"preset": "fast"})


# ------------------------------------------------------------------------------------------------------------- scores


@cache
def stored_scores() -> bytes:
    buffer = io.BytesIO()
    made = made_scores(1.0, n=12)
    arrays = {"names": np.array(made.names), "actions": np.array(made.actions), "groups": np.array(made.groups)}
    np.savez_compressed(buffer, logits=made.logits.numpy(), labels=made.labels.numpy(), **arrays)
    return buffer.getvalue()


@examples(60)
@given(data=damaged(stored_scores()))
def test_damaged_scores_are_read_right_or_refused(tmp_path, data):
    whole = made_scores(1.0, n=12)
    found = attempt(lambda: scores.load(write(tmp_path / "scores.npz", data)))
    if found is not None:
        assert torch.equal(found.logits, whole.logits)
        assert torch.equal(found.labels, whole.labels)
        assert (found.names, found.actions, found.groups) == (whole.names, whole.actions, whole.groups)


@examples(60)
@given(st.data())
def test_forged_scores_are_of_a_piece_or_refused(tmp_path, data):
    number = data.draw(st.integers(0, 4))
    arrays = {
        "names": np.array([f"n{i}" for i in range(number)]),
        "logits": np.zeros((number, 2), np.float32),
        "labels": np.zeros(number, np.int64),
        "actions": np.array(["a", "b"]),
        "groups": np.array(["g"] * number),
    }
    key = data.draw(st.sampled_from(sorted(arrays)))
    kinds = ["f2", "f4", "f8", "i1", "i8", "u8", "c8", "?", "U3", "S3", "M8[s]", "V4"]
    shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
    values = data.draw(st.lists(st.one_of(st.integers(-3, 300), st.floats()), min_size=1, max_size=8))
    try:
        with np.errstate(all="ignore"):
            array = np.resize(np.array(values), shape).astype(data.draw(st.sampled_from(kinds)))
    except (TypeError, ValueError, OverflowError):
        return
    np.savez(tmp_path / "scores.npz", **{**arrays, key: array})
    found = attempt(lambda: scores.load(tmp_path / "scores.npz"))
    if found is not None:
        assert found.logits.shape == (len(found.names), len(found.actions))
        assert len(set(found.names)) == len(found.names) == len(found.groups) == len(found.labels) > 0
        assert found.logits.isfinite().all()
        assert 0 <= int(found.labels.min()) <= int(found.labels.max()) < len(found.actions)
        assert found.labels.tolist() == (array if key == "labels" else arrays["labels"]).tolist()
        measure(found, "test")
        intervals(found, "test")


# -------------------------------------------------------------------------------------------------------- checkpoints


@cache
def stored_checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint_content(), buffer)
    return buffer.getvalue()


def checkpoint_content() -> dict[str, Any]:
    state = {"network.head.weight": torch.arange(6.0).view(2, 3), "network.head.bias": torch.tensor([1.0, 2.0])}
    return {"state_dict": state, "hyper_parameters": HPARAMS, "lineage": whole_lineage(), "epoch": 3}


@examples(60)
@given(data=damaged(stored_checkpoint()))
def test_damaged_checkpoints_are_read_right_or_refused(tmp_path, data):
    found, whole = attempt(lambda: read(write(tmp_path / "x.ckpt", data))), checkpoint_content()
    renew(whole)
    if found is not None:
        assert found["state_dict"].keys() == whole["state_dict"].keys()
        assert all(torch.equal(value, whole["state_dict"][key]) for key, value in found["state_dict"].items())
        assert {key: found[key] for key in ("hyper_parameters", "lineage", "epoch")} == {
            key: whole[key] for key in ("hyper_parameters", "lineage", "epoch")
        }


def keys_and_texts(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [*tree, *(text for value in tree.values() for text in keys_and_texts(value))]
    if isinstance(tree, (list, tuple)):
        return [text for value in tree for text in keys_and_texts(value)]
    return [tree]


@examples(80)
@given(st.data())
def test_forged_lineages_hold_nothing_that_hydra_makes(data):
    whole = whole_lineage()
    for _ in range(data.draw(st.integers(1, 2))):
        whole = changed(whole, data.draw(st.sampled_from(places(whole))), data.draw(junk))
    found = attempt(lambda: untrusted.check_lineage(whole, Path("x.ckpt")))
    if found is not None:
        settings = OmegaConf.create({"data": {"actions": found["actions"], **found["inputs"]}})
        assert OmegaConf.to_container(settings, resolve=True)["data"]["actions"] == list(found["actions"])
        said = keys_and_texts({key: value for key, value in found.items() if key not in ("trained_on", "parents")})
        assert not [text for text in said if isinstance(text, str) and (text.startswith("_") or "${" in text)]
        assert len(set(found["actions"])) == len(found["actions"]) > 1
        assert 0 < found["inputs"].get("size", 1) <= 2048


@examples(100)
@given(st.data())
def test_forged_hyper_parameters_name_what_is_listed(data):
    hparams = {**HPARAMS, "frozen": ["frame"]}
    hparams = changed(hparams, data.draw(st.sampled_from(places(hparams))), data.draw(junk))
    attempt(lambda: untrusted.check_hyper_parameters(hparams, Path("x.ckpt")))
    try:
        untrusted.check_hyper_parameters(hparams, Path("x.ckpt"))
    except ActionRecError:
        return
    assert {hparams[key]["_target_"] for key in ("optimizer", "scheduler") if hparams.get(key)} <= {
        "torch.optim.Adam",
        "actionrec.modules.schedules.cyclic",
    }
    assert not [key for key in hparams if key.startswith("_")]


# ------------------------------------------------------------------------------------------------ flow and frame store


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return Clip(noise_video(tmp_path_factory.mktemp("videos") / "wave" / "a_wave_1.avi", 6), "wave", "a")


@pytest.fixture(scope="module")
def stored_flow(clip, tmp_path_factory) -> tuple[bytes, np.ndarray]:
    """A file of the flow store, and its fields."""
    path = tmp_path_factory.mktemp("flow") / "a.zip"
    rng = np.random.default_rng(0)
    store.write(path, clip, [np.repeat(rng.integers(0, 256, (2, 4, 1), np.uint8), 8, 2) for _ in range(3)], SETTINGS)
    return path.read_bytes(), store.read_fields(path, range(3))


@examples(50)
@given(st.data())
def test_damaged_flow_is_read_right_or_refused(tmp_path, clip, stored_flow, data):
    whole, fields = stored_flow
    path = write(tmp_path / "a.zip", data.draw(damaged(whole)))
    header = attempt(lambda: store.read_header(path))
    assert header is None or (header.settings, header.fields, header.height, header.width) == (SETTINGS, 3, 4, 8)
    found = attempt(lambda: store.read_fields(path, [2, 0]))
    assert found is None or np.array_equal(found, fields[[2, 0]])
    assert attempt(lambda: store.verify(path, clip, SETTINGS)) in (None, 3)
    assert attempt(lambda: store.is_complete(path, clip, SETTINGS)) in (None, True, False)


@examples(60)
@given(st.data())
def test_forged_headers_of_flow_are_headers_or_refused(tmp_path, clip, stored_flow, data):
    whole, _ = stored_flow
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(entries["header.json"])
    header = changed(header, data.draw(st.sampled_from([(), *places(header)])), data.draw(junk))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in {**entries, "header.json": json.dumps(header).encode()}.items():
            archive.writestr(name, content)
    found = attempt(lambda: store.read_header(tmp_path / "a.zip"))
    if found is not None:
        assert type(found.fields) is type(found.height) is type(found.width) is int
        assert min(found.fields, found.height, found.width) > 0
        assert 0 < found.settings.bound < float("inf")
        assert str(found.settings)
    attempt(lambda: store.check_settings(tmp_path / "a.zip", SETTINGS))
    attempt(lambda: store.verify(tmp_path / "a.zip", clip, SETTINGS))
    attempt(lambda: store.is_complete(tmp_path / "a.zip", clip, SETTINGS))


@pytest.fixture(scope="module")
def stored_frames(clip, tmp_path_factory) -> tuple[bytes, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("frames")
    frames.extract_missing([clip], folder, [0, 0.5, 1], 1)
    path = frames.clip_path(folder, clip)
    return path.read_bytes(), frames.read(path, [0, 3, 5])


@examples(25)
@given(st.data())
def test_damaged_frames_are_read_right_refused_or_taken_again(tmp_path, clip, stored_frames, data):
    whole, pictures = stored_frames
    path = write(frames.clip_path(tmp_path, clip), data.draw(damaged(whole)))
    assert attempt(lambda: frames.count(path)) in (None, 6)
    found = attempt(lambda: frames.read(path, [0, 3, 5]))
    assert found is None or all(map(np.array_equal, found, pictures))
    if data.draw(st.booleans()):
        frames.extract_missing([clip], tmp_path, [0, 0.5, 1], 1)
        assert frames.count(path) == 6


# ------------------------------------------------------------------------------------- further files of a run's folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("tree") / "demo"
    write_run(data, "hmdb51_flow")
    write_studies(data)
    return data


TABLES = ("fusion/split1-seed0/fusion.json", "sweeps/frame_position/study.json", "search/lr/search.json")


@examples(40)
@given(st.data())
def test_a_forged_table_leaves_the_report_its_others(tree, data):
    path = tree / data.draw(st.sampled_from([*TABLES, "hmdb51_flow/split1-seed0/metrics.json"]))
    whole = path.read_bytes()
    try:
        content = json.loads(whole)
        forged = json.dumps(changed(content, data.draw(st.sampled_from([(), *places(content)])), data.draw(junk)))
        path.write_bytes(data.draw(st.one_of(st.just(forged.encode()), damaged(whole))))
        outputs = read_outputs(tree)
        assert [run.name for run in outputs.runs] == ["split1-seed0"]
        assert 0 <= outputs.runs[0].metrics["test/acc"] <= 1
        tables = [fusions.study_table("study", study) for study in outputs.studies + outputs.searches]
        tables += [fusions.fusion_table(fusion) for fusion in outputs.fusions] + [results.runs_table(outputs)]
        for table in results.present([*tables, fusions.fusions_table(outputs), results.cost_table(outputs)]):
            assert markdown(table)
            assert comma_separated(table)
    finally:
        path.write_bytes(whole)


CONFIG = b"""stage: hmdb51_flow
split: 1
optimizer: {_target_: torch.optim.Adam, lr: 1e-4, betas: [0.9, 0.999]}
data:
  size: 64
  actions: ["clap", 'wave']
  cache: null
  strict: true
note: "a: b # c"
"""


@examples(60)
@given(data=st.one_of(damaged(CONFIG), st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_a_configuration_is_read_as_omegaconf_reads_it_or_refused(tmp_path, data):
    path = write(tmp_path / "config.yaml", data)
    found = attempt(lambda: untrusted.read_config(path))
    if found is not None:
        assert repr(found) == repr(OmegaConf.to_container(OmegaConf.load(path)))
        assert not [text for text in keys_and_texts(found) if isinstance(text, str) and "${" in text]
        attempt(lambda: untrusted.check_targets(found, path))
