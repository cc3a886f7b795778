"""The product's own settings with a data folder and a database of the tests' own: no developer's site is touched."""

import os
import tempfile

from tests.databases import servers

os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="aiworkflow-tests-"))
os.environ["DATABASE_URL"] = os.environ["DATABASE_URI"] = servers.URL

from aiworkflow_project.settings import *  # noqa: F403 - the environment must be set first

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - WhiteNoise warns where it is missing
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True  # looks for a file when it is asked for, not for all of them with each test's client
