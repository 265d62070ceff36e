"""Writes the tables of README.md and docs/, and the SVG pictures in docs/figures/, from `results/*.json`, so that no
figure in them is typed by hand.

python benchmarks/readme.py [--check]

With `--check` nothing is written: it ends with 1 where a page holds something else than its results say.
"""

import argparse

from lib.pages import ROOT, pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say which pages aren't what the results say")
    check = parser.parse_args().check
    changed = {file: text for file, text in pages().items() if not file.exists() or file.read_text("utf-8") != text}
    for file, text in changed.items():
        print(file.relative_to(ROOT))
        if not check:
            file.write_text(text, encoding="utf-8")
    raise SystemExit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
