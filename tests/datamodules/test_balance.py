"""Actions of different frequency: weights of the loss, and the balanced sampler."""

from collections import Counter

import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.nn import functional as F

from actionrec.datamodules import ClipDataModule
from actionrec.datamodules.balance import balanced_sampler, class_weights
from actionrec.datasets.hmdb51 import HMDB51
from actionrec.experiment.build import create_data, create_module
from actionrec.settings import checks
from actionrec.streams import Frame
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK, noise_video, write_splits

ACTIONS = ["clap", "wave"]
COUNTS = {"clap": 20, "wave": 6}  # clips of the training part, with the validation's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Many clips of one action, few of another."""
    root = tmp_path_factory.mktemp("unequal")
    tags: dict[str, dict[str, int]] = {action: {} for action in ACTIONS}
    for action, count in COUNTS.items():
        for number in range(count + 2):
            name = f"{action}{number}_{action}_f_0.avi"
            noise_video(root / "videos" / action / name, 2, number)
            tags[action][name] = 1 if number < count else 2
    write_splits(root / "splits", tags)
    return root


@pytest.fixture
def module(folder):
    found = ClipDataModule(
        HMDB51("hmdb51", folder / "videos", folder / "splits", 1),
        **{"position": "middle", "segments": 3, "actions": ACTIONS, "size": 16, "batch_size": 3, "num_workers": 0},
        **{"augmentation": "none", "strict": True, "sampler": "balanced", "frame": Frame(str(folder / "frames"))},
    )
    found.setup()
    return found


def epoch(module) -> list[str]:
    return [name for batch in module.train_dataloader() for name in batch["name"]]


def test_weights_make_up_for_the_counts():
    weights = class_weights([0, 0, 0, 2, 2, 2, 2, 2, 2, 3], 4)
    assert weights == pytest.approx([10 / 9, 0, 10 / 18, 10 / 3])
    assert weights[0] * 3 == pytest.approx(weights[2] * 6) == pytest.approx(weights[3] * 1)
    assert class_weights([1, 0, 1, 0], 2) == [1, 1]


def test_every_action_is_drawn_equally_often(module):
    torch.manual_seed(0)
    seen = Counter(name.split("_")[1] for _ in range(40) for name in epoch(module))
    expected = 40 * len(module.names("train")) / 2
    assert seen["clap"] + seen["wave"] == 2 * expected
    assert abs(seen["wave"] - expected) < 4 * (expected / 2) ** 0.5  # four standard deviations


def test_draws_have_their_own_labels_and_features(module):
    """The index of a drawn sample is the index of its cached features."""
    dataset = module.datasets["train"]
    dataset.features["frame"] = torch.arange(len(dataset)).float()[:, None]
    for batch in module.train_dataloader():
        assert [ACTIONS[label] for label in batch["label"]] == [name.split("_")[1] for name in batch["name"]]
        assert [dataset.clips[int(row)].name for row in batch["frame"][:, 0]] == batch["name"]


def test_epochs_differ_and_go_on_from_a_restored_state(module):
    torch.manual_seed(0)
    first = epoch(module)
    state = torch.get_rng_state()  # as callbacks.SaveRngState keeps it
    second = epoch(module)
    assert first != second
    torch.manual_seed(5)
    torch.set_rng_state(state)
    assert epoch(module) == second


def test_devices_share_the_draws():
    """Lightning wraps a sampler that it does not know, and gives each device another part of one epoch's draws."""
    labels = [0] * 90 + [1] * 10
    parts = []
    for rank in range(2):
        sampler = DistributedSamplerWrapper(balanced_sampler(labels), num_replicas=2, rank=rank, seed=0)
        torch.manual_seed(0)  # the processes begin with the same state
        parts.append(list(sampler))
    torch.manual_seed(0)
    assert Counter(parts[0] + parts[1]) == Counter(list(balanced_sampler(labels)))
    assert [len(part) for part in parts] == [50, 50]


def test_the_loss_gets_the_weights_of_the_training_clips(compose_config, folder, tmp_path):
    places = [f"paths.hmdb51={folder / 'videos'}", f"paths.hmdb51_splits={folder / 'splits'}"]
    places += [f"data.actions={ACTIONS}", f"paths.frames={folder / 'frames'}", f"paths.outputs={tmp_path}"]
    quick = [each for each in QUICK if not each.startswith("~")]
    config = compose_config("train", "experiment=hmdb51_frame", *places, *quick, "model.class_weights=balanced")
    data = create_data(config)
    counts = Counter(clip.action for clip in data.splits.train)
    module = create_module(config, data, {})
    expected = [sum(counts.values()) / (len(counts) * counts[action]) for action in data.actions]
    assert module.class_weights.tolist() == pytest.approx(expected)
    assert module.hparams["class_weights"] == pytest.approx(expected)
    assert not [key for key in module.state_dict() if "class_weights" in key]  # parents without weights stay parents
    logits, labels = torch.randn(6, 2), torch.tensor([0, 0, 0, 0, 0, 1])
    module.forward = lambda batch: logits
    module.trainer = type("Trainer", (), {"is_last_batch": False})()
    by_hand = F.cross_entropy(logits, labels, reduction="none") * torch.tensor(expected)[labels]
    loss = module.training_step({"label": labels}, 0)
    assert float(loss) == pytest.approx(float(by_hand.sum() / torch.tensor(expected)[labels].sum()), rel=1e-5)
    assert float(module.train_loss.compute()) == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)


def test_both_at_once_are_refused(compose_config):
    both = ["model.class_weights=balanced", "data.sampler=balanced"]
    with pytest.raises(ActionRecError, match=r"^model\.class_weights=balanced: .*set one of them to null$"):
        checks.check(compose_config("train", "experiment=hmdb51_frame", *both))
    for one in both:
        checks.check(compose_config("train", "experiment=hmdb51_frame", one))
