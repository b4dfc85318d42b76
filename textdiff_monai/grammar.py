"""A small generative grammar of the sentences clinicians write about chest X-rays and histology fields.

Sides are always the patient's: in a frontal film the patient's left lies on the right of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SIDES = ("left", "right")
ZONES = ("upper", "middle", "lower")
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
_MIRROR = {"left": "right", "right": "left"}
_ALIAS = {"upper": "apex", "middle": "mid zone", "lower": "base"}
_OPPOSITE = {**_MIRROR, "upper": "lower", "lower": "upper", "top": "bottom", "bottom": "top", "centre": "corners"}

# Alternatives are parted by bars. {name} stands for a bound word (side, other, zone, alias, place, far) or otherwise
# for the rule of that name.
RULES_TEXT = """
lesion = infection | consolidation | opacity | opacification | infiltrate | airspace disease | haziness | shadowing
    | ground-glass opacity | ground glass opacification | pneumonia | pneumonic consolidation | airspace opacity
look = patchy | hazy | dense | faint | confluent | focal | multifocal | diffuse | subtle | ill-defined | rounded
    | reticular | nodular | interstitial | homogeneous | peripheral | perihilar | extensive | mild | moderate | severe
finding = {lesion} | {look} {lesion} | {look}, {look} {lesion} | an area of {lesion} | new {look} {lesion}
    | {look} {lesions}
lesions = opacities | infiltrates | consolidations | ground-glass opacities | airspace opacities | infected areas
seen = is seen | is noted | is present | is visible | is identified | is demonstrated | was found
clear = is clear | appears clear | is well aerated | is unremarkable | shows no {lesion} | is spared | is normal
hedge = likely | probably | possibly | consistent with | suggestive of | in keeping with | suspicious for
degree = mildly | moderately | severely | slightly | markedly | clearly
disease = pneumonia | covid-19 | covid-19 pneumonia | viral pneumonia | bacterial pneumonia | pulmonary oedema
    | pulmonary edema | tuberculosis | atelectasis | aspiration | acute respiratory distress syndrome | collapse
    | lobar pneumonia | fibrosis | emphysema | heart failure | malignancy | metastases
zone_of = {side} {zone} zone | {zone} zone of the {side} lung | {side} {zone} lung zone | {zone} {side} lung
    | {zone} third of the {side} lung | {side} {zone} lung field | {zone} part of the {side} lung | {side} {alias}
    | {zone} zone on the patient's {side} | {side} lung in its {zone} zone

aside = {technique} | {heart} | {pleura} | {device} | {bone} | {history} | {follow_up} | {advice} | {anatomy}
technique = Frontal chest radiograph. | {view} view of the chest. | {view} chest x-ray, {quality}.
    | The film is {quality}. | Portable supine film, {quality}. | Technique: {view} projection.
    | Single {view} image, {quality}.
view = PA | AP | Posteroanterior | Anteroposterior | Erect PA | Supine AP | Semi-erect AP | Mobile
quality = rotated | well inspired | under-exposed | over-exposed | of good quality | poorly inspired | limited by motion
    | slightly rotated to the {side}
heart = The heart is {degree} enlarged. | The heart size is normal. | No cardiomegaly. | Normal heart size.
    | The cardiac silhouette is {enlarged}. | The mediastinum is {widened}. | The aorta is {unfolded}.
    | The mediastinal contours are normal. | The trachea is central. | The trachea is shifted to the {side}.
    | The {side} heart border is {obscured}. | The {side} hilum is prominent. | The hila are normal.
enlarged = enlarged | not enlarged
widened = widened | not widened
unfolded = unfolded | calcified | normal
obscured = obscured | blurred | well defined | indistinct | sharp
size = small | medium | large | moderate | tiny | trace
pleura = No pleural effusion. | There is a {size} {side} pleural effusion. | No pneumothorax is seen.
    | A {size} pneumothorax is seen on the {side}. | The {side} costophrenic angle is {blunted}.
    | Both costophrenic angles are {blunted}. | The {side} hemidiaphragm is raised.
    | Pleural thickening at the {side} {alias}. | No pleural effusion or pneumothorax is seen.
    | Bilateral pleural effusions, larger on the {side}.
