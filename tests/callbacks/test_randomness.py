import torch
from lightning import Trainer
from lightning.pytorch.trainer.call import _call_callbacks_load_state_dict

from actionrec.callbacks import LogValidationImages, SaveRngState


def test_checkpoints_of_before_the_callbacks_were_renamed_restore_their_state():
    torch.manual_seed(1)
    rng = {"cpu": torch.get_rng_state(), "cuda": []}
    expected = torch.rand(3)
    images = LogValidationImages()
    trainer = Trainer(callbacks=[SaveRngState(), images], logger=False, accelerator="cpu", enable_checkpointing=False)
    torch.manual_seed(2)
    states = {"RandomState": rng, "Validation": {"best": 0.5, "tie": 1.0}}
    _call_callbacks_load_state_dict(trainer, {"callbacks": states})
    assert torch.equal(torch.rand(3), expected)
    assert images.best == 0.5
