"""The machine that trains: its processes and devices, its memory, its arithmetic, kernels that it runs well."""
