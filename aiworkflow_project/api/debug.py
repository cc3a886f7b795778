"""The four endpoints for developers: what `aiworkflow_project.tables` does, for superusers of a development site."""

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from aiworkflow_project import tables
from aiworkflow_project.api.permissions import IsSuperuser
from aiworkflow_project.api.routes import route


@extend_schema(exclude=True)
class DebugView(APIView):
    """404 for everybody unless DEBUG_API is on."""

    permission_classes = [IsSuperuser]

    def initial(self, request, *args, **kwargs):
        if not (settings.DEBUG_API and settings.DEBUG):
            raise Http404
        super().initial(request, *args, **kwargs)


class CreateTables(DebugView):
    def post(self, request):
        return Response({"tables": tables.create_tables()})


class DropTables(DebugView):
    def delete(self, request):
        return Response({"dropped": tables.drop_tables()})


class TableInfo(DebugView):
    def get(self, request):
        return Response({"tables": tables.table_info()})


class DatabaseCheck(DebugView):
    def get(self, request):
        found = tables.check_database()
        return Response(found, status=200 if found["ok"] else 503)


urlpatterns = [
    *route("debug/create-tables", CreateTables.as_view(), "debug_create_tables"),
    *route("debug/drop-tables", DropTables.as_view(), "debug_drop_tables"),
    *route("debug/table-info", TableInfo.as_view(), "debug_table_info"),
    *route("debug/health-check", DatabaseCheck.as_view(), "debug_health_check"),
]
