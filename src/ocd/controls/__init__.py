"""What OCD is compared with. Each control answers as `OCD.predict` does, with a Prediction."""

from ocd.controls.nearest_neighbor import nearest_neighbor
from ocd.controls.overfit_test import overfit_test

__all__ = ["nearest_neighbor", "overfit_test"]
