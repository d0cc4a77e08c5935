"""Laws as published, each with its source."""

from .constrained import DataConstrainedLaw
from .surface import LossSurface
from .transfer import TransferLaw

# Hoffmann 2022 (Chinchilla), approach 3, as printed.
HOFFMANN_2022 = LossSurface(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)

# Besiroglu 2024, a replication of approach 3 from the points in Hoffmann's figure. Its standard
# errors are .03, 124.58, 1293.23, .02 and .02.
BESIROGLU_2024 = LossSurface(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)

# Muennighoff 2023: the law of repeated data, with the constants of its published fit.
MUENNIGHOFF_2023 = DataConstrainedLaw(
    surface=LossSurface(1.8691437, 520.82495, 1487.71609, 0.3526596, 0.3526596),
    data_decay=15.387756,
    params_decay=5.309743,
)

# Hernandez 2021: from text to Python, in characters (D) and non-embedding parameters (N).
HERNANDEZ_2021_PYTHON = TransferLaw(k=1.9e4, alpha=0.18, beta=0.38)
