"""The words that go with a data set: its card, and Croissant 1.1 metadata. Made from the manifest and the campaign alone,
so the same for everybody who exports the same.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from omnitensor.protocol.keys import format_address
from omnitensor.protocol.rows import Campaign
from omnitensor.sdk.dataset.bundle import ITEM_PROOFS, REPORTS, FileEntry, Manifest
from omnitensor.sdk.dataset.tables import columns_of

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.1"
_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TERMS: Final = (
    "annotation arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format"
    " includes isArray isLiveDataset jsonPath key md5 parentField path readLines recordSet references regex repeated replace"
    " samplingRate separator source subField transform unArchive value"
)
_KINDS: Final = {
    "item": ("sc:Integer", "Number of the item on the chain."),
    "text": ("sc:Text", "The contributed text."),
    "file": ("sc:Text", "Path of the bytes where they are not in the table."),
    "media_type": ("sc:Text", "Media type."),
    "category": ("sc:Text", "Category of the campaign."),
    "complexity_bps": ("sc:Integer", "Complexity tier in basis points."),
    "contributor": ("sc:Text", "Account of the contributor."),
    "completeness": ("sc:Integer", "Median score, 0 to 100."),
    "accuracy": ("sc:Integer", "Median score, 0 to 100."),
    "relevance": ("sc:Integer", "Median score, 0 to 100."),
    "overall": ("sc:Integer", "Weighted score, 0 to 100."),
    "agreement_bps": ("sc:Integer", "Share of the reviewers' weight that agreed, in basis points."),
    "batch": ("sc:Integer", "Batch in which it was judged."),
    "accepted_height": ("sc:Integer", "Block of its acceptance."),
    "accepted_at": ("sc:DateTime", "Time of its acceptance."),
    "size": ("sc:Integer", "Size in bytes."),
    "sha256": ("sc:Text", "SHA-256 of its bytes."),
    "chunk_root": ("sc:Text", "Merkle root over its chunks of 1 MiB."),
}


_ENCRYPTED: Final = (
    "## What can be read",
    "",
    "The campaign was private: `content` holds each item encrypted, `size`, `sha256` and `chunk_root` are of the encrypted bytes,"
    " and `media_type` is what the plain file is. Each item's key lies in `proofs/private.parquet`, wrapped to the key that reads"
    " the campaign. Whoever holds that makes plain files, without asking a node:",
    "",
    "```sh",
    "otensor-cli dataset decrypt . --to plain",
    "```",
    "",
)


def card(manifest: Manifest, campaign: Campaign, column: str) -> str:
    """The data set card: a front matter that loaders read, and what a person wants to know."""
    spec = campaign.spec
    size = next((name for bound, name in _SIZES if manifest.rows < bound), "n>1M")
    lines = [
        "---",
        f"license: {json.dumps(spec.licence.lower())}",
        f"pretty_name: {json.dumps(spec.title, ensure_ascii=False)}",
        "size_categories:",
        f"- {size}",
        "tags:",
        "- omnitensor",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/*.parquet",
    ]
    lines += ["dataset_info:", "  features:", *_features(column)]
    lines += [
        "---",
        "",
        f"# {spec.title}",
        "",
        f"{manifest.rows} items that contributors gave to campaign {manifest.campaign} of the chain `{manifest.chain_id}`,"
        " each judged by validators who were drawn by lot and did not see one another's scores.",
        "",
        "## What was asked for",
        "",
        *(f"> {line}" for line in (spec.instructions or "No instructions.").splitlines()),
        "",
        f"Licence under which contributors gave their items: {spec.licence}. Sponsor: `{manifest.sponsor}`.",
        "",
        *(_ENCRYPTED if spec.reading_key else ()),
        "## Where it comes from",
        "",
        f"- Block: `{manifest.checkpoint}`",
        f"- Root over the rows: `{manifest.row_root}`",
        f"- Reviewers' reports: {manifest.reports}, in `{REPORTS}`",
        "",
        "Every row carries a proof of who contributed it and how it was judged. Check them, without asking a node:",
        "",
        "```sh",
        f"otensor-cli dataset verify . --checkpoint {manifest.checkpoint}",
        "```",
        "",
        "Compare that block with one that you trust: any node of the chain shows it.",
        "",
    ]
    return "\n".join(lines)


def croissant(manifest: Manifest, campaign: Campaign, columns: list[str], files: list[FileEntry]) -> str:
    """Croissant 1.1 metadata: files with their hashes, the fields of the data, and who made it, as PROV says it."""
    tables = [entry for entry in files if entry.path.startswith("data/")]
    extra = [entry for entry in files if entry.path in (REPORTS, ITEM_PROOFS)]
    named = [_file_object(entry) for entry in (*tables, *extra)]
    spec = campaign.spec
    sponsor = f"omnitensor:{manifest.chain_id}/{format_address(campaign.sponsor)}"
    document = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": f"{manifest.chain_id}-campaign-{manifest.campaign}",
        "description": spec.instructions or spec.title,
        "alternateName": spec.title,
        "conformsTo": CONFORMS_TO,
        "license": f"https://spdx.org/licenses/{spec.licence}.html",
        "url": f"omnitensor:{manifest.chain_id}/campaigns/{manifest.campaign}",
        "version": f"1.0.{manifest.height}",
        "datePublished": _date(campaign.opened_ms),
        "creator": {"@type": "sc:Organization", "name": sponsor},
        "citeAs": f"Campaign {manifest.campaign} of {manifest.chain_id}, block {manifest.checkpoint}, rows {manifest.row_root}",
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:type": "review by staked validators, drawn by lot",
            "prov:wasAssociatedWith": {"@type": "prov:Agent", "@id": sponsor},
            "prov:used": f"omnitensor:{manifest.chain_id}/blocks/{manifest.block}",
        },
        "distribution": [
            *named,
            {
                "@type": "cr:FileSet",
                "@id": "data",
                "name": "data",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "items",
                "name": "items",
                "description": "Accepted items, one a record.",
                "key": {"@id": "items/item"},
                "field": [_field(column) for column in columns],
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _features(column: str) -> list[str]:
    """Columns as loaders want them in the card: pictures, sounds and films are more than bytes to them."""
    lines = []
    for name, kind in columns_of(column):
        lines.append(f"  - name: {name}")
        if name == "content":
            lines += [
                "    struct:",
                "    - name: bytes",
                "      dtype: binary",
                "    - name: path",
                "      dtype: string",
            ]
        else:
            lines.append(f"    dtype: {kind}")
    return lines


def _file_object(entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path,
        "contentUrl": entry.path,
        "contentSize": f"{entry.size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": entry.sha256,
    }


def _field(column: str) -> dict[str, Any]:
    kind, text = _KINDS.get(column, ("sc:Text", "The contributed bytes."))
    extract: dict[str, Any] = {"column": column}
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"items/{column}",
        "name": column,
        "description": text,
        "dataType": {"image": "sc:ImageObject", "audio": "sc:AudioObject", "video": "sc:VideoObject"}.get(
            column, kind
        ),
        "source": {"fileSet": {"@id": "data"}, "extract": extract},
    }
    if column in ("image", "audio", "video", "content"):
        field["source"]["transform"] = {"jsonPath": "bytes"}
    return field


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1_000, UTC).date().isoformat()


def _context() -> dict[str, Any]:
    """The context that the format prescribes."""
    mine = {name: f"cr:{name}" for name in _TERMS.split()}
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        **mine,
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "prov": "http://www.w3.org/ns/prov#",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    }
