"""Runs any importable function on the ranks that torchrun starts.

torchrun --nproc-per-node=2 -m modelscale.parallel package.module:function --steps 20
"""

import importlib
import sys

from ..check import refuse
from .entry import main


def _named(name: str):
    """The function called `name`, as "package.module:function"."""
    module, _, function = name.partition(":")
    if not (module and function):
        refuse("function", name, "package.module:function, as in torch:rand")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        remedy = "check its spelling, and that its folder is on PYTHONPATH"
        refuse("function", name, f"one that can be imported ({error})", remedy)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(_named(sys.argv[1]), sys.argv[2:])
