"""Bringing an inspected photograph onto its reference, with how well that went measured from the pixels."""

from cadnet.alignment.align import Aligned, Alignment, Method, align
from cadnet.alignment.estimate import estimate_alignment

__all__ = ["Aligned", "Alignment", "Method", "align", "estimate_alignment"]
