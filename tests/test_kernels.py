"""Portable kernels are asked for before libraries choose, and said in records."""

import pytest

from sdclib.kernels import PORTABLE, kernels_in_use, use_portable_kernels


@pytest.fixture
def unset(monkeypatch):
    for name in (*PORTABLE, "SDC_KERNELS"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_too_late_when_numpy_is_loaded(unset):
    with pytest.raises(RuntimeError, match="before numpy and torch is imported; restart Python"):
        use_portable_kernels()
    assert kernels_in_use() == "native"


def test_variables_are_set_and_those_of_the_user_kept(unset, monkeypatch):
    monkeypatch.setattr("sys.modules", {})
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    for name in PORTABLE.keys() - {"ATEN_CPU_CAPABILITY"}:
        monkeypatch.setenv(name, "")  # so that they are taken away after the test
        monkeypatch.delenv(name)
    use_portable_kernels()
    assert "ATEN_CPU_CAPABILITY=default" in kernels_in_use()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert kernels_in_use() == "portable"
    use_portable_kernels()  # a cell of a notebook that is run again


def test_native_leaves_the_choice_to_the_libraries(unset, monkeypatch):
    monkeypatch.setenv("SDC_KERNELS", "native")
    use_portable_kernels()
    assert kernels_in_use() == "native"
