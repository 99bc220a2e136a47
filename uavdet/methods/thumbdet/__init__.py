"""ThumbDet: a learned thumbnail, taught by a detector that sees the whole image (Pattern Recognition 138, 109424)."""

from uavdet.methods.thumbdet.method import ThumbDet

__all__ = ["ThumbDet"]
