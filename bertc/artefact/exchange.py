"""Two folders change places in one step, where the operating system can do so."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_DARWIN_RENAME_SWAP = 2
# The kernel or this file system does not know the operation (old kernels, some network and overlay file systems).
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def exchange_folders(one: Path, other: Path) -> bool:
    """Exchange two existing folders atomically; return False if this system cannot. Raises `OSError`."""
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(paths[0], paths[1], ctypes.c_uint(_DARWIN_RENAME_SWAP))
        else:
            failed = library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE))
    except AttributeError:
        return False  # a C library without the call
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
