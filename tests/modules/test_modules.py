"""Each module learns: one step lowers the loss, one batch is learnt by heart."""

import copy
import itertools
from functools import partial

import pytest
import torch
from lightning import Callback, Trainer
from torch.nn import BatchNorm2d
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from actionrec import modules
from actionrec.modules import FlowModule, FrameModule, MultiStreamModule, StreamModule, TwoStreamModule
from actionrec.modules.held import first_layers, held_norms
from actionrec.modules.mixup import mix
from actionrec.modules.streams import create_stream, lacking_one
from actionrec.streams import Flow, Frame
from actionrec.system.errors import ActionRecError

ACTIONS = ["clap", "wave", "run"]
RESNET = {"backbone": {"name": "resnet18", "weights": None, "stem": "inflate"}}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
SEEN = {"frame": Frame().settings(), "flow": Flow("dis").settings(), "fast": Flow("dis", stride=2).settings()}


def create(*names: str, **options):
    """The module of those streams."""
    settings = {name: RESNET for name in names} | options
    inputs = {"size": 32, "streams": {name: SEEN[name] for name in names}}
    return modules.create(**{"actions": ACTIONS, "inputs": inputs, "optimizer": ADAM, **settings})


def magnitude() -> FlowModule:
    inputs = {"size": 32, "streams": {"flow": Flow("dis", representation="magnitude").settings()}}
    return FlowModule(ACTIONS, inputs, ADAM, flow=RESNET)


FUSIONS = ("concat", "concat_features", "conv", "average", "product", "max")
MODULES = {
    "frame": lambda: create("frame"),
    "flow": lambda: create("flow"),
    "magnitude": magnitude,
    **{fusion: partial(create, "frame", "flow", fusion=fusion) for fusion in FUSIONS},
    "three": lambda: create("frame", "flow", "fast"),
}
MIXED = {
    "mixed": lambda: create("frame", "flow", mixup=0.2),
    "alone": lambda: create("frame", "flow", stream_loss=1.0, stream_dropout=0.5),
}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "frame": torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8),
        "flow": torch.randint(0, 256, (6, 8, 32, 32), dtype=torch.uint8),
        "fast": torch.randint(0, 256, (6, 8, 32, 32), dtype=torch.uint8),
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
    assert [module.hparams[name]["backbone"]["weights"] for name in module.streams] == [None] * len(module.streams)
    again = type(module)(**module.hparams)
    assert again.state_dict().keys() == module.state_dict().keys()


def test_the_two_stream_network_has_the_references_parameters():
    twelve = [f"a{i}" for i in range(12)]
    module = create("frame", "flow", actions=twelve)
    assert sum(parameter.numel() for parameter in module.network.parameters()) == 22_381_316


def test_tensors_stay_channels_last(batch):
    module = MODULES["frame"]()
    seen = []
    module.network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(batch)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    for weight in module.network.parameters():
        if weight.dim() == 4:  # 1×1 convolutions are contiguous in either format, but have other strides
            assert weight.stride() == torch.empty(weight.shape).to(memory_format=torch.channels_last).stride()


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


@pytest.mark.parametrize("name", ["frame", "concat", "mixed"])
def test_no_training_step_waits_for_the_device(name, batch):
    module = (MODULES | MIXED)[name]()
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
    """The layers after the backbones compute as they do without, and their results are not rounded to bf16."""
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    kept = []
    for stream in module.streams.values():
        stream.backbone.register_forward_hook(lambda layer, inputs, output: kept.append(output))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = module(batch)
        # Without the backbones, whose results are put in their place.
        if name == "conv":
            maps = [stream.maps(batch[each]).float() for each, stream in module.streams.items()]
    with torch.no_grad():
        if name == "conv":
            expected = module.network.fusion.decide(torch.cat(maps, dim=1))
        else:
            assert all(each.dtype == torch.bfloat16 for each in kept)
            given = dict(zip(module.streams, kept, strict=True))
            expected = module({each: features.float() for each, features in given.items()})
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
    module = create("frame", "flow", frozen=frozen, dropout=0.5)
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
    module = create("frame", "flow", frozen=("frame", "flow")).eval()
    features = module.predict_step(batch, 0)
    assert features["frame"].shape == features["flow"].shape == (6, 512)
    assert torch.allclose(module({**batch, **features}), module(batch), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["frame"], FrameModule),
        (["flow"], FlowModule),
        (["fast"], StreamModule),
        (["frame", "flow"], TwoStreamModule),
        (["flow", "frame"], TwoStreamModule),
        (["frame", "fast"], MultiStreamModule),
        (["frame", "flow", "fast"], MultiStreamModule),
    ],
)
def test_the_class_follows_from_the_streams(names, kind):
    with torch.device("meta"):
        module = create(*names)
    assert type(module) is kind
    assert list(module.streams) == names


