"""Write scenes of digits as a COCO-format folder."""

import argparse
from pathlib import Path

from tools.scenes.coco import drawn, write


def main() -> None:
    parser = argparse.ArgumentParser(description="Write scenes of digits: images/ and annotations.json (COCO format).")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--split", choices=("train", "test"), default="test", help="which digits are shown")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    args = parser.parse_args()
    if args.count < 1:
        parser.error("--count must be at least 1")
    scenes = drawn(args.count, args.split, args.seed)
    write(args.folder, scenes, args.format)
    objects = sum(sum(part.counts) for part in scenes)
    print(f"{args.count} scenes with {objects} digits of the {args.split} split, seed {args.seed}: {args.folder}")


if __name__ == "__main__":
    main()
