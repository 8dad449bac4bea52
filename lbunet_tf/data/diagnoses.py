"""Diagnoses: the words of every source as codes, and the codes as classes of a network."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import identifiers

# Code -> the words that sources have for it, in lower case. The codes are those of HAM10000
# (Tschandl et al. 2018) and ISIC 2019; `other` is a benign lesion that neither has a class for,
# `benign` and `malignant` say nothing more of it. HAM10000's bkl holds seborrhoeic keratoses, solar
# lentigines and lichen planus-like keratoses, its vasc angiomas, angiokeratomas and pyogenic
# granulomas, its akiec actinic keratoses and Bowen's disease.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "mel": (
        "melanoma",
        "melanoma in situ",
        "melanoma invasive",
        "melanoma metastasis",
        "malignant melanocytic proliferations (melanoma)",
        "lentigo maligna",
        "lentigo maligna melanoma",
    ),
    "nv": (
        "nevus",
        "naevus",
        "melanocytic nevus",
        "common nevus",
        "atypical nevus",
        "dysplastic nevus",
        "blue nevus",
    ),
    "bcc": ("basal cell carcinoma",),
    "akiec": (
        "actinic keratosis / bowen's disease",
        "actinic keratoses / intraepithelial carcinoma",
    ),
    "ak": ("actinic keratosis", "actinic keratoses", "solar or actinic keratosis"),
    "scc": (
        "squamous cell carcinoma",
        "squamous cell carcinoma in situ",
        "squamous cell carcinoma invasive",
        "bowen's disease",
    ),
    "bkl": (
        "benign keratosis",
        "benign keratosis-like lesions",
        "seborrheic keratosis",
        "seborrhoeic keratosis",
        "lichenoid keratosis",
        "lichen planus like keratosis",
        "lichen planus-like keratosis",
        "pigmented benign keratosis",
        "solar lentigo",
    ),
    "df": ("dermatofibroma",),
    "vasc": (
        "vascular lesion",
        "vascular lesions",
        "angioma",
        "hemangioma",
        "angiokeratoma",
        "pyogenic granuloma",
    ),
    "other": (
        "lentigo",
        "lentigo nos",
        "lentigo simplex",
        "melanosis",
        "cafe-au-lait macule",
        "acrochordon",
        "neurofibroma",
        "scar",
        "verruca",
        "clear cell acanthoma",
    ),
    "benign": (),
    "malignant": (),
}
COARSE = ("benign", "malignant")


def _plain(word):
    """Returns a word in lower case; hyphens, underscores, slashes and any space are one space."""
    word = (
        unicodedata.normalize("NFC", str(word))
        .lower()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    return " ".join(re.split(r"[\s_/-]+", word.strip()))


CODES = {_plain(word): code for code, words in SYNONYMS.items() for word in (code, *words)}
# Abbreviations of other sets (PAD-UFES-20), which are no codes of ours.
CODES |= {"nev": "nv", "ack": "ak", "sek": "bkl"}
# In lower case: "nonmelanoma", "no_melanoma", "non-melanoma skin cancer".
NOT_MELANOMA = re.compile(r"(?:^|[\s_(,;-])no[nt]?[\s_-]*m[eé]lanom\w*")
# A part of a diagnosis that takes the rest back.
DOUBT = re.compile(
    r".*\?.*|(?:(?:can)?not )?(?:be )?excluded|(?:to )?ruled? out|no|not|unlikely|unknown"
    r"|suspected|suspicious|possible|probable|(?:vs|versus|differential|dd)\b.*"
)
# A diagnosis of these words alone, one of KINDS among them, is a kind of that lesion: "Nodular
# melanoma", "reed or spitz nevus".
KINDS = {
    **dict.fromkeys(("melanoma", "melanomas"), "mel"),
    **dict.fromkeys(("nevus", "naevus", "nevi", "naevi"), "nv"),
}
QUALIFIERS = {
    "mel": (
        "acral amelanotic cutaneous desmoplastic early hypomelanotic in invasive lentigo "
        "lentiginous maligna malignant metastasis metastatic mucosal naevoid nevoid nodular nos "
        "pigmented primary situ spitzoid spreading ssm subungual superficial thick thin type"
    ).split(),
    "nv": (
        "acral acquired atypical becker benign blue cell clark combined common compound congenital "
        "dermal dysplastic halo intradermal junctional melanocytic nevocytic nos of or pigmented "
        "recurrent reed spindle spitz"
    ).split(),
}

_HAM10000 = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_ISIC2019 = ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")
_MALIGNANT = ("mel", "bcc", "akiec", "ak", "scc", "malignant")

# Name -> the codes of each class. An image whose code is in none of them has an unknown class.
CLASS_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "ham10000": {code: (code,) for code in _HAM10000},
    "isic2019": {code: (code,) for code in _ISIC2019},
    # Nevi against all else, as Himel et al. 2024 label HAM10000.
    "nv_vs_rest": {
        "nv": ("nv",),
        "rest": tuple(code for code in SYNONYMS if code not in ("nv", "benign")),
    },
    "clinical": {
        "benign": tuple(code for code in SYNONYMS if code not in _MALIGNANT),
        "malignant": _MALIGNANT,
    },
}
# Columns of predictions: the true class, the likeliest one, and before each name its probability.
TRUE_CLASS, PREDICTED, PROBABILITY = "true_class", "predicted", "p_"
# Of all sets: by them, columns of probabilities are known.
CLASS_NAMES = tuple(dict.fromkeys(name for classes in CLASS_SETS.values() for name in classes))


def codes_of(diagnoses: Iterable[str]) -> np.ndarray:
    """Returns (N,) codes of what sources call diagnoses, "" where none is known.

    Case does not matter, nor whether hyphens, underscores or spaces divide words. The ISIC Archive
    qualifies after a comma, as in "Nevus, Spitz", Derm7pt in brackets, as in "melanoma (less than
    0.76 mm)": where the whole is no word of ours, the first of its parts that names a kind of
    lesion counts, then one that says benign or malignant. Where a part takes the rest back
    ("melanoma (excluded)"), or another lesion is qualified as melanoma or a benign one as malignant
    ("nevus (melanoma)"), there is no code.
    """
    known = {diagnosis: _code_of(_plain(diagnosis)) for diagnosis in set(diagnoses)}
    return np.array([known[diagnosis] for diagnosis in diagnoses], dtype=object)


def _code_of(word):
    word = word.replace("not otherwise specified", "nos")
    pieces = [_plain(piece) for piece in re.split(r"[(),;]+", word)]
    found = _code_of_piece(word) or _code_of_piece(" ".join(filter(None, pieces)))
    if found or any(map(DOUBT.fullmatch, pieces)):
        return found
    codes = [code for code in map(_code_of_piece, pieces) if code]
    code = next((code for code in codes if code not in COARSE), codes[0] if codes else "")
    rest = NOT_MELANOMA.sub("", word)
    is_other = code != "mel" and "melanom" in rest
    return "" if is_other or (code not in _MALIGNANT and "malign" in rest) else code


def _code_of_piece(words):
    if words in CODES:
        return CODES[words]
    names = set(re.sub(r"'s\b", "", words).split())
    codes = {KINDS[name] for name in names & set(KINDS)}
    if len(codes) == 1 and names - set(KINDS) <= set(QUALIFIERS[min(codes)]):
        return min(codes)
    return ""


def specificities_of(diagnoses: Iterable[str]) -> np.ndarray:
    """Returns (N,) int: how much each of what sources call diagnoses says.

    3: a code of one kind of lesion. 2: only benign or malignant. 1: a word without a code, which is
    in no class. 0: nothing, or that it is unknown.
    """
    words = pd.Series(list(diagnoses), dtype=object).astype(str).str.strip().str.lower()
    codes = codes_of(words)
    kinds = [codes == "", np.isin(codes, COARSE)]
    return np.where(words.isin(identifiers.UNKNOWN_WORDS), 0, np.select(kinds, [1, 2], 3))


def classes_of(diagnoses: Iterable[str], classes: str) -> np.ndarray:
    """Returns (N,) names of classes, "" where a diagnosis is in none.

    Args:
        diagnoses: The column of a manifest.
        classes: A key of CLASS_SETS.
    """
    class_of = {code: name for name, codes in CLASS_SETS[classes].items() for code in codes}
    return np.array([class_of.get(code, "") for code in codes_of(diagnoses)], dtype=object)


def labels_of(diagnoses: Iterable[str]) -> np.ndarray:
    """Returns (N,) labels: 1 for melanoma, 0 for another named lesion, NaN where none is named."""
    is_melanoma = (codes_of(diagnoses) == "mel").astype(float)
    return np.where(specificities_of(diagnoses) == 3, is_melanoma, np.nan)


def warn_of_unlabelled(diagnoses: Iterable[str]) -> None:
    """Logs the diagnoses from which `labels_of` gets no label, with how many images have each."""
    words = pd.Series(list(diagnoses), dtype=object)
    unlabelled = words[np.isin(specificities_of(words), (1, 2))]
    if len(unlabelled):
        logging.warning(
            "%d of %d images get no label from their diagnosis, which names no kind of lesion that "
            "is known here: %s. A column label (1 melanoma, 0 not) says it",
            len(unlabelled),
            len(words),
            _counted(unlabelled),
        )


def _counted(words):
    """Returns the commonest of the words, each with its count."""
    return ", ".join(f"{word} ({count})" for word, count in words.value_counts().head(8).items())


def targets_of(diagnoses: Iterable[str], classes: str) -> np.ndarray:
    """Returns (N, K) float32: 1 in the column of the class, all 0 where it is unknown."""
    names = list(CLASS_SETS[classes])
    of_rows = classes_of(diagnoses, classes)
    return (of_rows[:, None] == np.array(names, dtype=object)[None]).astype("float32")


def check(manifest: pd.DataFrame, classes: str) -> None:
    """Raises a ValueError where a manifest does not fit the classes; logs what is left out.

    Every class must be in train, and one at least in val and test. Of a class that one of these
    lacks, and of words that have no code, there is a warning.
    """
    _refuse_clash(manifest, classes)
    of_rows = pd.Series(classes_of(manifest["diagnosis"], classes), index=manifest.index)
    for split in ("train", "val", "test"):
        rows = of_rows[manifest["split"] == split]
        missing = [name for name in CLASS_SETS[classes] if not (rows == name).any()]
        if not missing or rows.empty:
            continue
        if split == "train":
            found = sorted(set(manifest["diagnosis"][manifest["split"] == "train"]) - {""})
            raise ValueError(
                f'"--classes={classes}" needs images of each class in train. '
                f"Choose others ({', '.join(CLASS_SETS)}), more images, or a --source that has "
                f"them. Missing: {', '.join(missing)}; the diagnoses in train are "
                f"{', '.join(found[:12]) or 'all unknown'}"
            )
        if len(missing) == len(CLASS_SETS[classes]):
            raise ValueError(
                f'"--classes={classes}" needs images of its classes in every split, and {split} '
                "has none. Use more images, another --split_percent or --seed, other --classes, or "
                "a source with diagnoses"
            )
        logging.warning("%s has no image of the class %s", split, ", ".join(missing))
    unknown = of_rows == ""
    if unknown.any():
        logging.warning(
            "%d of %d images are in no class of --classes=%s, and the diagnosis head does not "
            "learn from them: %s",
            unknown.sum(),
            len(manifest),
            classes,
            _counted(manifest["diagnosis"][unknown].replace("", "none")),
        )


def _refuse_clash(manifest, classes):
    """Raises a ValueError where akiec of one source holds what another calls ak and scc."""
    codes = codes_of(manifest["diagnosis"])
    finer = sorted({"ak", "scc"} & set(codes))
    has_akiec = "akiec" in set(codes)
    if classes not in ("ham10000", "isic2019") or not finer:
        return
    if not has_akiec and classes == "isic2019":
        return
    rows = {
        code: ", ".join(sorted(set(manifest["source"][codes == code])))
        for code in (*finer, *(["akiec"] if has_akiec else []))
    }
    where = ", ".join(f"{code} (--source={sources})" for code, sources in rows.items())
    raise ValueError(
        f'"--classes={classes}" cannot tell akiec, which holds actinic keratoses and Bowen\'s '
        "disease, from ak and scc, which divide them otherwise. Use sources of one kind, or "
        f"--classes=clinical. Received: {where}"
    )
