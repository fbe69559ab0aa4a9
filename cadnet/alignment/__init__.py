"""Bringing an inspected photograph onto its reference, with how well that went measured from the pixels."""

from cadnet.alignment.align import align
from cadnet.alignment.estimate import estimate_alignment
from cadnet.alignment.result import Aligned, Alignment, Method

__all__ = ["Aligned", "Alignment", "Method", "align", "estimate_alignment"]
