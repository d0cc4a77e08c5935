"""Scaling laws: fitted, compared, and asked for the best size. No torch in here.

A law predicts a loss from N parameters and D data; a fit is the global minimum of the sum of Huber
losses on log loss, and says which of its parameters the points leave open.
"""

from .fit import bootstrap, fit_loss_surface, fit_power_law, predict_interval
from .forms import (
    BESIROGLU_2024,
    HOFFMANN_2022,
    MUENNIGHOFF_2023,
    DataConstrainedLaw,
    LossSurface,
    PowerLaw,
)

__all__ = [
    "BESIROGLU_2024",
    "HOFFMANN_2022",
    "MUENNIGHOFF_2023",
    "DataConstrainedLaw",
    "LossSurface",
    "PowerLaw",
    "bootstrap",
    "fit_loss_surface",
    "fit_power_law",
    "predict_interval",
]
