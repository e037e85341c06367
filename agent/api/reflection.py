"""Server reflection under both of its names: v1, which clients ask first, and v1alpha, which older ones know.

The library for Python has v1alpha alone. The messages of both are the same on
the wire, so one servicer answers for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"
_PACKAGE, _V1_PACKAGE = "grpc.reflection.v1alpha", "grpc.reflection.v1"


def serve(services: Sequence[str], server: grpc.Server) -> None:
    """Have `server` describe `services`, and reflection itself."""
    servicer = reflection.ReflectionServicer([*services, V1, reflection.SERVICE_NAME], pool=_pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in (V1, reflection.SERVICE_NAME):
        methods = {"ServerReflectionInfo": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


def _pool() -> descriptor_pool.DescriptorPool:
    """The pool of all messages there are, the file of v1 among them."""
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = _V1_PACKAGE
    for field in (field for message in file.message_type for field in message.field if field.type_name):
        field.type_name = field.type_name.replace(f".{_PACKAGE}.", f".{_V1_PACKAGE}.")
    for method in (method for service in file.service for method in service.method):
        method.input_type = method.input_type.replace(f".{_PACKAGE}.", f".{_V1_PACKAGE}.")
        method.output_type = method.output_type.replace(f".{_PACKAGE}.", f".{_V1_PACKAGE}.")
    pool.AddSerializedFile(file.SerializeToString())
    return pool
