"""The NVIDIA GPUs of this machine, as their driver describes them. Needs the driver and no package.

The driver's library is asked directly (CUDA driver API, `cuInit` to `cuDeviceGetAttribute`), which works without a CUDA
toolkit and takes milliseconds.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""

SUCCESS, NO_DEVICE = 0, 100
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU: its name, compute capability times ten (89 is 8.9) and memory."""

    name: str
    capability: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What the driver says: the newest CUDA version that it runs ("13.0"), and its GPUs.

    `cuda` is None where there is no driver; `lack` then, or where no GPU answers, is the reason in words.
    """

    cuda: str | None
    gpus: tuple[Gpu, ...]
    lack: str


def driver_of_machine() -> Driver:
    """Ask the driver. Never fails: what is missing is said in `lack`."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return Driver(cuda=None, gpus=(), lack=f"there is no NVIDIA driver ({LIBRARY} is missing)")
    version = ctypes.c_int()
    cuda = None
    if library.cuDriverGetVersion(ctypes.byref(version)) == SUCCESS:
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    code = library.cuInit(0)
    if code not in (SUCCESS, NO_DEVICE):
        return Driver(cuda=cuda, gpus=(), lack=f"the NVIDIA driver does not start (CUDA error {code}); see nvidia-smi")
    count = ctypes.c_int()
    if code == NO_DEVICE or library.cuDeviceGetCount(ctypes.byref(count)) != SUCCESS or count.value == 0:
        return Driver(cuda=cuda, gpus=(), lack="the NVIDIA driver sees no GPU")
    return Driver(cuda=cuda, gpus=tuple(_gpu(library, number) for number in range(count.value)), lack="")


def _gpu(library: Any, number: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    memory = ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, _NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=10 * major.value + minor.value,
        memory_bytes=memory.value,
    )