blunted = blunted | clear | sharp | not included
device = The tip of the {tube} lies above the carina. | No tubes or lines. | ECG leads overlie the chest.
    | A {side} central venous line is in place. | A {side} chest drain is in situ. | Surgical clips are noted.
    | A pacemaker projects over the {side} chest. | A nasogastric tube passes below the diaphragm.
tube = endotracheal tube | ETT | tracheostomy | central line | catheter
bone = The bones are normal. | No rib fracture is seen. | An old {side} rib fracture is noted. | No focal bony lesion.
    | Degenerative change of the spine. | The {side} clavicle is intact. | The ribs and the {side} shoulder are normal.
history = {symptoms} for {number} days. | History of {symptoms}. | Clinical details: {symptoms}, {disease}?
    | {number}-year-old {patient} with {symptoms}. | Known {disease}. | Admitted with {symptoms}.
    | {symptoms} after surgery.
patient = patient | man | woman | male patient | female patient
symptoms = fever | cough | dyspnoea | shortness of breath | chest pain | fever and cough | hypoxia | sepsis | sputum
number = two | three | four | five | seven | ten | 30 | 45 | 58 | 62 | 71 | 80
follow_up = No change since the previous film. | Compared with the prior study, the {side} lung has {changed}.
    | The appearances have {changed}. | The changes are more marked than before. | New since yesterday.
    | The {zone} zones have {changed} since the last examination. | The {side} {zone} zone has {changed}.
changed = improved | worsened | cleared | not changed | progressed | partly resolved | increased | decreased
advice = Follow-up is advised. | Clinical correlation is recommended. | Suggest CT if symptoms persist.
    | A repeat film in six weeks is suggested. | Findings are {hedge} {disease}. | Impression: {hedge} {disease}.
anatomy = Two lung fields, the {side} lung is larger, covering a {size} part of the image.
    | The lung volumes are {volume}. | Two lung fields, both are of similar size, covering a {size} part of the image.
    | Both lungs, outlined by the ribs. | The {side} lung is slightly smaller than the {other} lung.
    | The horizontal fissure lies in the right lung. | The patient's {side} lies on the {other} of the image.
    | Segment both lungs. | Segment the {side} lung. | The heart lies mainly on the left.
    | Volume loss in the {side} lower lobe. | Air bronchograms in the {side} upper lobe.
volume = low | normal | large | reduced

spared = The {zone_of} {clear}. | No {lesion} in the {zone_of}. | No {lesion} is seen in the {zone_of}.
one_sided = Only the {side} lung is affected. | The {other} lung {clear}. | The infection is unilateral.
    | {lesion} on the {side} and none on the {other}. | No {lesion} on the {other}. | {side}-sided {disease}.
unequal = Both lungs are affected, the {side} more than the {other}. | Bilateral {lesion}, worse on the {side}.
    | The {other} lung is less affected than the {side} lung. | More {lesion} on the {side} than on the {other}.
equal = Both lungs are equally affected. | Bilateral {lesion}, as much on the left as on the right.
    | The infection is bilateral and symmetrical in number. | The left lung is affected as much as the right.
normal = No {lesion} is seen. | No infection. | Both lungs are clear. | The lungs are clear. | Normal study.
    | No focal {lesion} in either lung. | There is no {lesion} on the left or the right. | No acute abnormality.
    | No evidence of {disease}. | The left lung and the right lung are clear. | No pulmonary infection.

nuclei = nuclei | cell nuclei | tumour nuclei | tumor nuclei | epithelial nuclei | stained nuclei
evenly = evenly | irregularly | sparsely | densely | uniformly | unevenly | randomly
high = high | higher | the highest | increased
low = low | lower | the lowest | reduced
tint = purple | blue | dark | pale | pink | brown | violet | dark purple | blue-purple | hyperchromatic
shape = round | oval | elongated | irregular | spindle-shaped | enlarged | pleomorphic | small | large | vesicular
tissue = breast | kidney | liver | prostate | colon | bladder | stomach | lung | brain
stain = haematoxylin and eosin | hematoxylin and eosin | H&E | haematoxylin | DAB
group = The nuclei density is higher around {structure}. | The nuclei density is higher around.
    | Nuclei cluster around {structure}. | The {nuclei} are {evenly} distributed around {structure}.
