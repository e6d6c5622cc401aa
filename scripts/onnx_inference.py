"""Keypoints by an exported network, without PyTorch: numpy, OpenCV and onnxruntime are enough.

python onnx_inference.py model.onnx photo.jpg --box 10 20 110 220 [--box …] [--picture out.png]
Copy it into your own program: it is all that a file of scripts/export.py format=onnx needs.
"""

import argparse
import json

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

Pixels = npt.NDArray[np.uint8]


def crop(image: Pixels, box: list[float], height: int, width: int, margin: float) -> Pixels:
    """The box (x1, y1, x2, y2), grown to the input's aspect and by the margin, as H x W pixels."""
    x1, y1, x2, y2 = box
    tall = max(y2 - y1, (x2 - x1) * height / width, 1e-3) * margin
    zoom, shift = height / tall, np.array([(x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5])
    while zoom <= 0.5 and min(image.shape[:2]) >= 2:  # bilinear sampling would skip pixels
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        size = (even.shape[1] // 2, even.shape[0] // 2)
        image = np.asarray(cv2.resize(even, size, interpolation=cv2.INTER_AREA), np.uint8)
        zoom, shift = zoom * 2, (shift - 0.5) / 2
    offset = np.array([(width - 1) / 2, (height - 1) / 2]) - zoom * shift
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)


def main() -> None:
    """Prints a person per line as JSON: box, and x, y, score by keypoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("--box", type=float, nargs=4, action="append", help="X1 Y1 X2 Y2")
    parser.add_argument("--picture", help="draw the skeletons into this file")
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    size, skeleton = json.loads(facts["cpn.input"]), json.loads(facts["cpn.skeleton"])
    photo = cv2.imread(given.photo)  # upright by its EXIF orientation
    if photo is None:
        parser.error(f"{given.photo}: cannot be read as a photo")
    image = np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), np.uint8)
    boxes = np.array(given.box or [[0, 0, image.shape[1], image.shape[0]]], dtype=np.float32)
    crops = np.stack([crop(image, box.tolist(), **size) for box in boxes])
    keypoints, scores, _ = session.run(None, {"crops": crops, "boxes_xyxy": boxes})
    for box, points, sure in zip(boxes, keypoints, scores, strict=True):
        triples = np.column_stack([points, sure]).astype(float).round(3).tolist()
        named = dict(zip(skeleton["keypoint_names"], triples, strict=True))
        print(json.dumps({"box": box.tolist(), "keypoints": named}))
        for a, b in skeleton["limbs"]:
            if min(sure[a], sure[b]) >= 0.3:
                start, end = ([round(x) for x in points[index].tolist()] for index in (a, b))
                cv2.line(photo, start, end, (0, 200, 255), 2, cv2.LINE_AA)
    if given.picture and not cv2.imwrite(given.picture, photo):
        parser.error(f"{given.picture}: cannot be written")


if __name__ == "__main__":
    main()
