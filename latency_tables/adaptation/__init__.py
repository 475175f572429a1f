"""A table of this host from another device's: the log ratio between the two is fitted to a few kernels measured here.

Between processors of one kind that ratio is nearly a constant per kind of kernel, so a minute of measuring does what a
profile from nothing needs many for.
"""
