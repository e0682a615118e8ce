"""The usual pairs of a data set and its streams as classes, by name: `HMDB51FlowDataModule`, `UCF101FrameDataModule`, …

Their names tell the data of a run in logs; else they are the same as `ClipDataModule` and `StillDataModule`.
"""

from actionrec.datamodules.base import ActionDataModule
from actionrec.datamodules.clips import ClipDataModule
from actionrec.datamodules.stills import StillDataModule
from actionrec.datasets.base import ClipSet, DataSet
from actionrec.system.classes import concrete

# How the streams of a module are called in its name.
STREAMS = {("frame",): "Frame", ("flow",): "Flow", ("flow", "frame"): "TwoStream"}
OF_STILLS = (("frame",),)


def _usual() -> dict[str, type[ActionDataModule]]:
    found = {}
    for full, kind in concrete("actionrec.datasets", DataSet).items():
        of_clips = issubclass(kind, ClipSet)
        base: type[ActionDataModule] = ClipDataModule if of_clips else StillDataModule
        for streams in STREAMS if of_clips else OF_STILLS:
            name = f"{full.rpartition('.')[2]}{STREAMS[streams]}DataModule"
            text = f"{' and '.join(streams)} of {kind.__name__}; see `{base.__name__}`."
            found[name] = type(name, (base,), {"__doc__": text, "__module__": "actionrec.datamodules"})
    return found


USUAL = _usual()
