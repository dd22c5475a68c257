"""JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and the description and deletion of groups."""

from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext
from taximeter_sandbox.kafka.groups.group import Group
from taximeter_sandbox.kafka.groups.messages import JoinRequest
from taximeter_sandbox.kafka.protocol.codec import Fields


async def join_group(context: RequestContext, request: Any) -> Fields:
    """A member joins; the answer waits until the others have joined as well."""
    session_timeout = request.session_timeout
    asked = JoinRequest(
        member_id=request.member_id,
        instance_id=getattr(request, "group_instance_id", None),
        client_id=context.client_id,
        client_host=context.client_host,
        session_timeout_s=session_timeout.total_seconds(),
        rebalance_timeout_s=getattr(request, "rebalance_timeout", session_timeout).total_seconds(),
        protocol_type=request.protocol_type,
        protocols=tuple((protocol.name, protocol.metadata) for protocol in request.protocols),
        must_know_member_id=context.api_version >= 4,
        may_skip_assignment=context.api_version >= 9,
    )
    answer = await context.broker.groups.join(request.group_id, asked)
    # A leader that skips the assignment is still shown the members, so that it can watch their topics.
    members = [{"member_id": member, "group_instance_id": instance, "metadata": data} for member, instance, data in answer.members]
    no_protocol = None if context.api_version >= 7 else ""
    return {
        "error_code": answer.error,
        "generation_id": answer.generation,
        "protocol_type": answer.protocol_type,
        "protocol_name": answer.protocol_name or no_protocol,
        "leader": answer.leader,
        "skip_assignment": answer.skip_assignment,
        "member_id": answer.member_id,
        "members": members,
    }


async def sync_group(context: RequestContext, request: Any) -> Fields:
    """A member asks for its assignment."""
    answer = await context.broker.groups.sync(
        request.group_id,
        request.member_id,
        getattr(request, "group_instance_id", None),
        request.generation_id,
        {entry.member_id: entry.assignment for entry in request.assignments},
    )
    return {
        "error_code": answer.error,
        "protocol_type": answer.protocol_type,
        "protocol_name": answer.protocol_name,
        "assignment": answer.assignment,
    }


async def heartbeat(context: RequestContext, request: Any) -> Fields:
    """A member shows that it lives."""
    instance_id = getattr(request, "group_instance_id", None)
    return {"error_code": context.broker.groups.heartbeat(request.group_id, request.member_id, instance_id, request.generation_id)}


async def leave_group(context: RequestContext, request: Any) -> Fields:
    """One member, or from version 3 several, leave."""
    groups = context.broker.groups
    if context.api_version < 3:
        return {"error_code": groups.leave(request.group_id, request.member_id, None)}
    members = [
        {
            "member_id": member.member_id,
            "group_instance_id": member.group_instance_id,
            "error_code": groups.leave(request.group_id, member.member_id, member.group_instance_id),
        }
        for member in request.members
    ]
    return {"error_code": ErrorCode.none, "members": members}


async def describe_groups(context: RequestContext, request: Any) -> Fields:
    """State and members of groups; a group that nobody knows is Dead, as in Kafka."""
    return {"groups": [_describe(context.broker, group_id) for group_id in request.groups]}


def _describe(broker: Broker, group_id: str) -> Fields:
    group = broker.groups.groups.get(group_id)
    if group is None:
        state = "Empty" if group_id in broker.offsets.groups() else "Dead"
        return {
            "error_code": ErrorCode.none,
            "group_id": group_id,
            "group_state": state,
            "protocol_type": "",
            "protocol_data": "",
            "members": (),
        }
    return {
        "error_code": ErrorCode.none,
        "group_id": group_id,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type or "",
        "protocol_data": group.protocol_name or "",
        "members": _described_members(group),
    }


def _described_members(group: Group) -> list[Fields]:
    return [
        {
            "member_id": member.member_id,
            "group_instance_id": member.asked.instance_id,
            "client_id": member.asked.client_id,
            "client_host": f"/{member.asked.client_host}",
            "member_metadata": member.metadata(group.protocol_name or ""),
            "member_assignment": member.assignment,
        }
        for member in group.members.values()
    ]


async def list_groups(context: RequestContext, request: Any) -> Fields:
    """Every group that has members or committed offsets."""
    states = {state.lower() for state in getattr(request, "states_filter", ())}
    listed = []
    for group_id in sorted({*context.broker.groups.groups, *context.broker.offsets.groups()}):
        group = context.broker.groups.groups.get(group_id)
        state = group.state.value if group else "Empty"
        if not states or state.lower() in states:
            listed.append({"group_id": group_id, "protocol_type": (group and group.protocol_type) or "", "group_state": state})
    return {"error_code": ErrorCode.none, "groups": listed}


async def delete_groups(context: RequestContext, request: Any) -> Fields:
    """Forget groups without members, with their offsets."""
    broker = context.broker
    results = []
    for group_id in request.groups_names:
        group = broker.groups.groups.get(group_id)
        error = ErrorCode.none
        if group is not None and group.members:
            error = ErrorCode.non_empty_group
        elif group is None and group_id not in broker.offsets.groups():
            error = ErrorCode.group_id_not_found
        else:
            broker.groups.groups.pop(group_id, None)
            broker.offsets.delete_group(group_id)
        results.append({"group_id": group_id, "error_code": error})
    return {"results": results}
