"""Small solid models and how they are drawn: convex prisms, projected, culled, supersampled and blended.

One drawing serves three purposes because each is only another (3, 4) matrix: the camera's for objects that move,
the reference camera's view flattened onto the ground for what is painted into the ground, and the sun's for shadows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import FloatArray, project

Paint = Sequence[float] | FloatArray
"""Blue, green, red in 0..255; thermal paints have three equal values."""

SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


class Prism(NamedTuple):
    """A convex part of a model, in metres.

    Attributes:
        base: (N, 2) outline at the bottom, turning from x to y.
        crown: (N, 2) outline at the top.
        bottom: Height of the base.
        top: Height of the crown.
        side: Paint of the side faces.
        lid: Paint of the top face.
        layer: Higher layers stand on lower ones and are drawn after them.
    """

    base: FloatArray
    crown: FloatArray
    bottom: float
    top: float
    side: Paint
    lid: Paint
    layer: int = 0


@dataclass(frozen=True)
class Model:
    """A solid of prisms.

    Attributes:
        vertices: (V, 3) metres, x forward, z up.
        faces: Vertex indices of each face.
        corners: (F, 3) the first three vertices of each face, which tell whether it faces the viewer.
        normals: (F, 3) outward unit normals.
        paints: (F, 3) unlit colours.
        parts: The vertices, faces and layer of each prism.
    """

    vertices: FloatArray
    faces: tuple[npt.NDArray[np.intp], ...]
    corners: npt.NDArray[np.intp]
    normals: FloatArray
    paints: FloatArray
    parts: tuple[tuple[slice, slice, int], ...]

    @property
    def length(self) -> float:
        """Longest horizontal extent in metres."""
        return float(np.ptp(self.vertices[:, :2], axis=0).max())

    @property
    def width(self) -> float:
        """Extent across the heading in metres."""
        return float(np.ptp(self.vertices[:, 1]))


class Pose(NamedTuple):
    """Where a model stands: metres on the ground, heading in radians (0 points along x), metres above ground."""

    x: float
    y: float
    heading: float
    z: float = 0.0


class Patch(NamedTuple):
    """A drawn model: premultiplied (h, w, 3) values, (h, w) alpha, its left top pixel, and its tight xyxy box."""

    value: FloatArray
    alpha: FloatArray
    left: int
    top: int
    box: tuple[float, float, float, float]


class Light(NamedTuple):
    """Where light comes from: unit vector towards the sun, the share of ambient light, darkness of cast shadows."""

    sun: FloatArray
    ambient: float
    shadow: float

    def shade(self, normals: FloatArray) -> FloatArray:
        """Return (F,) brightness of faces relative to level ground in the open."""
        facing = np.maximum(normals @ self.sun, 0.0) / max(float(self.sun[2]), 0.3)
        return np.clip(self.ambient + (1 - self.ambient) * facing, 0.4, 1.3)


def build_model(prisms: Sequence[Prism]) -> Model:
    """Assemble prisms into a model."""
    vertices: list[FloatArray] = []
    faces: list[npt.NDArray[np.intp]] = []
    paints: list[Paint] = []
    parts: list[tuple[slice, slice, int]] = []
    count = 0
    for prism in prisms:
        n, first = len(prism.base), len(faces)
        vertices.append(_lift(prism.base, prism.bottom))
        vertices.append(_lift(prism.crown, prism.top))
        faces += _side_faces(count, n) if prism.top > prism.bottom else []
        faces.append(np.arange(count + n, count + 2 * n))
        paints += [prism.side] * (len(faces) - first - 1) + [prism.lid]
        parts.append((slice(count, count + 2 * n), slice(first, len(faces)), prism.layer))
        count += 2 * n
    points = np.concatenate(vertices)
    corners = np.stack([face[:3] for face in faces])
    return Model(points, tuple(faces), corners, _normals(points, corners), np.array(paints, float), tuple(parts))


def _lift(outline: FloatArray, height: float) -> FloatArray:
    return np.hstack([outline, np.full((len(outline), 1), height)])


def _side_faces(first: int, n: int) -> list[npt.NDArray[np.intp]]:
    return [np.array([first + i, first + (i + 1) % n, first + n + (i + 1) % n, first + n + i]) for i in range(n)]


def _normals(points: FloatArray, corners: npt.NDArray[np.intp]) -> FloatArray:
    """Return the outward normals of faces from their first three vertices."""
    a, b, c = points[corners[:, 0]], points[corners[:, 1]], points[corners[:, 2]]
    (x1, y1, z1), (x2, y2, z2) = (b - a).T, (c - b).T
    normal = np.stack([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2], axis=1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def place_vertices(model: Model, pose: Pose) -> FloatArray:
    """Return the (V, 3) vertices of a model that stands at `pose`, in metres."""
    cos, sin = math.cos(pose.heading), math.sin(pose.heading)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return model.vertices @ turn + np.array([pose.x, pose.y, pose.z])


def draw_patch(model: Model, pose: Pose, matrix: FloatArray, light: Light, limits: tuple[float, float]) -> Patch | None:
    """Draw a model into a patch of its own, or return None where it projects to nothing.

    Args:
        model: What to draw.
        pose: Where it stands.
        matrix: (3, 4) projection to pixels.
        light: Light that its faces take.
        limits: Smallest and largest long side in pixels; a model beyond them is shrunk or enlarged about its middle.
    """
    image = project(matrix, place_vertices(model, pose))
    low, high = image[:, :2].min(0), image[:, :2].max(0)
    extent = float((high - low).max())
    if not 0.05 < extent < 4000 or image[:, 2].min() <= 0:
        return None
    factor = min(max(extent, limits[0]), limits[1]) / extent
    middle = (low + high) / 2
    image[:, :2] = middle + (image[:, :2] - middle) * factor
    origin = np.floor(middle + (low - middle) * factor).astype(int) - 1
    span = np.ceil(middle + (high - middle) * factor).astype(int) + 1 - origin
    detail = 4 if extent < 50 else 2
    canvas = np.zeros((int(span[1]) * detail, int(span[0]) * detail, 4), np.uint8)
    image[:, :2] = (image[:, :2] - origin) * detail - 0.5
    _fill_faces(canvas, model, image, _lit(model, pose, light))
    return _reduce(canvas, detail, origin)


def _lit(model: Model, pose: Pose, light: Light) -> FloatArray:
    cos, sin = math.cos(pose.heading), math.sin(pose.heading)
    sun = np.array([light.sun[0] * cos + light.sun[1] * sin, light.sun[1] * cos - light.sun[0] * sin, light.sun[2]])
    shade = light._replace(sun=sun).shade(model.normals)
    return np.clip(model.paints * shade[:, None], 0, 255)


def _fill_faces(canvas: npt.NDArray[np.uint8], model: Model, image: FloatArray, paints: FloatArray) -> None:
    """Fill the visible faces, part by part from the far and low to the near and high."""
    a, b, c = (image[model.corners[:, i], :2] for i in range(3))
    facing = (b[:, 0] - a[:, 0]) * (c[:, 1] - b[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - b[:, 0]) > 0
    points = np.rint(image[:, :2] * (1 << SHIFT)).astype(np.int32)
    order = sorted(model.parts, key=lambda part: (part[2], -float(image[part[0], 2].mean())))
    for _, faces, _ in order:
        for face in range(faces.start, faces.stop):
            if facing[face]:
                colour = (*paints[face].tolist(), 255.0)
                cv2.fillConvexPoly(canvas, points[model.faces[face]], colour, cv2.LINE_8, SHIFT)


def _reduce(canvas: npt.NDArray[np.uint8], detail: int, origin: npt.NDArray[np.intp]) -> Patch | None:
    """Average the supersampled canvas down to pixels and measure its tight box."""
    left, top, width, height = cv2.boundingRect(canvas[:, :, 3])
    if width == 0:
        return None
    size = (canvas.shape[1] // detail, canvas.shape[0] // detail)
    small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    x, y = float(origin[0]), float(origin[1])
    box = (x + left / detail, y + top / detail, x + (left + width) / detail, y + (top + height) / detail)
    return Patch(small[:, :, :3], small[:, :, 3] / 255, int(origin[0]), int(origin[1]), box)


def blend_patch(image: FloatArray, patch: Patch, gain: float = 1.0) -> None:
    """Lay a patch over a float image (H, W, 1 or 3) in place; `gain` dims it in shade."""
    window = crop_window(image.shape, patch.left, patch.top, patch.alpha.shape)
    if window is None:
        return
    rows, columns, inner = window
    alpha = patch.alpha[inner][:, :, None]
    region = image[rows, columns]
    region *= 1 - alpha
    region += patch.value[inner][:, :, : image.shape[2]] * gain


def crop_window(
    shape: tuple[int, ...], left: int, top: int, size: tuple[int, ...]
) -> tuple[slice, slice, tuple[slice, slice]] | None:
    """Return the rows and columns of an image that a patch covers, and the part of the patch; None when outside."""
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + size[1], shape[1]), min(top + size[0], shape[0])
    if x1 >= x2 or y1 >= y2:
        return None
    return slice(y1, y2), slice(x1, x2), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def visible_box(patch: Patch, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the tight xyxy box of the part of a patch that lies in a frame of (width, height); zeros when none does.

    The clipped box of a slanting object at the border would be larger than what is left of the object.
    """
    x1, y1, x2, y2 = patch.box
    width, height = size
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return patch.box
    window = crop_window((height, width), patch.left, patch.top, patch.alpha.shape)
    inside = np.argwhere(patch.alpha[window[2]] > 0.12) if window else np.empty((0, 2))
    if window is None or len(inside) == 0:
        return (0.0, 0.0, 0.0, 0.0)
    (top, left), (bottom, right) = inside.min(0).tolist(), inside.max(0).tolist()
    row, column = window[0].start, window[1].start
    return (max(x1, left + column), max(y1, top + row), min(x2, right + column + 1), min(y2, bottom + row + 1))


