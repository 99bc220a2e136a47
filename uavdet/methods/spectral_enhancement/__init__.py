"""SET: spectral enhancement for tiny object detection (CVPR 2025, pp. 4713-4723)."""

from uavdet.methods.spectral_enhancement.method import SpectralEnhancement

__all__ = ["SpectralEnhancement"]
