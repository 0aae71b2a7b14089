"""A message, as its envelope tells of it."""

import base64
import dataclasses
import datetime
import json
import re
from typing import Any, Dict, Optional


@dataclasses.dataclass(frozen=True)
class Message:
    """What was received: its bytes, and who sent it when.

    `pid`, `uid` and `gid` are the kernel's word; `headers` are the sender's."""

    data: bytes
    id: int
    priority: int
    uid: int
    gid: int
    pid: int
    time_ns: int
    """When it was sent, in nanoseconds since 1970."""
    headers: Dict[str, str] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    """How often it was taken by `work` and came back."""
    is_call: bool = False
    """Its sender waits for an answer: see `Mailbox.reply`."""
    missed: int = 0
    """How many messages of a topic were dropped before this one, for its subscription was full."""

    @property
    def text(self) -> str:
        """`data`, which must be UTF-8."""
        return self.data.decode()

    @property
    def time(self) -> datetime.datetime:
        """When it was sent, in UTC, to the microsecond."""
        seconds, nanoseconds = divmod(self.time_ns, 1_000_000_000)
        when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        return when.replace(microsecond=nanoseconds // 1000)


_TIME = re.compile(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?Z")


def _time_ns(text: str) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"no time: {text!r}")
    when = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=datetime.timezone.utc)
    return int(when.timestamp()) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def parse(envelope: bytes, data: Optional[bytes] = None) -> Message:
    """The message that an envelope tells of; with @data, its bytes are known already."""
    fields: Dict[str, Any] = json.loads(envelope)
    if data is None:
        data = base64.b64decode(fields["base64"]) if "base64" in fields else fields["text"].encode()
    return Message(data=data, id=fields["id"], priority=fields["prio"], uid=fields["uid"], gid=fields["gid"],
                   pid=fields["pid"], time_ns=_time_ns(fields["time"]), headers=fields.get("headers", {}),
                   attempts=fields.get("attempts", 0), is_call=bool(fields.get("call", False)),
                   missed=fields.get("missed", 0))


def render(data: bytes, priority: int, headers: Dict[str, str]) -> bytes:
    """A line for send.json."""
    fields: Dict[str, Any] = {}
    try:
        fields["text"] = data.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(data).decode()
    if priority:
        fields["prio"] = priority
    if headers:
        fields["headers"] = headers
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
