"""OpenVINO moves the process's signal stack with its core: signals must survive models that come and go."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc, signal
from latency_tables.kernels import Kernel
from latency_tables.runtimes._models import write_batch
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes.openvino import compile_model

def compiled():
    conv = Kernel(kind="conv", in_channels=16, out_channels=16, height=8, width=8, activation="relu")
    model = write_batch([conv], OpenVINOWriter())
    return compile_model(model, threads=1)

first, second = compiled(), compiled()
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_works_after_models_were_released() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
