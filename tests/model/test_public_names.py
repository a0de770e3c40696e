"""The public names of the package."""

import modeling_retrieveall


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert set(modeling_retrieveall.__all__) == set(modeling_retrieveall._HOMES) == set(dir(modeling_retrieveall))
    for name in modeling_retrieveall.__all__:
        assert getattr(modeling_retrieveall, name).__name__ == name
