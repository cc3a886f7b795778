"""The product's own settings with a data folder of the tests' own, so that no test touches a developer's site."""

import os
import tempfile

os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="aiworkflow-tests-"))

from aiworkflow_project.settings import *  # noqa: F403 - the environment must be set first

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - WhiteNoise warns where it is missing
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
