"""Imported by hello.py: modules beside a script are found."""


def text(name):
    return f"hello from {name}"
