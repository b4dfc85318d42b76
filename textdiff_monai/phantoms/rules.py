"""Rules of the grammar: what clinicians write about chest X-rays and histology fields."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