def test_streams_have_backbones_of_their_own(batch):
    module = create("frame", "flow", flow={"backbone": {"name": "shufflenet_v2_x0_5", "weights": None}}).eval()
    assert [stream.backbone.features for stream in module.streams.values()] == [512, 1024]
    assert module(batch).shape == (6, 3)


def test_streams_that_do_not_fit_the_data_are_refused():
    inputs = {"size": 32, "streams": {"flow": SEEN["flow"]}}
    with pytest.raises(ActionRecError, match=r"model\.flow is missing"):
        FlowModule(ACTIONS, inputs, ADAM, frame=RESNET)
    with pytest.raises(ActionRecError, match=r"model\.frame is the setting of a stream that the data do not have"):
        FlowModule(ACTIONS, inputs, ADAM, frame=RESNET, flow=RESNET)
    both = {"size": 32, "streams": {"frame": SEEN["frame"], "flow": SEEN["flow"]}}
    with pytest.raises(ActionRecError, match="StreamModule takes one stream, not frame, flow"):
        StreamModule(ACTIONS, both, ADAM, frame=RESNET, flow=RESNET)
    with pytest.raises(ActionRecError, match="FrameModule takes frame, not flow"):
        FrameModule(ACTIONS, inputs, ADAM, flow=RESNET)
    with pytest.raises(ActionRecError, match="cannot be called label"):
        StreamModule(ACTIONS, {"size": 32, "streams": {"label": SEEN["frame"]}}, ADAM, label=RESNET)


class Clip(Flow):
    """Sees five frames."""

    def shape(self, size):
        return (3, 5, size, size)

    def normalisation(self, mean, std):
        return mean, std


def test_clips_go_through_a_video_backbone():
    with torch.device("meta"):
        network = create_stream(Clip("none"), {"name": "r3d_18", "weights": None}, 3, 0.0, 32)
        assert network(torch.zeros(2, 3, 5, 32, 32, dtype=torch.uint8)).shape == (2, 3)
    with pytest.raises(ActionRecError, match=r"resnet18: not a torchvision video classifier"):
        create_stream(Clip("none"), {"name": "resnet18", "weights": None}, 3, 0.0, 32)


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


@pytest.mark.ci
@pytest.mark.parametrize("name", ["frame", "concat"])
def test_heads_learn_before_backbones(name, batch):
    """In the first epoch backbones and their statistics stay; from the second on all learns that may."""
    module = create(*(["frame", "flow"] if name == "concat" else [name]), head_epochs=1, batch_norm="partial")
    held = {id(each) for norm in held_norms(module.network, "partial") for each in norm.parameters()}
    data = DataLoader([{key: value[row] for key, value in batch.items()} for row in range(6)], batch_size=3)
    states = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            states.append(copy.deepcopy(pl_module.backbone.state_dict()))

    before = copy.deepcopy(module.backbone.state_dict())
    head = copy.deepcopy(next(iter(module.streams.values())).head.state_dict())
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {"accelerator": "cpu", "max_epochs": 3, "enable_model_summary": False, "num_sanity_val_steps": 0, **quiet}
    Trainer(**options, callbacks=[Watch()]).fit(module, data, data)
    assert all(torch.equal(states[0][key], value) for key, value in before.items())
    assert any(not torch.equal(next(iter(module.streams.values())).head.state_dict()[key], head[key]) for key in head)
    learnt = {name for name, each in module.backbone.named_parameters() if id(each) not in held}
    assert all(not torch.equal(states[2][key], states[0][key]) for key in learnt)
    assert all(each.requires_grad == (id(each) not in held) for each in module.backbone.parameters())


