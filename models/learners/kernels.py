"""Gaussian kernel regressors by the Nyström method, with which a ridge regression fits what is not linear.

A ridge with kernel values between a row and some training rows (the landmarks) as regressors approximates a Gaussian
process with a squared exponential kernel (Williams and Seeger, Using the Nyström method to speed up kernel machines,
2001). It stays a ridge: fast, and with leave-one-out residuals in closed form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Flags, Floats

# In distances, a calendar regressor (one that is no level) counts as much as so many levels.
_CALENDAR_WEIGHT = 4.0
# Added to eigenvalues, so that nearly equal landmarks do not blow up the inverse.
_JITTER = 1e-6

# Stored in half precision; rounded before the fit, so that a loaded model predicts the same.
Landmarks = NDArray[np.float16] | NDArray[np.float32]


def weighted(standardised: Floats, is_level: Flags) -> Floats:
    """Standardised regressors (n, p), weighted so that squared distances of rows do not grow with p."""
    weight = np.where(is_level, 1.0, _CALENDAR_WEIGHT)
    out: Floats = standardised * np.sqrt(weight / weight.sum()).astype(standardised.dtype)
    return out


def choose_landmarks(inputs: Floats, count: int) -> Landmarks:
    """``count`` of the rows (n, p), evenly spaced in their order."""
    return inputs[np.linspace(0, len(inputs) - 1, count).astype(np.int64)].astype(np.float16)


def gaussian_kernel(inputs: Floats, landmarks: Landmarks) -> Floats:
    """Kernel values of rows (n, p) and landmarks (m, p), (n, m): 1 where they are equal."""
    centres = landmarks.astype(inputs.dtype, copy=False)
    distance = (inputs**2).sum(axis=1)[:, np.newaxis] + (centres**2).sum(axis=1) - 2 * inputs @ centres.T
    out: Floats = np.exp(-0.5 * np.maximum(distance, 0.0))
    return out


def whitening_matrix(landmarks: Landmarks) -> Floats:
    """The matrix (m, m) that turns kernel values into Nyström features with the identity as their prior covariance."""
    values, vectors = np.linalg.eigh(gaussian_kernel(landmarks.astype(np.float64), landmarks))
    out: Floats = vectors / np.sqrt(np.maximum(values, 0.0) + _JITTER)
    return out
