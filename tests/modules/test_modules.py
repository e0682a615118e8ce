"""Each module learns: one step lowers the loss, one batch is learnt by heart."""

import copy

import pytest
import torch
from lightning import Trainer
from torch.nn import BatchNorm2d
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.networks.fusion import Stream

ACTIONS = ["clap", "wave", "run"]
BACKBONE = {"name": "resnet18", "weights": None, "stem": "inflate"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
INPUTS = {"size": 32, "fields": 4, "stride": 1, "representation": "xy"}

MODULES = {
    "frame": lambda: FrameModule(BACKBONE, ACTIONS, INPUTS, ADAM),
    "flow": lambda: FlowModule(BACKBONE, ACTIONS, INPUTS, ADAM),
    "magnitude": lambda: FlowModule(BACKBONE, ACTIONS, {**INPUTS, "fields": 8, "representation": "magnitude"}, ADAM),
    "concat": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM),
    "concat_features": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="concat_features"),
    "conv": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="conv"),
    "average": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="average"),
    "max": lambda: TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, fusion="max"),
}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "frame": torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8),
        "flow": torch.randint(0, 256, (6, 8, 32, 32), dtype=torch.uint8),
        "label": torch.tensor([0, 1, 2, 0, 1, 2]),
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_learns_a_batch_by_heart(name, batch):
    torch.manual_seed(0)
    module = MODULES[name]().train()
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(module(batch), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if len(losses) > 1 and losses[-1] < 0.05:
            break
    assert losses[1] < losses[0]
    assert (module(batch).argmax(1) == batch["label"]).all()


@pytest.mark.parametrize("name", MODULES)
def test_hyper_parameters_are_plain_and_name_no_weights(name):
    def check(value):
        assert type(value) in (str, int, float, bool, type(None), list, tuple, dict)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
            check(inner)

    module = MODULES[name]()
    check(dict(module.hparams))
    for key in ("backbone", "frame_backbone", "flow_backbone"):
        assert module.hparams.get(key, {}).get("weights") is None


def test_the_two_stream_network_has_the_references_parameters():
    twelve = [f"a{i}" for i in range(12)]
    module = TwoStreamModule(BACKBONE, BACKBONE, twelve, INPUTS, ADAM)
    assert sum(parameter.numel() for parameter in module.network.parameters()) == 22_381_316


def test_tensors_stay_channels_last(batch):
    module = MODULES["frame"]()
    seen = []
    module.network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(batch)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert module.network.backbone.network.conv1.weight.is_contiguous(memory_format=torch.channels_last)


class WaitingCalls(TorchDispatchMode):
    """Notes the operations whose result a GPU would have to be waited for, since Python or a shape depends on it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal", "is_nonzero"):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["frame", "concat"])
def test_no_training_step_waits_for_the_device(name, batch):
    module = MODULES[name]()
    waiting = WaitingCalls()
    step = module.training_step

    def watched_step(batch, batch_idx):
        with waiting:
            return step(batch, batch_idx)

    module.training_step = watched_step
    options = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    trainer = Trainer(**options, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, DataLoader([batch] * 4, batch_size=None))
    assert waiting.seen == []
    with waiting:
        batch["label"].max().item()
    assert waiting.seen  # it does see one


def test_the_epochs_loss_and_accuracy_are_those_of_all_its_samples(batch):
    """Batches of different sizes count by their samples."""
    module = MODULES["frame"]().eval()
    small = {key: value[:2] for key, value in batch.items()}
    with torch.no_grad():
        logits = torch.cat([module(batch), module(small)])
    labels = torch.cat([batch["label"], small["label"]])
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer = Trainer(**options, enable_checkpointing=False, enable_model_summary=False)
    [found] = trainer.validate(module, DataLoader([batch, small], batch_size=None), verbose=False)
    assert found["val/loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
    assert found["val/acc"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))


@pytest.mark.parametrize("name", ["frame", "concat"])
def test_training_logs_the_cross_entropy_and_the_accuracy_of_its_steps(name, batch):
    """The loss is that of the validation, without the smoothing that the gradient has."""
    module = MODULES[name]()
    module.label_smoothing = 0.3
    small = {key: value[:2] for key, value in batch.items()}
    answers, objectives = [], []
    module.network.register_forward_hook(lambda *call: answers.append(call[-1].detach()))
    step = module.training_step
    module.training_step = lambda batch, batch_idx: objectives.append(step(batch, batch_idx)) or objectives[-1]
    options = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    trainer = Trainer(**options, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, DataLoader([batch, small], batch_size=None))
    logits, labels = torch.cat(answers), torch.cat([batch["label"], small["label"]])
    found = trainer.callback_metrics
    assert found["train/loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
    assert found["train/acc"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    smooth = F.cross_entropy(answers[0], batch["label"], label_smoothing=0.3)
    assert float(objectives[0].detach()) == pytest.approx(float(smooth), rel=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_logits_are_float32_under_autocast(name, batch):
    """What is after the backbones computes as it does without, and its results are not rounded to bf16."""
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    network = module.network
    streams = [network] if isinstance(network, Stream) else [network.frame, network.flow]
    kept = []
    for stream in streams:
        stream.backbone.register_forward_hook(lambda layer, inputs, output: kept.append(output))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = module(batch)
        # Without the backbones, whose results are put in their place.
        if name == "conv":
            maps = [stream.maps(batch[role]) for stream, role in zip(streams, ("frame", "flow"), strict=True)]
    with torch.no_grad():
        if name == "conv":
            expected = network.fusion(*(each.float() for each in maps))
        else:
            assert all(each.dtype == torch.bfloat16 for each in kept)
            given = dict(zip(("frame", "flow") if len(kept) > 1 else (module.modality,), kept, strict=True))
            expected = module({role: each.float() for role, each in given.items()})
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("name", MODULES)
def test_a_step_stays_on_its_device(name, batch):
    """On the meta device an operation with a tensor that was left on the CPU is an error, as it is on a GPU."""
    module = MODULES[name]().to("meta")
    there = {key: value.to("meta") for key, value in batch.items()}
    logits = module(there)
    assert logits.device.type == "meta"
    F.cross_entropy(logits, there["label"]).backward()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.device.type == "meta" for gradient in gradients)
    module.train_metrics.update(logits.detach(), there["label"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", MODULES)
def test_a_gpu_computes_what_the_cpu_does(name, batch):
    module = MODULES[name]().eval()
    with torch.no_grad():
        expected = module(batch)
        there = {key: value.cuda() for key, value in batch.items()}
        found = copy.deepcopy(module).cuda()(there)
    assert found.is_cuda
    assert torch.allclose(found.cpu(), expected, atol=1e-2)


@pytest.mark.parametrize("frozen", [("frame",), ("frame", "flow")])
def test_frozen_streams_have_no_gradients_and_keep_their_statistics(frozen, batch):
    module = TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, frozen=frozen, dropout=0.5)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert all(not stream.training for role in frozen for stream in module.network.get_submodule(role).modules())
    optimizer = module.configure_optimizers()
    F.cross_entropy(module(batch), batch["label"]).backward()
    optimizer.step()
    for key, value in module.state_dict().items():
        if key.startswith(tuple(f"network.{role}." for role in frozen)):
            assert torch.equal(value, before[key])
    assert not torch.equal(module.network.fusion.weight, before["network.fusion.weight"])


def test_features_stand_in_for_pixels(batch):
    module = TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, frozen=("frame", "flow")).eval()
    features = module.predict_step(batch, 0)
    assert features["frame"].shape == features["flow"].shape == (6, 512)
    assert torch.allclose(module({**batch, **features}), module(batch), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "streams"), [("frame", ["network.backbone"]), ("concat", ["network.frame.", "network.flow."])]
)
def test_held_norms_stay_as_they_are_from_the_first_step_on(name, streams, batch):
    """Statistics, scales and shifts of all but the first norm of each backbone, also after train() and validation."""
    module = partial_norms(name)
    norms = {key: each for key, each in module.named_modules() if isinstance(each, BatchNorm2d)}
    free = {next(key for key in norms if key.startswith(stream)) for stream in streams}
    before = {key: copy.deepcopy(each.state_dict()) for key, each in norms.items()}
    data = DataLoader([{key: value[row] for key, value in batch.items()} for row in range(6)], batch_size=3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=2, enable_model_summary=False, num_sanity_val_steps=0, **quiet)
    trainer.fit(module, data, data)
    changed = {
        key
        for key, each in norms.items()
        if any((each.state_dict()[part] != value).any() for part, value in before[key].items())
    }
    assert changed == free


def partial_norms(name):
    options = {"optimizer": ADAM, "batch_norm": "partial"}
    if name == "concat":
        return TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, **options)
    return FrameModule(BACKBONE, ACTIONS, INPUTS, **options)


def test_each_part_of_a_module_has_its_rate(batch):
    module = TwoStreamModule(BACKBONE, BACKBONE, ACTIONS, INPUTS, ADAM, head_lr_factor=10.0, decay_norms=False)
    groups = module.configure_optimizers().param_groups
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == {"backbone": 1e-3, "backbone_no_decay": 1e-3, "head": 1e-2, "head_no_decay": 1e-2}
    heads = {id(each) for group in groups if group["name"].startswith("head") for each in group["params"]}
    network = module.network
    wanted = [*network.fusion.parameters(), *network.frame.head.parameters(), *network.flow.head.parameters()]
    assert heads == {id(each) for each in wanted}
