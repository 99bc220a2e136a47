"""KD-DETR: distillation at the same queries in both decoders (Wang et al., CVPR 2024)."""

from uavdet.methods.kd_detr.method import KDDETR

__all__ = ["KDDETR"]
