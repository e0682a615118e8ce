"""Features of frozen streams, computed once instead of in every epoch."""

import logging

import torch
from lightning import LightningModule, Trainer

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.samples import ClipDataset
from actionrec.modules.streams import MultiStreamModule
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)


def keep_features(trainer: Trainer, module: LightningModule, data: ActionDataModule) -> None:
    """Replace the pixels of frozen streams by their features in all training and validation samples.

    Raises:
        ActionRecError: no stream is frozen, the pixels of a sample differ between epochs, the fusion needs feature
            maps, or the trainer uses several devices.
    """
    if not isinstance(module, MultiStreamModule):
        raise ActionRecError(
            "cache_features=true needs frozen streams (model.frozen), which only networks of several streams have; "
            "leave it out"
        )
    network = module.network
    if not network.frozen:
        names = ",".join(network.names)
        raise ActionRecError(f"cache_features=true needs frozen streams; set model.frozen=[{names}], or some of them")
    if not network.fusion.takes_features:
        raise ActionRecError(
            f"cache_features=true keeps features, and model.fusion={module.hparams['fusion']} needs feature maps; "
            "leave one of the two out"
        )
    if trainer.world_size > 1:
        raise ActionRecError("cache_features=true works on one device; set trainer.devices=1")
    for part in ("train", "val"):
        dataset = data.datasets[part]
        assert isinstance(dataset, ClipDataset)
        if not dataset.fixed:
            raise ActionRecError(
                "cache_features=true needs samples that stay the same; set data.augmentation=none and a data.position "
                "other than random"
            )
        with torch.random.fork_rng():  # the training's random numbers stay the same as without cache_features
            batches = trainer.predict(module, dataloaders=data.ordered_dataloader(part)) or []
        for name in network.frozen:
            dataset.features[name] = torch.cat([batch[name] for batch in batches])  # type: ignore[call-overload]
    if set(network.frozen) == set(network.names):
        data.num_workers = 0  # nothing is left to read
    log.info("cache_features: %s computed once", " and ".join(network.frozen))
