"""A canvas in picture units: anti-aliased shapes and soft spots on premultiplied RGBA.

Shape suffixes: H W pixels, C colour (RGB), P points.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["Canvas", "to_fixed_point"]

SUBPIXEL_BITS = 4  # cv2 takes corners in sixteenths of a pixel
Colour = np.ndarray | Sequence[float]
Box = tuple[slice, slice]


def to_fixed_point(points_px: np.ndarray) -> np.ndarray:
    """Points in pixels as cv2's polygons take them with ``SUBPIXEL_BITS``: int32."""
    return np.round(points_px * (1 << SUBPIXEL_BITS)).astype(np.int32)


class Canvas:
    """Paints into ``colour_HWC`` (float32, premultiplied, [0, 255]) and ``alpha_HW`` (float32, [0, 1])."""

    def __init__(self, units: float, margin: float, px_per_unit: float) -> None:
        """A square of ``units`` with ``margin`` more on each side, all empty."""
        self.px_per_unit, self.margin = px_per_unit, margin
        self.num_px = round((units + 2 * margin) * px_per_unit)
        self.colour_HWC = np.zeros((self.num_px, self.num_px, 3), np.float32)
        self.alpha_HW = np.zeros((self.num_px, self.num_px), np.float32)
        self.light_HW = np.ones((self.num_px, self.num_px), np.float32)  # multiplies every colour painted as lit
        self.mask_HW: np.ndarray | None = None  # where spots may go
        self.axis = (np.arange(self.num_px, dtype=np.float32) + 0.5) / px_per_unit - margin  # units, of x and y alike

    def shape(self, points: np.ndarray, blur: float = 0.0) -> tuple[np.ndarray, Box]:
        """The coverage in [0, 1] of a polygon (P, 2), and the box of pixels that it lies in."""
        points_px = self._to_px(points)
        reach = 3 * blur * self.px_per_unit + 2
        box = self._box(points_px.min(axis=0) - reach, points_px.max(axis=0) + reach)
        coverage = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
        if coverage.size:
            corners = to_fixed_point(points_px - (box[1].start, box[0].start))
            cv2.fillPoly(coverage, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
            if blur:
                coverage = cv2.GaussianBlur(coverage, (0, 0), blur * self.px_per_unit)
        return coverage.astype(np.float32) / 255, box

    def fill(
        self,
        points: np.ndarray,
        colour: Colour,
        *,
        blur: float = 0.0,
        opacity: float = 1.0,
        is_lit: bool = True,
        is_inside: bool = False,
        texture_HW: np.ndarray | None = None,
    ) -> None:
        """Paint a polygon (P, 2); ``is_inside`` keeps it within what is painted, the texture multiplies the colour."""
        coverage, box = self.shape(points, blur)
        coverage = coverage * opacity
        if is_inside:
            coverage = coverage * self.alpha_HW[box]
        paint = np.asarray(colour, np.float32) * self._shade(box, is_lit, texture_HW)
        self.blend(coverage, paint, box)

    def line(self, points: np.ndarray, colour: Colour, width: float, *, is_lit: bool = True) -> None:
        """Paint an open line (P, 2) with round ends, ``width`` units wide."""
        points_px = self._to_px(points)
        thickness = max(1, round(width * self.px_per_unit))
        box = self._box(points_px.min(axis=0) - thickness - 1, points_px.max(axis=0) + thickness + 1)
        coverage = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
        if not coverage.size:
            return
        corners = to_fixed_point(points_px - (box[1].start, box[0].start))
        cv2.polylines(coverage, [corners], False, 255, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        self.blend(coverage.astype(np.float32) / 255, np.asarray(colour, np.float32) * self._shade(box, is_lit), box)

    def spot(
        self,
        x: float,
        y: float,
        radius_x: float,
        radius_y: float,
        colour: Colour,
        strength: float,
        *,
        is_lit: bool = True,
    ) -> None:
        """Tint a soft round spot; the radii are its standard deviations. It stays within ``mask_HW``."""
        box = self._box(
            *self._to_px(np.array([[x - 3 * radius_x, y - 3 * radius_y], [x + 3 * radius_x, y + 3 * radius_y]]))
        )
        across = np.exp(-0.5 * ((self.axis[box[1]] - x) / radius_x) ** 2)
        down = np.exp(-0.5 * ((self.axis[box[0]] - y) / radius_y) ** 2)
        self.tint(strength * down[:, None] * across[None, :], colour, box, is_lit=is_lit)

    def tint(self, strength_HW: np.ndarray, colour: Colour, box: Box | None = None, *, is_lit: bool = True) -> None:
        """Mix a colour in where ``strength_HW`` in [0, 1] says so, within ``mask_HW``."""
        box = box or (slice(0, self.num_px), slice(0, self.num_px))
        if self.mask_HW is not None:
            strength_HW = strength_HW * self.mask_HW[box]
        self.blend(strength_HW, np.asarray(colour, np.float32) * self._shade(box, is_lit), box)

    def blend(self, coverage_HW: np.ndarray, paint: np.ndarray, box: Box) -> None:
        """Paint over: what lay there stays visible with ``1 - coverage_HW``."""
        colour_HWC, alpha_HW, rest_HW = self.colour_HWC[box], self.alpha_HW[box], 1 - coverage_HW
        colour_HWC *= rest_HW[..., None]
        colour_HWC += paint * coverage_HW[..., None]
        alpha_HW *= rest_HW
        alpha_HW += coverage_HW

    def to_rgba(self, num_px: int) -> np.ndarray:
        """The picture as premultiplied uint8 (num_px, num_px, 4)."""
        rgba = np.dstack([self.colour_HWC, self.alpha_HW * 255])
        small = cv2.resize(rgba, (num_px, num_px), interpolation=cv2.INTER_AREA)
        return np.clip(small + 0.5, 0, 255).astype(np.uint8)

    def _shade(self, box: Box, is_lit: bool, texture_HW: np.ndarray | None = None) -> np.ndarray:
        shade_HW = self.light_HW[box] if is_lit else np.ones_like(self.light_HW[box])
        return (shade_HW if texture_HW is None else shade_HW * texture_HW[box])[..., None]

    def _to_px(self, points: np.ndarray) -> np.ndarray:
        return (np.asarray(points, np.float32) + self.margin) * self.px_per_unit - 0.5

    def _box(self, low_px: np.ndarray, high_px: np.ndarray) -> Box:
        (left, top), (right, bottom) = (
            np.clip(np.ceil(corner).astype(int), 0, self.num_px) for corner in (low_px, high_px)
        )
        return slice(top, max(top, bottom)), slice(left, max(left, right))
