"""What pretraining is worth, in data of the target: the law D_T = k D_F^alpha N^beta.

Legend: D_F data of the target that are fine-tuned on, D_T more of them that pretraining replaces,
N parameters.
"""

from dataclasses import dataclass

import numpy as np

from .points import enough, measured

REMEDY = "Measure at least two amounts of data, and two sizes at each."


@dataclass(frozen=True)
class TransferLaw:
    """The law D_T = k D_F^alpha N^beta."""

    k: float  # in units of data^(1 - alpha) parameters^-beta
    alpha: float  # how near source and target are: lower is nearer
    beta: float

    def effective_data(self, D_F, N) -> np.ndarray:
        """D_T: the data of the target that pretraining replaces; arrays broadcast.

        Source: Hernandez 2021, section 1.
        """
        D_F, N = np.asarray(D_F, dtype=float), np.asarray(N, dtype=float)
        return self.k * D_F**self.alpha * N**self.beta


def fit_transfer_law(D_F, N, D_T) -> TransferLaw:
    """The law with the least squares on log D_T.

    Raises: ValueError for values that are not positive and finite, unequal lengths, fewer than four
    points, or D_F and N that do not vary apart from each other.
    """
    D_F, N, D_T = measured(D_F=D_F, N=N, D_T=D_T)
    enough(4, "D_T", np.arange(len(D_T)), REMEDY)
    enough(2, "D_F", D_F, REMEDY)
    enough(2, "N", N, REMEDY)
    x = np.stack([np.log(D_F), np.log(N)])
    correlation = np.corrcoef(x)[0, 1]
    if abs(correlation) > 0.999:
        raise ValueError(
            f"log D_F and log N have correlation {correlation:.4f}: it must stay below 0.999, or "
            f"alpha and beta cannot be told apart. {REMEDY}"
        )
    columns = np.stack([np.ones(len(N)), *x], axis=1)
    log_k, alpha, beta = np.linalg.lstsq(columns, np.log(D_T), rcond=None)[0]
    return TransferLaw(float(np.exp(log_k)), float(alpha), float(beta))


# Hernandez 2021: from text to Python, in characters (D) and non-embedding parameters (N).
HERNANDEZ_2021_PYTHON = TransferLaw(k=1.9e4, alpha=0.18, beta=0.38)
