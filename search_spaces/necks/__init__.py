"""Necks, one plug-in per file: `emit(b, features, neck) -> list[Tensor]`, one output per stride 8, 16, 32."""
