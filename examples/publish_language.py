"""Push a trained adapter to the Hub, add it to a collection, and load the collection as a model.

Log in first with `hf auth login`.

    python examples/publish_language.py runs/sw you/retrieveall-sw "you/African languages"
"""

import sys

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel, push_adapter


def main(folder: str, repository: str, collection: str) -> None:
    pushed = push_adapter(LanguageAdapter.load(folder), repository, collection=collection)
    print(f"{pushed.url}\n{pushed.collection}")
    model = RetrieveAllModel.from_pretrained(collection=pushed.collection)
    for language, source in model.languages.items():
        print(f"{language:8} {source}")


if __name__ == "__main__":
    main(*sys.argv[1:])
