"""`tinynas overfit`: a check of the whole chain on a few images, trained and evaluated on the same ones.

`images` chooses them, `training` trains until they are learnt, `advice` says why they were not, `picture` shows it.
"""
