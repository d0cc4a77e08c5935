"""Runs any importable function on the ranks that torchrun starts.

torchrun --nproc-per-node=2 -m modelscale.parallel package.module:function --steps 20
"""

import importlib
import sys

from .entry import main


def named(name: str):
    """The function called `name`, as "package.module:function".

    Raises: ValueError where there is none of that name.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ValueError(f"{name!r}: it must be package.module:function, as in torch:rand.")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        remedy = "Check its spelling, and that its folder is on PYTHONPATH."
        raise ValueError(f"{name!r}: it must be a function ({error}). {remedy}") from error


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(named(sys.argv[1]), sys.argv[2:])
