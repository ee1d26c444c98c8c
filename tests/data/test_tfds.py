"""Prepared directories as TensorFlow Datasets leaves them, written here with protobuf's own code."""

import functools
import json
import struct

import numpy as np
import pytest

from data import images, tfds, tfrecord
from tests.pixels import pictures, png

FEATURES = {
    "featuresDict": {
        "features": {
            "file_name": {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text"},
            "image": {
                "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
                "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            },
            "label": {
                "classLabel": {"numClasses": "7"},
                "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
            },
        }
    }
}
OLD = {  # before TFDS 4.6
    "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "content": {
        "image": {
            "type": "tensorflow_datasets.core.features.image_feature.Image",
            "content": {"shape": [None, None, 3], "dtype": "uint8", "encoding_format": "png"},
        },
        "label": {
            "type": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
            "content": {"num_classes": 7},
        },
    },
}


@functools.cache
def example_class():
    """tf.train.Example, as protobuf makes it of its description."""
    descriptor = pytest.importorskip("google.protobuf.descriptor_pb2", reason="wants protobuf")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    repeated, message = 3, 11

    def add(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field, kind, label) in enumerate(fields, 1):
            known = {"bytes": 12, "float": 2, "int64": 3, "string": 9}
            more = {} if kind in known else {"type_name": f".t.{kind}"}
            made.field.add(
                name=field, number=number, type=known.get(kind, message), label=label, **more
            )

    add("BytesList", ("value", "bytes", repeated))
    add("FloatList", ("value", "float", repeated))
    add("Int64List", ("value", "int64", repeated))
    add(
        "Feature",
        ("bytes_list", "BytesList", 1),
        ("float_list", "FloatList", 1),
        ("int64_list", "Int64List", 1),
    )
    add("Entry", ("key", "string", 1), ("value", "Feature", 1))
    add("Features", ("feature", "Entry", repeated))
    add("Example", ("features", "Features", 1))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def example(**values) -> bytes:
    made = example_class()()
    for key, value in values.items():
        feature = made.features.feature.add(key=key).value
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.extend(value)
    return made.SerializeToString()


def write_tfrecord(path, records):
    frame = lambda r: struct.pack("<QI", len(r), 0) + r + struct.pack("<I", 0)
    path.write_bytes(b"".join(map(frame, records)))


def write_array_record(path, records):
    module = pytest.importorskip(
        "array_record.python.array_record_module", reason="array_record is an extra"
    )
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


WRITERS = {"array_record": write_array_record, "tfrecord": write_tfrecord}


def prepare(folder, kind, x, features=FEATURES, name="imagenet2012"):
    """A directory with half of the images in each of two splits, `train` in two files."""
    folder.mkdir(parents=True)
    n = len(x)
    records = [
        example(file_name=b"n%d.JPEG" % i, image=png(a), label=[i % 7], scale=0.5)
        for i, a in enumerate(x)
    ]
    files = {
        "train": (records[: n // 4], records[n // 4 : n // 2]),
        "validation": (records[n // 2 :],),
    }
    for split, shards in files.items():
        for i, shard in enumerate(shards):
            path = folder / f"{name}-{split}.{kind}-{i:05d}-of-{len(shards):05d}"
            WRITERS[kind](path, shard)
    info = {
        "name": name,
        "splits": [{"name": k, "shardLengths": [str(len(s)) for s in v]} for k, v in files.items()],
    }
    (folder / "dataset_info.json").write_text(
        json.dumps(info | ({"fileFormat": kind} if kind != "tfrecord" else {}))
    )
    (folder / "features.json").write_text(json.dumps(features))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_prepared_directory_is_read_without_tensorflow(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(tfds, "STRETCH", 3)
    x = pictures(20)
    prepare(tmp_path / "imagenet2012" / "5.1.0", kind, x)
    data = images.load("imagenet256", str(tmp_path), size=8)
    np.testing.assert_array_equal(data["train"].x, x[:10])
    np.testing.assert_array_equal(data["test"].x, x[10:])
    assert data["test"].label.tolist() == [i % 7 for i in range(10, 20)]
    assert data["train"].num_classes == 7
    batch = images.load("imagenet256", str(tmp_path), size=8, stream=True)["train"].batches(10)(0)
    assert sorted(a.tobytes() for a in batch["x"]) == sorted(a.tobytes() for a in x[:10])


def test_directories_of_older_versions_are_read_too(tmp_path):
    x = pictures(8)
    prepare(tmp_path / "1.0.0", "tfrecord", x, OLD)
    prepare(tmp_path / "2.10.0", "tfrecord", x[::-1], OLD)
    assert tfds.prepared(tmp_path).name == "2.10.0", "the newest one"
    data = images.load(f"tfds:{tmp_path}")
    np.testing.assert_array_equal(data["train"].x, x[::-1][:4])
    assert images.load(f"tfds:{tmp_path / '1.0.0'},label=none")["train"].num_classes == 0


def test_what_an_example_says_is_what_protobuf_wrote():
    values = {"a": [0, 1, -1, 2**40, -(2**63)], "b": b"\x00\xff" * 300, "c": 1.5, "d": []}
    found = tfrecord.example(example(**values))
    assert found == {"a": values["a"], "b": [values["b"]], "c": [], "d": []}


def test_damage_is_told_with_file_and_records(tmp_path):
    prepare(tmp_path / "d", "tfrecord", pictures(8))
    path = tmp_path / "d" / "imagenet2012-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        ValueError,
        match="records 0 to 1 of imagenet2012-train.tfrecord-00001-of-00002 .* record 1 is cut short",
    ):
        images.load(f"tfds:{tmp_path / 'd'}")
    path.unlink()
    with pytest.raises(
        FileNotFoundError, match="1 of 2 files of train are not in .*-00001-of-00002"
    ):
        images.load(f"tfds:{tmp_path / 'd'}")


@pytest.mark.parametrize(
    "options, message",
    [
        ("image=pic", "has no feature 'pic'; it has file_name, image"),
        ("train=all", "no split 'all'; it has train, v"),
    ],
)
def test_features_and_splits_that_are_not_there_are_answered_with_those_that_are(
    tmp_path, options, message
):
    prepare(tmp_path / "d", "tfrecord", pictures(8))
    with pytest.raises(ValueError, match=message):
        images.load(f"tfds:{tmp_path / 'd'},{options}")
