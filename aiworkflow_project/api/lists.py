"""Lists that are asked for again: the parameters are read, and the SQL is compiled, the first time only."""

from threading import Lock

from aiworkflow_project.api import pagination
from aiworkflow_project.api.authentication import workspace_id_of

KEPT_AT_MOST = 256

_kept: dict[tuple, pagination.Listing] = {}
_lock = Lock()


class ListMixin:
    """For views whose list depends on nothing but the address, the caller and the caller's workspace."""

    def page(self) -> list[dict]:
        """The rows of the page that is asked for, ready for `get_paginated_response`."""
        request = self.request
        key = (type(self), request.path, request.META["QUERY_STRING"], workspace_id_of(request), request.user.pk)
        listing = _kept.get(key)
        if listing is None:
            queryset = self.filter_queryset(self.get_queryset())
            listing = pagination.Listing(queryset, self.get_serializer_class(), pagination.read(request.query_params))
            with _lock:
                while len(_kept) >= KEPT_AT_MOST:
                    del _kept[next(iter(_kept))]  # the oldest
                _kept[key] = listing
        return self.paginator.paginate(listing, request)
