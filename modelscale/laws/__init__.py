"""Scaling laws: fitted, compared, and asked for the best size. No torch in here.

A law predicts a loss from N parameters and D data; a fit is the global minimum of the sum of Huber
losses on log loss, and says which of its parameters the points leave open.
"""

from .constrained import DataConstrainedLaw, fit_repetition
from .isoflop import Parabola, isoflop
from .power import PowerLaw, bootstrap_power_law, fit_power_law, predict_interval
from .published import BESIROGLU_2024, HERNANDEZ_2021_PYTHON, HOFFMANN_2022, MUENNIGHOFF_2023
from .surface import LossSurface, bootstrap, fit_loss_surface, objective
from .transfer import TransferLaw, fit_transfer_law

__all__ = [
    "BESIROGLU_2024",
    "HERNANDEZ_2021_PYTHON",
    "HOFFMANN_2022",
    "MUENNIGHOFF_2023",
    "DataConstrainedLaw",
    "LossSurface",
    "Parabola",
    "PowerLaw",
    "TransferLaw",
    "bootstrap",
    "bootstrap_power_law",
    "fit_loss_surface",
    "fit_power_law",
    "fit_repetition",
    "fit_transfer_law",
    "isoflop",
    "objective",
    "predict_interval",
]
