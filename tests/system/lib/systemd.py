"""What a story asks of the systemd that it runs under."""

import json
import os
import subprocess

from .process import run, until

PATIENCE = 20
FLAGS = "/etc/parkway/parkway.flags"


def systemctl(*arguments, check=True):
    """(exit code, what it said)."""
    code, out, err = run(["systemctl", "--no-pager", *arguments], check=check)
    return code, out + err


def show(name, unit="parkway.service"):
    return systemctl("show", "--value", f"--property={name}", unit)[1].strip()


def main_pid(unit="parkway.service"):
    return int(show("MainPID", unit))


def wait(name, value, unit="parkway.service", seconds=PATIENCE):
    until(lambda: show(name, unit) == value, seconds,
          f"{unit}: {name}={value}, but {show(name, unit)}:\n{said(unit)}")


def said(unit="parkway.service", since=None):
    """The messages of the journal, one a line."""
    return "\n".join(entry["MESSAGE"] for entry in entries(unit, since)
                     if isinstance(entry["MESSAGE"], str))


def entries(unit="parkway.service", since=None):
    """What the journal has of the unit and about it: [{field: value}]; `since` is a cursor."""
    subprocess.run(["journalctl", "--sync"], check=True)
    after = [f"--after-cursor={since}"] if since else []
    _, out, _ = run(["journalctl", "--no-pager", "--output=json", f"--unit={unit}", *after])
    return [json.loads(line) for line in out.splitlines()]


def cursor():
    """Where the journal ends now."""
    _, out, _ = run(["journalctl", "--no-pager", "--lines=1", "--output=json"])
    return json.loads(out)["__CURSOR"]


def configure(*lines):
    """The flags file of the service; whoever runs it reads it."""
    with open(FLAGS, "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def drop_in(text, unit="parkway.service"):
    """Adds to a unit; returns a function that takes it away again."""
    folder = f"/run/systemd/system/{unit}.d"
    path = os.path.join(folder, "story.conf")
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    systemctl("daemon-reload")

    def remove():
        os.remove(path)
        systemctl("daemon-reload")
    return remove


def unit_file(name, text):
    """A unit of the story's own; returns a function that takes it away again."""
    path = f"/run/systemd/system/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    systemctl("daemon-reload")

    def remove():
        os.remove(path)
        systemctl("daemon-reload")
    return remove


def status(unit="parkway.service"):
    return show("StatusText", unit)
