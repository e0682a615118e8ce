"""Files from anywhere, read as data and checked before Hydra or torch build anything from them.

A checkpoint, or a run's `config.yaml`, may come from a stranger. Its text is never resolved, so that interpolations
cannot read the environment, and never instantiated unchecked: keys, types and ranges must be those of the tables here,
and each `_target_` must be on the allow-list of its place. The command line and `conf/` belong to the user and may
name any class; `trust=<module>` lets a file name the classes of that module as well.

- `reading`: the bytes: YAML, JSON and torch's files, of bounded size, without tags, aliases and pickled classes
- `allowed`: the allow-lists: which classes a file may name, by place
- `targets`: checks every `_target_` of a configuration against them
- `data`: a configuration's `data`, and a checkpoint's description of its network's input
- `checkpoints`: a checkpoint's lineage and hyper-parameters
"""

from actionrec.settings.untrusted.checkpoints import check_hyper_parameters, check_lineage
from actionrec.settings.untrusted.data import FLOW, check_data, writes
from actionrec.settings.untrusted.reading import read_config, read_json, read_metrics, read_overrides, read_tensors
from actionrec.settings.untrusted.targets import check_targets

__all__ = [
    "FLOW",
    "check_data",
    "check_hyper_parameters",
    "check_lineage",
    "check_targets",
    "read_config",
    "read_json",
    "read_metrics",
    "read_overrides",
    "read_tensors",
    "writes",
]
