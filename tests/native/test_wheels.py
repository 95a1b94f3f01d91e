"""The wheels that `make wheels` left in dist/: each has the library of its platform, with what that system asks for."""

from __future__ import annotations

import struct
import zipfile

import pytest

from bertc import __version__
from hatch_build import FOLDER, PLATFORMS
from tests.native.binaries import oldest_glibc, platform_from_binary
from tests.native.standin import ROOT


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_wheel_of_a_platform_has_its_library(name: str) -> None:
    built_for = PLATFORMS[name]
    wheel = ROOT / "dist" / f"bertc-{__version__}-py3-none-{built_for.wheel}.whl"
    if not wheel.is_file():
        pytest.skip("needs dist/, which make wheels fills")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [each for each in archive.namelist() if "_library" in each]
        assert libraries == [f"{FOLDER}/{built_for.library}"]
        data = archive.read(libraries[0])
    assert platform_from_binary(data) == name
    assert b"bertc_run" in data
    if name.endswith("linux"):
        assert oldest_glibc(data) <= (2, 28)


def test_what_the_headers_say() -> None:
    assert platform_from_binary(b"\x7fELF" + bytes(14) + struct.pack("<H", 183)) == "aarch64-linux"
    assert platform_from_binary(b"\xcf\xfa\xed\xfe" + struct.pack("<I", 0x0100000C)) == "aarch64-macos"
    assert platform_from_binary(struct.pack("<H", 0x8664)) == "x86_64-windows"
    pe = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0xAA64)
    assert platform_from_binary(pe) == "aarch64-windows"
    assert oldest_glibc(b"\0GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_2.4\0") == (2, 17)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + bytes(16), b"MZ" + bytes(60), b"#!/bin/sh"])
def test_what_is_no_library_of_these_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="neither ELF, Mach-O nor COFF"):
        platform_from_binary(data)


def test_a_newer_glibc_is_seen() -> None:
    assert oldest_glibc(b"\0GLIBC_2.34\0GLIBC_2.2.5\0") > (2, 28)
