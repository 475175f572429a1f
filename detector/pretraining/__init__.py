"""Pre-training: a backbone learns an image network's feature maps on pictures without annotations."""
