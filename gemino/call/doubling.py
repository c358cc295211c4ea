"""Pictures of a thin stream at twice their rate: one made between each two that came.

`gemino.interpolation` makes them; what they cost and who sends so few is in docs/interpolation.md.
"""

from dataclasses import replace

from gemino.call.playout import VIDEO_CLOCK_HZ, DuePicture
from gemino.decoder import Interpolator, LrPicture

Small = tuple[DuePicture, LrPicture]
"""When a picture is due, and what it is made from."""


class Doubling:
    """For one thread, which hands it every decoded picture of a stream."""

    def __init__(self) -> None:
        self._interpolator = Interpolator()

    def take(self, due: DuePicture, picture: LrPicture, *, late: bool) -> list[Small]:
        """A picture that came, behind the one that is made between it and the last, if any.

        late: there is no time for one.
        """
        if late:
            self._interpolator.follow(picture, due.media_time_s)
            return [(due, picture)]
        found = self._interpolator.between(picture, due.media_time_s)
        if found is None:
            return [(due, picture)]
        made, at_s = found
        rest_s = due.media_time_s - at_s
        timestamp = (due.picture.timestamp - round(rest_s * VIDEO_CLOCK_HZ)) % (1 << 32)
        halfway = DuePicture(replace(due.picture, timestamp=timestamp), at_s, interpolated=True)
        return [(halfway, made), (replace(due, rest_s=rest_s), picture)]
