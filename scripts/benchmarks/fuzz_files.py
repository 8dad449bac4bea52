"""Small good files of every kind that the package reads, for check_fuzz.py to damage."""

import collections
import io
import math
import pickle
import struct
import sys

import numpy as np
from PIL import Image


def _drawn(mode="RGB", side=40):
    y, x = np.mgrid[:side, :side]
    shade = (x * 3 + y * 2) % 256
    pixels = np.stack([shade, 255 - shade, (x * y) % 256], -1).astype("uint8")
    return Image.fromarray(pixels).convert(mode)


def _saved(image, kind, **options):
    contents = io.BytesIO()
    image.save(contents, kind, **options)
    return contents.getvalue()


def pictures() -> dict[str, bytes]:
    """Returns JPEG, PNG and BMP files by name."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16 = Image.fromarray(np.arange(1600, dtype="uint16").reshape(40, 40) * 40)
    mask = Image.fromarray((np.asarray(_drawn("L")) > 128).astype("uint8") * 255)
    return {
        "plain.jpg": _saved(_drawn(), "JPEG", exif=exif),
        "progressive.jpg": _saved(_drawn(), "JPEG", progressive=True),
        "grey.jpg": _saved(_drawn("L"), "JPEG"),
        "cmyk.jpg": _saved(_drawn("CMYK"), "JPEG"),
        "plain.png": _saved(_drawn(), "PNG", exif=exif),
        "palette.png": _saved(_drawn("P"), "PNG"),
        "alpha.png": _saved(_drawn("RGBA"), "PNG"),
        "deep.png": _saved(grey16, "PNG"),
        "bits.png": _saved(mask.convert("1"), "PNG"),
        "mask.png": _saved(mask, "PNG"),
        "plain.bmp": _saved(_drawn(), "BMP"),
        "palette.bmp": _saved(_drawn("P"), "BMP"),
    }


def dicom_files() -> dict[str, bytes]:
    """Returns DICOM files by name."""
    import pydicom
    from pydicom import encaps
    from pydicom import uid

    def file(pixels, syntax, photometric, **changes):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
        meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3", syntax
        data = pydicom.dataset.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
        data.Rows = data.Columns = 40
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.PixelData = pixels
        for name, value in changes.items():
            setattr(data, name, value)
        contents = io.BytesIO()
        pydicom.dcmwrite(contents, data, enforce_file_format=True)
        return contents.getvalue()

    plain, grey = uid.ExplicitVRLittleEndian, _drawn("L").tobytes()
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    deep = np.arange(1600, dtype="<u2").tobytes()
    table = bytes(range(256))
    palette = {f"{name}PaletteColorLookupTableData": table for name in ("Red", "Green", "Blue")}
    described = {f"{name[:-4]}Descriptor": [256, 0, 8] for name in palette}
    jpeg = encaps.encapsulate([_saved(_drawn(), "JPEG")])
    return {
        "rgb.dcm": file(_drawn().tobytes(), plain, "RGB", **colour),
        "grey.dcm": file(grey, plain, "MONOCHROME2", NumberOfFrames=1),
        "inverted.dcm": file(grey, uid.ImplicitVRLittleEndian, "MONOCHROME1"),
        "palette.dcm": file(grey, plain, "PALETTE COLOR", **palette, **described),
        "deep.dcm": file(deep, plain, "MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15),
        "jpeg.dcm": file(jpeg, uid.JPEGBaseline8Bit, "YBR_FULL_422", **colour),
    }


class _Named:
    """A global of a module that is not there."""


def torch_file(protocol: int) -> bytes:
    """Returns a file of three tensors in the format before PyTorch 1.6, written without it."""
    floats, longs = (type(name, (), {"__module__": "torch"}) for name in ("FloatStorage", "Long"))
    longs.__name__ = longs.__qualname__ = "LongStorage"
    rebuild = type("_rebuild_tensor_v2", (), {"__module__": "torch._utils"})
    fakes = {"torch": {"FloatStorage": floats, "LongStorage": longs}}
    fakes["torch._utils"] = {"_rebuild_tensor_v2": rebuild}
    kinds = {"a": (floats, "<f4", (16, 16)), "b": (floats, "<f4", (5,)), "n": (longs, "<i8", ())}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

        def reducer_override(self, value):
            if not isinstance(value, _Named):
                return NotImplemented
            storage, _, shape = kinds[value.key]
            size = math.prod(shape)
            stride = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
            named = ("storage", storage, value.key, "cpu", size, None)
            return rebuild, (named, 0, shape, stride, False, collections.OrderedDict())

    def named(key):
        value = _Named()
        value.key = key
        return value

    state = collections.OrderedDict((f"layer.{key}", named(key)) for key in kinds)
    contents = io.BytesIO()
    modules = {name: type(sys)(name) for name in fakes}
    for name, values in fakes.items():
        vars(modules[name]).update(values)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, contents, protocol)
    Pickler(contents, protocol).dump(state)
    pickle.dump(list(kinds), contents, protocol)
    for name, module in before.items():
        sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    for _, dtype, shape in kinds.values():
        values = np.arange(math.prod(shape), dtype=dtype)
        contents.write(struct.pack("<q", values.size) + values.tobytes())
    return contents.getvalue()
