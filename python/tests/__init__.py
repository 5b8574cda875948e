"""Tests of the host: real host processes, driven over a real socket by a stand-in for the container.

`python3 -m unittest discover -s tests -t .` in this folder's parent; nothing but the standard library.
"""
