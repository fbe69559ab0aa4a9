"""A product as an MLflow model: two images in, labels and probabilities out.

MLflow runs this file when it loads the model ("models from code"), so nothing is pickled; the library travels
with the model, so no checkout is needed.
"""

from __future__ import annotations

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

from cadnet.inference import Predictor

PRODUCT = "product"
"""Name of the artifact that is the product's folder."""


class _Pairs:
    """Judges pairs; untyped and apart from MLflow's class, which would guess a signature and warn."""

    predictor: Predictor

    def predict(self, context, model_input, params=None) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
        """Judge the pairs."""
        del context, params
        found = [
            self.predictor.predict(image, reference)
            for image, reference in zip(model_input["image"], model_input["reference"], strict=True)
        ]
        return {
            "labels": np.stack([one.labels for one in found]),
            "probability": np.stack([one.probability for one in found]),
        }


class ProductModel(_Pairs, PythonModel):
    """``predict({"image": (B, H, W, 3), "reference": (B, H, W, 3)})`` of uint8 RGB images.

    Returns ``labels``, uint8 (B, H, W), and ``probability`` of any defect, float32 (B, H, W). Height and
    width are free.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network; references given with each image are encoded, and kept while they repeat."""
        self.predictor = Predictor(context.artifacts[PRODUCT])


mlflow.models.set_model(ProductModel())
