"""The headers of messages. Nothing else calls ``Message.headers``.

For a header whose name is not UTF-8, confluent-kafka sets an error and also returns a list with a null pointer. Python
checks for that in most calls, and SystemError follows, but not in a call ``message.headers()`` that it has specialised
after a few repetitions: the process then ends by a segmentation fault. ``methodcaller`` calls from C, where Python
always checks. The client keeps the list, so it is replaced before anybody reads it again.
"""

from __future__ import annotations

from operator import methodcaller

import structlog
from confluent_kafka import Message

_HEADERS = methodcaller("headers")
_log = structlog.get_logger(__name__)


def headers_of(message: Message) -> dict[str, str]:
    """The headers of a message as texts, those without a value left out; none where a name is not UTF-8."""
    try:
        pairs = _HEADERS(message) or ()
    except (SystemError, UnicodeError) as error:
        message.set_headers([])
        _log.warning("unreadable headers", topic=message.topic(), offset=message.offset(), error=str(error))
        return {}
    return {name: value.decode("latin-1") for name, value in pairs if isinstance(value, bytes)}
