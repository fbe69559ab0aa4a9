"""CADNet: change-aware defect segmentation against a defect-free reference."""

__version__ = "0.1.0"
