"""uavdet: small-object detection in drone images and video.

Importing this package is cheap: PyTorch and Ultralytics are imported when `UAVDet` is first used, and never by
`uavdet.runtime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["UAVDet", "__version__"]

if TYPE_CHECKING:
    from uavdet.model import UAVDet


def __getattr__(name: str) -> Any:
    if name == "UAVDet":
        from uavdet.model import UAVDet

        return UAVDet
    raise AttributeError(f"module 'uavdet' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