structure = the glands | the vessels | the edges | the centre | the duct | the stroma | the lumen
overall = The {nuclei} are {evenly} distributed. | The nuclei density is {high}. | The nuclei density is {low}.
    | The {nuclei} are {evenly} spread over the image. | {group} | Segment all nuclei.
cells = The nuclei are {shape} and {tint}. | Many {shape} {nuclei}. | {shape}, {tint} nuclei with prominent nucleoli.
    | The {tint} nuclei are {shape}, the {tint} ones {shape}. | {tissue} tissue, {stain} stain. | Few lymphocytes.
    | The background is {tint}. | Scattered mitoses and necrosis. | Section of {tissue}, stained with {stain}.
    | The stroma is pink and the nuclei are {tint}. | The cytoplasm is {tint}. | Fibroblasts in the stroma.

crowded = The nuclei density in the {place} is {high}. | {many} nuclei are seen in the {place}.
    | The {nuclei} are densest in the {place}. | Nuclei cluster in the {place} of the image.
    | The {place} is rich in nuclei. | The {nuclei} are mostly in the {place}.
    | There are more nuclei in the {place} than in the {far}.
empty = The nuclei density in the {far} is {low}. | Few nuclei are seen in the {far}. | Hardly any nuclei in the {far}.
    | The {far} has fewer nuclei than the {place}.
target = Segment the nuclei in the {place}. | Segment the {nuclei} in the {place}, not those in the {far}.
    | Outline the nuclei in the {place}. | The nuclei in the {place} are the target.
