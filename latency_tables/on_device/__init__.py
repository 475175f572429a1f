"""Code that runs on a device: Python 3.8, numpy and the runtime alone, and nothing else of this project.

The profiler's runtimes import it, and a kit carries it (latency_tables.kit.script), so there is one way of measuring.
"""
