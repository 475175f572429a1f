"""SADA, the box-level augmentation of Scale-aware AutoAugment (Chen et al., CVPR 2021), as the detector's recipe uses it.

policy: the 40 numbers and what they mean; colour, geometric: the operations; box_level: one picture augmented.
"""
