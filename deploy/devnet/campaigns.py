"""What the devnet's sponsor asks for: two campaigns, as the TOML files that `otensor-cli campaign open` reads."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.devnet import samples


@dataclass(frozen=True)
class Wish:
    """A campaign to open. Amounts in OMNIT, as people write them."""

    title: str
    instructions: str
    media: tuple[str, ...]
    unit_price: str
    review_fee: str = "0.5"
    item_bond: str = "0.2"
    budget: str = "400"
    item_bytes_max: int = 1024 * 1024

    def write(self, path: Path) -> Path:
        """The campaign's TOML file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fields: dict[str, object] = {
            "title": self.title,
            "media": list(self.media),
            "licence": "PSF-2.0" if "text/plain" in self.media else "CC-BY-4.0",
            "preset": "standard",
            "unit_price": self.unit_price,
            "review_fee": self.review_fee,
            "item_bond": self.item_bond,
            "budget": self.budget,
            "item_bytes_max": self.item_bytes_max,
            "instructions": self.instructions,
        }
        # A TOML text, number or array of texts is written as in JSON.
        path.write_text(
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items()), encoding="utf-8"
        )
        return path


TEXTS: Final = Wish(
    title="Pages about Python",
    instructions=samples.TEXT_INSTRUCTIONS,
    media=("text/plain",),
    unit_price="4",
)
IMAGES: Final = Wish(
    title="Handwritten digits",
    instructions=samples.IMAGE_INSTRUCTIONS,
    media=("image/png",),
    unit_price="2",
)
