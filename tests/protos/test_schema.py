import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from protos import dataset_pb2, evaluator_pb2, experiment_pb2, model_pb2, trainer_pb2
from protos.rules import IGNORED, RULES

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = {
    f"protos/{name}.proto": module
    for name, module in {
        "dataset": dataset_pb2,
        "evaluator": evaluator_pb2,
        "experiment": experiment_pb2,
        "model": model_pb2,
        "trainer": trainer_pb2,
    }.items()
}
# Names of files and runs, and crop_size, which is checked together with the resize values.
FREE = {
    "ExperimentOptions.experiment_name",
    "ExperimentOptions.base",
    "ModelOptions.initial_checkpoint",
    "BackboneOptions.pretrained_weights",
    "DatasetOptions.dataset",
    "DatasetOptions.file_pattern",
    "RecordSource.file_pattern",
    "DatasetOptions.crop_size",
    "EvaluatorOptions.override_save_dir",
}
Field = descriptor_pb2.FieldDescriptorProto


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The .proto files as descriptors with comments, by file name."""
    output = tmp_path_factory.mktemp("protoc") / "descriptors.pb"
    arguments = [f"-I{ROOT}", f"--descriptor_set_out={output}", "--include_source_info", *MODULES]
    # In a separate process: gRPC and TensorFlow load different versions of the same libraries.
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=ROOT, check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    return {file.name: file for file in files}


def commented_fields(file):
    """Message name, field and comment of every field of a file."""
    comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for m, message in enumerate(file.message_type):
        for f, field in enumerate(message.field):
            # 4 and 2 are the numbers of message_type and field in the descriptors of a file and of a message.
            yield message.name, field, comments[(4, m, 2, f)]


def comparable(file):
    """A copy without the parts that differ between compiler versions: JSON names, digits of defaults, comments."""
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    for message in copy.message_type:
        for field in message.field:
            field.ClearField("json_name")
            if field.type == Field.TYPE_FLOAT and field.HasField("default_value"):
                field.default_value = str(np.float32(field.default_value))
    return copy


@pytest.mark.parametrize("name", MODULES)
def test_generated_code_equals_the_proto_file(compiled, name):
    generated = descriptor_pb2.FileDescriptorProto()
    MODULES[name].DESCRIPTOR.CopyToProto(generated)
    assert comparable(generated) == comparable(compiled[name])


@pytest.mark.parametrize("name", MODULES)
def test_generated_code_works_with_every_protobuf(name):
    assert "runtime_version" not in pathlib.Path(sys.modules[MODULES[name].__name__].__file__).read_text()


@pytest.mark.parametrize("name", MODULES)
def test_every_comment_states_a_default_or_required_or_ignored(compiled, name):
    for message, field, comment in commented_fields(compiled[name]):
        if field.type != Field.TYPE_MESSAGE:
            assert re.search(r"Default|Required|Ignored", comment), f"{message}.{field.name}"


@pytest.mark.parametrize("name", MODULES)
def test_comments_state_the_actual_default(compiled, name):
    for message, field, comment in commented_fields(compiled[name]):
        stated = re.search(r"Default:\s+(-?[\d.]*\d|true|false|\"\w+\"|[A-Z]+\d+)[.,\n ]", comment)
        if stated and field.HasField("default_value"):
            stated = stated[1].strip('"')
            same = stated == field.default_value or (stated[-1].isdigit() and float(stated) == float(field.default_value))
            assert same, f"{message}.{field.name}: {comment}"


def test_ignored_fields_are_those_that_the_comments_mark(compiled):
    commented = {
        f"{message}.{field.name}"
        for file in compiled.values()
        for message, field, comment in commented_fields(file)
        if "Ignored" in comment
    }
    assert commented == {f"{message}.{field}" for message, fields in IGNORED.items() for field in fields}


def test_every_number_and_name_has_a_rule(compiled):
    checked = {f"{message}.{field}" for table in (RULES, IGNORED) for message, fields in table.items() for field in fields}
    needed = {
        f"{message}.{field.name}"
        for file in compiled.values()
        for message, field, _ in commented_fields(file)
        if field.type not in (Field.TYPE_MESSAGE, Field.TYPE_BOOL, Field.TYPE_ENUM) and "Description" not in message
    }
    assert needed - FREE - checked == set()
    names = {f"{m}.{field.name}" for file in compiled.values() for m, field, _ in commented_fields(file)}
    assert checked | FREE <= names