def shadow_matrix(matrix: FloatArray, sun: FloatArray) -> FloatArray:
    """Return the (3, 4) matrix that drops a point along the sunlight onto the ground and projects it from there."""
    drop = np.eye(4)
    drop[:3, 2] = [-sun[0] / sun[2], -sun[1] / sun[2], 0.0]
    return matrix @ drop


def shadow_outlines(model: Model, pose: Pose, matrix: FloatArray) -> list[FloatArray]:
    """Return the convex outlines (n, 2), in pixels, of the shadows that the parts cast under a shadow matrix."""
    image = project(matrix, place_vertices(model, pose))[:, :2].astype(np.float32)
    return [cv2.convexHull(image[vertices])[:, 0] for vertices, _, _ in model.parts]


def shadow_hull(model: Model, pose: Pose, matrix: FloatArray) -> FloatArray:
    """Return one convex outline (n, 2), in pixels, of a compact model's shadow under a shadow matrix."""
    image = project(matrix, place_vertices(model, pose))[:, :2].astype(np.float32)
    return cv2.convexHull(image)[:, 0]


def draw_shadow(image: FloatArray, outlines: Sequence[FloatArray], tint: FloatArray, softness: float = 0.6) -> None:
    """Multiply a float image (H, W, C) by `tint` (C,) inside outlines in pixels, with a soft edge."""
    points = np.concatenate(outlines)
    left, top = (int(v) for v in np.floor(points.min(0)) - 2)
    right, bottom = (int(v) for v in np.ceil(points.max(0)) + 3)
    window = crop_window(image.shape, left, top, (min(bottom - top, 4000), min(right - left, 4000)))
    if window is None:
        return
    rows, columns, _ = window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    offset = np.array([columns.start + 0.5, rows.start + 0.5])
    for outline in outlines:
        cv2.fillConvexPoly(mask, np.rint((outline - offset) * 16).astype(np.int32), 255, cv2.LINE_AA, SHIFT)
    soft = cv2.GaussianBlur(mask, (0, 0), softness).astype(np.float32) / 255
    image[rows, columns] *= 1 - soft[:, :, None] * (1 - tint)


def rectangle(length: float, width: float, x: float = 0.0, y: float = 0.0) -> FloatArray:
    """Return the (4, 2) outline of a rectangle about (x, y)."""
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([length, width]) / 2
    return half + np.array([x, y])


def rounded(length: float, width: float, corner: float, x: float = 0.0) -> FloatArray:
    """Return the (8, 2) outline of a rectangle about (x, 0) with cut corners of `corner` metres."""
    a, b, c = length / 2, width / 2, corner
    outline = [[-a, -b + c], [-a + c, -b], [a - c, -b], [a, -b + c], [a, b - c], [a - c, b], [-a + c, b], [-a, b - c]]
    return np.array(outline) + np.array([x, 0.0])


def ellipse(length: float, width: float, x: float = 0.0, y: float = 0.0, points: int = 8) -> FloatArray:
    """Return the (points, 2) outline of an ellipse about (x, y)."""
    angle = np.arange(points) * (2 * math.pi / points)
    return np.stack([x + np.cos(angle) * length / 2, y + np.sin(angle) * width / 2], axis=1)


def repaint(value: Any, factor: float) -> FloatArray:
    """Return a paint made lighter or darker."""
    return np.clip(np.asarray(value, float) * factor, 0, 255)
