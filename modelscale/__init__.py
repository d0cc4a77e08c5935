"""The helper package of a hands-on course on model scaling.

Importing it loads no torch, so that counting and planning start at once.
"""

__version__ = "0.2.0"
__all__ = ["start"]


def __getattr__(name):
    """`start` needs torch, so it is loaded when first asked for."""
    if name in __all__:
        from . import dial

        return getattr(dial, name)
    raise AttributeError(f"module 'modelscale' has no attribute {name!r}")
