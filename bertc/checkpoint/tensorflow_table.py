"""TensorFlow's table of sorted keys and values, which is LevelDB's: the index of a checkpoint is one.

Bytes come in, a dictionary goes out; every block's checksum is compared. The format (tensorflow,
core/lib/io/format.cc and table_format.txt; github.com/google/leveldb, doc/table_format.md):

    file      blocks, metaindex block, index block, footer
    footer    where metaindex and index block lie, filled up to 40 bytes; magic number [8 bytes]
    block     entries, the offsets of some [uint32 each], the number of these [uint32]; its trailer follows
    trailer   how the block is compressed [1 byte], masked CRC32C of block and that byte [uint32]
    entry     bytes shared with the key before, bytes of the key's rest, bytes of the value; rest, value
    where     offset, size of a block without its trailer: every value of the index block is such a pair

Numbers without a size are varints: seven bits in a byte, lowest first, the eighth bit set where more follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bertc.errors import InputError

AGAIN = "download or save it again"
MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5  # bytes
MAX_KEY = 4096  # bytes; shared beginnings could make a small file's keys fill the memory
MAX_ENTRIES = 100_000


class Cursor:
    """Bytes that are read from front to back. Raises `ValueError` at their end, and for a number that is none."""

    def __init__(self, content: bytes) -> None:
        """Begin with the first byte."""
        self._content, self._position = content, 0

    def __bool__(self) -> bool:
        """Say whether bytes are left."""
        return self._position < len(self._content)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        begin, self._position = self._position, self._position + size
        if self._position > len(self._content):
            raise ValueError("an entry ends beyond its block")
        return self._content[begin : self._position]

    def fixed(self, size: int) -> int:
        """Return the unsigned number of `size` bytes that is next."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """Return the varint of at most 64 bits that is next.

        >>> Cursor(bytes([0xAC, 0x02])).varint()
        300
        """
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and value < 2**64:
                return value
        raise ValueError("a number has more than 64 bits")


def entries_from_table(path: Path, content: bytes) -> dict[bytes, bytes]:
    """Return the entries of a table, whose keys stand in ascending order. `path` is for messages.

    Raises `InputError` if it is truncated, damaged or compressed, and for keys out of order or given twice.
    """
    if len(content) < FOOTER or int.from_bytes(content[-8:], "little") != MAGIC:
        raise InputError(f"{path} is truncated or no index of a TensorFlow checkpoint; {AGAIN}")
    try:
        return dict(_entries(content))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {AGAIN}") from error


def masked_checksum(content: object) -> int:
    """Return CRC32C of bytes, or of an array's, as TensorFlow stores it: turned by 15 bits, plus a constant."""
    from google_crc32c import value

    checksum: int = value(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the entries of all blocks in the order of the file."""
    footer = Cursor(content[-FOOTER:-8])
    metaindex, index = _place(footer), _place(footer)
    _block(content, *metaindex)  # has nothing to tell here, but is to be whole
    end, last, count = 0, None, 0
    for _, value in _block_entries(_block(content, *index)):
        offset, size = _place(Cursor(value))
        if offset < end:
            raise ValueError(f"its blocks overlap at byte {offset}")
        end = offset + size + TRAILER
        for key, entry in _block_entries(_block(content, offset, size)):
            count += 1
            if last is not None and key <= last:
                raise ValueError(f"the key {key!r:.100} stands twice, or behind a greater one")
            if count > MAX_ENTRIES:
                raise ValueError(f"it has more than {MAX_ENTRIES} entries")
            last = key
            yield key, entry


def _place(cursor: Cursor) -> tuple[int, int]:
    """Return offset and size of a block."""
    return cursor.varint(), cursor.varint()


def _block(content: bytes, offset: int, size: int) -> bytes:
    """Return a block without its trailer."""
    end = offset + size
    if end + TRAILER > len(content) - FOOTER:
        raise ValueError(f"a block ends at byte {end}, beyond the file's {len(content)} or in its footer")
    if int.from_bytes(content[end + 1 : end + TRAILER], "little") != masked_checksum(content[offset : end + 1]):
        raise ValueError(f"the checksum of the block at byte {offset} is wrong")
    if content[end] != 0:
        raise ValueError(f"the block at byte {offset} is compressed, as TensorFlow never writes it")
    return content[offset:end]


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the entries of a block. The offsets at its end are for a search, which nobody does here."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if len(block) < 4 or end < 0:
        raise ValueError("a block ends before its entries do")
    cursor, key = Cursor(block[:end]), b""
    while cursor:
        shared, rest, size = cursor.varint(), cursor.varint(), cursor.varint()
        if shared > len(key) or shared + rest > MAX_KEY:
            raise ValueError(f"a key shares {shared} bytes with one of {len(key)}, or is longer than {MAX_KEY}")
        key = key[:shared] + cursor.take(rest)
        yield key, cursor.take(size)
