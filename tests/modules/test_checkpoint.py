import pytest
import torch

from actionrec.modules.checkpoint import read
from actionrec.system.errors import ActionRecError


@pytest.mark.parametrize("content", [None, b"junk", {"state_dict": {}}, {"epoch": 1}, [1]])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ActionRecError, match=r"init_from=.*a\.ckpt: (no such|not a) checkpoint"):
        read(path)
