"""etcd's messages, of which protobuf makes classes when this module is loaded, so no generated code ages.

The fields that are used, with their numbers, are those of etcd's rpc.proto and kv.proto.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES = """
ResponseHeader: cluster_id=1:uint64 member_id=2:uint64 revision=3:int64 raft_term=4:uint64
KeyValue: key=1:bytes create_revision=2:int64 mod_revision=3:int64 version=4:int64 value=5:bytes lease=6:int64
Event: type=1:int32 kv=2:KeyValue prev_kv=3:KeyValue
RangeRequest: key=1:bytes range_end=2:bytes limit=3:int64 revision=4:int64 keys_only=8:bool count_only=9:bool
RangeResponse: header=1:ResponseHeader kvs=2:KeyValue* more=3:bool count=4:int64
PutRequest: key=1:bytes value=2:bytes lease=3:int64
PutResponse: header=1:ResponseHeader
DeleteRangeRequest: key=1:bytes range_end=2:bytes prev_kv=3:bool
DeleteRangeResponse: header=1:ResponseHeader deleted=2:int64 prev_kvs=3:KeyValue*
RequestOp: request_range=1:RangeRequest request_put=2:PutRequest request_delete_range=3:DeleteRangeRequest
ResponseOp: response_range=1:RangeResponse response_put=2:PutResponse response_delete_range=3:DeleteRangeResponse
Compare: result=1:int32 target=2:int32 key=3:bytes version=4:int64 create_revision=5:int64 mod_revision=6:int64
  value=7:bytes lease=8:int64
TxnRequest: compare=1:Compare* success=2:RequestOp* failure=3:RequestOp*
TxnResponse: header=1:ResponseHeader succeeded=2:bool responses=3:ResponseOp*
WatchCreateRequest: key=1:bytes range_end=2:bytes start_revision=3:int64 prev_kv=6:bool
WatchProgressRequest:
WatchRequest: create_request=1:WatchCreateRequest progress_request=3:WatchProgressRequest
WatchResponse: header=1:ResponseHeader watch_id=2:int64 created=3:bool canceled=4:bool compact_revision=5:int64
  cancel_reason=6:string events=11:Event*
LeaseGrantRequest: TTL=1:int64 ID=2:int64
LeaseGrantResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64 error=4:string
LeaseRevokeRequest: ID=1:int64
LeaseRevokeResponse: header=1:ResponseHeader
LeaseKeepAliveRequest: ID=1:int64
LeaseKeepAliveResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64
LeaseTimeToLiveRequest: ID=1:int64 keys=2:bool
LeaseTimeToLiveResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64 grantedTTL=4:int64
AuthenticateRequest: name=1:string password=2:string
AuthenticateResponse: header=1:ResponseHeader token=2:string
"""
_PACKAGE = "nodepkg.etcd"


def _file() -> descriptor_pb2.FileDescriptorProto:
    # In proto2 a number that was set is sent even if it is 0: etcd takes a comparison without its number for true.
    made = descriptor_pb2.FileDescriptorProto(name="nodepkg/etcd.proto", package=_PACKAGE, syntax="proto2")
    for line in _MESSAGES.strip().replace("\n  ", " ").splitlines():
        name, _, fields = line.partition(":")
        message = made.message_type.add(name=name)
        for field in fields.split():
            _add(message, *field.replace("=", ":").split(":"))
    return made


def _add(message: Any, name: str, number: str, kind: str) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
    added = message.field.add(name=name, number=int(number), label=label)
    kind = kind.rstrip("*")
    if kind[0].isupper():
        added.type, added.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


@cache
def message(name: str) -> Any:
    """The class of this message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def answer_to(request: Any) -> Any:
    """The class of the answer to requests of this class."""
    return message(request.DESCRIPTOR.name.removesuffix("Request") + "Response")
