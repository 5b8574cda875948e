"""Tests with eventlet and Flask, which the Python that runs them must have installed.

`python -m unittest discover -s tests_green -t .` in this folder's parent; the gate makes a virtualenv for it.
"""
