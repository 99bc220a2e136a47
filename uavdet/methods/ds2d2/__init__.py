"""DS2D2: dual-stream spectral decoupling distillation (arXiv 2512.04413)."""

from uavdet.methods.ds2d2.method import DS2D2

__all__ = ["DS2D2"]
