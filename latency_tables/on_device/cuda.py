"""As much of CUDA's driver as timing needs: memory, a stream, events, the device's name. By ctypes, no package needed.

Written from NVIDIA's documentation of the driver's functions; there was no NVIDIA GPU to run it on, so it has not been run.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class CudaError(RuntimeError):
    """The driver is missing, or one of its functions failed."""


@lru_cache(maxsize=None)
def _driver() -> Any:
    """The library, with the first device's primary context made current (TensorRT uses the same one)."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise CudaError(f"no NVIDIA driver here ({error})") from None
    _check(driver, "cuInit", driver.cuInit(0))
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(driver, "cuDeviceGet", driver.cuDeviceGet(ctypes.byref(device), 0))
    found = driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    _check(driver, "cuDevicePrimaryCtxRetain", found)
    _check(driver, "cuCtxSetCurrent", driver.cuCtxSetCurrent(context))
    return driver


def _check(driver: Any, name: str, code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(text))
        raise CudaError(f"{name} failed: {(text.value or b'error').decode()} ({code})")


def _call(name: str, *arguments: Any) -> None:
    driver = _driver()
    _check(driver, name, getattr(driver, name)(*arguments))


def gpu_name() -> str:
    """The first device's name. Raises CudaError when there is none."""
    device, text = ctypes.c_int(), ctypes.create_string_buffer(256)
    _call("cuDeviceGet", ctypes.byref(device), 0)
    _call("cuDeviceGetName", text, len(text), device)
    return text.value.decode()


def on_gpu(values: npt.NDArray[Any]) -> int:
    """The address of a copy on the device; it stays until the process ends or `release` is told."""
    address = ctypes.c_uint64()
    size = ctypes.c_size_t(max(values.nbytes, 1))
    _call("cuMemAlloc_v2", ctypes.byref(address), size)
    _call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(values.ctypes.data), ctypes.c_size_t(values.nbytes))
    return int(address.value)


def release(address: int) -> None:
    """Free what `on_gpu` gave."""
    _call("cuMemFree_v2", ctypes.c_uint64(address))


class Stream:
    """Work in order. `handle`: what TensorRT takes (it is the runtime library's cudaStream_t as well)."""

    def __init__(self) -> None:
        self._stream = ctypes.c_void_p()
        _call("cuStreamCreate", ctypes.byref(self._stream), 1)  # does not wait for the default stream

    @property
    def handle(self) -> int:
        return int(self._stream.value or 0)

    def synchronize(self) -> None:
        """Wait until all is done."""
        _call("cuStreamSynchronize", self._stream)


class Event:
    """A moment in a stream."""

    def __init__(self) -> None:
        self._event = ctypes.c_void_p()
        _call("cuEventCreate", ctypes.byref(self._event), 0)

    def record(self, stream: Stream) -> None:
        """Here, in this stream."""
        _call("cuEventRecord", self._event, ctypes.c_void_p(stream.handle))

    def synchronize(self) -> None:
        """Wait until it has come."""
        _call("cuEventSynchronize", self._event)

    def ms_until(self, later: Event) -> float:
        """Milliseconds between two events that have come."""
        span = ctypes.c_float()
        _call("cuEventElapsedTime", ctypes.byref(span), self._event, later._event)
        return float(span.value)
