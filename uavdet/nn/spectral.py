"""The discrete Fourier transform, written once.

Two forms of the same arithmetic stand here. Training and eager inference use `torch.fft`. An exported graph uses
real matrix products with constant cosine and sine matrices, because the ONNX `DFT` operator is unknown to the
TensorRT versions of today's drones and many times slower than the products in ONNX Runtime. Both are orthonormal
(scaled by 1/sqrt(n) an axis): the DC bin then is `sqrt(H W)` times the mean rather than `H W` times, which keeps
half precision in range. The matrices are computed from the size at hand and are never part of a module's state,
where a half-precision checkpoint would round them.

Everything here runs in float32 with autocast off: `torch.fft` has no half precision on the CPU, and on CUDA only for
lengths that are powers of two.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

HALF_SPECTRUM_WIDTH = 160
"""Width in bins from which `spectral_product_magnitude` computes half of the spectrum in its matrix form.

Both forms are exact. The half takes a third less arithmetic and twice the nodes: in ONNX Runtime 0.97 of the full
form's time at 80 x 80, 1.0 at 128 x 128 and 0.9 at 160 x 160 (one thread).
"""


@functools.lru_cache(maxsize=64)
def _cosine_sine(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of 2 pi k n / length over sqrt(length), each (length, length), in float64.

    `k n` is reduced modulo `length` before the cosine, without which large products lose digits.
    """
    index = np.arange(length)
    angle = 2.0 * np.pi * (np.outer(index, index) % length) / length
    return np.cos(angle) / np.sqrt(length), np.sin(angle) / np.sqrt(length)


