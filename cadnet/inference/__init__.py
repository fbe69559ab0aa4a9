"""Trained networks outside training: prediction from product folders, and export."""

from cadnet.inference.prediction import Defect, Failure, Prediction, PredictionError
from cadnet.inference.predictor import Predictor
from cadnet.inference.product import Product, ProductError, read_product, write_product

__all__ = [
    "Defect", "Failure", "Prediction", "PredictionError", "Predictor", "Product", "ProductError",
    "read_product", "write_product",
]  # fmt: skip
