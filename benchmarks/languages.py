"""Show what names in other languages cost: VOC's classes as people call them in twelve languages.

    python benchmarks/languages.py --data DATA --every 3

mIoU on photos of `val`, every pixel labelled, boxes included: names as they are, in English by the
table, and in English with the language given. The names below were written as people type them,
before the table was made; its part `everyday_words.tsv` has the same author. Lists that come to the
same English words get the same answer, so each of those is asked for once.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dpseg import Segmenter
from dpseg.data.dataset import LabelledFolder
from dpseg.evaluate.confusion import confusion_matrix
from dpseg.evaluate.metrics import score
from dpseg.inference.query import Query

NAMES = {
    "en": "airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, "
    "horse, motorcycle, person, potted plant, sheep, sofa, train, tv",
    "ar": "طائرة, دراجة, طائر, قارب, زجاجة, حافلة, سيارة, قطة, كرسي, بقرة, طاولة, كلب, "
    "حصان, دراجة نارية, شخص, نبات منزلي, خروف, أريكة, قطار, تلفزيون",
    "bn": "বিমান, সাইকেল, পাখি, নৌকা, বোতল, বাস, গাড়ি, বিড়াল, চেয়ার, গরু, টেবিল, কুকুর, "
    "ঘোড়া, মোটরসাইকেল, মানুষ, টবের গাছ, ভেড়া, সোফা, ট্রেন, টিভি",
    "de": "Flugzeug, Fahrrad, Vogel, Boot, Flasche, Bus, Auto, Katze, Stuhl, Kuh, Esstisch, Hund, "
    "Pferd, Motorrad, Person, Topfpflanze, Schaf, Sofa, Zug, Fernseher",
    "es": "avión, bicicleta, pájaro, barco, botella, autobús, coche, gato, silla, vaca, mesa, "
    "perro, caballo, moto, persona, planta en maceta, oveja, sofá, tren, televisor",
    "fr": "avion, vélo, oiseau, bateau, bouteille, bus, voiture, chat, chaise, vache, table, "
    "chien, cheval, moto, personne, plante en pot, mouton, canapé, train, télévision",
    "hi": "हवाई जहाज, साइकिल, चिड़िया, नाव, बोतल, बस, कार, बिल्ली, कुर्सी, गाय, मेज, कुत्ता, "
    "घोड़ा, मोटरसाइकिल, व्यक्ति, गमला, भेड़, सोफा, ट्रेन, टीवी",
    "id": "pesawat, sepeda, burung, perahu, botol, bus, mobil, kucing, kursi, sapi, meja makan, "
    "anjing, kuda, sepeda motor, orang, tanaman hias, domba, sofa, kereta api, televisi",
    "ja": "飛行機, 自転車, 鳥, 船, ボトル, バス, 車, 猫, 椅子, 牛, テーブル, 犬, "
    "馬, バイク, 人, 観葉植物, 羊, ソファ, 電車, テレビ",
    "pt": "avião, bicicleta, pássaro, barco, garrafa, ônibus, carro, gato, cadeira, vaca, "
    "mesa de jantar, cachorro, cavalo, moto, pessoa, vaso de planta, ovelha, sofá, trem, televisão",
    "ru": "самолёт, велосипед, птица, лодка, бутылка, автобус, машина, кошка, стул, корова, стол, "
    "собака, лошадь, мотоцикл, человек, комнатное растение, овца, диван, поезд, телевизор",
    "ur": "ہوائی جہاز, سائیکل, پرندہ, کشتی, بوتل, بس, گاڑی, بلی, کرسی, گائے, میز, کتا, "
    "گھوڑا, موٹر سائیکل, شخص, گملا, بھیڑ, صوفہ, ٹرین, ٹی وی",
    "zh": "飞机, 自行车, 鸟, 船, 瓶子, 公交车, 汽车, 猫, 椅子, 牛, 餐桌, 狗, "
    "马, 摩托车, 人, 盆栽, 羊, 沙发, 火车, 电视",
}


ROWS = {"as they are": "en", "in English": "auto", "language given": ""}


def measure(data: LabelledFolder, queries: dict[tuple[str, ...], Query], every: int) -> list[float]:
    """Measure some queries on every n-th photo: mIoU of each."""
    classes = len(data.names)
    counts = np.zeros((len(queries), classes, classes), np.int64)
    for index in track(range(0, len(data), every), "Segmenting"):
        sample = data[index]
        first, *_ = queries.values()
        encoded = first.encode(sample.image)
        for row, query in enumerate(queries.values()):
            counts[row] += confusion_matrix(query(encoded).labels, sample.label, classes)
    return [score(one).miou for one in counts]


def main() -> None:
    """Measure all languages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument("--every", type=int, default=1, help="n-th photo of val")
    parser.add_argument("--untranslated", nargs="*", choices=NAMES, default=list(NAMES),
                        help="languages whose names are also asked for as they are")  # fmt: skip
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained("dpseg-lite")
    queries: dict[tuple[str, ...], Query] = {}
    cells: dict[tuple[str, str], tuple[str, ...]] = {}
    for code, names in NAMES.items():
        for row, language in ROWS.items():
            if row == "as they are" and code not in arguments.untranslated:
                continue
            query = segmenter.prepare(names, language=language or code, unlabelled=False)
            cells[code, row] = words = tuple(query.english.names)
            queries.setdefault(words, query)
    figures = measure(LabelledFolder(arguments.data / "voc", "val"), queries, arguments.every)
    found = dict(zip(queries, figures, strict=True))
    table = Table("language", *ROWS)
    for code in NAMES:
        values = [found.get(cells.get((code, row), ()), math.nan) for row in ROWS]
        table.add_row(code, *(f"{100 * value:.1f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
