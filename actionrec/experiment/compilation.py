"""Faster forms of networks in training, as the settings `fast_depthwise` and `compile` ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from actionrec.settings.composition import plain
from actionrec.system.errors import ActionRecError

if TYPE_CHECKING:  # slow to import; a verb's --help does without
    from torch import nn


@contextmanager
def accelerated(network: "nn.Module", config: DictConfig) -> Iterator[None]:
    """Give depthwise convolutions fast gradients, and have torch compile the backbones while the context lasts.

    The backbones are compiled in place, so that the names of their parameters, and thus checkpoints, stay the same. The
    normalisation before them is not compiled: on the CPU, compiled code of torch 2.14 reads past the end of the
    loaders' uint8 batches, where their shared memory may end.

    Raises:
        ActionRecError: the arguments are wrong for torch.compile, or the machine cannot compile.
    """
    from actionrec.networks.depthwise import use_fast_gradients

    if config.fast_depthwise:
        use_fast_gradients(network)
    if not config.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    from actionrec.networks.backbone import Backbone

    options = plain(config)["compile"]
    try:
        for backbone in (module for module in network.modules() if isinstance(module, Backbone)):
            backbone.compile(**(options if isinstance(options, dict) else {}))
    except (RuntimeError, TypeError) as error:
        raise ActionRecError(f"compile={options}: {error}; see torch.compile") from None
    try:
        yield
    except TorchDynamoException as error:  # e.g. without a C++ compiler
        reason = next(line for line in str(error).splitlines() if line)
        raise ActionRecError(f"compile={options}: {reason}; set compile=false") from None
