"""The errors of the package. They are raised for problems with a user's input, files, adapters or servers.

    RetrieveAllError
    ├── InputError             ValueError         model/errors.py: an argument, option or setting has an invalid value
    │   └── TagError                              data/tags.py: a tag in labelled data belongs to no known scheme
    ├── InputTypeError         TypeError          model/errors.py: an argument has the wrong type or an unknown name
    ├── MissingPackageError    ImportError        model/errors.py: an optional package is not installed
    ├── AdapterError           ValueError         model/errors.py: a folder or repository is not a usable adapter
    ├── UnknownLanguageError   ValueError         model/extractor.py: a sentence is in none of the model's languages
    ├── PrecisionError         FloatingPointError model/decoding.py: the base LLM overflows in its dtype
    ├── HubError               OSError            model/hub_files.py: the Hub denies access or does not have a repository
    │   ├── HubFileMissingError                   model/hub_files.py: a repository does not have a file
    │   └── HubUnreachableError                   model/hub_files.py: the Hub cannot be reached; a retry may help
    │       └── HubNotCachedError                 model/hub_files.py: the client is offline, and the file is not in the cache
    ├── EncodingError          ValueError         data/text_files.py: the encoding of a text file cannot be detected
    ├── DatasetError           ValueError         data/reader_types.py: labelled data cannot be read
    ├── RecordError            ValueError         annotation/readers.py: a record cannot be read or written
    ├── JournalError           ValueError         annotation/journal.py: an interrupted job cannot be resumed
    ├── WorkerError            ChildProcessError  annotation/worker_pool.py: a process of an annotation job has ended
    ├── QueueFullError         BlockingIOError    serving/request_batcher.py: too many texts wait for the server
    └── ServerError            OSError            model/errors.py: a vLLM server cannot be reached or responds with an error

Each error is also a subclass of the built-in class in the second column, so ``except ValueError`` catches it. A missing file
raises ``FileNotFoundError``, an existing one that must not be replaced ``FileExistsError``, and a lack of memory
``MemoryError``. Any other exception is a bug of the package.

>>> try:
...     model.extract("Angela Merkel besuchte Nairobi.", language="xx")
... except RetrieveAllError as error:
...     print(error)
No adapter for language 'xx'. There are: bg, bn, da, de, ...
"""


class RetrieveAllError(Exception):
    """The base class of all errors of the package."""


class InputError(RetrieveAllError, ValueError):
    """An argument, option or setting has an invalid value; the message says which values are valid."""


class InputTypeError(RetrieveAllError, TypeError):
    """An argument has the wrong type or an unknown name."""


class MissingPackageError(RetrieveAllError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class AdapterError(RetrieveAllError, ValueError):
    """A folder or repository is not a usable language adapter; the message names it and what is wrong."""


class ServerError(RetrieveAllError, OSError):
    """A server that decodes for the model cannot be reached, rejects a request, or sends an invalid response."""
