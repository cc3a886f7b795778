"""The embedded document store of a workspace, and the retrievers that search it: Haystack components of ours."""
