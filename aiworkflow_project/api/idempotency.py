"""`Idempotency-Key`: a creating request that is sent again creates nothing, and gets the first answer again.

After draft-ietf-httpapi-idempotency-key-header-07. The answer is kept in the transaction that creates the row, so that
there is never one without the other; of two such requests at once the database lets one win.
"""

import hashlib
import re
from collections.abc import Callable
from functools import wraps

import orjson
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.models import KeptAnswer
from aiworkflow_project.api.renderers import dump

HEADER = "Idempotency-Key"
PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


class KeyReused(exceptions.APIException):
    status_code = 422
    default_detail = f"This {HEADER} was sent with another request before. Use a new one for each new request."
    default_code = "idempotency_key_reused"


def idempotent(create):
    """For a view's method that creates something.

    It is called with `keep`: given the function that makes the answer out of what was created, `keep` gives one that
    makes the rows which the service is to save with it, or None without the header.
    """

    @wraps(create)
    def answer(view, request, *args, **kwargs):
        if HEADER not in request.headers:
            return create(view, request, *args, keep=lambda respond: None, **kwargs)
        keeper = _Keeper(request)
        if known := keeper.replay():
            return known
        try:
            made = create(view, request, *args, keep=keeper.keep, **kwargs)
        except Exception:
            # The same request may have come twice at once, and the other was faster; then anything may have failed.
            if known := keeper.replay():
                return known
            raise
        return keeper.answer or made

    return answer


class _Keeper:
    def __init__(self, request):
        self.user, self.key = request.user, request.headers[HEADER]
        if not PRINTABLE.fullmatch(self.key):
            detail = f"{HEADER} must be 1 to 255 printable ASCII characters."
            raise exceptions.ValidationError({HEADER: [exceptions.ErrorDetail(detail, code="invalid")]})
        data = request.data.dict() if hasattr(request.data, "dict") else request.data
        body = orjson.dumps(data, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        what = f"{request.method} {request.get_full_path()}\n".encode() + body
        self.request_hash = hashlib.sha256(what).hexdigest()
        self.answer: Response | None = None

    def keep(self, respond: Callable[..., Response]) -> Callable[..., list[KeptAnswer]]:
        def answered(created) -> list[KeptAnswer]:
            self.answer = respond(created)
            kept = KeptAnswer(
                user=self.user,
                key=self.key,
                request_hash=self.request_hash,
                status=self.answer.status_code,
                location=self.answer.get("Location", ""),
                body=dump(self.answer.data).decode(),
            )
            return [kept]

        return answered

    def replay(self) -> Response | None:
        """The first answer to this request. Raises KeyReused when that was another request."""
        kept = KeptAnswer.objects.filter(user=self.user, key=self.key).first()
        if kept is None:
            return None
        if kept.request_hash != self.request_hash:
            raise KeyReused
        headers = {"Idempotency-Replayed": "true"} | ({"Location": kept.location} if kept.location else {})
        return Response(orjson.loads(kept.body), status=kept.status, headers=headers)
