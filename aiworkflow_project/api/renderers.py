"""How answers are written: JSON by orjson, times in UTC with a Z."""

import orjson
from rest_framework.renderers import BaseRenderer


def dump(data) -> bytes:
    return orjson.dumps(data, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8 by definition
    render_style = "binary"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return b"" if data is None else dump(data)


class EventStreamRenderer(JSONRenderer):
    """Lets a client ask for `text/event-stream`; the stream itself is not rendered."""

    media_type = "text/event-stream"
    format = "events"
