"""What page and server say to each other on the data channel; docs/browser.md has the table.

Text messages are JSON objects with a `type`, small and flat. From the page: `settings`, `alive`,
`bye`. To the page: `stats`, `end`. A binary message to the page is a JPEG of the latest LR picture.
"""

import json
from dataclasses import asdict, dataclass

from gemino.errors import WireError

MAX_MESSAGE_BYTES = 512
MIN_KBPS, MAX_KBPS = 6.0, 400.0
DEFAULT_KBPS = 20.0
_SWITCHES = ("split", "thumbnail", "overlay")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the person in front of the page has chosen.

    kbps: video payload, references included, 6..400. split: send another picture beside it.
    thumbnail: send LR pictures. overlay: lay colours over the picture that say where its detail
    comes from.
    """

    kbps: float = DEFAULT_KBPS
    split: bool = False
    thumbnail: bool = False
    overlay: bool = False


@dataclass(frozen=True, slots=True)
class Alive:
    """The page is there."""


@dataclass(frozen=True, slots=True)
class Bye:
    """The page has been left."""


PageMessage = Settings | Alive | Bye


def parse(data: str | bytes) -> PageMessage:
    """A message from the page; raises WireError for everything that is none."""
    if isinstance(data, bytes):
        raise WireError("the page sent bytes; it may send text alone")
    if len(data.encode()) > MAX_MESSAGE_BYTES:
        raise WireError(f"the page sent a message of more than {MAX_MESSAGE_BYTES} bytes")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError("the page sent text that is no JSON") from error
    if not isinstance(fields, dict):
        raise WireError("the page sent JSON that is no object")
    match fields.pop("type", None):
        case "settings":
            return _settings(fields)
        case "alive" if not fields:
            return Alive()
        case "bye" if not fields:
            return Bye()
    raise WireError("the page sent a message of an unknown type")


def _settings(fields: dict[str, object]) -> Settings:
    if set(fields) != {"kbps", *_SWITCHES}:
        raise WireError(f"settings are kbps, {', '.join(_SWITCHES)}, no more and no less")
    kbps, *switches = fields["kbps"], *(fields[name] for name in _SWITCHES)
    number = isinstance(kbps, int | float) and not isinstance(kbps, bool)
    if not number or not MIN_KBPS <= kbps <= MAX_KBPS:  # type: ignore[operator]  # NaN is in none
        raise WireError(f"settings: kbps must be a number in {MIN_KBPS:g}..{MAX_KBPS:g}")
    if not all(isinstance(switch, bool) for switch in switches):
        raise WireError(f"settings: {', '.join(_SWITCHES)} must be true or false")
    return Settings(float(kbps), *switches)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PageStats:
    """What the page shows about the last seconds.

    payload_kbps: LR stream and references, these spread over a minute. onwire_kbps: with the
    headers that they have on a network. sent_kbps, sent_onwire_kbps: the same of what the page's
    own call sends; 0 in the try-out, which receives what it sends. beside_kbps, beside_px: of the
    picture beside it, 0 where that is not asked for: plain VP8 in the try-out, the small stream
    without the network in a call. lr_px, lr_codec: of the LR stream. fps: pictures shown.
    latency_ms: from the camera's picture coming in to its reconstruction, the median; in a call
    an estimate (`lateness`). loss: share of packets that did not arrive, 0..1. references: how
    many came. reference_age_s: since the last one came, or None. carried, drawn: shares of the
    detail, 0..1, where the overlay is on and a network draws. neural: whether the network drew the
    last picture. drawn_px: side of what it draws; smaller than size_px where the machine is too
    slow. camera_px: width and height as the camera's pictures come in. ready: the model is loaded.
    """

    ready: bool
    model: str
    size_px: int
    kbps: float
    payload_kbps: float
    onwire_kbps: float
    sent_kbps: float
    sent_onwire_kbps: float
    beside_kbps: float
    beside_px: int
    lr_px: int
    lr_codec: str
    fps: float
    latency_ms: float
    loss: float
    references: int
    reference_age_s: float | None
    carried: float | None
    drawn: float | None
    neural: bool
    drawn_px: int
    camera_px: tuple[int, int]

    def to_json(self) -> str:
        """As one text message."""
        return json.dumps({"type": "stats", **asdict(self)})


def end(reason: str) -> str:
    """The server's last message, with the reason in words."""
    return json.dumps({"type": "end", "reason": reason})
