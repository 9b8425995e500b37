"""A WordNet database of eight nouns, in the format of `data.noun` and `index.noun`."""

from pathlib import Path

_LINES = """\
  1 This software and database is being provided "AS IS" | @ 00000001
00000001 03 n 01 entity 0 000 | that which exists
00000002 05 n 02 animal 0 living_creature 0 001 @ 00000001 n 0000 | it moves; see @ 00000008
00000003 05 n 02 dog 0 domestic_dog 1 003 @ 00000002 n 0000 ~ 00000008 n 0000 @ 00000005 n 0000 | x
00000004 05 n 0b cat 0 puss 0 tom 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 kitty 0 001 @ 00000002 n 0000 | y
00000005 05 n 02 pet 0 cat 3 001 @ 00000001 n 0000 | lives with people
00000006 06 n 01 crane 0 001 @ 00000001 n 0000 | lifts things
00000007 05 n 01 crane 4 001 @ 00000002 n 0000 | flies south
00000008 05 n 01 Rex 0 001 @i 00000003 n 0000 | a certain dog
"""

_INDEX = """\
  1 This software and database is being provided "AS IS" | @ 00000001
animal n 1 1 @ 1 1 00000002
cat n 2 1 @ 2 2 00000004 00000005
crane n 2 1 @ 2 0 00000006 00000007
dog n 1 2 @ ~ 1 1 00000003
domestic_dog n 1 1 @ 1 0 00000003
living_creature n 1 1 @ 1 0 00000002
puss n 1 1 @ 1 0 00000004
rex n 1 1 @i 1 0 00000008
"""

DOG, CAT, CRANE_MACHINE, CRANE_BIRD = "n00000003", "n00000004", "n00000006", "n00000007"


def write_wordnet(folder: Path) -> Path:
    """Write the database."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.noun").write_text(_LINES)
    (folder / "index.noun").write_text(_INDEX)
    return folder
