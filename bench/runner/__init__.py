"""Runs the same job on weir and its rivals in turn, and compares what it cost the server."""
