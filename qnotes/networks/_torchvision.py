"""The one place that imports torchvision, also where its compiled operators cannot be loaded.

The CPU build of torch together with a torchvision wheel that was compiled for CUDA cannot load
torchvision's compiled operators; ``import torchvision`` then stops at ``operator torchvision::nms
does not exist``. Models and transforms need none of these operators, so declaring the schemas of
the two that the import looks up is enough.
"""

import importlib
import sys
from types import ModuleType

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a schema lives only as long as its Library object


def _declare_missing_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)
    _declared.append(library)


def _forget_half_import() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]


def _import() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    _forget_half_import()
    _declare_missing_operators()
    return importlib.import_module("torchvision")


torchvision = _import()
