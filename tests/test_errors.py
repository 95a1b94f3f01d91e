"""What an error of the system is in a sentence, and whose fault: the disk's, or that of the path."""

from __future__ import annotations

import errno
import os

import pytest

from bertc.errors import EXIT_ENVIRONMENT, EXIT_INPUT, sentence_of_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_environment_s(number: int) -> None:
    error = OSError(number, os.strerror(number), "OUT/report.json")
    sentence = "OUT/report.json: the disk is full; free some space, or write to another disk"
    assert sentence_of_error(error) == (sentence, EXIT_ENVIRONMENT)


def test_a_limit_of_a_file_s_size_is_the_environment_s() -> None:
    told = "no file may be so large here; raise the limit (ulimit -f)"
    assert sentence_of_error(OSError(errno.EFBIG, os.strerror(errno.EFBIG))) == (told, EXIT_ENVIRONMENT)


def test_of_a_copy_the_place_that_is_full_is_named_and_not_what_was_read() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "from.json", None, "models/to.json")
    assert sentence_of_error(error)[0].startswith("models/to.json: the disk is full")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EROFS])
def test_any_other_refusal_is_the_path_s(number: int) -> None:
    sentence, code = sentence_of_error(OSError(number, os.strerror(number), "OUT"))
    assert code == EXIT_INPUT
    assert sentence == f"OUT: {os.strerror(number)}; check the path and its permissions"
