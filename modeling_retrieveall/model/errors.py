"""The errors of the package. Whatever is wrong with a user's input, files, adapters or servers is one of these.

    RetrieveAllError
    ├── InputError             ValueError         here: an argument, option or setting has a value that cannot be used
    │   └── TagError                              data/tags.py: a tag of labelled data is of no scheme
    ├── InputTypeError         TypeError          here: an argument has the wrong type, or there is no such argument
    ├── MissingPackageError    ImportError        here: an optional package is not installed
    ├── UnknownLanguageError   ValueError         extractor.py
    ├── PrecisionError         FloatingPointError decoding.py: the base LLM overflows in its dtype
    ├── AdapterError           ValueError         lora_files.py: a folder or repository cannot serve as an adapter
    ├── HubError               OSError            hub_files.py
    │   ├── HubFileMissingError
    │   └── HubUnreachableError                   trying again may help
    │       └── HubNotCachedError
    ├── EncodingError          ValueError         data/text_files.py
    ├── DatasetError           ValueError         data/rows.py: labelled data cannot be read
    ├── RecordError            ValueError         integrations/records.py: a record to annotate cannot be read
    ├── JournalError           ValueError         integrations/journal.py: an interrupted job cannot be resumed
    └── ServerError            OSError            here: a server of vLLM cannot be reached or does not answer as asked

Each one is also an error of the built-in class in the second column, so ``except ValueError`` keeps working. Files that are
missing or in the way raise ``FileNotFoundError`` or ``FileExistsError``, and a full memory raises ``MemoryError``. Any other
exception is a fault of the package.

>>> try:
...     model.extract("Angela Merkel besuchte Nairobi.", languages="xx")
... except RetrieveAllError as error:
...     print(error)
No adapter for language 'xx'. There are: bg, bn, da, de, en, es, hr, mul, no, pt, ru, ta, zh.
"""


class RetrieveAllError(Exception):
    """The root of all errors of the package."""


class InputError(RetrieveAllError, ValueError):
    """An argument, option or setting has a value that cannot be used; the message says which values can be."""


class InputTypeError(RetrieveAllError, TypeError):
    """An argument has the wrong type, or there is no argument of that name."""


class MissingPackageError(RetrieveAllError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class ServerError(RetrieveAllError, OSError):
    """A server that decodes for the model cannot be reached, refuses, or its answer cannot be read; the message says why."""
