"""Store the boxes of face, mouth and eyes beside clips, for `gemino evaluate`.

python scripts/write_regions.py CLIP... --landmarks face_landmarker_v2_with_blendshapes.task

For CLIP.mp4 this makes CLIP.regions.json; clips that have one then need no landmarks.
"""

import argparse
from pathlib import Path

from gemino.cli.edge import guard
from gemino.evaluation import clips, regions
from gemino.evaluation.landmarks import FaceLandmarker
from gemino.frames import prepare
from gemino.media import read_frames

_SIZE_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path, help="clips, or folders of them")
    parser.add_argument("--landmarks", required=True, type=Path, help="MediaPipe's .task file")
    arguments = parser.parse_args()
    landmarker = FaceLandmarker(arguments.landmarks)
    for clip in clips.find(arguments.clips):
        path = clip.with_suffix(regions.SUFFIX)
        frames = (prepare(timed.frame, _SIZE_PX) for timed in read_frames(clip))
        count, found = regions.write(path, frames, landmarker)
        print(f"{path}: a face in {found} of {count} frames")


if __name__ == "__main__":
    guard(main)
