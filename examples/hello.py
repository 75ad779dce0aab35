"""What the inside of a jail looks like, seen by a program that runs there."""

import os
import socket

import greeting


def attempt(action):
    """What came of an action: done, or the name of the error."""
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"


def write(path):
    with open(path, "w") as file:
        file.write("here")


print(greeting.text(os.environ["USER"]))
print("user:", os.getuid(), "process:", os.getpid(), "host name:", socket.gethostname())
print("processes:", " ".join(name for name in os.listdir("/proc") if name.isdigit()))
print("environment:", " ".join(sorted(os.environ)))
print("read /etc/shadow:", attempt(lambda: open("/etc/shadow")))
print("list /var/log:", attempt(lambda: os.listdir("/var/log")))
print("write here:", attempt(lambda: write(os.path.join(os.path.dirname(__file__), "new"))))
print("write /tmp:", attempt(lambda: write("/tmp/new")))
print("open a socket:", attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
