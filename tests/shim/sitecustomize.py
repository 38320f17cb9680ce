"""torchvision's wheel from a plain index does not match a CPU-only torch: its compiled operators do
not load, and its import then fails on two names. They are declared before it is imported, in each
process that a test starts, too; nothing calls them."""

import sys
from importlib.abc import MetaPathFinder


class BeforeTorchvision(MetaPathFinder):
    """Finds nothing; looks at what is imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                if not hasattr(torch.ops.torchvision, operator):
                    schema = "(Tensor a, Tensor b, float c) -> Tensor"
                    torch.library.define(f"torchvision::{operator}", schema)


sys.meta_path.insert(0, BeforeTorchvision())
