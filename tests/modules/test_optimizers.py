"""Groups of parameters, optimisers and schedules from settings."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau, StepLR

from actionrec.modules.optimizers import create_optimizer, create_schedule, parameter_groups
from actionrec.system.errors import ActionRecError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01, "weight_decay": 0.1, "fused": "auto"}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


@pytest.fixture
def network() -> Network:
    return Network()


def named(network: nn.Module, groups: list[dict]) -> dict[str, set[str]]:
    """Names of the parameters in each group."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {group.get("name", ""): {names[id(each)] for each in group["params"]} for group in groups}


def test_all_parameters_that_learn_are_one_group_by_default(network):
    network.backbone.requires_grad_(False)
    [group] = parameter_groups(network.named_parameters())
    assert group == {"params": [network.head.weight, network.head.bias]}


def test_norms_and_biases_can_go_without_weight_decay(network):
    groups = parameter_groups(network.named_parameters(), decay_norms=False)
    assert named(network, groups) == {
        "all": {"backbone.0.weight", "head.weight"},
        "all_no_decay": {"backbone.0.bias", "backbone.1.weight", "backbone.1.bias", "head.bias"},
    }
    optimizer = create_optimizer(ADAM, groups, clips=False)
    assert [(group["name"], group["weight_decay"]) for group in optimizer.param_groups] == [
        ("all", 0.1),
        ("all_no_decay", 0.0),
    ]


def test_parts_have_rates_of_their_own(network):
    groups = parameter_groups(network.named_parameters(), head_lr_factor=10.0, backbone_lr_factor=0.5)
    optimizer = create_optimizer(ADAM, groups, clips=False)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"backbone": pytest.approx(0.005), "head": pytest.approx(0.1)}
    assert set(named(network, groups)["head"]) == {"head.weight", "head.bias"}


def test_parts_of_the_same_rate_are_not_told_apart(network):
    groups = parameter_groups(network.named_parameters(), head_lr_factor=2.0, backbone_lr_factor=2.0)
    [group] = create_optimizer(ADAM, groups, clips=False).param_groups
    assert group["lr"] == pytest.approx(0.02)
    assert len(group["params"]) == 6


def test_parts_and_decay_make_four_groups_that_hold_every_parameter_once(network):
    groups = parameter_groups(network.named_parameters(), head_lr_factor=10.0, decay_norms=False)
    assert set(named(network, groups)) == {"backbone", "backbone_no_decay", "head", "head_no_decay"}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("fused", "clips", "expected"),
    [("auto", False, True), ("auto", True, False), (True, True, True), (False, False, False)],
)
def test_auto_fuses_unless_gradients_are_clipped(network, fused, clips, expected):
    optimizer = create_optimizer({**ADAM, "fused": fused}, parameter_groups(network.named_parameters()), clips)
    assert optimizer.param_groups[0]["fused"] is expected


def test_any_optimiser_of_torch_takes_its_own_arguments(network):
    groups = parameter_groups(network.named_parameters())
    optimizer = create_optimizer({"_target_": "torch.optim.RMSprop", "alpha": 0.9}, groups, clips=False)
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert optimizer.param_groups[0]["alpha"] == 0.9


def schedule(network: nn.Module, **settings) -> dict:
    optimizer = create_optimizer(ADAM, parameter_groups(network.named_parameters()), clips=False)
    target = f"torch.optim.lr_scheduler.{settings.pop('of')}"
    return create_schedule({"_target_": target, **settings}, optimizer, total_steps=40, steps_per_epoch=10)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"of": "StepLR", "step_size": 2}, StepLR),
        ({"of": "LinearLR", "total_iters": 3}, LinearLR),
        ({"of": "CosineAnnealingLR", "T_max": 4}, CosineAnnealingLR),
    ],
)
def test_a_scheduler_of_torch_steps_with_epochs(network, settings, kind):
    made = schedule(network, **settings)
    assert isinstance(made["scheduler"], kind)
    assert made["interval"] == "epoch"
    by_step = schedule(network, **settings, interval="step", frequency=2)
    assert (by_step["interval"], by_step["frequency"]) == ("step", 2)


def test_a_scheduler_that_asks_for_the_length_of_the_training_gets_it(network):
    made = schedule(network, of="OneCycleLR", max_lr=0.1)
    assert isinstance(made["scheduler"], OneCycleLR)
    assert (made["scheduler"].total_steps, made["interval"]) == (40, "step")
    assert schedule(network, of="OneCycleLR", max_lr=0.1, total_steps=7)["scheduler"].total_steps == 7


@pytest.mark.parametrize(("monitor", "mode"), [(None, "min"), ("val/loss", "min"), ("val/map", "max")])
def test_a_plateau_is_one_of_the_metric_that_is_monitored(network, monitor, mode):
    made = schedule(network, of="ReduceLROnPlateau", patience=3, **({"monitor": monitor} if monitor else {}))
    assert isinstance(made["scheduler"], ReduceLROnPlateau)
    assert (made["monitor"], made["scheduler"].mode) == (monitor or "val/loss", mode)


def test_our_schedules_step_with_batches_and_keep_the_rates_of_the_groups_apart(network):
    groups = parameter_groups(network.named_parameters(), head_lr_factor=10.0)
    optimizer = create_optimizer(ADAM, groups, clips=False)
    made = create_schedule({"_target_": "actionrec.modules.schedules.onecycle"}, optimizer, 40, 10)
    assert made["interval"] == "step"
    seen = []
    for _ in range(40):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        made["scheduler"].step()
    assert max(seen) == pytest.approx((0.01, 0.1))
    assert all(head == pytest.approx(10 * backbone) for backbone, head in seen)


def test_settings_without_a_class_or_of_none_get_one_line(network):
    groups = parameter_groups(network.named_parameters())
    with pytest.raises(ActionRecError, match="optimizer has no _target_"):
        create_optimizer({"lr": 0.1}, groups, clips=False)
    optimizer = create_optimizer(ADAM, groups, clips=False)
    with pytest.raises(ActionRecError, match="scheduler has no _target_"):
        create_schedule({"T_max": 3}, optimizer, 40, 10)
    with pytest.raises(ActionRecError, match=r"scheduler\._target_=torch\.optim\.lr_scheduler\.Cosine: .*Cosine"):
        schedule(network, of="Cosine")
