"""Common names that nobody gave, and that compete for pixels.

People rarely name everything in a photo. Common things and stuff that were not named compete as
*distractors*: the few that win somewhere on the plain cost volume get prompts like any class and go
through the decoder; where one of them clearly beats every given name, or where no given name is
sure enough, the pixel stays unlabelled. A distractor that means (nearly) the same as a given name,
or a kind of it, is left out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from dpseg.arrays import AnyArray, FloatArray, PromptSet
from dpseg.engines.protocol import Engine
from dpseg.inference.hypernyms import hypernyms_of, stem
from dpseg.inference.unlabelled import DEFAULT_UNLABELLED, UnlabelledRules
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.templates import PLAIN_TEMPLATE
from dpseg.prompts.text import encode_texts
from dpseg.vocabulary import ClassEntry, Vocabulary, fold

FEW_TEMPLATES = 4  # with more, distractors are looked for by one alone
NEAR_SHARE = 4e-4  # of the pairs of distractors, those that mean nearly the same

#: Common things and stuff, under words that mean any of them: a given name that is one of these
#: words takes its whole group out of the competition.
DISTRACTORS: dict[str, str] = {
    "person|people|human|man|woman|child|kid|boy|girl|baby|adult|crowd|pedestrian|passenger|rider"
    "|driver|player|worker|face|head|body|skin|clothes|clothing|dress|shirt": "person",
    "animal|wildlife|pet|mammal|creature|livestock|cattle|predator": (
        "bird|cat|dog|horse|cow|sheep|elephant|bear|zebra|giraffe|monkey|rabbit|fish|insect|snake"
    ),
    "vehicle|transport|traffic": (
        "car|bus|truck|train|motorcycle|bicycle|boat|ship|airplane|helicopter"
    ),
    "plant|vegetation|greenery|foliage|nature|garden": (
        "tree|bush|grass|flower|leaves|moss|hedge|vine|mushroom"
    ),
    "sky|heaven|air": "sky|clouds",
    "water|liquid": "sea|river|lake|swimming pool|waterfall",
    "ground|land|terrain|landscape|soil|earth|surface": (
        "road|sidewalk|gravel|dirt|sand|snow|ice|mud|field|grass|rock|floor"
    ),
    "mountain|hill|cliff|scenery": "mountain|hill|rock",
    "building|architecture|structure|house|construction|city": (
        "building|house|wall|roof|tower|bridge|stairs|fence|tent|skyscraper|church|temple"
    ),
    "background|backdrop": "wall|sky|floor|curtain",
    "room|interior|indoor": "wall|floor|ceiling|curtain|carpet|door|window",
    "furniture": (
        "table|chair|sofa|bed|cabinet|shelf|desk|bench|stool|wardrobe|drawer|mattress|pillow"
    ),
    "textile|fabric|cloth": "curtain|carpet|blanket|towel|pillow|tablecloth",
    "appliance|electronics|device|gadget|machine": (
        "television|laptop|computer keyboard|refrigerator|oven|washing machine|lamp|camera"
        "|mobile phone|loudspeaker|fan|radiator"
    ),
    "dish|tableware|crockery|kitchenware|utensil|cutlery": (
        "plate|bowl|cup|bottle|drinking glass|spoon|fork|knife|pan|tray"
    ),
    "food|meal|snack": (
        "bread|cake|pizza|meat|rice|soup|salad|cheese|egg|noodles|ice cream"
    ),
    "fruit|vegetable|produce": "apple|orange|banana|tomato|carrot|potato|broccoli|strawberry",
    "drink|beverage": "coffee|wine|beer",
    "paper|document|print": "book|newspaper|poster|map|cardboard box",
    "tool|equipment": "hammer|screwdriver|rope|bucket|ladder|wheelbarrow",
    "toy|game": "teddy bear|doll|ball|balloon|kite",
    "sign|signal": "traffic sign|traffic light|billboard",
    "bag|luggage|container": "backpack|suitcase|basket|handbag|barrel",
    "instrument|musical instrument": "guitar|piano|drum",
    "art|decoration": "painting|statue|vase|mirror|clock",
    "sport|sports equipment": "surfboard|skis|skateboard|tennis racket",
    "bathroom|sanitary": "toilet|sink|bathtub",
    "street furniture|pole": "lamp post|fire hydrant|trash can|pole",
}  # fmt: skip


def distractor_names() -> list[str]:
    """List all distractors, each once."""
    names = (name for group in DISTRACTORS.values() for name in group.split("|"))
    return list(dict.fromkeys(names))


def unrelated_distractors(entries: Sequence[ClassEntry]) -> list[str]:
    """Leave out the distractors that by their words mean a given class or a kind of it.

    Args:
        entries: the given classes.

    Returns:
        The names of the distractors that stay.
    """
    spoken = [
        word
        for entry in entries
        for word in (*entry.words, *([entry.parent] if entry.parent else []))
    ]
    spoken_heads = [fold(word).split()[-1] for word in spoken]
    covered = {thing for word in (*spoken, *spoken_heads) for thing in hypernyms_of(word)}
    words = [stem(word) for word in spoken]
    given = {*words, *(word.split()[-1] for word in words)}
    for group_words, group in DISTRACTORS.items():
        if given & {stem(word) for word in group_words.split("|")}:
            covered.update(group.split("|"))
    return [
        name
        for name in distractor_names()
        if name not in covered and not any(_share_a_head(stem(name), word) for word in words)
    ]


_unrelated_distractors = lru_cache(maxsize=64)(
    unrelated_distractors
)  # photo after photo asks the same


def pick_distractors(
    image_embedding: FloatArray,
    given: FloatArray,
    distractors: FloatArray,
    near: float,
    rules: UnlabelledRules = DEFAULT_UNLABELLED,
) -> list[int]:
    """Find the distractors that win somewhere on the plain cost volume.

    Args:
        image_embedding: of the global view, D h w.
        given: text embedding of each given class, unit vectors, K D.
        distractors: text embedding of each distractor, unit vectors, N D.
        near: a distractor at least this near to a given class, as cosine, is left out.
        rules: says how many join.

    Returns:
        Indices of distractors, the one that wins most positions first.
    """
    far = np.flatnonzero((distractors @ given.T).max(axis=1) < near)
    positions = l2_normalize(image_embedding.reshape(len(image_embedding), -1).T)  # (h w) D
    winner = (positions @ np.concatenate([given, distractors[far]]).T).argmax(axis=1)
    wins = np.bincount(winner, minlength=len(given) + len(far))[len(given) :]
    order = np.argsort(-wins, kind="stable")[: rules.limit]
    least = max(1.0, rules.least_share * len(positions))
    return [int(far[index]) for index in order if wins[index] >= least]


class Distractors:
    """The distractors of one model, embedded once.

    Args:
        engine: the model.
        bank: has the text embeddings of most distractors; the others are encoded at first use.
        cache: where encoded text is kept.
        rules: which distractors join.
    """

    def __init__(
        self,
        engine: Engine,
        bank: PromptBank | None,
        *,
        cache: PromptCache | None,
        rules: UnlabelledRules = DEFAULT_UNLABELLED,
    ) -> None:
        self._engine = engine
        self._bank = bank
        self._cache = cache
        self._rules = rules
        self._names: list[str] = []
        self._prompts: PromptSet[AnyArray] | None = None

    def in_photo(
        self, vocabulary: Vocabulary, text_embedding: FloatArray, image_embedding: FloatArray
    ) -> list[str]:
        """Choose the distractors of some classes in one photo.

        Args:
            vocabulary: the given classes.
            text_embedding: of the given classes, unit vectors, K D.
            image_embedding: of the photo's global view, D h w.

        Returns:
            Names that are not in the vocabulary, at most as many as the rules allow.
        """
        names = _unrelated_distractors(tuple(vocabulary))
        if not names:
            return []
        vectors = np.stack([self._vectors[name] for name in names])
        picked = pick_distractors(image_embedding, text_embedding, vectors, self._near, self._rules)
        return [names[index] for index in picked]

    def prompts(self, names: Sequence[str]) -> PromptSet[AnyArray]:
        """Return the prompts of some distractors; each is made once.

        Args:
            names: at least one.
        """
        missing = [name for name in names if name not in self._names]
        if missing:
            made = build_prompts(
                self._engine, Vocabulary.of(missing), bank=self._bank, cache=self._cache
            )
            self._prompts = made if self._prompts is None else self._prompts.concat(made)
            self._names += missing
        assert self._prompts is not None
        return self._prompts.select([self._names.index(name) for name in names])

    @cached_property
    def _near(self) -> float:
        """Take what is given, or what so few pairs of distractors exceed as in `dpseg-lite`."""
        given = self._rules.near if self._rules.near is not None else self._engine.info.near
        return near_pairs(np.stack(list(self._vectors.values()))) if given is None else given

    @cached_property
    def _vectors(self) -> dict[str, FloatArray]:
        vectors: dict[str, FloatArray] = {}
        missing = []
        for entry in map(ClassEntry, distractor_names()):
            row = self._bank.find(entry) if self._bank else None
            if self._bank is None or row is None:
                missing.append(entry.name)
            else:
                vectors[entry.name] = self._bank.text_embedding[row]
        templates = self._engine.info.templates
        texts = encode_texts(
            self._engine,
            missing,
            self._cache,
            templates=templates if len(templates) <= FEW_TEMPLATES else (PLAIN_TEMPLATE,),
        )
        for name, text in zip(missing, texts, strict=True):
            vectors[name] = l2_normalize(text["class_wise"].mean(axis=0))
        return vectors


def near_pairs(vectors: FloatArray) -> float:
    """Find the cosine that `NEAR_SHARE` of all pairs exceed.

    In CLIP's space all names lie close together, so that no one number fits every model.

    Args:
        vectors: unit vectors of names, N D.

    Source: dpseg choice; the share of the distractors' pairs above 0.75 in `dpseg-lite`'s space,
    where that number was chosen on training data.
    """
    upper = np.triu_indices(len(vectors), 1)
    return float(np.quantile((vectors @ vectors.T)[upper], 1 - NEAR_SHARE))


def _share_a_head(distractor: str, word: str) -> bool:
    """Return whether two names end in the same word, or one is found whole in the other."""
    return distractor.split()[-1] == word.split()[-1] or f" {distractor} " in f" {word} "
