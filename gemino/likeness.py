"""How alike two pictures are, for choosing references.

Sender and receiver must agree on it roughly, not exactly: the sender spends bits on a reference
where no former one is like what the camera sees, the receiver takes detail from the likest one it
holds. Compared are thumbnails without their mean: a change of exposure costs nothing.

Of five references held, the one with the least difference gave an LPIPS of 0.086 where always the
best one would give 0.085, and the first alone 0.119 (thirteen clips; thumbnails of 16 to 64 px,
absolute or squared, of values or of gradients: all within 0.001).

After a cut, until the new scene's reference is there, none may fit: what is carried over then is
another scene's texture. How unlike they are does not tell alone: within a scene, references helped
at 58 still, where a head came close; of another scene, those from 31 on harmed as often as not.
What tells is a cut, behind which no picture has been like the reference.
"""

import numpy as np
from numpy.typing import NDArray

from gemino.frames import Frame, resize

THUMBNAIL_PX = 32
SCENE_CHANGE = 25.0
"""Between neighbouring frames. Over fifteen clips of talking heads it is at most 9, in two with
wild movement 18 and 20; at cuts between scenes at least 29. Cuts between two takes of one scene
gave 6 to 11: those are poses."""
SAME_SCENE = 28.0
"""Up to here a reference is of a picture's scene: all of 120 that were of another are beyond it,
but for takes of one person in one place."""
SAME_PICTURE = 2.0
"""Up to here two references are one picture, coded twice: a coarse and a fine coding of the first
pictures of seven clips are 0.5 to 1.6 apart."""
NEW_POSE = 3.0
"""From here on a picture is worth a reference of its own; below, none is better than the one there
is: half of it is the camera's noise, half the codec's."""
Thumbnail = NDArray[np.float32]


def thumbnail(frame: Frame) -> Thumbnail:
    """`frame` [S, S, 3] as float32 [32, 32, 3] with a mean of 0 in each colour."""
    small = resize(frame, THUMBNAIL_PX).astype(np.float32)
    return np.asarray(small - small.mean(axis=(0, 1)), np.float32)


def difference(a: Thumbnail, b: Thumbnail) -> float:
    """Mean absolute difference, 0..255.

    From frame to frame of a talking head 0.3 to 3, between poses 5 to 30; between scenes 30 to 80.
    """
    return float(np.abs(a - b).mean())
