"""The daemon's lines: key=value fields anywhere in the line, values quoted where need be."""

import re

_FIELD = re.compile(r'([A-Za-z_][A-Za-z0-9_.]*)=("(?:[^"\\]|\\.)*"|\S*)')

CAUSES = frozenset("""
    client_fin server_fin client_rst server_rst client_timeout server_timeout idle
    half_close_timeout lifetime connect_refused connect_timeout connect_unreachable
    local_port_exhausted no_server no_route limit_memory queue_full queue_timeout denied limit_source limit_listener
    limit_global drain server_down server_removed primary_back admin_kill proxy_header_bad preread_timeout
    memory internal client_net_error server_net_error local_resources
""".split())


def fields(line):
    """{key: value} of one line."""
    return {key: value.strip('"').rstrip(",;") for key, value in _FIELD.findall(line)}


def is_closing(line):
    return "cause" in fields(line)


def is_statistics(line):
    found = fields(line)
    return "cause" not in found and {"connections", "stacks", "timers"} <= found.keys()


def numbers(line):
    """The fields whose value is a number, as integers."""
    found = {}
    for key, value in fields(line).items():
        if re.fullmatch(r"-?\d+", value):
            found[key] = int(value)
    return found
