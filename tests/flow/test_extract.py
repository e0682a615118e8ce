"""Extraction of flow: its files, its state after interruptions, and its command line."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.datasets.records import Clip
from actionrec.flow.extract import clip_fields, extract, fill, shard, verify
from actionrec.flow.field import dequantize
from actionrec.storage.flow import FlowSettings
from actionrec.storage.pictures import clip_path
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path
from tests.conftest import noise_video, write_splits, write_video

SETTINGS = FlowSettings("dis", {"preset": "ultrafast"})
FARNEBACK = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "poly_n": 5, "poly_sigma": 1.2}
SLOW = 20  # iterations, so that a run can be caught in the middle


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    names = ["a_wave_1", "#b (c)!_wave_2", "c_wave_3"]
    return [
        Clip(noise_video(tmp_path / "videos" / "wave" / f"{name}.avi", 6 + seed, seed), "wave", name)
        for seed, name in enumerate(names)
    ]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "flow"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store, including temporary files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_n_frames_give_n_minus_one_fields_of_the_motion_between_them(tmp_path):
    rng = np.random.default_rng(1)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (120, 200, 3), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = [texture[10:106, 60 - 4 * i : 188 - 4 * i] for i in range(5)]  # the scene moves right by 4 px a frame
    clip = Clip(write_video(tmp_path / "a.avi", frames), "wave", "a")
    for settings, motion, size in (
        (FlowSettings("dis", {"preset": "medium"}), 4, (96, 128)),
        (FlowSettings("dis", {"preset": "medium"}, short_side=48), 2, (48, 64)),
    ):
        fields = [dequantize(codes, settings.bound) for codes in clip_fields(clip, settings)]
        assert len(fields) == 4
        assert all(field.shape == (*size, 2) for field in fields)
        assert np.median(np.stack(fields)[..., 0]) == pytest.approx(motion, abs=0.3)
        assert np.median(np.stack(fields)[..., 1]) == pytest.approx(0, abs=0.3)


def test_clips_that_were_cut_short_are_counted_and_the_first_is_named(tmp_path, clips, out, caplog):
    cut = Clip(noise_video(tmp_path / "videos" / "wave" / "cut.avi", 30), "wave", "cut")
    cut.path.write_bytes(cut.path.read_bytes()[: cut.path.stat().st_size // 2])
    assert extract([*clips, cut], out, SETTINGS, workers=1).written == 4
    assert "the flow of 1 clips covers far fewer frames" in caplog.text
    assert str(cut.path) in caplog.text


def test_fields_do_not_depend_on_how_many_are_estimated_at_once(clips, monkeypatch):
    one_by_one = list(clip_fields(clips[0], SETTINGS))
    from actionrec.flow import extract as module

    create = module.create
    monkeypatch.setattr(module, "create", lambda *settings: create(*settings)._replace(batch=3))
    assert np.array_equal(list(clip_fields(clips[0], SETTINGS)), one_by_one)


def test_extraction_does_what_is_missing_and_says_so(out, clips):
    summary = extract(clips, out, SETTINGS, workers=2)
    assert summary[:2] == (3, 18)
    assert summary.bytes == sum(len(data) for data in contents(out).values())
    first = contents(out)
    clip_path(out, clips[0]).unlink()
    clip_path(out, clips[2]).write_bytes(b"cut short")
    summary = extract(clips, out, SETTINGS, workers=1)
    assert (summary.written, summary.fields, summary.skipped, summary.failed) == (2, 12, 1, [])
    assert contents(out) == first
    assert extract(clips, out, SETTINGS, workers=1).skipped == 3


def test_a_clip_that_changed_is_extracted_again(out, clips):
    extract(clips, out, SETTINGS, workers=1)
    noise_video(clips[0].path, 4, seed=9)
    summary = extract(clips, out, SETTINGS, workers=1)
    assert (summary.written, summary.fields, summary.skipped) == (1, 3, 2)


def test_flow_of_other_settings_is_not_replaced(out, clips):
    extract(clips, out, SETTINGS, workers=1)
    before = contents(out)
    with pytest.raises(ActionRecError, match=r"preset=ultrafast.*asks for dis\(preset=fast\)"):
        extract(clips, out, FlowSettings("dis", {"preset": "fast"}), workers=1)
    assert contents(out) == before


def test_a_bad_clip_is_named_and_the_others_are_finished(out, clips):
    clips[1].path.write_bytes(b"no video")
    noise_video(clips[2].path, 1)
    summary = extract(clips, out, SETTINGS, workers=1)
    assert summary.written == 1
    assert len(summary.failed) == 2
    assert any("cannot decode" in line and "#b (c)!_wave_2" in line for line in summary.failed)
    assert any("one frame only" in line and "c_wave_3" in line for line in summary.failed)
    assert set(contents(out)) == {"wave/a_wave_1.zip"}


def test_frames_that_an_estimator_cannot_take_are_that_clips_failure(out, clips):
    tiny = [np.full((8, 8, 3), 30 * i, np.uint8) for i in range(3)]
    write_video(clips[0].path, tiny)
    summary = extract(clips, out, SETTINGS, workers=1)
    assert summary.written == 2
    assert "dis fails on its frames" in summary.failed[0]


def test_the_longest_clip_comes_first(out, clips):
    extract(clips, out, SETTINGS, workers=1)
    by_age = sorted(out.rglob("*.zip"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.stem for path in by_age] == ["c_wave_3", "#b (c)!_wave_2", "a_wave_1"]


def die_on_b(clip: Clip, settings: FlowSettings):
    yield from clip_fields(clip, settings)
    if clip.path.name.startswith("#b"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_costs_its_clip_only(out, clips, tmp_path):
    summary = fill(clips, out, SETTINGS, 1, die_on_b)
    assert (summary.written, len(summary.failed)) == (2, 1)
    assert "#b (c)!_wave_2.avi: its worker process died (status -9)" in summary.failed[0]
    assert len(contents(out)) == 2  # and nothing temporary
    extract(clips, out, SETTINGS, workers=1)
    extract(clips, tmp_path / "undisturbed", SETTINGS, workers=2)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_what_a_killed_run_left_is_removed(out, clips):
    """Temporary files of clips of other runs stay."""
    with atomic_path(clip_path(out, clips[0])) as temporary:
        left = temporary.with_name(temporary.name[:-5] + "_.zip")
    left.write_bytes(b"half")
    clip_path(out, clips[0]).unlink()
    assert set(contents(out)) == {f"wave/{left.name}"}
    extract(clips[1:], out, SETTINGS, workers=1)
    assert left.exists()
    extract(clips, out, SETTINGS, workers=1)
    assert len(contents(out)) == 3


def test_what_another_process_writes_is_left_alone(out, clips):
    """A second run must not remove the first one's temporary files; the lock allows one writer per store."""
    path = clip_path(out, clips[0])
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        extract(clips[:1], out, SETTINGS, workers=1)
        assert temporary.exists()
    assert path.read_bytes() == b"half"
    code = "import sys, time; from pathlib import Path; from actionrec.system import locks"
    code += "; locks.acquire(Path(sys.argv[1]), ''); print(flush=True); time.sleep(60)"
    for place, parts in ((out, {"": False, "shard-0-of-2": True}), (f"{out}.shard-0-of-2", {"shard-0-of-2": False})):
        command = [sys.executable, "-c", code, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
            owner.stdout.readline()
            for part, free in parts.items():
                if free:
                    assert extract(clips, out, SETTINGS, 1, part)
                else:
                    with pytest.raises(ActionRecError, match=f"is being written by process {owner.pid}"):
                        extract(clips, out, SETTINGS, 1, part)
            owner.kill()
    for part in ("", "shard-0-of-2"):
        assert extract(clips, out, SETTINGS, 1, part).failed == []
    assert [each.name for each in out.parent.iterdir() if each.name.startswith(".")] == []


def test_shards_are_disjoint_balanced_and_whole(tmp_path):
    clips = [Clip(noise_video(tmp_path / f"{i}.avi", 2 + i, i), "wave", str(i)) for i in range(7)]
    shards = [shard(clips, 3, index) for index in range(3)]
    assert sorted(clip for part in shards for clip in part) == sorted(clips)
    assert [shard(clips[::-1], 3, index) for index in range(3)] == shards
    sizes = [sum(clip.path.stat().st_size for clip in part) for part in shards]
    assert max(sizes) < 2 * min(sizes)
    for index in (-1, 3):
        with pytest.raises(ActionRecError, match=f"shard.count=3 shard.index={index}"):
            shard(clips, 3, index)


def test_verify_names_all_that_is_wrong(out, clips):
    extract(clips, out, SETTINGS, workers=1)
    assert verify(clips, out, SETTINGS, workers=2) == []
    clip_path(out, clips[0]).unlink()
    clip_path(out, clips[1]).write_bytes(b"cut short")
    (out / "wave" / "stranger.zip").write_bytes(b"")
    wrong = verify(clips, out, SETTINGS, workers=1)
    assert len(wrong) == 3
    assert "is damaged" in wrong[0] or "is damaged" in wrong[1]
    assert wrong[2].endswith("stranger.zip is the flow of no clip; delete it")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("long")
    tags = {}
    for action in ("wave", "clap"):
        names = [f"s{i}_{action}_{i}.avi" for i in range(6)]
        for seed, name in enumerate(names):
            noise_video(root / "hmdb51" / action / name, 60 + seed, seed)
        tags[action] = dict.fromkeys(names, 1)
    write_splits(root / "hmdb51_splits", tags)
    return root


@pytest.fixture
def command(data, tmp_path) -> list[str]:
    return [
        *(sys.executable, "-m", "actionrec", "extract_flow", f"paths.root={data}", "data.actions=[wave,clap]"),
        *("flow=farneback", f"flow.params.iterations={SLOW}", "workers=2"),
        f"paths.flow={tmp_path / 'flow'}",
        f"paths.outputs={tmp_path / 'outputs'}",
    ]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    clips = [Clip(path, path.parent.name, "") for path in (data / "hmdb51").rglob("*.avi")]
    assert extract(clips, folder, FlowSettings("farneback", {**FARNEBACK, "iterations": SLOW}), workers=2).written == 12
    return contents(folder)


def heed_interrupts() -> None:
    """A process that a shell starts in the background ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TestCommandLine:
    """`actionrec extract_flow` on clips that take long enough to be interrupted."""

    @pytest.mark.ci
    @pytest.mark.parametrize(("sign", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_killed_and_run_again(self, command, run, tmp_path, undisturbed, sign, status):
        flow = tmp_path / "flow"
        for _ in range(5):  # on a busy machine it may be done before the signal comes
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
            while not any(flow.glob("*/[!.]*.zip")) and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(sign)
            _, err = process.communicate(timeout=60)  # the workers hold stderr: that it ends says that they are gone
            if process.returncode != 0:
                break
            shutil.rmtree(flow)
        assert process.returncode == status, err
        done = {name: data for name, data in contents(flow).items() if not Path(name).name.startswith(".")}
        assert 0 < len(done) < 12
        assert all(undisturbed[name] == data for name, data in done.items())
        if sign != signal.SIGKILL:
            assert "interrupted: " in err
            assert "run the same command again" in err
            assert len(done) == len(contents(flow))
        again = run("extract_flow", *command[4:])
        assert again.status == 0, again.err
        assert f"{12 - len(done)} clips written" in again.err
        assert contents(flow) == undisturbed

    @pytest.mark.ci
    def test_a_store_that_cannot_be_written(self, command, tmp_path):
        """A limit on the file size stands for a full disk."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        [line] = lines
        assert "cannot write flow to" in line
        assert "File too large; 0 of 12 clips are done" in line
        assert "run the same command again" in line
        assert contents(tmp_path / "flow") == {}

    @pytest.mark.ci
    @pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
    def test_two_shards_at_once_by_a_launcher(self, command, tmp_path, undisturbed, launcher):
        sharded = ["workers=1", "shard.count=2", "shard.index=0,1", f"hydra/launcher={launcher}", "--multirun"]
        done = subprocess.run([*command, *sharded], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert contents(tmp_path / "flow") == undisturbed

    def test_verify_says_what_is_wrong_and_extracts_nothing(self, run, demo_root, demo_flow, tmp_path):
        places = [f"paths.root={demo_root}", f"paths.outputs={tmp_path}", "workers=1", "verify=true"]
        assert run("extract_flow", *places, f"paths.flow={demo_flow}").status == 0
        outcome = run("extract_flow", *places, f"paths.flow={tmp_path / 'none'}", "data.actions=[wave,clap]")
        assert outcome.status == 1
        assert "35 of 35 clips have missing or wrong flow" in outcome.err
        assert outcome.err.count("extract the flow with") == 35 + 1  # each, and the first again in the last line
        assert not (tmp_path / "none").exists()

    def test_a_preview_shows_frame_flow_and_magnitude(self, run, demo_root, tmp_path):
        clip = sorted((demo_root / "hmdb51" / "wave").glob("*.avi"))[0]
        places = [f"paths.root={demo_root}", f"paths.outputs={tmp_path}"]
        for name in (clip, clip.stem):
            outcome = run("extract_flow", *places, f"preview='{name}'")
            assert outcome.status == 0, outcome.err
            video = Path(outcome.out.strip())
            assert video == tmp_path / "demo" / "previews" / "dis_balanced" / f"{clip.stem}.mp4"
            assert video.is_file()
        outcome = run("extract_flow", *places, "preview=nothing")
        assert outcome.status == 1
        assert "preview=nothing is neither a file nor a clip" in outcome.err

    def test_workers_are_counted(self, run, demo_root, tmp_path):
        outcome = run("extract_flow", f"paths.root={demo_root}", f"paths.flow={tmp_path}", "workers=0")
        assert outcome.status == 1
        assert "workers=0: use auto, or a whole number from 1 to" in outcome.err
