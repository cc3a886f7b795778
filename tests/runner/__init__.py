import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"  # these tests import Haystack, which reads it then
