"""Substitutes for pretrained weights, which need no download."""

import pytest
import torch
import torchvision
from torchvision.models import get_model, get_model_weights
from torchvision.models._api import WeightsEnum


@pytest.fixture
def pretrained(monkeypatch):
    """Make torchvision and timm build networks as with pretrained weights, but with random ones."""

    def random_weights(member, *_, **__):
        kinds = torchvision.models, torchvision.models.video
        names = [name for kind in kinds for name in torchvision.models.list_models(module=kind)]
        name = next(name for name in names if get_model_weights(name) is type(member))
        options = {"init_weights": False, "aux_logits": True} if name in ("googlenet", "inception_v3") else {}
        if name.startswith("vit_"):
            options["image_size"] = member.meta["min_size"][0]
        torch.manual_seed(1)
        return get_model(name, weights=None, **options).state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", random_weights)
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
