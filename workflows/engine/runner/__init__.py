"""The process in which Haystack and every component run. Nothing of ours imports it: it is reached over a socket."""
