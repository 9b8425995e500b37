"""Show what names in other languages cost: VOC's classes as people call them in twelve languages.

    python benchmarks/languages.py --data DATA --every 3

mIoU on photos of `val`, every pixel labelled, boxes included: names as they are, in English by the
table, and in English with the language given. The names below were written as people type them,
before the table was made; it shares its author with `everyday_words.tsv`, a part of the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dpseg.data.dataset import LabelledFolder
from dpseg.data.plain_names import is_background
from dpseg.evaluate.configuration import EVERY_PIXEL, Configuration
from dpseg.evaluate.folder import Task, evaluate_folder

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


def rename_classes(root: Path, names: list[str], every: int, folder: Path) -> None:
    """Make a labelled folder with other names and every n-th photo of `val`."""
    for part in ("images", "labels"):
        (folder / part).symlink_to((root / part).resolve())
    keys = LabelledFolder(root, "val").keys[::every]
    (folder / "val.txt").write_text("\n".join(keys))
    lines = [line.split("\t") for line in (root / "classes.txt").read_text().splitlines()]
    given = iter(names)
    renamed = [(k, name if is_background(name) else next(given)) for k, name in lines]
    (folder / "classes.txt").write_text("\n".join("\t".join(pair) for pair in renamed))
    (folder / "vocabulary.json").write_text(json.dumps(names))


def measure(root: Path, code: str, every: int) -> list[float]:
    """Measure one language: mIoU of each row."""
    options = EVERY_PIXEL.replace(detector=True)
    rows = [
        Configuration("as they are", options.replace(language="en")),
        Configuration("in English", options),
        Configuration("language given", options.replace(language=code)),
    ]
    names = [name.strip() for name in NAMES[code].split(",")]
    with tempfile.TemporaryDirectory() as folder:
        rename_classes(root, names, every, Path(folder))
        task = Task(root=Path(folder), configurations=rows)
        figures = evaluate_folder(task, processes=1).figures()
    return [figures[row.name]["miou"] for row in rows]


def main() -> None:
    """Measure all languages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument("--every", type=int, default=1, help="n-th photo of val")
    parser.add_argument("--languages", nargs="*", choices=NAMES, default=list(NAMES))
    arguments = parser.parse_args()
    table = Table("language", "as they are", "in English", "language given")
    for code in arguments.languages:
        figures = measure(arguments.data / "voc", code, arguments.every)
        print(code, *(f"{100 * figure:.1f}" for figure in figures), flush=True)
        table.add_row(code, *(f"{100 * figure:.1f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
