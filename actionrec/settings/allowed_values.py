"""The values that each setting may have, by dotted key; see `checks`."""

from actionrec.settings import rules
from actionrec.settings.rules import amount, filled, flag, path
from actionrec.settings.values import MAX_SEED, Check, integer, maybe, number, one_of

OBJECTIVES = ("val/acc", "val/acc_macro", "val/acc_top5", "val/f1_macro", "val/map", "val/loss")
MONITORED = (*OBJECTIVES, "train/acc", "train/loss")


# By dotted key; `*` stands for every key of a mapping.
SETTINGS: dict[str, Check] = {
    "paths.name": rules.name,
    "paths.outputs": rules.folder,
    "paths.frames": rules.folder,
    "paths.flow": rules.folder,
    **dict.fromkeys(("paths.root", "paths.stanford40", "paths.hmdb51", "paths.hmdb51_splits"), path),
    "stage": rules.name,
    "sweep.name": rules.name,
    "search.name": rules.name,
    "flow.name": rules.name,
    "seed": maybe(integer(0, MAX_SEED), None),  # null in conf/report.yaml means any seed; see `check`
    "split": maybe(integer(1), None),
    "run_dir": rules.run_folder,
    "work_dir": rules.folder,
    "init_from": rules.parents,
    "resume": maybe(path, True, False, "auto"),
    "overwrite": flag,
    "tag": maybe(rules.tag, None),
    "parent_tag": maybe(rules.tag, None),
    "run_again": maybe(rules.folder, None),
    "trust": rules.modules,
    "compile": rules.compilation,
    "fast_depthwise": flag,
    "cache_features": flag,
    "views.segments": integer(1, 1000),
    "views.crops": one_of(1, 3, 5, 10),
    "data.actions": rules.actions,
    "data.strict": flag,
    "data.size": integer(16, 4096),  # pixels
    "data.batch_size": integer(1),
    "data.num_workers": maybe(rules.loader_processes, "auto"),
    "data.segments": integer(1, 1000),
    "data.fold": integer(0, 4),
    "data.crops": one_of(1, 3, 5, 10),
    "data.cache": one_of("ram", None),
    "data.augmentation": one_of("none", "reference", "strong"),
    "data.position": one_of("first", "quarter", "middle", "three_quarter", "last", "random"),
    "data.*.representation": one_of("xy", "magnitude"),
    "data.*.fields": maybe(integer(1), None),
    "data.*.length": integer(1),
    "data.*.frames": integer(1),
    "data.*.stride": integer(1),
    "data.*.params": rules.section,
    "data.*.folder": path,
    "flow.params": rules.section,
    "flow.bound": maybe(number(0, above=True), None),  # null in conf/flow/imported.yaml: the user must set it
    "flow.short_side": maybe(integer(16), None),
    "backbone.name": filled,
    "backbone.stem": one_of("inflate", "random"),
    "model.label_smoothing": number(0, 1),
    "model.dropout": number(0, 1),
    "model.decay_norms": flag,
    "model.head_lr_factor": number(0, above=True),
    "model.backbone_lr_factor": number(0, above=True),
    "model.batch_norm": one_of("train", "partial", "frozen"),
    "model.head_epochs": integer(0, 100_000),
    "model.mixup": number(0, 1000),
    "model.frozen": rules.streams,
    "model.fusion": rules.or_class(one_of("concat", "concat_features", "conv", "average", "max", "gated")),
    "recipe.lr_factor": number(0, above=True),
    "recipe.patience": amount,
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0, 1),
    "optimizer.fused": maybe(flag, "auto"),
    "scheduler.pct_start": number(0, 1),
    "scheduler.base": number(0, 1),
    "scheduler.epochs_per_cycle": number(0, above=True),
    "scheduler.monitor": one_of(*MONITORED),
    "scheduler.interval": one_of("epoch", "step"),
    "scheduler.frequency": integer(1),
    "trainer.max_epochs": integer(1),
    "trainer.log_every_n_steps": integer(1),
    "trainer.check_val_every_n_epoch": integer(1),
    "trainer.accumulate_grad_batches": integer(1),
    "trainer.num_sanity_val_steps": integer(-1),
    "trainer.gradient_clip_val": maybe(number(0), None),
    **{f"trainer.limit_{part}_batches": maybe(number(0, above=True), None) for part in ("train", "val", "test")},
    "objective": one_of(*OBJECTIVES),
    "callbacks.*": maybe(rules.section, None),
    "callbacks.*.monitor": one_of(*MONITORED),
    "callbacks.early_stopping.patience": amount,
    "callbacks.training_batch.samples": amount,
    "callbacks.validation.wrong": amount,
    "callbacks.validation.grad_cam": amount,
    "callbacks.validation.projected": amount,
    "workers": maybe(rules.processes, "auto"),  # of extract_flow and import_flow
    "shard.count": integer(1),
    "shard.index": amount,
    "verify": flag,
    "preview": maybe(path, None),
    "parts": rules.parts,  # of evaluate
    "checkpoint": path,
    "output": maybe(rules.folder, None),
    "top": integer(1),  # of predict
    "format": one_of("table", "json", "csv", "onnx", "card", None),  # the last two of export
    "out": maybe(path, None),
    "annotate": maybe(path, None),
    "reject": maybe(number(0, 1), "auto", "off"),
    "calibrate": flag,
    "rate": number(0, 1),
    "window.use": one_of("auto", True, False),
    "window.clip_seconds": number(0),
    "window.seconds": number(0, above=True),
    "window.hop": number(0, above=True),
    "window.smooth": number(0),
    "window.enter": maybe(number(0, 1), None),
    "window.leave": maybe(number(0, 1), None),
    "window.least": number(0),
    "timeout": number(0, 86_400, above=True),  # of predict
    "reconnect": integer(0, 1_000_000),
    "host": filled,  # of app
    "port": integer(0, 65_535),
    "max_megabytes": number(0, 10_000, above=True),
    "max_seconds": number(0, 3600, above=True),
    "localisation.use": flag,  # of evaluate
    "localisation.clips": integer(1),
    "localisation.seed": integer(0),
    "localisation.background": maybe(path, None),
    "accelerator": filled,
    "precision": maybe(filled, None),
    "batch_size": integer(1),
    "tolerance": number(0, above=True),  # of export
    "gallery": amount,  # of report
    "search.trials": integer(1),
    "source": maybe(rules.paths, None),  # of prepare, import_flow, predict and export
    "source_splits": maybe(rules.paths, None),
    "expect_complete": flag,
    "dataset.seed": integer(0),
    "dataset.split": integer(1),
    "dataset.protocol": one_of("official", "pooled"),
}

# Parameters of each estimator. Some estimators do not check them, and silently compute something else.
FLOW_PARAMS: dict[str, dict[str, Check]] = {
    "dis": {"preset": one_of("ultrafast", "fast", "medium"), "finest_scale": maybe(integer(0, 7), None)},
    "farneback": {
        "pyr_scale": number(0, 0.99, above=True),
        "levels": integer(1, 20),
        "winsize": integer(1, 500),
        "iterations": integer(1, 100),
        "poly_n": integer(3, 31),
        "poly_sigma": number(0, 10, above=True),
    },
    "tvl1": {
        "tau": number(0, 1, above=True),
        "lambda_": number(0, 10, above=True),
        "theta": number(0, 10, above=True),
        "warps": integer(1, 100),
        "epsilon": number(0, 1, above=True),
    },
    "raft": {"network": one_of("raft_small", "raft_large"), "weights": filled, "updates": integer(1, 100)},
}
