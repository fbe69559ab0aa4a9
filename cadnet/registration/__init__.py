"""Bringing an inspected photograph onto its reference, with how well that went measured from the pixels."""

from cadnet.registration.align import align
from cadnet.registration.estimate import register
from cadnet.registration.result import Aligned, Method, Registration

__all__ = ["Aligned", "Method", "Registration", "align", "register"]
