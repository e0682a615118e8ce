"""Layers that do not learn, and when."""

import pytest
import torch
from torch import nn

from actionrec.modules.held import first_layers, held_norms
from actionrec.system.errors import ActionRecError


def backbone() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    )


def two_streams() -> nn.Module:
    return nn.ModuleDict({each: nn.ModuleDict({"backbone": backbone()}) for each in ("frame", "flow")})


@pytest.mark.parametrize(("mode", "indices"), [("train", ()), ("partial", (3, 4)), ("frozen", (1, 3, 4))])
def test_norms_are_held_in_each_backbone(mode, indices):
    network = two_streams()
    expected = [network[stream]["backbone"][index] for stream in ("frame", "flow") for index in indices]
    assert [id(each) for each in held_norms(network, mode)] == [id(each) for each in expected]


def test_norms_across_devices_are_held_as_well():
    network = nn.SyncBatchNorm.convert_sync_batchnorm(two_streams())
    assert all(isinstance(each, nn.SyncBatchNorm) for each in held_norms(network, "frozen"))
    assert len(held_norms(network, "frozen")) == 6


def test_an_unknown_choice_gets_one_line():
    with pytest.raises(ActionRecError, match=r"model\.batch_norm=half: use one of train, partial, frozen"):
        held_norms(two_streams(), "half")


def test_statistics_of_held_norms_stay_in_training():
    network = backbone()
    for norm in held_norms(nn.ModuleDict({"backbone": network}), "partial"):
        norm.eval()
    before = [network[index].running_mean.clone() for index in (1, 3)]
    network(torch.randn(8, 3, 4, 4))
    after = [network[index].running_mean for index in (1, 3)]
    assert [bool((then == now).all()) for then, now in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.4, 2), (0.5, 2), (0.6, 3), (1, 5)])
def test_the_first_layers_are_those_next_to_the_input(share, count):
    network = backbone()
    assert [id(each) for each in first_layers(network, share)] == [id(each) for each in list(network)[:count]]
