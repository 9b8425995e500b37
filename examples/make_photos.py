"""Write the example photos and pictures again, from those that scikit-image and scikit-learn ship.

Needs the `dev` extra. The results are in the repository; see ATTRIBUTION.md for their authors.
"""

from pathlib import Path

import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

HERE = Path(__file__).parent


def main() -> None:
    photos = {
        "astronaut": skimage.data.astronaut(),
        "cat": skimage.data.chelsea(),
        "coffee": skimage.data.coffee(),
        "rocket": skimage.data.rocket(),
        "pagoda": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
    }
    for name, pixels in photos.items():
        write(Image.fromarray(pixels), HERE / "photos" / f"{name}.jpg")
    # Example pictures: the shuttle behind the astronaut, and the second blossom of the flower.
    shuttle = Image.fromarray(photos["astronaut"]).crop((345, 0, 475, 285))
    write(shuttle, HERE / "pictures" / "launcher" / "shuttle.jpg")
    blossom = Image.fromarray(photos["flower"]).crop((265, 365, 420, 427))
    write(blossom, HERE / "pictures" / "dahlia" / "blossom.jpg")


def write(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92, optimize=True)


if __name__ == "__main__":
    main()
