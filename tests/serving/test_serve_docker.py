"""scripts/serve_docker.sh, run with a stand-in for docker, and the batching it asks for."""

import pathlib
import shutil
import subprocess

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
BATCHING = SCRIPTS / "batching.config"
DOCKER = """#!/bin/sh
if [ "$1" = info ]; then
  [ -z "$DOCKER_IS_DOWN" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
  exit 0
fi
printf '%s\\n' "$@"
"""
# BatchingParameters of TF Serving's session_bundle_config.proto, which its Python package lacks.
WRAPPED_INTEGERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "max_execution_batch_size",
)


@pytest.fixture
def folder(tmp_path):
    """A folder with a space in its name, an exported run in it, and `docker` in bin/."""
    folder = tmp_path / "a folder"
    for version in ("1", "2"):
        (folder / "run/export" / version).mkdir(parents=True)
        (folder / "run/export" / version / "saved_model.pb").write_bytes(b"")
    (folder / "bin").mkdir()
    (folder / "bin/docker").write_text(DOCKER)
    (folder / "bin/docker").chmod(0o755)
    return folder


def serve(folder, *arguments, **environment):
    """Runs the script in the folder with its bin/ before the system's own folders."""
    path = f"{folder}/bin:/usr/bin:/bin"
    return subprocess.run(
        [SCRIPTS / "serve_docker.sh", *arguments],
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def batching_parameters():
    """Returns an empty BatchingParameters message."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="test")
    file.syntax = "proto3"
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    kinds = dict.fromkeys(WRAPPED_INTEGERS, ".google.protobuf.Int64Value")
    kinds["thread_pool_name"] = ".google.protobuf.StringValue"
    kinds["enable_large_batch_splitting"] = ".google.protobuf.BoolValue"
    for number, (name, kind) in enumerate(kinds.items(), 1):
        message.field.add(name=name, number=number, type=11, label=1, type_name=kind)
    message.field.add(name="allowed_batch_sizes", number=20, type=3, label=3)
    message.field.add(name="pad_variable_length_inputs", number=21, type=8, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))()


def test_docker_gets_the_export_the_batching_and_the_name(folder):
    given = serve(folder, "run").stdout.splitlines()
    mounts = [given[number + 1] for number, word in enumerate(given) if word == "--mount"]
    assert given[:2] == ["run", "--rm"]
    assert mounts == [
        f"type=bind,source={folder}/run/export,target=/models/lbunet,readonly",
        f"type=bind,source={BATCHING},target=/models/batching.config,readonly",
    ]
    assert given[given.index("-e") + 1] == "MODEL_NAME=lbunet"
    assert given[-3:] == [
        "tensorflow/serving:2.21.0",
        "--enable_batching=true",
        "--batching_parameters_file=/models/batching.config",
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "ports"),
    [
        ((), {}, ["127.0.0.1:8501:8501", "127.0.0.1:8500:8500"]),
        (("9001",), {}, ["127.0.0.1:9001:8501", "127.0.0.1:8500:8500"]),
        (("9001", "9000"), {}, ["127.0.0.1:9001:8501", "127.0.0.1:9000:8500"]),
        ((), {"SERVE_ADDRESS": "0.0.0.0"}, ["0.0.0.0:8501:8501", "0.0.0.0:8500:8500"]),
    ],
)
def test_ports_are_published_to_the_address_asked_for(folder, arguments, environment, ports):
    given = serve(folder, "run", *arguments, **environment).stdout.splitlines()
    assert [given[number + 1] for number, word in enumerate(given) if word == "-p"] == ports


def test_another_image_can_be_named(folder):
    given = serve(folder, "run", TF_SERVING_IMAGE="mine:1").stdout.splitlines()
    assert given[-3] == "mine:1"


def test_an_absolute_run_is_served_too(folder):
    assert f"source={folder}/run/export," in serve(folder, f"{folder}/run").stdout


def test_a_run_without_a_version_names_the_command_that_writes_one(folder):
    shutil.rmtree(folder / "run/export")
    (folder / "run/export/partial-1").mkdir(parents=True)
    (folder / "run/export/partial-1/saved_model.pb").write_bytes(b"")
    result = serve(folder, "run")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "run/export holds no version. Write one: python -m lbunet_tf.export --run=run"
    ]


def test_a_docker_that_does_not_answer_is_quoted(folder):
    result = serve(folder, "run", DOCKER_IS_DOWN="1")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "docker is installed but does not answer: Cannot connect to the Docker daemon"
    ]


def test_a_missing_docker_is_said(folder):
    (folder / "bin/docker").unlink()
    for name in ("bash", "env", "basename", "dirname"):
        (folder / "bin" / name).symlink_to(shutil.which(name))
    result = serve(folder, "run", PATH=f"{folder}/bin")
    assert result.returncode == 1
    assert result.stderr.startswith("docker is not installed") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("run", "1", "2", "3")])
def test_a_wrong_number_of_arguments_shows_the_usage(folder, arguments):
    result = serve(folder, *arguments)
    assert result.returncode == 2
    assert result.stderr == "usage: scripts/serve_docker.sh RUN [REST_PORT [GRPC_PORT]]\n"


def test_the_batching_file_has_fields_of_tf_serving_with_values_in_range():
    parameters = text_format.Parse(BATCHING.read_text(), batching_parameters())
    assert parameters.max_batch_size.value == 8
    assert 0 <= parameters.batch_timeout_micros.value <= 10_000
    assert parameters.num_batch_threads.value >= 1
    assert parameters.max_enqueued_batches.value >= parameters.num_batch_threads.value
    assert parameters.enable_large_batch_splitting.value
    assert not parameters.pad_variable_length_inputs


def test_a_field_that_tf_serving_lacks_is_refused():
    with pytest.raises(text_format.ParseError, match="max_batches"):
        text_format.Parse("max_batches { value: 8 }", batching_parameters())
