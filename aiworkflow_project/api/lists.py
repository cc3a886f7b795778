"""Lists that are asked for again: the parameters are read, and the SQL is compiled, once a minute only."""

from aiworkflow_project.api import pagination
from aiworkflow_project.api.authentication import workspace_id_of
from aiworkflow_project.kept import Kept

_kept = Kept(seconds=60, at_most=256)  # then it is compiled anew: which index is best may have changed with the rows


class ListMixin:
    """For views whose list depends on nothing but the address, the caller and the caller's workspace.

    `indexed_within` is for tables that grow long: the column that their indexes begin with.
    """

    indexed_within = None

    def page(self) -> list[dict]:
        """The rows of the page that is asked for, ready for `get_paginated_response`."""
        request = self.request
        key = (type(self), request.path, request.META["QUERY_STRING"], workspace_id_of(request), request.user.pk)
        listing = _kept.get(key, self._listing)
        return self.paginator.paginate(listing, request)

    def _listing(self) -> pagination.Listing:
        queryset = self.filter_queryset(self.get_queryset())  # it reads all parameters, and names all that are wrong
        asked = pagination.read(self.request.query_params)
        return pagination.Listing(queryset, self.get_serializer_class(), asked, self.indexed_within)
