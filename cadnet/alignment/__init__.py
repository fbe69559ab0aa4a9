"""Aligning an inspected photograph with its reference; the residual is measured from the pixels."""

from cadnet.alignment.align import Aligned, Alignment, Method, align
from cadnet.alignment.estimate import estimate_alignment

__all__ = ["Aligned", "Alignment", "Method", "align", "estimate_alignment"]
