"""KEDA's protocol for external scalers: the messages and the service of its `externalscaler.proto`.

The messages are built at run time from a table. Code that protoc generates works only with some versions
of protobuf, and Temporal's SDK accepts several major versions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "externalscaler"
SERVICE = f"{PACKAGE}.ExternalScaler"

_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
}

# The fields of each message, in the order of their numbers from 1. "*" marks a repeated field.
_MESSAGES: dict[str, dict[str, str]] = {
    "ScaledObjectRef": {
        "name": "string",
        "namespace": "string",
        "scalerMetadata": "*ScaledObjectRef.ScalerMetadataEntry",
    },
    "IsActiveResponse": {"result": "bool"},
    "GetMetricSpecResponse": {"metricSpecs": "*MetricSpec"},
    "MetricSpec": {"metricName": "string", "targetSize": "int64", "targetSizeFloat": "double"},
    "GetMetricsRequest": {"scaledObjectRef": "ScaledObjectRef", "metricName": "string"},
    "GetMetricsResponse": {"metricValues": "*MetricValue"},
    "MetricValue": {"metricName": "string", "metricValue": "int64", "metricValueFloat": "double"},
}


def _message(name: str, fields: dict[str, str]) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        label = (
            FieldDescriptorProto.LABEL_REPEATED
            if kind.startswith("*")
            else FieldDescriptorProto.LABEL_OPTIONAL
        )
        entry = message.field.add(name=field, number=number, label=label)
        if kind in _SCALARS:
            entry.type = _SCALARS[kind]
        else:
            entry.type = FieldDescriptorProto.TYPE_MESSAGE
            entry.type_name = f".{PACKAGE}.{kind.removeprefix('*')}"
    return message


def file_descriptor() -> FileDescriptorProto:
    """Return the descriptor that protoc makes of the proto file's messages."""
    file = FileDescriptorProto(name=f"{PACKAGE}.proto", package=PACKAGE, syntax="proto3")
    file.message_type.extend(_message(name, fields) for name, fields in _MESSAGES.items())
    # protobuf represents a map as repeated messages of keys and values.
    entry = _message("ScalerMetadataEntry", {"key": "string", "value": "string"})
    entry.options.map_entry = True
    file.message_type[0].nested_type.append(entry)
    return file


_POOL = DescriptorPool()
_POOL.Add(file_descriptor())


def _class(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ScaledObjectRef: Any = _class("ScaledObjectRef")
IsActiveResponse: Any = _class("IsActiveResponse")
GetMetricSpecResponse: Any = _class("GetMetricSpecResponse")
MetricSpec: Any = _class("MetricSpec")
GetMetricsRequest: Any = _class("GetMetricsRequest")
GetMetricsResponse: Any = _class("GetMetricsResponse")
MetricValue: Any = _class("MetricValue")

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Context], Awaitable[Any]]


class Servicer(Protocol):
    """The four methods that KEDA calls."""

    async def is_active(self, request: Any, context: Context) -> Any:
        """Return whether any worker is needed."""

    def stream_is_active(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """Yield whether any worker is needed: now, and after each change."""
        ...

    async def get_metric_spec(self, request: Any, context: Context) -> Any:
        """Return the slots of one worker."""

    async def get_metrics(self, request: Any, context: Context) -> Any:
        """Return the slots that all workers together need."""


def service_handler(servicer: Servicer) -> grpc.GenericRpcHandler:
    """Return the service as an argument of `add_generic_rpc_handlers`."""

    def unary(method: Unary, request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "IsActive": unary(servicer.is_active, ScaledObjectRef, IsActiveResponse),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                servicer.stream_is_active,
                request_deserializer=ScaledObjectRef.FromString,
                response_serializer=IsActiveResponse.SerializeToString,
            ),
            "GetMetricSpec": unary(
                servicer.get_metric_spec, ScaledObjectRef, GetMetricSpecResponse
            ),
            "GetMetrics": unary(servicer.get_metrics, GetMetricsRequest, GetMetricsResponse),
        },
    )
