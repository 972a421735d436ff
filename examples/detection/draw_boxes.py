"""From an exported FCOS to boxes drawn on pictures, with onnxruntime, NumPy and Pillow alone.

    python draw_boxes.py out/fcos.onnx test/images/000003.jpg -o boxes.png

What it has to know stands in the file: `preprocessing.*` says how a picture becomes the input, `mptq.detector` where
candidates lie and which of them are kept. The network is exact; all that is here is float, as in torchvision.
"""

import argparse
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont, ImageOps

COLOURS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45", "#fabed4", "#aaffc3")


def prepare(picture, metadata, dtype):
    """An RGB picture as the file takes it, with its sides in proportion in the top left corner, the rest the mean.

    Returns the input, and the (height, width) of it that the picture takes.
    """
    names = ("input_size", "mean", "std", "interpolation", "crop_mode")
    (_, rows, columns), mean, std, interpolation, mode = (
        json.loads(metadata[f"preprocessing.{name}"]) for name in names
    )
    if mode != "corner":
        sys.exit(f"the file wants crop mode {mode}, and this draws for corner alone")
    wide = columns * picture.height <= rows * picture.width
    above, below = (columns, picture.width) if wide else (rows, picture.height)
    height, width = (max(1, (2 * edge * above + below) // (2 * below)) for edge in (picture.height, picture.width))
    pixels = np.empty((rows, columns, 3), np.uint8)
    pixels[:] = np.rint(255 * np.array(mean))
    resized = picture.resize((width, height), Image.Resampling[interpolation.upper()])
    pixels[:height, :width] = np.asarray(resized)
    if dtype == "tensor(uint8)":
        return pixels[None], (height, width)
    values = (pixels / np.float32(255) - np.float32(mean)) / np.float32(std)
    return values.transpose(2, 0, 1)[None], (height, width)


def sigmoid(logits):
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-logits))


def candidates(level, outputs, detector):
    """The likely boxes of one map of the pyramid: boxes [N, 4] in pixels of the input, scores [N] and classes [N]."""
    name, (rows, columns), (down, right) = level["name"], level["size"], level["stride"]
    scores = np.sqrt(sigmoid(outputs[f"scores.{name}"][0]) * sigmoid(outputs[f"centerness.{name}"][0])).ravel()
    likely = np.flatnonzero(scores > np.float32(detector["selection"]["score"]))
    best = likely[np.argsort(-scores[likely], kind="stable")[: detector["selection"]["candidates"]]]
    places, classes = np.divmod(best, detector["classes"])
    y, x = np.mgrid[:rows, :columns]
    shifts = np.stack((x * right, y * down, x * right, y * down), -1).astype(np.float32)[:, :, None]
    anchors = (shifts + np.float32(level["anchors"])).reshape(-1, 4)[places]
    centres, sizes = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    # Distances from the centre to the left, upper, right and lower side, in sizes of the anchor.
    distances = outputs[f"boxes.{name}"][0][places] * np.tile(sizes, 2)
    return np.hstack((centres - distances[:, :2], centres + distances[:, 2:])), scores[best], classes


def overlaps(box, others):
    """Intersection over union of one box and others [N, 4]."""
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    with np.errstate(invalid="ignore"):  # two boxes without area
        return sides.prod(1) / ((box[2:] - box[:2]).prod() + areas - sides.prod(1))


def without_doubles(boxes, classes, most):
    """Non-maximum suppression: what of boxes, the best first, overlaps no better one of its class by more than this."""
    kept = []
    for number, box in enumerate(boxes):
        better = [one for one in kept if classes[one] == classes[number]]
        if not np.any(overlaps(box, boxes[better]) > most):
            kept.append(number)
    return kept


def find(session, picture):
    """Boxes [N, 4] as x1, y1, x2, y2 in pixels of a picture, scores [N] and classes [N], the best first."""
    metadata = session.get_modelmeta().custom_metadata_map
    detector = json.loads(metadata.get("mptq.detector", "{}"))
    if detector.get("family") != "fcos":
        sys.exit("the file is no FCOS; README.md says how the others are run")
    (entry,) = session.get_inputs()
    values, inside = prepare(picture, metadata, entry.type)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {entry.name: values}), strict=True))
    levels = [candidates(level, outputs, detector) for level in detector["levels"] if level["anchors"]]
    boxes, scores, classes = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    height, width = inside
    boxes = boxes.clip(0, np.float32([width, height, width, height]))
    best = np.argsort(-scores, kind="stable")
    chosen = without_doubles(boxes[best], classes[best], detector["selection"]["overlap"])
    kept = best[chosen[: detector["selection"]["kept"]]]
    down, right = np.float32(picture.height) / np.float32(height), np.float32(picture.width) / np.float32(width)
    return boxes[kept] * np.float32([right, down, right, down]), scores[kept], classes[kept]


def draw(picture, found, zoom):
    """The picture, enlarged, with its boxes, their classes and scores in per cent."""
    large = picture.resize((zoom * picture.width, zoom * picture.height), Image.Resampling.NEAREST)
    pen, font = ImageDraw.Draw(large), ImageFont.load_default()
    for box, score, number in zip(*found, strict=True):
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = (zoom * box).tolist()
        pen.rectangle((left, top, right, bottom), outline=colour, width=2)
        words = f" {number}: {100 * score:.0f} % "
        _, _, width, height = font.getbbox(words)
        top = top - height - 2 if top > height else bottom
        pen.rectangle((left, top, left + width, top + height + 2), fill=colour)
        pen.text((left, top), words, "black", font)
    return large


def read(path, metadata):
    """A picture in RGB, turned as its EXIF data says where the file's calibration images were."""
    picture = Image.open(path)
    if picture.mode.startswith(("I", "F")):
        sys.exit(f"{path} has more than 8 bits a channel; convert it")
    return (ImageOps.exif_transpose(picture) if metadata.get("mptq.exif") == "true" else picture).convert("RGB")


def main():
    parser = argparse.ArgumentParser(description="Draw what an FCOS that mptq-export wrote finds on pictures.")
    parser.add_argument("file", help="the ONNX file")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("-o", "--out", required=True, help="the drawing: all pictures side by side")
    parser.add_argument("--score", type=float, default=0.5, help="the least score of a box that is drawn")
    parser.add_argument("--zoom", type=int, default=3, help="pixels of the drawing by pixels of a picture")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.file, providers=["CPUExecutionProvider"])
    drawings = []
    for path in args.pictures:
        picture = read(path, session.get_modelmeta().custom_metadata_map)
        boxes, scores, classes = find(session, picture)
        sure = scores >= args.score
        found = boxes[sure], scores[sure], classes[sure]
        for box, score, number in zip(*found, strict=True):
            print(f"{path}: class {number}, {100 * score:.1f} %, box {' '.join(f'{edge:.1f}' for edge in box)}")
        drawings.append(draw(picture, found, args.zoom))
    size = sum(one.width for one in drawings) + 4 * (len(drawings) - 1), max(one.height for one in drawings)
    sheet = Image.new("RGB", size, "white")
    left = 0
    for one in drawings:
        sheet.paste(one, (left, 0))
        left += one.width + 4
    sheet.save(args.out)


if __name__ == "__main__":
    main()
