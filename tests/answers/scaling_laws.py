"""Right answers to the exercises of 02_scaling_laws, and the wrong ones that learners give."""

import math

from modelscale.course import scaling_laws

RIGHT = {
    scaling_laws.check_halving: [lambda a: 2 ** (1 / a), lambda a: math.exp(math.log(2) / a)],
    scaling_laws.check_colleague: ["b", " B "],
}
WRONG = {
    scaling_laws.check_halving: {
        "slope taken for a factor": lambda a: 2 / a,
        "always double": lambda a: 2,
        "the wrong way round": lambda a: 2**a,
        "down, not up": lambda a: 2 ** (-1 / a),
        "e instead of 2": lambda a: math.exp(1 / a),
    },
    scaling_laws.check_colleague: dict(zip("acde", "acde", strict=True)),
}
