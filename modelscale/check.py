"""Checks of a caller's arguments, so that every mistake is answered in the same words.

Each returns the value it was given, or raises a ValueError that names the value got, the values
allowed and what to do.
"""

import math
from numbers import Integral, Real
from typing import NoReturn


def integer(name: str, value, low: int = 1, high: int | None = None, remedy: str = "") -> int:
    """`value` as an int between `low` and `high`, both included."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        most = f", at most {high}" if high is not None else ""
        refuse(name, value, f"a whole number of at least {low}{most}", remedy)
    return int(value)


def fields(made, *names: str) -> None:
    """Check these sizes of a frozen dataclass, and make them plain ints: NumPy's overflow."""
    for name in names:
        object.__setattr__(made, name, integer(name, getattr(made, name)))


def number(name: str, value, low: float = 0.0, above: bool = True, remedy: str = "") -> float:
    """`value` as a finite float above `low` (or at least `low`, with `above=False`)."""
    real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not real or value < low or (above and value == low):
        allowed = f"a finite number {'above' if above else 'of at least'} {low:g}"
        refuse(name, value, allowed, remedy)
    return float(value)


def one_of(name: str, value, allowed, remedy: str = ""):
    """`value`, where it is one of `allowed`."""
    try:
        found = value in allowed
    except (TypeError, ValueError, RuntimeError):  # unhashable, or an array
        found = False
    if not found:
        words = ", ".join(repr(choice) for choice in allowed)
        refuse(name, value, f"one of {words}", remedy)
    return value


def divides(part_name: str, part: int, whole_name: str, whole: int, remedy: str = "") -> int:
    """`part`, where `whole` is a multiple of it."""
    if whole % part:
        divisors = [k for k in range(1, min(whole, 4096) + 1) if whole % k == 0]
        near = sorted(sorted(divisors, key=lambda k: abs(k - part))[:3])
        allowed = f"a divisor of {whole_name}={whole} (near it: {', '.join(map(str, near))})"
        refuse(part_name, part, allowed, remedy)
    return part


def refuse(name: str, value, allowed: str, remedy: str = "") -> NoReturn:
    """Raise the ValueError that names the value got, the values allowed and what to do."""
    text = f"{name}={value!r}: it must be {allowed}"
    raise ValueError(f"{text}. {remedy[:1].upper() + remedy[1:]}." if remedy else f"{text}.")
