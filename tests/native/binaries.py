"""What a compiled file is for, read from its header: ELF, Mach-O, or COFF and the PE around it."""

from __future__ import annotations

import re
import struct

ELF = {62: "x86_64-linux", 183: "aarch64-linux"}
MACH_O = {0x01000007: "x86_64-macos", 0x0100000C: "aarch64-macos"}
COFF = {0x8664: "x86_64-windows", 0xAA64: "aarch64-windows"}


def platform_from_binary(data: bytes) -> str:
    """Return the platform of an object or a library, as hatch_build.py names it. Raises `ValueError` for no such."""
    try:
        if data[:4] == b"\x7fELF":
            return ELF[struct.unpack_from("<H", data, 18)[0]]
        if data[:4] == b"\xcf\xfa\xed\xfe":
            return MACH_O[struct.unpack_from("<I", data, 4)[0]]
        start = struct.unpack_from("<I", data, 60)[0] + 4 if data[:2] == b"MZ" else 0
        return COFF[struct.unpack_from("<H", data, start)[0]]
    except (KeyError, struct.error) as error:
        raise ValueError(f"neither ELF, Mach-O nor COFF of a known machine: {data[:20].hex()}") from error


def oldest_glibc(data: bytes) -> tuple[int, int]:
    """Return the version of glibc that a Linux library needs: the newest of those whose symbols it names."""
    named = re.findall(rb"GLIBC_(\d+)\.(\d+)", data)
    return max(((int(major), int(minor)) for major, minor in named), default=(0, 0))