def dft_matrices(length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosine and sine matrix of the orthonormal DFT of `length` points: F = cos - i sin, each (n, n)."""
    cosine, sine = _cosine_sine(length)
    return tuple(torch.as_tensor(m, dtype=torch.float32, device=like.device) for m in (cosine, sine))  # type: ignore[return-value]


def _size(feature_map: Tensor) -> tuple[int, int]:
    """Return (height, width) as plain integers: while tracing, shapes are tensors, but the matrices are constants."""
    return int(feature_map.shape[-2]), int(feature_map.shape[-1])


def _stack(top: tuple[Tensor, Tensor], bottom: tuple[Tensor, Tensor]) -> Tensor:
    """Return the block matrix [[a, b], [c, d]]."""
    return torch.cat([torch.cat(top, 1), torch.cat(bottom, 1)], 0)


def _forward_products(signal: Tensor, columns: int) -> Tensor:
    """Transform a real map by matrix products.

    Args:
        signal: (..., H, W), real.
        columns: How many of the W spectrum columns to compute: W, or W // 2 + 1 for the half spectrum.

    Returns:
        (..., 2 H, columns): the real part above the imaginary part.
    """
    height, width = _size(signal)
    cos_w, sin_w = dft_matrices(width, signal)
    rows = signal @ torch.cat([cos_w[:, :columns], -sin_w[:, :columns]], 1)
    cos_h, sin_h = dft_matrices(height, signal)
    block = _stack((cos_h, sin_h), (-sin_h, cos_h))
    return block @ torch.cat([rows[..., :columns], rows[..., columns:]], -2)


def _inverse_along_height(spectrum: Tensor) -> Tensor:
    """Undo the transform along the height of a stacked (..., 2 H, columns) spectrum."""
    height = _size(spectrum)[0] // 2
    cos_h, sin_h = dft_matrices(height, spectrum)
    return _stack((cos_h, -sin_h), (sin_h, cos_h)) @ spectrum


def spectral_product_magnitude(response: Tensor, signal: Tensor, *, matrix_form: bool = False) -> Tensor:
    """Return |IFFT2(response * FFT2(signal))|, the frequency operation of SO-DETR's FFM block.

    `response` is real and has no Hermitian symmetry, so the inverse is complex and a half spectrum will not do.

    Args:
        response: (B, C, H, W), multiplies the spectrum bin by bin; bin (0, 0) is DC, no shift.
        signal: (B, C, H, W), real.
        matrix_form: Use matrix products instead of `torch.fft`.

    Returns:
        (B, C, H, W) in float32.
    """
    with torch.autocast(signal.device.type, enabled=False):
        response, signal = response.float(), signal.float()
        if not matrix_form:
            return torch.fft.ifft2(response * torch.fft.fft2(signal, norm="ortho"), norm="ortho").abs()
        parts = _half_product if _size(signal)[1] >= HALF_SPECTRUM_WIDTH else _full_product
        # Halving the exponent range before the squares keeps half precision finite up to |x| = 4096.
        real, imaginary = (part / 16.0 for part in parts(response, signal))
        return 16.0 * (real * real + imaginary * imaginary).sqrt()


def _full_product(response: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real and the imaginary part of IFFT2(response * FFT2(signal)) from all columns of the spectrum."""
    height, width = _size(signal)
    spectrum = _forward_products(signal, width) * torch.cat([response, response], -2)
    rows = _inverse_along_height(spectrum)
    cos_w, sin_w = dft_matrices(width, signal)
    inverse = _stack((cos_w, sin_w), (-sin_w, cos_w))
    complex_map = torch.cat([rows[..., :height, :], rows[..., height:, :]], -1) @ inverse
    return complex_map[..., :width], complex_map[..., width:]


def _half_product(response: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_full_product` does, from the W // 2 + 1 columns that determine the spectrum of a real map.

    A response is the sum of its even and its odd part under negation of the frequency. The even one keeps the spectrum
    Hermitian, and its inverse real; -i times the odd one does so too, and gives the imaginary part.
    """
    height, width = _size(signal)
    columns = width // 2 + 1
    even, odd = _even_and_odd(response, columns)
    real, imaginary = _forward_products(signal, columns).split(height, -2)
    products = torch.cat(
        [torch.cat([even * real, odd * imaginary], -1), torch.cat([even * imaginary, -odd * real], -1)], -2
    )
    upper, lower = _inverse_along_height(products).split(height, -2)
    pairs = [
        torch.cat([part[0], part[1]], -1)
        for part in zip(upper.split(columns, -1), lower.split(columns, -1), strict=True)
    ]
    maps = torch.cat(pairs, -2) @ _inverse_half_matrix(width, signal)
    return maps[..., :height, :], maps[..., height:, :]


def _even_and_odd(response: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Return the even and the odd part of a response under negation of both frequencies, each (..., H, columns)."""
    height, width = _size(response)
    mirrored = response.index_select(-1, _negated(width, response)[:columns])
    mirrored = mirrored.index_select(-2, _negated(height, response))
    plain = response[..., :columns]
    return (plain + mirrored) / 2.0, (plain - mirrored) / 2.0


def _negated(length: int, like: Tensor) -> Tensor:
    """Return the bin of the negative frequency of every bin, (length,)."""
    return torch.as_tensor(-np.arange(length) % length, device=like.device)


def _inverse_half_matrix(width: int, like: Tensor) -> Tensor:
    """Return the (2 columns, W) matrix from half-spectrum rows to real rows; mirrored columns count twice."""
    columns = width // 2 + 1
    cosine, sine = dft_matrices(width, like)
    weight = half_spectrum_multiplicity(width, like)[:, None]
    return torch.cat([weight * cosine[:columns], -weight * sine[:columns]], 0)


class RealSpectrum:
    """The half spectrum of a real map, ready to be measured and filtered.

    Args:
        signal: (B, C, H, W), real.
        matrix_form: Use matrix products instead of `torch.fft`.
    """

    def __init__(self, signal: Tensor, *, matrix_form: bool = False) -> None:
        self.height, self.width = _size(signal)
        self.columns = self.width // 2 + 1
        self.matrix_form = matrix_form
        with torch.autocast(signal.device.type, enabled=False):
            signal = signal.float()
            if matrix_form:
                stacked = _forward_products(signal, self.columns)
                self.real, self.imaginary = stacked.split(self.height, -2)
            else:
                spectrum = torch.fft.rfft2(signal, norm="ortho")
                self.real, self.imaginary = spectrum.real, spectrum.imag

    def power(self) -> Tensor:
        """Return the squared magnitude, (B, C, H, W // 2 + 1)."""
        return self.real * self.real + self.imaginary * self.imaginary

    def filter(self, response: Tensor) -> Tensor:
        """Return the real map whose spectrum is this one times `response`.

        Args:
            response: Real, broadcastable to (B, C, H, W // 2 + 1), and even in both frequencies, so that the result
                is real.

        Returns:
            (B, C, H, W) in float32.
        """
        with torch.autocast(response.device.type, enabled=False):
            real, imaginary = self.real * response, self.imaginary * response
            if not self.matrix_form:
                return torch.fft.irfft2(torch.complex(real, imaginary), s=(self.height, self.width), norm="ortho")
            rows = _inverse_along_height(torch.cat([real, imaginary], -2))
            rows = torch.cat([rows[..., : self.height, :], rows[..., self.height :, :]], -1)
            return rows @ _inverse_half_matrix(self.width, response)


def half_spectrum_multiplicity(width: int, like: Tensor) -> Tensor:
    """Return how many bins of the full spectrum each half-spectrum column stands for: 1 or 2, (W // 2 + 1,)."""
    count = np.full(width // 2 + 1, 2.0)
    count[0] = 1.0
    if width % 2 == 0:
        count[-1] = 1.0
    return torch.as_tensor(count, dtype=torch.float32, device=like.device)


@functools.lru_cache(maxsize=64)
def _radial_bands(height: int, width: int, bands: int) -> np.ndarray:
    """Return (bands, H, W // 2 + 1) weights, a partition of unity over the radial frequency; see `radial_bands`."""
    vertical = np.minimum(np.arange(height), height - np.arange(height)) / height
    horizontal = np.arange(width // 2 + 1) / width
    radius = np.hypot(vertical[:, None], horizontal[None, :])
    position = np.clip(radius / 0.5, 0.0, 1.0) * (bands - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[None] - np.arange(bands)[:, None, None]))


def radial_bands(height: int, width: int, bands: int, like: Tensor) -> Tensor:
    """Return hat-shaped weights of `bands` radial frequencies, evenly spaced from 0 to 0.5 cycles a pixel.

    Every bin's weights sum to one; frequencies beyond 0.5 (the spectrum's corners) belong to the last band. The
    weights depend on |f_x| and |f_y| only and on physical frequency rather than on the bin's index, so that a filter
    made of them commutes with shifts and flips and means the same at every input size.

    Returns:
        (bands, H, W // 2 + 1), float32.
    """
    return torch.as_tensor(_radial_bands(height, width, bands), dtype=torch.float32, device=like.device)
