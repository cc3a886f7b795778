"""What runs must have in common to share a process: the client names it by that, and the process looks at it again."""

_OF_ONE_RUN = ("data", "labels", "seconds")


def settings(request: dict) -> dict:
    """All of a request but what it may have to itself."""
    return {name: value for name, value in request.items() if name not in _OF_ONE_RUN}
