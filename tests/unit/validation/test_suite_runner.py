"""The test suite as a gate: real pytest runs, nested in this one."""

import io
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from thinker.config.pipeline_models import TestSuiteConfig
from thinker.errors import ConfigError, RecordError, TestSuiteError
from thinker.validation import TestSuiteResult, TestSuiteRunner

PASSING = "def test_passes():\n    pass\n"


class Suite:
    """A folder of test files and what their run printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = io.StringIO()
        self.output = folder.parent / "kept" / "pytest.txt"

    def write(self, source: str, name: str = "test_suite.py") -> "Suite":
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return self

    def run(self, markers: str | None = None, args: tuple[str, ...] = (), path: Path | None = None) -> TestSuiteResult:
        config = TestSuiteConfig(path=path or self.folder, markers=markers, args=args)
        return TestSuiteRunner(config).run(self.output, self.shown)

    def fail(self, markers: str | None = None, args: tuple[str, ...] = ()) -> tuple[str, TestSuiteResult]:
        with pytest.raises(TestSuiteError) as caught:
            self.run(markers, args)
        assert caught.value.result is not None
        assert caught.value.result.status == "failed"
        return str(caught.value), caught.value.result


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes long\n")
    return Suite(tmp_path / "tests")


class TestPassing:
    def test_every_outcome_is_counted(self, suite: Suite) -> None:
        suite.write("""
            import pytest
            def test_one(): pass
            @pytest.mark.parametrize("n", [1, 2])
            def test_two(n): pass
            def test_skips(): pytest.skip("why not")
            @pytest.mark.xfail
            def test_xfails(): assert False
            @pytest.mark.xfail
            def test_xpasses(): pass
            @pytest.mark.slow
            def test_slow(): assert False
        """)
        result = suite.run("not slow", ("-q", "-p", "no:cacheprovider"))
        assert result.status == "passed"
        assert (result.passed, result.failed, result.errors, result.skipped) == (3, 0, 0, 1)
        assert (result.xfailed, result.xpassed, result.deselected) == (1, 1, 1)
        assert result.exit_code == 0
        assert result.duration_s > 0
        assert result.args == (str(suite.folder), "-m", "not slow", "-q", "-p", "no:cacheprovider")

    def test_a_single_file_can_be_the_suite(self, suite: Suite) -> None:
        suite.write(PASSING).write("def test_fails(): assert False", "test_other.py")
        assert suite.run(path=suite.folder / "test_suite.py").passed == 1

    def test_the_same_file_can_run_twice_and_change_in_between(self, suite: Suite) -> None:
        assert suite.write(PASSING).run().passed == 1
        suite.write("def test_fails():\n    assert 0 == 1\n").fail()

    def test_a_suite_beside_another_with_files_of_the_same_name(self, suite: Suite, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        suite.write(PASSING).run()
        assert Suite(other).write(PASSING).run().passed == 1


class TestFailing:
    def test_failures_are_counted_and_named(self, suite: Suite) -> None:
        suite.write("""
            import pytest
            @pytest.fixture
            def broken(): raise OSError("no such luck")
            def test_fails(): assert 1 == 2
            def test_errs(broken): pass
            def test_passes(): pass
        """)
        message, result = suite.fail()
        assert "1 failed, 1 failed in set-up or tear-down: " in message
        assert "tests/test_suite.py::test_fails, tests/test_suite.py::test_errs" in message
        assert str(suite.output) in message
        assert (result.passed, result.failed, result.errors, result.exit_code) == (1, 1, 1, 1)

    def test_only_the_first_failures_are_named(self, suite: Suite) -> None:
        suite.write("""
            import pytest
            @pytest.mark.parametrize("n", range(8))
            def test_fails(n): assert False
        """)
        message, result = suite.fail()
        assert "8 failed: " in message
        assert message.count("test_fails") == 3
        assert "and 5 more" in message
        assert len(result.failures) == 8

    def test_a_strict_xfail_that_passes_fails(self, suite: Suite) -> None:
        suite.write("import pytest\n@pytest.mark.xfail(strict=True)\ndef test_x(): pass\n")
        assert suite.fail()[1].failed == 1

    def test_failing_subtests_fail(self, suite: Suite) -> None:
        suite.write("""
            import unittest
            class TestCase(unittest.TestCase):
                def test_parts(self):
                    for n in range(3):
                        with self.subTest(n=n):
                            self.assertNotEqual(n, 1)
        """)
        suite.fail()

    @pytest.mark.parametrize(
        "source", ["import no_such_module_anywhere", "def broken(:", "raise KeyError('at import')"]
    )
    def test_files_that_cannot_be_collected(self, suite: Suite, source: str) -> None:
        suite.write(source, "test_broken.py").write(PASSING)
        message, result = suite.fail()
        assert "1 could not be collected: tests/test_broken.py" in message
        assert result.errors == 1

    def test_a_broken_conftest(self, suite: Suite) -> None:
        message, result = suite.write("raise KeyError('in conftest')", "conftest.py").write(PASSING).fail()
        assert "pytest refused" in message
        assert "in conftest" in suite.output.read_text()
        assert result.exit_code == 4

    def test_arguments_that_pytest_does_not_know(self, suite: Suite) -> None:
        message, _ = suite.write(PASSING).fail(args=("--no-such-option",))
        assert "pytest refused" in message
        assert "--no-such-option" in message
        assert "--no-such-option" in suite.output.read_text()

    def test_an_exit_code_that_a_hook_made_up(self, suite: Suite) -> None:
        suite.write("def pytest_sessionfinish(session): session.exitstatus = 9", "conftest.py").write(PASSING)
        assert "pytest ended with exit code 9" in suite.fail()[0]

    def test_stopping_at_the_first_failure_is_a_failure_and_no_interruption(self, suite: Suite) -> None:
        suite.write("def test_a(): assert False\ndef test_b(): assert False\n")
        assert suite.fail(args=("-x",))[1].failed == 1


class TestNothingRan:
    def test_an_empty_folder(self, suite: Suite) -> None:
        message, result = suite.fail()
        assert message.startswith(f"no tests were collected in {suite.folder}")
        assert result.exit_code == 5

    def test_markers_that_leave_nothing(self, suite: Suite) -> None:
        message, result = suite.write(PASSING).fail(markers="slow")
        assert message.startswith(f"no tests were collected in {suite.folder} (markers 'slow'): all 1 were deselected")
        assert result.deselected == 1

    @pytest.mark.parametrize(
        "source",
        [
            "import pytest\ndef test_a(): pytest.skip('no data')\n",
            "import pytest\npytest.skip('no data', allow_module_level=True)\n",
            "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\n",
        ],
    )
    def test_a_suite_in_which_nothing_passed(self, suite: Suite, source: str) -> None:
        suite.write(source)
        with pytest.raises(TestSuiteError, match=r"nothing is proven|no tests were collected"):
            suite.run()

    @pytest.mark.parametrize("option", ["--collect-only", "--help", "--version", "--fixtures"])
    def test_options_that_run_no_test(self, suite: Suite, option: str) -> None:
        assert "nothing is proven" in suite.write(PASSING).fail(args=(option,))[0]


class TestStopping:
    @pytest.mark.parametrize("code", ["", ", returncode=0", ", returncode=1"])
    def test_pytest_exit_is_a_failure(self, suite: Suite, code: str) -> None:
        suite.write(PASSING + f"import pytest\ndef test_b(): pytest.exit('enough'{code})\n")
        message, result = suite.fail()
        assert "stopped pytest: pytest.exit: enough" in message
        assert result.passed == 1

    @pytest.mark.parametrize("code", [0, 1, 7])
    def test_sys_exit_in_a_test_is_that_test_failing(self, suite: Suite, code: int) -> None:
        suite.write(PASSING + f"import sys\ndef test_b(): sys.exit({code})\n")
        message, result = suite.fail()
        assert "test_b" in message
        assert (result.passed, result.failed) == (1, 1)

    @pytest.mark.parametrize("name", ["test_suite.py", "conftest.py"])
    @pytest.mark.parametrize(
        "statement",
        [
            "import sys; sys.exit(0)",
            "import pytest; pytest.exit('enough', 0)",
            "import pytest; pytest.skip('x')",
            "raise BaseException('bad')",
        ],
    )
    def test_whatever_stops_collection_is_a_failure(self, suite: Suite, name: str, statement: str) -> None:
        suite.write(PASSING, "test_other.py").write(statement, name).fail()

    @pytest.mark.parametrize(
        "hook", ["pytest_configure(config)", "pytest_sessionstart(session)", "pytest_unconfigure(config)"]
    )
    @pytest.mark.parametrize("statement", ["raise KeyError('hook')", "raise SystemExit(0)"])
    def test_hooks_that_break_pytest_are_a_failure(self, suite: Suite, hook: str, statement: str) -> None:
        suite.write(f"def {hook}: {statement}", "conftest.py").write(PASSING).fail()

    # A test run in the background has SIGINT ignored, so the handler is set anew.
    @pytest.mark.parametrize(
        "statement",
        [
            "raise KeyboardInterrupt",
            "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "os.kill(os.getpid(), signal.SIGINT)",
        ],
    )
    def test_an_interruption_comes_out_as_one(self, suite: Suite, statement: str) -> None:
        suite.write(PASSING + f"def test_b():\n    {statement}\n")
        with pytest.raises(KeyboardInterrupt):
            suite.run()
        assert "KeyboardInterrupt" in suite.output.read_text()

    def test_an_interruption_at_import_comes_out_as_one(self, suite: Suite) -> None:
        suite.write("raise KeyboardInterrupt", "conftest.py").write(PASSING)
        with pytest.raises(KeyboardInterrupt):
            suite.run()


class TestOutput:
    def test_it_is_shown_and_kept(self, suite: Suite) -> None:
        suite.write(PASSING + "def test_prints(): __import__('sys').stdout.writelines(['seen ', 'with -s'])\n").run(
            args=("-s", "-v")
        )
        for text in (suite.shown.getvalue(), suite.output.read_text()):
            assert "test_suite.py::test_passes PASSED" in text
            assert "seen with -s" in text
            assert "2 passed" in text

    def test_colours_are_shown_but_not_kept(self, suite: Suite) -> None:
        suite.write(PASSING).run(args=("--color=yes",))
        assert "\x1b[" in suite.shown.getvalue()
        assert "\x1b" not in suite.output.read_text()
        assert "1 passed" in suite.output.read_text()

    def test_secrets_are_not_kept(self, suite: Suite) -> None:
        token = "hf_" + "Zz9" * 12
        message, _ = suite.write(f"def test_tells():\n    token = '{token}'\n    assert token is None\n").fail()
        kept = suite.output.read_text()
        assert token not in kept
        assert "***" in kept
        assert token not in message

    def test_a_last_line_without_end_is_kept(self, suite: Suite) -> None:
        suite.write("import atexit, sys\ndef pytest_unconfigure(): sys.stdout.write('the end')\n", "conftest.py")
        suite.write(PASSING).run()
        assert suite.output.read_text().endswith("the end\n")

    def test_without_a_file_it_is_only_shown(self, suite: Suite) -> None:
        suite.write(PASSING)
        assert TestSuiteRunner(TestSuiteConfig(path=suite.folder)).run(stream=suite.shown).passed == 1
        assert "1 passed" in suite.shown.getvalue()

    def test_standard_output_is_the_default(self, suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
        suite.write(PASSING)
        TestSuiteRunner(TestSuiteConfig(path=suite.folder)).run()
        assert "1 passed" in capsys.readouterr().out

    def test_a_place_that_cannot_be_written_is_named(self, suite: Suite) -> None:
        suite.output = suite.write(PASSING).folder / "test_suite.py" / "pytest.txt"
        with pytest.raises(RecordError, match=r"cannot be kept in .*pytest\.txt"):
            suite.run()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk_costs_the_transcript_and_not_the_run(
        self, suite: Suite, caplog: pytest.LogCaptureFixture
    ) -> None:
        suite.output = Path("/dev/full")
        assert suite.write(PASSING).run().passed == 1
        assert "not kept in full in /dev/full" in caplog.text

    def test_with_another_stream_nothing_reaches_standard_output(self, suite: Suite) -> None:
        suite.write(
            "import os, sys\ndef test_shouts(): os.system('echo from a child'); sys.__stdout__.write('raw\\n')\n"
        )
        code = (
            "import sys; from pathlib import Path; from thinker.config.pipeline_models import TestSuiteConfig;"
            "from thinker.validation import TestSuiteRunner; print('before');"
            "TestSuiteRunner(TestSuiteConfig(path=Path(sys.argv[1]), args=('-s',))).run(stream=sys.stderr);"
            "print('after')"
        )
        done = subprocess.run([sys.executable, "-c", code, suite.folder], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["before", "after"]
        assert "from a child" in done.stderr
        assert "1 passed" in done.stderr


class TestConfiguration:
    def test_a_disabled_suite_is_told_and_not_run(self, suite: Suite, caplog: pytest.LogCaptureFixture) -> None:
        config = TestSuiteConfig(path=suite.write("raise SystemExit").folder, enabled=False)
        with caplog.at_level(logging.WARNING, "thinker"):
            result = TestSuiteRunner(config).run(suite.output)
        assert (result.status, result.passed, result.exit_code) == ("disabled", 0, None)
        assert "tests.enabled is false" in caplog.text
        assert not suite.output.exists()

    def test_a_suite_without_a_path_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigError, match=r"tests\.path is missing"):
            TestSuiteRunner(TestSuiteConfig()).run()

    def test_the_error_is_a_runtime_error_as_well(self, suite: Suite) -> None:
        with pytest.raises(RuntimeError):
            suite.run()
