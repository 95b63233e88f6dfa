"""No private modules or operators of torch, which change and vanish without notice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import foveal

SOURCE = Path(foveal.__file__).parent

PRIVATE = re.compile(
    r"""\btorch\.(?:\w+\.)*_[a-zA-Z]\w*    # torch._C, torch.utils._pytree
      | \btorch\.ops\.(?!foveal\.)       # torch.ops.mkldnn; our own operators are no secret
      | \bnn\.modules\.(?:\w+\.)*_\w+    # nn.modules.batchnorm._BatchNorm
      | \bfrom\ torch[\w.]*\ import\ .*\b_[a-zA-Z]\w*
    """,
    re.VERBOSE,
)
NAME_AS_TEXT = re.compile(r'"[\w.]+"')
"""What pickles name stands as text where it is compared, and is never looked up."""


def test_no_private_torch() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if PRIVATE.search(NAME_AS_TEXT.sub('""', line))
    ]
    assert len(files) > 100
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "torch._C._get_tracing_state()",
        "state = torch._C",
        "torch._foreach_mul_(gradients, 2)",
        "from torch._dynamo import config",
        "import torch._dynamo",
        "from torch.utils import _pytree",
        "from torch.utils._pytree import tree_leaves",
        "torch.ops.mkldnn._convolution_pointwise(features)",
        "torch.ops.aten.threshold_backward(gradient, result, 0)",
        "isinstance(module, nn.modules.batchnorm._BatchNorm)",
        "torch.cpu._is_amx_tile_supported()",
    ],
)
def test_private_names_are_seen(line: str) -> None:
    assert PRIVATE.search(NAME_AS_TEXT.sub('""', line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.__version__",
        "hidden = torch.relu_(features)",
        "torch.nn.init.normal_(weight)",
        "torch.ops.foveal.clamp6(features)",
        "from torch import Tensor, nn",
        "self._torch_device = None",
        'called.dotted == "torch._tensor._rebuild_from_type_v2"',
    ],
)
def test_public_names_are_left_alone(line: str) -> None:
    assert not PRIVATE.search(NAME_AS_TEXT.sub('""', line))