many = many | most of the | numerous | more
"""


def _read_rules(text: str) -> dict[str, Sequence[str]]:
    paragraphs = (rule.partition("=") for rule in re.split(r"\n+(?=\S)", text.strip()))
    return {name.strip(): [" ".join(option.split()) for option in body.split("|")] for name, _, body in paragraphs}


RULES = _read_rules(RULES_TEXT)


@dataclass(frozen=True, order=True)
class Finding:
    """One infected area: a third (`zone`) of the height of one lung (`side`, the patient's)."""

    side: str
    zone: str

    def __post_init__(self) -> None:
        if self.side not in SIDES or self.zone not in ZONES:
            raise ValueError(f"side must be one of {SIDES} and zone one of {ZONES}, got {self.side!r}, {self.zone!r}")

    @property
    def mirrored(self) -> Finding:
        """The same zone of the other lung."""
        return Finding(_MIRROR[self.side], self.zone)


ALL_FINDINGS = tuple(Finding(side, zone) for side in SIDES for zone in ZONES)


class _Words(dict[str, str]):
    """Looks a name up among the bound words and otherwise expands the rule of that name at random."""

    def __init__(self, rng: np.random.Generator, bound: dict[str, str]) -> None:
        super().__init__(bound)
        self.rng = rng

    def __missing__(self, name: str) -> str:
        return _pick(RULES[name], self.rng).format_map(self)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _say(rule: str, rng: np.random.Generator, **bound: str) -> str:
    return _Words(rng, bound)[rule]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _place(finding: Finding, rng: np.random.Generator) -> str:
    return "the " + _say("zone_of", rng, side=finding.side, zone=finding.zone, alias=_ALIAS[finding.zone])


def _areas(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """The zones of each affected side, both in the order in which captions name them."""
    found = set(findings)
    zones = {side: [zone for zone in ZONES if Finding(side, zone) in found] for side in SIDES}
    return {side: named for side, named in zones.items() if named}


def describe(findings: Iterable[Finding], rng: np.random.Generator | None = None) -> str:
    """The caption that names exactly these infected zones.

    Without `rng` it has the form of the QaTa-COV19 captions, one wording for each set of findings; with `rng` it is
    one of several free wordings. The order of `findings` does not matter; none at all gives a caption that says so.
    """
    areas = _areas(findings)
    found = [Finding(side, zone) for side, zones in areas.items() for zone in zones]
    count, plural, verb = COUNTS[len(found)], *(("s", "are") if len(found) > 1 else ("", "is"))
    if not found:
        return "No pulmonary infection." if rng is None else _capitalised(_say("normal", rng))
    if rng is None:
        where = " and ".join(f"{' '.join(zones)} {side} lung" for side, zones in areas.items())
        laterality = ("Unilateral", "Bilateral")[len(areas) - 1]
        return f"{laterality} pulmonary infection, {count} infected area{plural}, {where}."
    places = _listed([_place(found[index], rng) for index in rng.permutation(len(found))])
    lungs = [f"the {_listed(zones)} zone{'s' * (len(zones) > 1)} of the {side} lung" for side, zones in areas.items()]
    forms = (
        f"{_say('finding', rng)} in {places}.",
        f"{_say('lesion', rng)} {_say('seen', rng)} in {_listed(lungs)}.",
        f"there {verb} {count} infected zone{plural}: {places}.",
        f"{count} area{plural} of {_say('lesion', rng)}, in {_listed(lungs)}.",
        f"{_listed([f'the {finding.zone} {finding.side} lung' for finding in found])} {verb} affected.",
    )
    return _capitalised(_pick(forms, rng))


def _remark(findings: set[Finding], rng: np.random.Generator) -> str:
    """A sentence about the lungs that follows from the findings without naming them all."""
    if not findings:
        return _say("normal", rng)
    areas = _areas(findings)
    clear = [finding for finding in ALL_FINDINGS if finding not in findings]
    if clear and rng.random() < 0.5:
        place = _place(clear[rng.integers(len(clear))], rng)
        return _say("spared", rng, zone_of=place.removeprefix("the "))
    side, other = sorted(SIDES, key=lambda side: len(areas.get(side, ())), reverse=True)
    if len(areas) == 1:
        return _say("one_sided", rng, side=side, other=other)
    return _say("equal" if len(areas[side]) == len(areas[other]) else "unequal", rng, side=side, other=other)


def _aside(rng: np.random.Generator) -> str:
    """A statement that names no infected area."""
    side, zone = _pick(SIDES, rng), _pick(ZONES, rng)
    return _say("aside", rng, side=side, other=_MIRROR[side], zone=zone, alias=_ALIAS[zone])


def _chest(rng: np.random.Generator) -> str:
    """A caption or report of one film. All that it says of the infection agrees, which teaches what the words mean."""
    chosen = rng.choice(len(ALL_FINDINGS), size=rng.integers(len(ALL_FINDINGS) + 1), replace=False)
    findings = {ALL_FINDINGS[index] for index in chosen}
    told = [describe(findings, rng if rng.random() < 0.6 else None)]
    told += [describe(findings, rng)] if rng.random() < 0.5 else []
    told += [_remark(findings, rng) for _ in range(int(rng.integers(3)))]
    told += [_aside(rng) for _ in range(int(rng.integers(-2, 3)))]
    return " ".join(_capitalised(told[index]) for index in rng.permutation(len(told)))


def _histology(rng: np.random.Generator) -> str:
    """A caption or report of one field of stained nuclei, again without contradictions."""
    row, column, end = _pick(("upper", "lower"), rng), _pick(SIDES, rng), _pick(("top", "bottom", "centre"), rng)
    place = _pick((f"{row} {column}", f"{row} {column} quadrant", row, column, f"{column} half", end), rng)
    far = " ".join(_OPPOSITE.get(word, word) for word in place.split())
    rules = rng.permutation(["crowded", "crowded", "empty", "target"])[: rng.integers(4)]
    told = [_say(rule, rng, place=place, far=far) for rule in rules]
    told += [_say("overall", rng)] if not told or rng.random() < 0.2 else []
    told += [_say("cells", rng) for _ in range(int(rng.integers(-2, 3)))]
    return " ".join(map(_capitalised, told))


def sentences(seed: int) -> Iterator[str]:
    """Endless clinical text, one caption or short report of one to about seven sentences at a time.

    About two thirds are of chest X-rays and a third of histology; the same seed gives the same texts.
    """
    rng = np.random.default_rng(seed)
    while True:
        yield _chest(rng) if rng.random() < 2 / 3 else _histology(rng)
