"""A product of your own: photographs, clean references and labels as a product.yaml describes them."""

from cadnet.preparers.pairs.plan import plan_pairs
from cadnet.preparers.pairs.product import init_product

__all__ = ["init_product", "plan_pairs"]
