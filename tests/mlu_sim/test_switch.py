"""The switch ANCHOR_MLU_SIM: light, and refused where it makes no sense."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import launch.mlu_sim as simulator
from anchor.__main__ import main

SITE = Path(simulator.__file__).parent / "site"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ANCHOR_MLU_SIM", "2")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(SITE)])


def test_without_the_variable_nothing_happens(monkeypatch):
    monkeypatch.delenv("ANCHOR_MLU_SIM")
    before = list(sys.path)
    assert not simulator.activate()
    assert sys.path == before


def test_it_is_importable_here_and_in_children_and_loads_no_torch():
    code = (
        "import launch.mlu_sim as s, os, sys; assert s.activate() and s.activate(); site = sys.argv[1];"
        "print(sys.path.count(site), os.environ['PYTHONPATH'].split(os.pathsep).count(site),"
        "'torch' in sys.modules, 'lightning' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(SITE)]
    done = subprocess.run(words, cwd=SITE.parents[2], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "False", "False"], done.stderr


@pytest.mark.parametrize("text", ["0", "-1", "two", "65"])
def test_a_number_of_cards_that_cannot_be(text, monkeypatch):
    monkeypatch.setenv("ANCHOR_MLU_SIM", text)
    with pytest.raises(simulator.SimulatorError, match=f"ANCHOR_MLU_SIM={text}: it is the number"):
        simulator.activate()


def test_a_real_torch_mlu_is_never_hidden(monkeypatch, tmp_path):
    (tmp_path / "torch_mlu").mkdir()
    (tmp_path / "torch_mlu" / "__init__.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(simulator.SimulatorError, match="a real torch_mlu is installed") as error:
        simulator.activate()
    assert str(tmp_path) in str(error.value)
    assert str(SITE) not in sys.path


def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("ANCHOR_MLU_SIM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(simulator.SimulatorError, match=r"there is none. Run: apt-get install -y g\+\+$"):
        simulator.activate()


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANCHOR_MLU_SIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(simulator.SimulatorError, match="ANCHOR_MLU_SIM_CACHE=DIR"):
        simulator.build()


def test_sources_that_do_not_compile_are_named_with_the_log(monkeypatch, tmp_path):
    monkeypatch.setenv("ANCHOR_MLU_SIM_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", f"{sys.executable} -c raise(SystemExit('error:no_such_header'))")
    with pytest.raises(simulator.SimulatorError, match="error:no_such_header"):
        simulator.build()
    assert "no_such_header" in next(tmp_path.rglob("build.log")).read_text()
    assert not list(tmp_path.rglob("*.so"))


def test_many_that_start_at_once_compile_once(monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    lines = ["import sys, time", f"open({str(tmp_path / 'calls')!r}, 'a').write('x')", "time.sleep(0.3)"]
    lines += ["open(sys.argv[sys.argv.index('-o') + 1], 'w').write('a library')"]
    compiler.write_text("\n".join([f"#!{sys.executable}", *lines]))
    compiler.chmod(0o755)
    monkeypatch.setenv("ANCHOR_MLU_SIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(compiler))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: simulator.build(), range(4)))
    assert len(set(made)) == 1
    assert made[0].read_text() == "a library"
    assert (tmp_path / "calls").read_text() == "x"


def test_the_command_asks_for_simulated_cards_before_it_looks_for_cards(monkeypatch, capsys):
    monkeypatch.setenv("ANCHOR_MLU_SIM", "many")
    assert main(["check"]) == 2
    assert "ANCHOR_MLU_SIM=many: it is the number of simulated cards, 1 to 64." in capsys.readouterr().err
    assert main(["check", "--help"]) == 0


def test_every_variable_is_in_the_manual_and_in_the_code():
    root = SITE.parents[2]
    code = "".join(path.read_text() for path in (root / "launch" / "mlu_sim").rglob("*.py"))
    written = set(re.findall(r"ANCHOR_MLU_SIM\w*", code))
    assert written == set(re.findall(r"ANCHOR_MLU_SIM\w*", (root / "docs" / "mlu.md").read_text()))
    assert len(written) == 4
