"""Named, versioned, immutable ways of measuring."""

from holdfast.protocols.protocol import PROTOCOLS, Protocol, get

__all__ = ["PROTOCOLS", "Protocol", "get"]
