"""Files of TensorBoard's projector.

`SummaryWriter.add_embedding` would write another set of files on each call, and converts the thumbnails to floats.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

HEADER = ("action", "answer", "right", "name")


def write(folder: Path, features: np.ndarray, rows: Sequence[tuple[str, ...]], pictures: Sequence[np.ndarray]) -> None:
    """Write the files of a run's PROJECTOR tab, replacing earlier ones.

    Args:
        folder: folder of the run's event files.
        features: (N, F) float32.
        rows: N rows with the columns of `HEADER`.
        pictures: N thumbnails (S, S, 3) uint8 RGB, or an empty sequence.
    """
    place = folder / "projector"
    place.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(f"{value:.4g}" for value in row) for row in features.tolist()]
    (place / "features.tsv").write_text("\n".join(lines) + "\n")
    (place / "samples.tsv").write_text("\n".join("\t".join(row) for row in [HEADER, *rows]) + "\n", encoding="utf-8")
    sprite = ""
    if pictures:
        side = math.ceil(math.sqrt(len(pictures)))
        size = pictures[0].shape[0]
        sheet = np.zeros((side * size, side * size, 3), np.uint8)
        for index, picture in enumerate(pictures):
            top, left = index // side * size, index % side * size
            sheet[top : top + size, left : left + size] = picture
        cv2.imwrite(str(place / "pictures.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        sprite = (
            f'  sprite {{ image_path: "projector/pictures.png" single_image_dim: {size} single_image_dim: {size} }}\n'
        )
    (folder / "projector_config.pbtxt").write_text(
        'embeddings {\n  tensor_name: "val"\n  tensor_path: "projector/features.tsv"\n'
        f'  metadata_path: "projector/samples.tsv"\n{sprite}}}\n'
    )
