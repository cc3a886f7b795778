"""How bodies are read: strict JSON, or a clear refusal."""

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from workflows.engine import strict_json


class StrictJSONParser(BaseParser):
    """JSON that every database and client can take: see `engine.strict_json`."""

    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None):
        # Not from the stream: only `body` keeps Django's limit on the size.
        body = parser_context["request"]._request.body
        try:
            return strict_json.loads(body)
        except strict_json.StrictJSONError as error:
            raise ParseError(str(error)) from error
