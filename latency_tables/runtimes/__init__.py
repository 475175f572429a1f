"""Runtimes, one plug-in per file, each with a YAML of what it fuses.

A plug-in has `version()`, `device_kind()`, `Gauge`, `batches(kernels)`, `measure(groups, ...)` and `network_ms(graphs, ...)`.
"""
