"""Inputs of forecasters: the layout of feature rows, and the arrays that are made of them."""

from models.inputs.assembler import Assembler, FeatureMismatchError, ModelInputs, feature, idle, per_target
from models.inputs.layout import Layout

__all__ = ["Assembler", "FeatureMismatchError", "Layout", "ModelInputs", "feature", "idle", "per_target"]
