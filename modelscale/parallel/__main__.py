"""Runs any importable function on the ranks that torchrun starts.

torchrun --nproc-per-node=2 -m modelscale.parallel package.module:function --steps 20
"""

import pkgutil
import sys

from .entry import main

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        fn = pkgutil.resolve_name(sys.argv[1])
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "check its spelling, and that its folder is on PYTHONPATH"
        sys.exit(f"{sys.argv[1]} is no function as in torch:rand ({error}): {remedy}")
    main(fn, sys.argv[2:])
