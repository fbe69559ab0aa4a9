"""MVTec AD (Bergmann et al., CVPR 2019), pooled and split anew as in the paper's section on it."""
