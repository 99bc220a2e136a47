"""Training, validation and prediction: the only package that subclasses Ultralytics' trainer, validator, predictor."""

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
