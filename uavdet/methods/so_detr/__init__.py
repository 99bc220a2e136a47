"""SO-DETR's response distillation (arXiv 2504.11470)."""

from uavdet.methods.so_detr.method import SODETRDistillation

__all__ = ["SODETRDistillation"]
