"""Prepared datasets: manifest, split lists, decoded cache, device-resident batches and augmentation."""
