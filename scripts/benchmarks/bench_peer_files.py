"""The peer's side of bench_files.py: the script that a user of PyTorch would write.

Runs in an environment of its own (requirements-bench.txt). segmentation_models_pytorch's U-Net of
random weights; a DataLoader with a worker per core decodes and resizes, the main process predicts,
resizes masks to the images and writes mask and overlay.
"""

import argparse
import pathlib

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 1024


class Images(torch.utils.data.Dataset):
    """(the square that the network sees, a picture for the overlay, height, width, path)."""

    def __init__(self, paths, size):
        self.paths, self.size = paths, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        image = cv2.cvtColor(cv2.imread(self.paths[number]), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        square = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        square = (square / 255 - MEAN) / DEVIATION
        scale = min(1, LARGEST / max(height, width))
        shown = (round(width * scale), round(height * scale))
        picture = cv2.resize(image, shown, interpolation=cv2.INTER_AREA)
        square = torch.from_numpy(square.transpose(2, 0, 1).astype("float32"))
        return square, picture, height, width, self.paths[number]


def main():
    """Predicts the files that are named, one path a line in a text file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("list", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--encoder", default="tu-tf_efficientnet_lite0")
    parser.add_argument("--image_size", type=int, default=192)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = smp.Unet(options.encoder, encoder_weights=None, aux_params={"classes": 1})
    model = model.eval().to(memory_format=torch.channels_last)
    for name in ("masks", "overlays"):
        (options.output / name).mkdir(parents=True)
    loader = torch.utils.data.DataLoader(
        Images(options.list.read_text().split("\n")[:-1], options.image_size),
        options.batch_size,
        num_workers=options.workers,
        # A batch has pictures of many sizes.
        collate_fn=lambda several: tuple(zip(*several, strict=True)),
    )
    lines = ["image,score"]
    for squares, pictures, heights, widths, paths in loader:
        batch = torch.stack(squares).contiguous(memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16),
        ):
            masks, scores = (torch.sigmoid(values.float()).numpy() for values in model(batch))
        for mask, score, picture, height, width, path in zip(
            masks[:, 0], scores[:, 0], pictures, heights, widths, paths, strict=True
        ):
            _write(options.output, pathlib.Path(path).stem, mask, picture, (width, height))
            lines.append(f"{path},{score:.6f}")
    (options.output / "scores.csv").write_text("\n".join(lines) + "\n")


def _write(folder, name, mask, picture, size):
    large = cv2.resize(mask, size) >= 0.5
    cv2.imwrite(str(folder / "masks" / f"{name}.png"), large.astype(np.uint8) * 255)
    shown = cv2.resize(mask, picture.shape[1::-1]) >= 0.5
    outlines, _ = cv2.findContours(
        shown.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    drawn = cv2.drawContours(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), outlines, -1, (0, 255, 0), 2)
    cv2.imwrite(str(folder / "overlays" / f"{name}.jpg"), drawn)


if __name__ == "__main__":
    main()
