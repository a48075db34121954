"""Lay every crop of a face onto the crops before it, by the upper face that no speech moves.

A box that trembles and a head that nods move the mouth more than speech does. What is left after a shift, a scale and
a roll are taken away is the mouth itself. Iterative least squares on a template, after Baker and Matthews (Lucas-Kanade
20 Years On, IJCV 2004, the inverse compositional form). Shape suffixes: S 64 px, P pixels of the upper face.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["SIDE", "FaceRegister"]

SIDE = 64  # px at which faces are laid onto each other
UPPER = (slice(8, 37), slice(10, 54))  # forehead to nose of the canonical crop
COARSE = (slice(8, 36), slice(12, 52))  # the same, of even size for the Fourier transform
BLUR = 1.0  # px, Gaussian: the template must be smooth for its slope to mean something
STEPS = 3
MAX_SHIFT = 5.0  # px between a crop and the template; more is a failed registration
MAX_CHANGE = 0.2  # of scale, or radians of roll; the same
RENEW = 0.05  # share of every new crop in the template
RENEW_SLOPES = 5  # frames after which the template's slopes are taken again
MIN_CONTRAST = 4.0  # grey levels, so that noise in the dark is not enlarged


class FaceRegister:
    """Successive crops of one face on one spot. Begin a new one after a gap or a cut."""

    def __init__(self) -> None:
        self._template: np.ndarray | None = None
        self._count = 0
        self._window = cv2.createHanningWindow((COARSE[1].stop - COARSE[1].start, COARSE[0].stop - COARSE[0].start), 5)
        rows, columns = np.mgrid[UPPER]
        self._y_P, self._x_P = (rows - SIDE / 2).ravel(), (columns - SIDE / 2).ravel()

    def add(self, grey_SS: np.ndarray) -> np.ndarray:
        """A uint8 grey crop laid onto the template: float32 (64, 64), in spreads of the upper face around its mean."""
        face_SS = cv2.resize(grey_SS, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        upper = face_SS[UPPER]
        face_SS = (face_SS - upper.mean()) / max(float(upper.std()), MIN_CONTRAST)
        if self._template is None:
            self._template = face_SS
            return face_SS
        if self._count % RENEW_SLOPES == 0:
            self._take_slopes(self._template)
        self._count += 1
        laid_SS = _warp(face_SS, self._find(face_SS, self._template))
        self._template = (1 - RENEW) * self._template + RENEW * laid_SS
        return laid_SS

    def _take_slopes(self, template_SS: np.ndarray) -> None:
        """The least-squares step from a difference of pixels to shift x, y, scale and roll."""
        smooth_SS = cv2.GaussianBlur(template_SS, (0, 0), BLUR)
        slope_y, slope_x = (slope[UPPER].ravel() for slope in np.gradient(smooth_SS))
        x_P, y_P = self._x_P, self._y_P
        slopes_P4 = np.stack([slope_x, slope_y, slope_x * x_P + slope_y * y_P, slope_y * x_P - slope_x * y_P], 1)
        slopes_P4 -= slopes_P4.mean(0)
        square_44 = slopes_P4.T @ slopes_P4
        square_44[np.diag_indices(4)] *= 1.001
        square_44[np.diag_indices(4)] += 1e-6
        self._solve_4P = np.linalg.solve(square_44, slopes_P4.T)
        self._smooth_P = smooth_SS[UPPER].ravel()

    def _find(self, face_SS: np.ndarray, template_SS: np.ndarray) -> np.ndarray:
        """(2, 3): from the template's pixels to the crop's."""
        (x, y), _ = cv2.phaseCorrelate(template_SS[COARSE].copy(), face_SS[COARSE].copy(), self._window)
        matrix_33 = np.eye(3)
        matrix_33[:2, 2] = np.clip((x, y), -MAX_SHIFT, MAX_SHIFT)
        for _ in range(STEPS):
            now_P = cv2.GaussianBlur(_warp(face_SS, matrix_33[:2]), (0, 0), BLUR)[UPPER].ravel()
            error_P = now_P - self._smooth_P
            error_P -= error_P.mean()
            spread = 1.5 * float(np.median(np.abs(error_P))) + 1e-3
            step = self._solve_4P @ np.clip(error_P, -3 * spread, 3 * spread)  # a blink must not count fully
            matrix_33 = matrix_33 @ np.linalg.inv(_matrix(step))
        is_near = np.abs(matrix_33[:2, :2] - np.eye(2)).max() < MAX_CHANGE
        centre = matrix_33[:2, :2] @ (SIDE / 2, SIDE / 2) + matrix_33[:2, 2] - SIDE / 2
        return matrix_33[:2] if is_near and np.abs(centre).max() < 2 * MAX_SHIFT else np.eye(3)[:2]


def _matrix(step_4: np.ndarray) -> np.ndarray:
    """(3, 3) of a shift, a change of scale and a roll about the middle of the crop."""
    x, y, scale, roll = step_4
    turn = np.array([[1 + scale, -roll], [roll, 1 + scale]])
    matrix_33 = np.eye(3)
    matrix_33[:2, :2] = turn
    matrix_33[:2, 2] = np.array([x, y]) + SIDE / 2 - turn @ (SIDE / 2, SIDE / 2)
    return matrix_33


def _warp(face_SS: np.ndarray, matrix_23: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(face_SS, matrix_23, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
