"""All cases, in the order in which they run."""

from cases import command_line, configuration, http, upgrade, tokens, origin, rfb, vencrypt, relay, tls, logs, tempest  # noqa: F401
