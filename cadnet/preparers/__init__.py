"""Raw material of the datasets made from photographs, planned as prepared datasets."""
