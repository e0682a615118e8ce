"""Where real data lie that some tests read if they are there; none of it belongs to the repository."""

import os
from pathlib import Path

import pytest

SAMPLES = Path(os.environ.get("ACTIONREC_SAMPLES", Path(__file__).parents[1] / "data/samples"))


def needs(folder: Path) -> pytest.MarkDecorator:
    """Skip a test whose real data are not there."""
    return pytest.mark.skipif(not folder.is_dir(), reason=f"no real data in {folder.name}; see ACTIONREC_SAMPLES")
