"""What flies: every module of this package ends up in the exported graph, and nothing else does."""

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
