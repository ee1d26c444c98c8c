"""Records of array record files and TFRecords, and what a tf.train.Example in one of them says.

Array records want the package array_record, which needs no TensorFlow. A TFRecord is a row of
frames: u64 length, u32, data, u32, little-endian (tensorflow.org/tutorials/load_data/tfrecord);
the two u32 are checksums, which are not checked.
"""

import struct
from collections.abc import Iterator
from pathlib import Path


def from_array_record(file: Path, first: int, n: int) -> list[bytes]:
    """Records first to first + n of an array record file."""
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise ImportError(f"array records want `pip install array_record` ({error})") from error
    reader = array_record_module.ArrayRecordReader(str(file), "readahead_buffer_size:0")
    try:
        return reader.read(list(range(first, first + n)))
    finally:
        reader.close()


def from_tfrecord(file: Path, first: int, n: int) -> list[bytes]:
    """Records first to first + n of a TFRecord file; those before are jumped over."""
    records = []
    with file.open("rb") as opened:
        for i in range(first + n):
            head = opened.read(12)
            if len(head) < 12:
                raise ValueError(f"it ends before record {i}")
            (length,) = struct.unpack("<Q", head[:8])
            if i < first:
                opened.seek(length + 4, 1)
                continue
            data = opened.read(length)
            if len(data) < length:
                raise ValueError(f"record {i} is cut short")
            records.append(data)
            opened.seek(4, 1)
    return records


READERS = {"array_record": from_array_record, "tfrecord": from_tfrecord}


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """(value, where the next begins): seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a protocol buffer: an integer, or the bytes of what is
    nested (protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = divmod(tag, 8)
        if kind == 0:
            value, at = varint(data, at)
            yield number, value
            continue
        length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        yield number, data[at : at + length]
        at += length


def integers(value: int | memoryview) -> list[int]:
    """i64 of a field that is one varint, or several in a row."""
    found, at = [value] if isinstance(value, int) else [], 0
    while not isinstance(value, int) and at < len(value):
        one, at = varint(value, at)
        found.append(one)
    return [v - (1 << 64) if v >> 63 else v for v in found]


def example(data: bytes) -> dict[str, list]:
    """{feature: its bytes or integers} of a tf.train.Example; floats are left out.

    Example {1: Features}, Features {1: entries {1: name, 2: Feature}}, Feature {1: BytesList or
    3: Int64List}, each of these {1: repeated} (tensorflow/core/example/feature.proto).
    """
    found = {}
    for _, features in fields(memoryview(data)):
        for _, entry in fields(features):
            parts = dict(fields(entry))
            values = found[bytes(parts[1]).decode()] = []
            for kind, listed in fields(parts.get(2, memoryview(b""))):
                for _, value in fields(listed):
                    values += {1: lambda v: [bytes(v)], 3: integers}.get(kind, lambda v: [])(value)
    return found
