"""`bitface gallery` and `bitface key`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, remarks, write_json
from bitface.cli.options import JsonOption, KeyOption
from bitface.cli.paths import Words


def gallery(
    file: Annotated[Path, typer.Argument(metavar="GALLERY", help="A file of bitface enroll.")],
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Somebody who leaves it; may be repeated."), Words()
    ] = None,
    key_file: KeyOption = None,
    new_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Encrypt it by this key from now on.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Say what a gallery file holds, remove people from it, or give it another key.

    bitface gallery gallery.safetensors --remove 'Ada Lovelace'

    bitface gallery gallery.safetensors --new-key-file gallery.key
    """
    from bitface.jobs.people.gallery import GalleryRequest, change_gallery

    result = change_gallery(GalleryRequest(file, key_file, new_key_file, tuple(remove or ())))
    write_json(json, result)
    remarks([], result["warnings"])
    if remove:
        output.print(f"removed {len(set(remove)):,} people, {result['removed_images']:,} images")
    output.print(
        f"{result['images']:,} images of {result['people']:,} people, {result['precision']}"
        f"{', encrypted' if result['encrypted'] else ''}{', renewable' if result['renewable'] else ''}, "
        f"{result['bytes']:,} bytes, by model {result['fingerprint'][:12]}\n{file}",
        markup=False,
        soft_wrap=True,
    )


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; keep it apart from the galleries.")],
    json: JsonOption = None,
) -> None:
    """Draw a key that encrypts galleries, into a file that its owner alone can read. Without it they can't be read.

    bitface key gallery.key
    """
    from bitface.evaluation.keys import write_key

    write_key(file)
    write_json(json, {"file": str(file)})
    output.print(str(file), markup=False, soft_wrap=True)
