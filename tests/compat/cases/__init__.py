"""All cases, in the order in which they run."""

from cases import (  # noqa: F401
    command_line, configuration, http, web_paths, upgrade, tokens, origin, rfb, vencrypt, relay, tls, logs, tempest,
)