@pytest.mark.parametrize("head_epochs", [0, 1])
@pytest.mark.parametrize("name", ["frame", "concat"])
def test_fixed_layers_stay_as_they_are(name, head_epochs, batch):
    """Weights and statistics of the first half of each backbone; all behind it learns."""
    module = create(*(["frame", "flow"] if name == "concat" else [name]), fixed_layers=0.5, head_epochs=head_epochs)
    before = copy.deepcopy(module.state_dict())
    fixed = {
        f"{where}.{part}"
        for where, network in module.named_modules()
        if where.endswith("backbone")
        for layer in first_layers(network, 0.5)
        for path, found in network.named_modules()
        if found is layer
        for part in (f"{path}.{key}" for key in layer.state_dict())
    }
    data = DataLoader([{key: value[row] for key, value in batch.items()} for row in range(6)], batch_size=3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {"accelerator": "cpu", "max_epochs": 2, "enable_model_summary": False, "num_sanity_val_steps": 0, **quiet}
    Trainer(**options).fit(module, data, data)
    learns = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    constant = {key for key in before if key.endswith((".mean", ".std"))}
    assert fixed
    assert learns == set(before) - fixed - constant


def test_mixup_trains_on_means_of_two_samples(batch):
    torch.manual_seed(0)
    mixed = mix(batch, ["frame", "flow"], alpha=1.0)
    assert 0.5 <= mixed.share < 1
    [order] = [
        order
        for order in itertools.permutations(range(6))
        if torch.equal(batch["label"][list(order)], mixed.other_labels)
        and torch.allclose(
            mixed.batch["frame"],
            mixed.share * batch["frame"].float() + (1 - mixed.share) * batch["frame"][list(order)].float(),
            atol=1e-3,
        )
    ]
    flow = mixed.share * batch["flow"].float() + (1 - mixed.share) * batch["flow"][list(order)].float()
    torch.testing.assert_close(mixed.batch["flow"], flow, rtol=0, atol=1e-3)  # the same partner and share
    logits = torch.randn(6, 3)
    targets = mixed.share * F.one_hot(batch["label"], 3) + (1 - mixed.share) * F.one_hot(mixed.other_labels, 3)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(mixed.loss(logits, 0.1), expected)
    picture = batch["frame"].contiguous(memory_format=torch.channels_last)
    assert (
        mix({**batch, "frame": picture}, ["frame"], 1.0).batch["frame"].is_contiguous(memory_format=torch.channels_last)
    )


@pytest.mark.parametrize("fusion", ["concat", "average", "product", "max", "gated"])
def test_streams_may_have_losses_of_their_own(fusion, batch):
    torch.manual_seed(0)
    module = create("frame", "flow", fusion=fusion, stream_loss=0.5).eval()
    logits, loss = module.learn(batch, lambda each: F.cross_entropy(each, batch["label"]))
    torch.testing.assert_close(logits, module(batch))
    alone = [F.cross_entropy(stream(batch[name]), batch["label"]) for name, stream in module.streams.items()]
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch["label"]) + 0.5 * (alone[0] + alone[1]) / 2)


def test_a_stream_that_the_fusion_ignores_learns_by_its_own_loss(batch):
    module = create("frame", "flow", stream_loss=1.0)
    with torch.no_grad():
        module.network.fusion.weight[:, :3] = 0
    _, loss = module.learn(batch, lambda each: F.cross_entropy(each, batch["label"]))
    loss.backward()
    assert module.network.frame.head.weight.grad.abs().sum() > 0


def test_a_sample_lacks_one_stream_at_most():
    torch.manual_seed(0)
    logits = {name: torch.ones(4000, 3) for name in ("frame", "flow", "fast")}
    assert lacking_one(logits, 0.0) is logits
    there = torch.stack(list(lacking_one(logits, 0.6).values()))
    assert (there.flatten(1).mean(1) - 0.8).abs().max() < 0.03  # each lacks in 0.6 / 3 of the samples
    assert set(there.sum(0)[:, 0].tolist()) == {2.0, 3.0}


@pytest.mark.parametrize("fusion", ["concat_features", "conv"])
@pytest.mark.parametrize("setting", ["stream_loss", "stream_dropout"])
def test_fusions_of_features_have_no_losses_of_streams(fusion, setting):
    with pytest.raises(ActionRecError, match=rf"^model.fusion={fusion} does not fuse the logits"):
        create("frame", "flow", fusion=fusion, **{setting: 0.1})


def partial_norms(name):
    return create(*(["frame", "flow"] if name == "concat" else [name]), batch_norm="partial")


def test_each_part_of_a_module_has_its_rate(batch):
    module = create("frame", "flow", head_lr_factor=10.0, decay_norms=False)
    groups = module.configure_optimizers().param_groups
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == {"backbone": 1e-3, "backbone_no_decay": 1e-3, "head": 1e-2, "head_no_decay": 1e-2}
    heads = {id(each) for group in groups if group["name"].startswith("head") for each in group["params"]}
    network = module.network
    wanted = [*network.fusion.parameters(), *network.frame.head.parameters(), *network.flow.head.parameters()]
    assert heads == {id(each) for each in wanted}
