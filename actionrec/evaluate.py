"""`python -m actionrec.evaluate experiment=<stage>`: measure a run again, or any checkpoint of that stage."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from actionrec.cli import plain, verb
from actionrec.errors import ActionRecError
from actionrec.files import write_text


def evaluate(config: DictConfig) -> None:
    """Measure `checkpoint`, see `remeasure`, and print its metrics."""
    metrics = remeasure(config)
    print("\n".join(f"{tag:18} {value:.4f}" for tag, value in metrics.items() if isinstance(value, float)))


def remeasure(config: DictConfig) -> dict[str, Any]:
    """Metrics of `checkpoint` on `parts`, with the class list and the inputs it was trained with.

    They go to `metrics.json` and the scores beside it in `output`, by default the run whose best checkpoint it is; what
    else the training has written there stays.
    """
    import actionrec.modules
    from actionrec.evaluation.scores import FILES
    from actionrec.modules.checkpoint import Parent, check_parent, read
    from actionrec.train import create_data, data_split, measure

    path = Path(config.checkpoint)
    parts = plain(config)["parts"]
    if unknown := set(parts) - set(FILES):
        raise ActionRecError(f"parts={parts}: {unknown.pop()} is none of {', '.join(FILES)}")
    if not config.output and path.parts[-2:] != ("checkpoints", "best.ckpt"):
        raise ActionRecError(f"checkpoint={path} is not a run's best; say where its metrics go: output=<folder>")
    folder = Path(config.output) if config.output else path.parents[1]
    checkpoint = read(path, "checkpoint")
    lineage = checkpoint["lineage"]
    if lineage["stage"] != config.stage:
        raise ActionRecError(f"checkpoint={path} is of another stage; use experiment={lineage['stage']}")
    OmegaConf.update(config, "data.actions", lineage["actions"])
    for key, value in lineage["inputs"].items():
        OmegaConf.update(config, f"data.{key}", value, merge=False)  # params of one estimator are not another's
    data = create_data(config)
    check_parent(Parent(path, checkpoint), data_split(config), data.names("val") + data.names("test"))
    module = getattr(actionrec.modules, lineage["model"]).load_from_checkpoint(
        path, map_location="cpu", weights_only=True
    )

    metrics = measure(config, module, data, folder, parts)
    written = folder / "metrics.json"
    earlier = json.loads(written.read_text()) if written.is_file() else {}
    write_text(written, json.dumps({**earlier, **metrics}, indent=2) + "\n")
    return metrics


main = verb("evaluate", choose="experiment")(evaluate)

if __name__ == "__main__":
    main()
