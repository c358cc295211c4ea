"""Every error that Gemino raises on purpose.

    GeminoError
    ├── MediaError          a file or device that cannot be read or written
    ├── WireError           bytes from a peer that break the protocol
    ├── CodecError          a stream or picture that cannot be coded or decoded
    ├── ModelError          a model that is missing, damaged or of another kind
    ├── RuntimeUnavailable  a way of running a model that this machine lacks
    ├── SignalingError      the rendezvous server cannot be reached or refuses
    │   ├── SignalingUnreachable    there is no server, or it is gone and does not come back
    │   └── SignalingRefused        it says no; `code` says why
    └── CallError           a call that cannot start or go on
        ├── IceError            no network path to the other peer
        └── DtlsError           a path, but no encrypted connection over it

Each message is one line that says what is wrong and, where there is one, what to do.
"""


class GeminoError(Exception):
    """Base of all errors raised on purpose; the commands print it in one line and exit with 2."""


class MediaError(GeminoError):
    """A file or device cannot be read or written."""


class WireError(GeminoError):
    """Bytes from a peer break the protocol."""


class CodecError(GeminoError):
    """A stream or a picture cannot be coded or decoded."""


class ModelError(GeminoError):
    """A model is missing, damaged, or of another kind than asked."""


class RuntimeUnavailable(GeminoError):
    """This machine lacks what a way of running a model needs."""


class SignalingError(GeminoError):
    """The rendezvous server cannot be reached, or refuses."""


class SignalingUnreachable(SignalingError):
    """There is no rendezvous server at this address, or it is gone and does not come back."""


class SignalingRefused(SignalingError):
    """The rendezvous server says no. code: why, as listed in signaling/README.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CallError(GeminoError):
    """A call cannot start or go on."""


class IceError(CallError):
    """There is no network path to the other peer, or none of the kind that was asked for."""


class DtlsError(CallError):
    """There is a path to the other peer, but no encrypted connection came about over it."""
